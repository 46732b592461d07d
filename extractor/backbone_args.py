"""Arguments of a backbone's builder (`--backbone-arg alpha=0.35`), checked against the table. Imports no TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from extractor.backbone_table import BACKBONES, Argument
from storage.errors import UsageError

Value = bool | int | float
_SPELLINGS = {"true": True, "false": False}


def parse_assignments(texts: Sequence[str]) -> dict[str, str]:
    """["alpha=0.35"] to {"alpha": "0.35"}. Raises UsageError for anything else than NAME=VALUE, and for a name given twice."""
    parsed: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise UsageError(f"--backbone-arg {text!r}: expected NAME=VALUE, such as alpha=0.35")
        if name in parsed:
            raise UsageError(f"--backbone-arg {name} is given twice: {parsed[name]} and {value}")
        parsed[name] = value
    return parsed


def check_args(backbone: str, args: Mapping[str, object]) -> tuple[tuple[str, Value], ...]:
    """Typed arguments, sorted by name. Raises UsageError for an unknown name or a value of another type or out of bounds."""
    possible = BACKBONES[backbone].arguments if backbone in BACKBONES else {}
    return tuple((name, _check(backbone, name, args[name], possible)) for name in sorted(args))


def _check(backbone: str, name: str, value: object, possible: Mapping[str, Argument]) -> Value:
    if name not in possible:
        known = f"it has {', '.join(possible)}" if possible else "it has none"
        raise UsageError(f"--backbone-arg {name}: no such argument of {backbone}; {known}")
    argument = possible[name]
    typed = _typed(value, argument.kind)
    if typed is None:
        expected = "true or false" if argument.kind is bool else "a whole number" if argument.kind is int else "a number"
        raise UsageError(f"--backbone-arg {name}={value}: expected {expected}")
    if argument.kind is not bool and not argument.low <= typed <= argument.high:
        raise UsageError(f"--backbone-arg {name}={value}: expected {argument.low} to {argument.high}")
    return typed


def _typed(value: object, kind: type[Value]) -> Value | None:
    """None: not of that type. Text is parsed, a whole number is a float too, a bool is no number."""
    if kind is bool:
        return value if isinstance(value, bool) else _SPELLINGS.get(str(value).lower())
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    if kind is float:
        return number
    return int(number) if number.is_integer() else None
