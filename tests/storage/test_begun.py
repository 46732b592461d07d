from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from storage.begun import begun_description, begun_golden
from storage.golden import write_golden
from storage.names import SetName

MakeSet = Callable[..., Any]  # see conftest.py


def test_golden_images_of_a_set_without_a_version_are_found_and_damaged_ones_left_out(make_set: MakeSet) -> None:
    made = make_set()
    assert begun_golden(made.name) == []
    golden = replace(made.golden_images(), quantized=b"a network")
    write_golden(golden, made.folder)
    wide = write_golden(replace(golden, embeddings=np.ones((2, 5), np.float16)), made.folder)
    other = made.folder / write_golden(replace(golden, quantized=b"another one"), made.folder).path
    other.write_bytes(other.read_bytes()[:-1])
    [found] = begun_golden(made.name)
    assert (found.names, found.images, found.quantized) == (golden.names, golden.images, b"a network")
    np.testing.assert_array_equal(found.embeddings, golden.embeddings)
    assert (made.folder / wide.path).exists()
    assert begun_description(made.name) == made.description


def test_of_a_set_that_nobody_has_begun_there_is_nothing(make_set: MakeSet) -> None:
    nobodys = SetName(make_set().name.root, "team", "nobodys")
    assert (begun_description(nobodys), begun_golden(nobodys)) == (None, [])
