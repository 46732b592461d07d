from __future__ import annotations

import traceback

import pytest

from extractor.last_words import last_line

# As JAX 0.10 adds it to whatever is raised below one of its functions.
FOOTNOTE = (
    "--------------------\nFor simplicity, JAX has removed its internal frames from the traceback of the following exception. "
    "Set JAX_TRACEBACK_FILTERING=off to include these."
)


def test_the_line_of_a_traceback_that_tells_is_not_the_footnote_of_jax() -> None:
    error = ValueError("The precision 'F16_F16_F32' is not supported by dot_general on CPU")
    error.add_note(FOOTNOTE)
    text = "".join(traceback.format_exception(error))  # which is what Ray makes of it
    assert last_line(RuntimeError(text)) == "ValueError: The precision 'F16_F16_F32' is not supported by dot_general on CPU"


@pytest.mark.parametrize(
    ("text", "line"), [("one\ntwo\n", "two"), ("  one  ", "one"), ("", "RuntimeError"), (" \n\n", "RuntimeError"), ("a - b", "a - b")]
)
def test_the_last_line_tells(text: str, line: str) -> None:
    assert last_line(RuntimeError(text)) == line
