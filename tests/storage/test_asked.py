from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest

from storage.asked import as_asked, check_fields, checked
from storage.errors import UsageError
from storage.place import Place


class Door(Protocol):
    width: int

    def open(self) -> None: ...


class Gate:
    width = 1

    def open(self) -> None:
        pass


GATE = Gate()
TAKEN: list[tuple[Any, Any, Any]] = [  # a value, the type that is asked for, what it becomes
    (1, int, 1),
    (1, float, 1),
    (np.int8(1), int, 1),
    (np.int8(1), float, 1),
    (np.float32(0.5), float | None, 0.5),
    (np.True_, bool, True),
    (np.str_("a"), str, "a"),
    (None, int | None, None),
    ([1, np.int64(2)], tuple[int, ...], (1, 2)),
    ([], tuple[int, ...], ()),
    ([0, 2.5], tuple[int, float], (0, 2.5)),
    ({"a": [np.int64(1)]}, Mapping[str, Sequence[int]], {"a": [1]}),
    (("a", "b"), Sequence[str], ("a", "b")),
    ({"a": (1,)}, str | Mapping[str, tuple[int, ...]] | None, {"a": (1,)}),
    (Path("a"), str | Path, Path("a")),
    (len, Callable[[Any], int], len),
    (GATE, Door, GATE),
    (np.int64(3), Any, 3),
]
WORDS: list[tuple[Any, Any, str]] = [
    (True, int, "it must be a whole number; got True"),
    (True, float | None, "it must be a number or None; got True"),
    (1.0, int, "it must be a whole number; got 1.0"),
    (1, bool, "it must be True or False; got 1"),
    (1, str | Path, "it must be a path; got 1"),
    (None, str | Place, "it must be a path; got None"),
    ("ab", Sequence[str], "it must be a list of texts; got 'ab'"),
    ("ab", tuple[str, ...], "it must be a list of texts; got 'ab'"),
    ([1, "b"], tuple[str, ...], "each of it must be a text; got 1"),
    ((1,), tuple[int, int], "it must be a tuple of 2 (a whole number, a whole number); got (1,)"),
    ([], Mapping[str, float], "it must be a dict of numbers by text; got []"),
    ({"a": "1"}, Mapping[str, float], "'a' of it must be a number; got '1'"),
    ({1: 1.0}, Mapping[str, float], "a name in it must be a text; got 1"),
    (5, Callable[[int], int], "it must be a function; got 5"),
    (5, Door | None, "it must be of type Door or None; got 5"),
    ("x" * 1000, int, f"it must be a whole number; got '{'x' * 199}..."),
    (
        5,
        Mapping[str, Sequence[str]] | tuple[Gate, ...],
        "it must be a dict of lists of texts by text or a list of values of type Gate; got 5",
    ),
]


@pytest.mark.parametrize(("value", "kind", "found"), TAKEN)
def test_what_is_of_the_type_is_taken_as_python_has_it(value: Any, kind: Any, found: Any) -> None:
    got = as_asked(value, kind, "it")
    assert got == found
    assert type(got) is type(found)


@pytest.mark.parametrize(("value", "kind", "said"), WORDS)
def test_what_is_not_is_told_in_words(value: Any, kind: Any, said: str) -> None:
    with pytest.raises(UsageError) as told:
        as_asked(value, kind, "it")
    assert str(told.value) == said


@dataclass(frozen=True)
class Base:
    size: int = 1


@dataclass(frozen=True)
class Options(Base):
    names: tuple[str, ...] = ()
    rest: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self, but=("rest",), size="the size of all")


def test_fields_are_checked_those_of_bases_too() -> None:
    assert Options(np.int64(2), ["a"]) == Options(2, ("a",))  # type: ignore[arg-type]
    assert Options(rest="left to others").rest == "left to others"  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="the size of all must be a whole number; got None"):
        Options(None)  # type: ignore[arg-type]


def test_arguments_are_checked_and_the_function_stays_what_it_is() -> None:
    @checked(path="the file")
    def read(path: str | Path, times: int = 1, *, loud: bool = False) -> list[Any]:
        """Reads."""
        return [path, times, loud]

    assert read("a", times=np.int32(2)) == ["a", 2, False]  # type: ignore[arg-type]
    assert (read.__name__, read.__doc__) == ("read", "Reads.")
    for act, said in {
        lambda: read(5): "the file must be a path; got 5",  # type: ignore[arg-type]
        lambda: read("a", 1.5): "times must be a whole number; got 1.5",  # type: ignore[arg-type]
        lambda: read("a", loud=1): "loud must be True or False; got 1",  # type: ignore[arg-type]
    }.items():
        with pytest.raises(UsageError, match=said):
            act()
    with pytest.raises(TypeError, match=r"read\(\) missing 1 required positional argument: 'path'"):
        read()  # type: ignore[call-arg]
