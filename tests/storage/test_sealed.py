"""Sealed files: one way to write them, and no other bytes count."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import DamagedError
from storage.sealed import CHECKSUM, seal, unseal

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
names = texts | st.sampled_from([CHECKSUM, "a", "z", f'\n  "{CHECKSUM}": ""'])
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | names
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=12)
contents = st.dictionaries(names.filter(lambda name: name != CHECKSUM), values, min_size=1, max_size=4)


def written(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


@given(contents)
def test_the_checksum_is_that_of_all_else_written_alike(content: dict[str, Any]) -> None:
    sealed = seal(content)
    assert sealed == written({**content, CHECKSUM: hashlib.sha256(written(content)).hexdigest()})
    assert unseal(sealed, "here", "thing") == content


@given(contents, st.data())
def test_any_other_bytes_are_refused(content: dict[str, Any], data: st.DataObject) -> None:
    sealed = seal(content)
    at = data.draw(st.integers(0, len(sealed) - 1))
    changed = bytes([sealed[at] ^ 1 << data.draw(st.integers(0, 7))])
    for harmed in (sealed[:at] + changed + sealed[at + 1 :], sealed[:at] + sealed[at + 1 :], sealed[:at], sealed + b"\n", b" " + sealed):
        with pytest.raises(DamagedError, match="the thing at here"):
            unseal(harmed, "here", "thing")


@pytest.mark.parametrize(
    "changed",
    [
        lambda content, checksum: json.dumps({**content, CHECKSUM: checksum}).encode(),
        lambda content, checksum: written({**content, CHECKSUM: checksum.upper()}),
        lambda content, checksum: written({**content, CHECKSUM: [checksum]}),
        lambda content, checksum: written({**content, "b": {CHECKSUM: checksum}}),
        lambda content, checksum: written({CHECKSUM: checksum}),
        lambda content, checksum: written(content),
        lambda content, checksum: written([content]),
    ],
    ids=["written otherwise", "in capitals", "in a list", "elsewhere", "alone", "none", "no object"],
)
def test_what_only_looks_sealed_is_refused(changed: Any) -> None:
    content = {"a": 1, "b": "c"}
    with pytest.raises(DamagedError, match="the thing at here"):
        unseal(changed(content, json.loads(seal(content))[CHECKSUM]), "here", "thing")
