from __future__ import annotations

import pytest

from trainer.class_names import doubts_about

NFD = "cafe\u0301"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["hat", "coat"], []),
        (["Hat", "coat", "hat"], ["'Hat' (1) and 'hat' (1). Each is a class of its own; if they are one, mend the labels, or merge them"]),
        (["t-shirt", "t shirt", "tshirt"], []),
        (["long  coat", "Long coat", "long coat"], ["'long  coat' (1) and 'Long coat' (1) and 'long coat' (1)"]),
        (["caf\u00e9", NFD, "cafe"], [f"'caf\u00e9' (1) and {NFD!r} (1)."]),
        (["hat", "nan"], ["a name that often stands for no label: 'nan' (1). It is a class like any other; if it is none, leave those"]),
        (["None", "N/A", "hat", "null"], ["no label: 'N/A' (1), 'None' (1), 'null' (1)."]),
        (["NaN", "nan"], ["'NaN' (1) and 'nan' (1).", "no label: 'NaN' (1), 'nan' (1)."]),
        ([f"{case(f'class {n}')}" for n in range(5) for case in (str.lower, str.upper)], ["'class 2' (1) and 'CLASS 2' (1); and 2 more."]),
        (["nothing", "nana", "nonesuch", "annulled"], []),
    ],
)
def test_names_that_are_probably_not_meant_are_told(names: list[str], said: list[str]) -> None:
    found = doubts_about(dict.fromkeys(names, 1))
    assert len(found) == len(said)
    for text, part in zip(found, said, strict=True):
        assert part in text
