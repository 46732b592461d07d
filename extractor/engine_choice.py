"""Which engine the workers of a run use: by name, what each of them needs and can. Imports none of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.util import find_spec

from extractor.backbone_source import RANDOM
from extractor.recipe import Recipe
from storage.errors import UsageError


@dataclass(frozen=True)
class EngineKind:
    """`package`: that it imports, and the extra of permafrost that brings it. `on_gpu`, `on_cpu`: where `auto` tries it.
    `least_seconds`: of forward passes, for one that takes longer to compile than others."""

    package: str
    precisions: tuple[str, ...]
    on_gpu: bool
    on_cpu: bool = True
    least_seconds: float = 0.0
    backend: str = "tensorflow"  # of Keras, one for a process


INT8 = "int8"
ON_GPUS = ("float32", "tf32", "bfloat16", "float16")
ENGINES = {
    "tensorflow": EngineKind("tensorflow", ON_GPUS, on_gpu=True),
    "xla": EngineKind("tensorflow", ON_GPUS, on_gpu=True, on_cpu=False, least_seconds=600.0),
    "openvino": EngineKind("openvino", ("float32", "bfloat16", INT8), on_gpu=False),
    "jax": EngineKind("jax", ON_GPUS, on_gpu=True, backend="jax"),
}
AUTO = "auto"
DEFAULT = "tensorflow"
ENGINE_NAMES = (AUTO, *ENGINES)


@dataclass(frozen=True)
class EngineChoice:
    """What all workers of a run are told."""

    name: str = DEFAULT
    batch_size: int | None = None  # images; None: planned for each network
    why: str = ""  # in words; "" where the user named it
    quantized: bytes | None = field(default=None, repr=False)  # the calibrated network of an int8 space
    measured: bool = False  # True: a worker that does not have it takes the default in its place

    @property
    def kind(self) -> EngineKind:
        return ENGINES[self.name]


AS_USUAL = EngineChoice()


def check_engine(name: str, recipes: Iterable[Recipe]) -> None:
    """Raises UsageError for an engine that is not known, or that these networks cannot have. Whether it is installed, a worker says."""
    if name not in ENGINE_NAMES:
        raise UsageError(f"--engine must be one of {', '.join(ENGINE_NAMES)}; got {name!r}")
    if name == AUTO:
        return
    for recipe in recipes:
        if recipe.precision not in ENGINES[name].precisions:
            able = " or ".join(other for other, kind in ENGINES.items() if recipe.precision in kind.precisions)
            raise UsageError(f"--engine {name} does not compute in {recipe.precision}: use --engine {able}, or another --precision")
        if ENGINES[name].backend != "tensorflow" and recipe.weights.startswith(RANDOM):
            raise UsageError(
                f"--weights {recipe.weights}: Keras on {name} draws other numbers from a seed than on TensorFlow, so this would be another "
                "feature space. Use --engine tensorflow or openvino, or weights from a file"
            )


def default_engine(recipes: Iterable[Recipe]) -> str:
    """TensorFlow, but for what it cannot compute."""
    return "openvino" if any(recipe.precision == INT8 for recipe in recipes) else DEFAULT


def require_installed(name: str) -> None:
    """Raises UsageError with the way out."""
    if not is_installed(name):
        raise UsageError(f"the {name} engine is not installed here: pip install 'permafrost[{name}]', or --engine {DEFAULT}")


def is_installed(name: str) -> bool:
    return find_spec(ENGINES[name].package) is not None
