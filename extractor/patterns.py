"""Patterns of names: braces as WebDataset writes them (`shards-{000..009}.tar`, `{train,test}.tar`) and wildcards. Pure."""

from __future__ import annotations

import fnmatch
import re

from storage.errors import UsageError

MAX_NAMES = 1_000_000
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"([0-9]{1,18})\.\.([0-9]{1,18})\Z")
_MAGIC = re.compile(r"[*?\[{]")


def is_pattern(text: str) -> bool:
    return _MAGIC.search(text) is not None


def has_wildcard(text: str) -> bool:
    return re.search(r"[*?\[]", text) is not None


def fixed_folder(pattern: str) -> str:
    """The folder that all names of a pattern are in: what stands before the first `/` that is followed by something variable."""
    magic = _MAGIC.search(pattern)
    return pattern[: magic.start() if magic else len(pattern)].rpartition("/")[0]


def expand_braces(pattern: str) -> list[str]:
    """All names, in order; a range with leading zeros keeps its width. Raises UsageError for too many of them."""
    names = [""]
    at = 0
    for braces in _BRACES.finditer(pattern):
        choices = _choices(braces.group(1), pattern)
        if len(names) * len(choices) > MAX_NAMES:
            raise UsageError(f"{pattern} stands for more than {MAX_NAMES} names")
        names = [name + pattern[at : braces.start()] + choice for name in names for choice in choices]
        at = braces.end()
    return [name + pattern[at:] for name in names]


def matches(name: str, pattern: str) -> bool:
    """Whether a path is of a pattern with wildcards, which do not reach over a '/'."""
    parts, wanted = name.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def _choices(inner: str, pattern: str) -> list[str]:
    found = _RANGE.match(inner)
    if not found:
        return inner.split(",")
    first, last = found.groups()
    if not 0 <= int(last) - int(first) < MAX_NAMES:
        raise UsageError(f"{pattern} has a range {{{inner}}} that goes down or is of more than {MAX_NAMES} numbers")
    width = len(first) if first.startswith("0") else 0
    return [f"{number:0{width}d}" for number in range(int(first), int(last) + 1)]
