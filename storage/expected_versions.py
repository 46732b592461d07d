"""Which versions a set should have: all up to the highest that anything tells of, without those that are noted as absent.

A listing alone cannot say that the newest version is lost: without it there is an older newest one. `parent` says nothing more, since it
is always lower than the version that has it.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass

from storage.absent import absent_among, absent_versions
from storage.errors import DamagedError, NotFoundError, PermafrostError
from storage.files import exists
from storage.heads import heads_on
from storage.names import SetName
from storage.sealed import read_sealed
from storage.versions import list_versions, read_tag, tag_names, version_path
from storage.web_root import HINT

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hint:
    """What `hint.json` tells, which may be older than the set. newest: 0 for nothing."""

    newest: int = 0
    absent: frozenset[int] = frozenset()
    tags: tuple[str, ...] = ()


def expected_versions(name: SetName) -> dict[int, str]:
    """By version, ascending, what tells of it. Raises DamagedError (of a damaged list of absent versions)."""
    told = _told_versions(name)  # before the list of absent ones, where a version stands before it leaves
    absent = absent_versions(name)
    if (
        gone := absent - {*list_versions(name.folder)}
    ) and told:  # the newest version never leaves; a first copy that was cut off has none yet
        told.setdefault(max(gone) + 1, f"the marker of version {max(gone)} as absent")
    highest = max(told, default=0)
    expected = {version: told.get(version, f"version {highest}") for version in range(1, highest + 1)}
    return {version: teller for version, teller in expected.items() if version not in absent}


def missing_versions(name: SetName) -> dict[int, str]:
    """Those that should be there and are not. Raises DamagedError."""
    return _missing(name) and _missing(name)  # of one that leaves, or comes back, in this very moment a second look finds where it went


def _missing(name: SetName) -> dict[int, str]:
    there = set(list_versions(name.folder))
    gone = {
        version: teller
        for version, teller in expected_versions(name).items()
        if version not in there and not exists(version_path(name.folder, version))  # a listing may be behind
    }
    expired = absent_among(name, gone)  # in this very moment
    return {version: teller for version, teller in gone.items() if version not in expired}


def require_all_versions(name: SetName) -> None:
    """Raises DamagedError where a version is missing: nobody knows what it needs."""
    if missing := missing_versions(name):
        version, teller = next(iter(missing.items()))
        raise DamagedError(
            f"version {version} of {name.folder} should be there and is not ({teller} tells of it), and nobody knows which files it needs: "
            "`permafrost store repair` takes it from a copy of the store (--from ROOT), or lets it go (--give-up)"
        )


def require_some_version(name: SetName) -> None:
    """Raises DamagedError for a set that has no version any more; one that never had any is sound."""
    for version, teller in reversed(missing_versions(name).items()):
        raise DamagedError(
            f"{name.folder} has lost all its versions: version {version} should be there ({teller} tells of it); `permafrost store repair` "
            "takes it from a copy of the store (--from ROOT)"
        )


def hinted_newest(name: SetName) -> int:
    """The newest version that the hint tells of; 0 where there is no hint, or a damaged one. It may be older than the newest."""
    return read_hint(name).newest


def hinted_tags(name: SetName) -> list[str]:
    """Those that the hint tells of; none where there is no hint, or a damaged one."""
    return list(read_hint(name).tags)


def read_hint(name: SetName) -> Hint:
    """Empty where there is none, or a damaged one."""
    try:
        value = read_sealed(name.folder / HINT, "hint")
    except NotFoundError:
        return Hint()
    except (OSError, PermafrostError) as error:
        logger.warning("the hint of the newest version cannot be read: %s", error)
        return Hint()
    newest = value.get("newest")
    return Hint(newest if isinstance(newest, int) else 0, frozenset(value.get("absent", [])), tuple(value.get("tags", [])))


def named_versions(name: SetName) -> dict[int, str]:
    """Those that tags mean, and that heads of the store were fitted on, and which. Of a damaged tag nobody knows."""
    named = {head.version: f"head {head.name}" for head in heads_on(name) if head.version}
    for tag in tag_names(name):
        with suppress(PermafrostError):  # a damaged tag is damage of its own
            named[read_tag(name, tag).version] = f"tag {tag}"
    return named


def _told_versions(name: SetName) -> dict[int, str]:
    told = named_versions(name) | {version: "hint.json" for version in [hinted_newest(name)] if version}
    return told | dict.fromkeys(list_versions(name.folder), "its manifest")
