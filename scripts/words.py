"""The words of the command line: what argparse does with them, but for how mistakes are told, and that an empty text is no value."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from storage.errors import UsageError


class WrongWordsError(UsageError):
    """The words do not parse. usage: of the command that they are for, in short."""

    def __init__(self, message: str, usage: str) -> None:
        super().__init__(message)
        self.usage = usage


class Parser(argparse.ArgumentParser):
    """Leaves it to `main` how a mistake is told, as JSON too; its subparsers are of the same class."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, kind in ((None, _Store), ("store", _Store), ("append", _Append)):
            self.register("action", name, kind)

    def error(self, message: str) -> NoReturn:
        command = self.prog.removeprefix("permafrost").lstrip()
        raise WrongWordsError(f"{command}: {message}" if command else message, self._short_usage())

    def _short_usage(self) -> str:
        """What must be given: all options are twenty lines, before which nobody finds the message."""
        formatter = self._get_formatter()
        formatter.add_usage(None, [action for action in self._actions if action.required], [])
        return f"{formatter.format_help().rstrip().removesuffix('...').rstrip()} ... ({self.prog} --help tells all)\n"


def any_text(text: str) -> str:
    """The type of an option that may be empty, as to take a description away, or has words of its own for that."""
    return text


def local_path(text: str) -> str:
    """The type of a file or folder that is written on this machine: of an address pathlib would make a folder named `s3:`."""
    if not text or "://" in text:
        raise argparse.ArgumentTypeError(f"expected a path on this machine, got {text!r}")
    return text


class _Store(argparse._StoreAction):
    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        _require_text(self, values)
        super().__call__(parser, namespace, values, option)


class _Append(argparse._AppendAction):
    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        _require_text(self, values)
        super().__call__(parser, namespace, values, option)


def _require_text(action: argparse.Action, values: str | Sequence[str]) -> None:
    """An unset shell variable is an empty word, which must not mean what the option's absence does."""
    if action.type is None and (values == "" or (isinstance(values, list) and "" in values)):
        raise argparse.ArgumentError(action, "expected a value, got '' (of a shell variable that is not set?)")
