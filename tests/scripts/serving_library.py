"""A Python that has some distributions, what these require, and nothing else: what a server that installed just these would have."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OURS = ("extractor", "storage", "trainer", "scripts")


def with_nothing_but(distributions: Iterable[str], blocked: Iterable[str] = ()) -> str:
    """Python code after which no other module can be imported, but for the standard library; blocked: nor these."""
    kept = _with_their_requirements(distributions)
    of_others = [name for name, owners in packages_distributions().items() if kept.isdisjoint(map(canonicalize_name, owners))]
    return f"""
import sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder
class Installed(PathFinder):
    absent = {{*{[*of_others, *OURS, *blocked]!r}}}
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in cls.absent else super().find_spec(name, path, target)
sys.meta_path[:] = [BuiltinImporter, FrozenImporter, Installed]
"""


def _with_their_requirements(distributions: Iterable[str]) -> set[str]:
    found, waiting = set[str](), [canonicalize_name(name) for name in distributions]
    while waiting:
        if (name := waiting.pop()) in found:
            continue
        try:
            needed = [Requirement(text) for text in requires(name) or ()]
        except PackageNotFoundError:
            continue  # required on other platforms, or not installed
        found.add(name)
        waiting += [canonicalize_name(each.name) for each in needed if not each.marker or each.marker.evaluate({"extra": ""})]
    return found
