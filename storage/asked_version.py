"""The version that a name means; and what is said where that one is lost, or has left: no other is taken for it.

Only the newest one is another than before when it is lost: the set goes on with the newest that is left, and a note says so. That costs
one request more, for the hint.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from storage.absent import absent_among, is_absent
from storage.commit_times import commit_times
from storage.errors import DamagedError, NotFoundError
from storage.expected_versions import Hint, missing_versions, read_hint, require_some_version
from storage.files import exists
from storage.manifest import Manifest
from storage.moment import moment_of
from storage.names import SetName
from storage.store import is_behind_web
from storage.versions import in_ranges, read_manifest, read_tag, version_path

logger = logging.getLogger(__name__)

THREADS = 8  # that read manifests


def read_asked(name: SetName, versions: Sequence[int]) -> Manifest:
    """That of the version which `name.at` means: a number, a day or time (the newest version of then), a tag, or None for the newest.

    versions: all that there are, ascending. Raises NotFoundError (there was none, or it has left on purpose), DamagedError (also of a
    version or tag that is lost).
    """
    if not versions and (name.at is None or moment_of(name.at) or not is_behind_web(name.root)):
        require_some_version(name)
        raise no_version(name)
    if name.at is None:
        manifest, lost = read_newest(name, versions)
        note_lost(name, lost)
        return manifest
    if moment_of(name.at):
        return _newest_until(name, versions)
    version = int(name.at) if name.at.isdigit() else _meant(name, name.at)  # check_name has seen to it that these are ASCII
    if version in versions:
        return _read(name, version)
    if is_behind_web(name.root):  # where versions are not listed but told
        with suppress(NotFoundError, DamagedError):
            return read_manifest(name.folder, version)
    raise _not_there(name, version, versions)


def no_version(name: SetName) -> NotFoundError:
    """Of a set in which none is found, and of which nothing tells that one is lost."""
    if is_behind_web(name.root):
        return NotFoundError(
            f"no newest version of {name.folder} can be found over the web: it has none yet, or its hint.json is lost, damaged or old "
            "(`permafrost store repair` in the store's own folder or bucket leaves a new one)"
        )
    return NotFoundError(f"the set {name.folder} has no committed version yet: its first extraction is running or was interrupted")


def read_newest(name: SetName, versions: Sequence[int]) -> tuple[Manifest, tuple[int, ...]]:
    """(The newest manifest that is left, versions that are lost.) versions: as in `read_asked`.

    Read from the newest one back that anything names: behind a web server versions are not listed but told. Raises NotFoundError,
    DamagedError.
    """
    hint = read_hint(name)
    lost = set(lost_versions(name, versions, hint))
    for version in sorted({*versions, hint.newest} - lost, reverse=True):
        with suppress(NotFoundError):
            return read_manifest(name.folder, version), tuple(sorted(lost))
        if is_absent(name, version):
            raise (
                no_version(name) if is_behind_web(name.root) else NotFoundError(f"{name.folder} has changed in this very moment: try again")
            )
        lost.add(version)
    raise DamagedError(lost_in_words(name, lost))


def lost_versions(name: SetName, versions: Collection[int], hint: Hint) -> tuple[int, ...]:
    """Those that the hint or a gap tells of, and that are not there. `verify` asks tags and heads as well, which costs more.

    Nothing more is read where all are there. Behind a web server, only a manifest that is asked for can be missed.
    """
    told = {*range(1, max(hint.newest, *versions) + 1)}
    gone = told - {*versions} - hint.absent
    with suppress(DamagedError):  # of a damaged list of absent versions `verify` tells
        gone -= absent_among(name, gone)
        return tuple(sorted(version for version in gone if not exists(version_path(name.folder, version))))
    return ()


def note_lost(name: SetName, lost: Collection[int]) -> None:
    if lost:
        logger.warning("%s", lost_in_words(name, lost))


def lost_in_words(name: SetName, lost: Collection[int]) -> str:
    which = f"{'version' if len(lost) == 1 else 'versions'} {in_ranges(sorted(lost))} of {name.folder} {'is' if len(lost) == 1 else 'are'}"
    return f"{which} lost: `permafrost store repair` takes what is lost from a copy of the store (--from ROOT), or lets it go (--give-up)"


def _meant(name: SetName, tag: str) -> int:
    try:
        return read_tag(name, tag).version
    except NotFoundError:
        if tag not in read_hint(name).tags:
            raise
        raise DamagedError(
            f"the tag {tag!r} of {name.folder} is lost; hint.json tells of it: `permafrost store repair` takes it from a copy of the store "
            "(--from ROOT), and `store tag` makes it again, or lets it go (--delete)"
        ) from None


def _read(name: SetName, version: int) -> Manifest:
    """Of a version that is listed, or told of behind a web server."""
    try:
        return read_manifest(name.folder, version)
    except NotFoundError:
        if is_absent(name, version):  # in this very moment, or since the hint of a web server was left
            raise _left(name, version) from None
        raise DamagedError(lost_in_words(name, [version])) from None


def _not_there(name: SetName, version: int, versions: Sequence[int]) -> NotFoundError | DamagedError:
    if is_absent(name, version):
        return _left(name, version, f"; {_there(name, versions)}")
    if version in missing_versions(name):
        return DamagedError(lost_in_words(name, [version]))
    return NotFoundError(f"{name.folder} has no version {version}; {_there(name, versions)}")


def _there(name: SetName, versions: Sequence[int]) -> str:
    """Behind a web server versions are not listed but told, and one that is told of may be lost."""
    if not versions:
        return str(no_version(name))
    which = f"version{'s' if len(versions) > 1 else ''} {in_ranges(versions)}"
    return f"its hint tells of {which}" if is_behind_web(name.root) else f"it has {which}"


def _left(name: SetName, version: int, further: str = "") -> NotFoundError:
    return NotFoundError(f"{name.folder} has no version {version} any more, or it was not copied here{further}")


def _newest_until(name: SetName, versions: Sequence[int]) -> Manifest:
    """All manifests are read: of versions that were made before times were put in order, one with a wrong clock may follow any other."""
    moment = moment_of(str(name.at))
    assert moment is not None
    with ThreadPoolExecutor(THREADS) as pool:
        told = dict(zip(versions, pool.map(partial(_created, name), versions), strict=True))
    times = commit_times({version: created for version, created in told.items() if isinstance(created, str)})
    until = max((version for version, time in times.items() if time <= moment), default=0)
    after = min((version for version in times if version > until), default=max(read_hint(name).newest, versions[-1]) + 1)
    for version in range(until + 1, after):
        if isinstance(damage := told.get(version), DamagedError):  # it may be the one of then
            raise damage
    _require_none_between(name, until, after)
    if until:
        return _read(name, until)
    raise NotFoundError(f"{name.folder} had no version at {name.at} yet; version {after} is of {times[after].isoformat()}")


def _created(name: SetName, version: int) -> str | DamagedError | None:
    """When a version was made, or why nobody can tell; None for one that is lost."""
    try:
        return read_manifest(name.folder, version).created
    except NotFoundError:
        return None
    except DamagedError as error:
        return error


def _require_none_between(name: SetName, version: int, after: int) -> None:
    """That between the version of a moment and the next that is there, none was: it may be the one of then, which nobody knows any more."""
    between = [*range(version + 1, after)]
    if not between:
        return
    which = f"version {between[0]}" if len(between) == 1 else f"one of versions {in_ranges(between)}"
    then = f"{name.folder} at {name.at}: {which} may have been the newest then, and"
    there = f"; version {version} came before" if version else ""
    if not (lost := {*between} - absent_among(name, between)):
        raise NotFoundError(f"{then} has expired, or was not copied here{there}")
    raise DamagedError(f"{then} is not there{there}: {lost_in_words(name, lost)}")
