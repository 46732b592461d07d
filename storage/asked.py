"""What a program passes to a function, or to options, checked by their annotations: another type would end in an error of Python's own.

NumPy's numbers are numbers, and become Python's; a list is as good as a tuple. What a value may be beyond its type says who takes it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import fields
from functools import cache, wraps
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from storage.errors import UsageError
from storage.place import RemotePlace

P = ParamSpec("P")
R = TypeVar("R")

MOST_SHOWN = 200  # characters of a value
_WORDS: Mapping[Any, tuple[str, str]] = {  # of one, of several
    Any: ("a value", "values"),
    None: ("None", "None"),
    NoneType: ("None", "None"),
    bool: ("True or False", "True or False"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("a text", "texts"),
    Path: ("a path", "paths"),
}
_LIKE_PATHS = (str, RemotePlace)  # which are told as paths where these are taken too
_PLAIN: Mapping[Any, frozenset[type]] = {
    NoneType: frozenset({NoneType}),
    bool: frozenset({bool}),
    int: frozenset({int}),
    float: frozenset({int, float}),
    str: frozenset({str}),
}


def checked(**called: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """The same function, which raises UsageError for an argument that is not of its annotated type. called: other names of arguments for
    messages."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                bound, kinds = signature.bind(*args, **kwargs), _kinds(function)
            except TypeError:
                return function(*args, **kwargs)  # whose own error names the function
            for name in bound.arguments.keys() & kinds.keys():
                bound.arguments[name] = as_asked(bound.arguments[name], kinds[name], called.get(name, name))
            return function(*bound.args, **bound.kwargs)

        return call

    return decorate


def check_fields(options: Any, but: Sequence[str] = (), **called: str) -> None:
    """Raise UsageError unless each field of a dataclass is of its annotated type; first in its `__post_init__`. but: fields that are left
    to other checks; called: other names of fields for messages."""
    for name, kind, plain in _fields_of(type(options)):  # type: ignore[arg-type]  # mypy takes no class for hashable
        value = getattr(options, name)
        if type(value) not in plain and name not in but:
            object.__setattr__(options, name, as_asked(value, kind, called.get(name, name)))


def as_asked(value: Any, kind: Any, what: str) -> Any:
    """The value as its type has it. Raises UsageError, which calls it `what`."""
    if isinstance(value, np.generic):
        value = value.item()
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    fitting = next((each for each in kinds if _fits(value, each)), None)
    if fitting is None:
        raise UsageError(f"{what} must be {_words(kind)}; got {_shown(value)}")
    return _parts(value, fitting, what)


@cache
def _kinds(annotated: Hashable) -> dict[str, Any]:
    """Of a function's arguments, or a class's fields."""
    return get_type_hints(annotated)


@cache
def _fields_of(options: Hashable) -> list[tuple[str, Any, frozenset[type]]]:
    """Of a dataclass: name, kind, and the types whose values are taken as they are. By these a sweep of thousands of candidates spends no
    seconds here (FitOptions: 0.03 ms instead of 0.3)."""
    kinds = _kinds(options)
    return [(field.name, kinds[field.name], _plain(kinds[field.name])) for field in fields(options)]  # type: ignore[arg-type]


def _plain(kind: Any) -> frozenset[type]:
    if get_origin(kind) in (Union, UnionType):
        return frozenset[type]().union(*map(_plain, get_args(kind)))
    is_own = isinstance(kind, type) and not getattr(kind, "_is_protocol", False) and get_origin(kind) is None
    return _PLAIN.get(kind, frozenset({kind} if is_own else ()))


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a type, as far as can be seen from outside."""
    outer = get_origin(kind) or kind
    if outer is Any or isinstance(outer, TypeVar):
        return True
    if outer in (None, NoneType):
        return value is None
    if outer in (int, float):
        return isinstance(value, (int, outer)) and not isinstance(value, bool)
    if outer is tuple:
        return isinstance(value, (tuple, list)) and (_is_even(kind) or len(value) == len(get_args(kind)))
    if outer is Sequence:
        return isinstance(value, Sequence) and not isinstance(value, (str, bytes))
    if outer is Callable:
        return callable(value)
    if getattr(outer, "_is_protocol", False):
        return all(_has(value, name) for name in vars(outer) if not name.startswith("_") or name == "__call__")
    return isinstance(value, outer)


def _has(value: Any, name: str) -> bool:
    """Without asking for it, which may be work."""
    return inspect.getattr_static(value, name, None) is not None


def _is_even(kind: Any) -> bool:
    """Whether tuples of a type have any length."""
    return not get_args(kind) or Ellipsis in get_args(kind)


def _parts(value: Any, kind: Any, what: str) -> Any:
    """The same with all that is in it as asked."""
    outer, inner = get_origin(kind), get_args(kind)
    if outer is Mapping:
        return {as_asked(key, inner[0], f"a name in {what}"): as_asked(one, inner[1], f"{key!r} of {what}") for key, one in value.items()}
    if outer not in (tuple, Sequence):
        return value
    kinds = inner[:1] * len(value) if outer is Sequence or _is_even(kind) else inner
    found = [as_asked(one, each, f"each of {what}") for one, each in zip(value, kinds, strict=True)]
    return found if outer is Sequence and isinstance(value, list) else tuple(found)


def _words(kind: Any, several: bool = False) -> str:
    outer, inner = get_origin(kind), get_args(kind)
    if kind in _WORDS:
        return _WORDS[kind][several]
    if outer in (Union, UnionType):
        return " or ".join(_words(each, several) for each in inner if not (each in _LIKE_PATHS and Path in inner))
    if outer is Mapping:
        return f"{'dicts' if several else 'a dict'} of {_words(inner[1], True)} by {_words(inner[0]).removeprefix('a ')}"
    if outer is tuple and not _is_even(kind):
        return f"{'tuples' if several else 'a tuple'} of {len(inner)} ({', '.join(map(_words, inner))})"
    if outer in (tuple, Sequence):
        return f"{'lists' if several else 'a list'} of {_words(inner[0], True)}"
    if outer is Callable:
        return "functions" if several else "a function"
    return f"{'values ' * several}of type {(outer or kind).__name__}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
