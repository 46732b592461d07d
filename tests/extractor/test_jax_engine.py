"""Which of JAX's errors mean that memory is short."""

from __future__ import annotations

import pytest

from extractor.engine import OutOfMemoryError

jax = pytest.importorskip("jax", reason="the jax extra is not installed")

from extractor.jax_engine import _or_out_of_memory  # noqa: E402

# The words are JAX's own, from MobileNetV2 in a process whose address space was limited. A test does not limit one: what XLA does not
# compute with these kernels ends the process then.
OF_MEMORY = {
    "a GPU, or a large buffer": "RESOURCE_EXHAUSTED: Out of memory allocating 17592186044416 bytes.",
    "kernels of a CPU": "INTERNAL: YNNPACK operation failed: error",
}


def failing(message: str) -> None:
    raise jax.errors.JaxRuntimeError(message)


@pytest.mark.parametrize("where", OF_MEMORY)
def test_memory_that_is_short_is_told_as_such(where: str) -> None:
    with pytest.raises(OutOfMemoryError):
        _or_out_of_memory(lambda: failing(OF_MEMORY[where]))


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(jax.errors.JaxRuntimeError):
        _or_out_of_memory(lambda: failing("INTERNAL: something broke"))
