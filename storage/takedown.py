"""Taking images down, by their digest or by their keys: it wins over immutability.

A tombstone is written first, and honoured from then on by whoever reads or writes the store; then each set is rewritten in all its
versions (`storage.takedown_set`), and a receipt says what was done and what could not be reached. Cut off anywhere, the same takedown
goes on.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from storage.catalog import set_names
from storage.errors import DamagedError, NotFoundError, PermafrostError, UsageError
from storage.expected_versions import missing_versions
from storage.feature_set import read_description
from storage.files import remove
from storage.foreign_files import foreign_in_set, foreign_in_store
from storage.heads import heads_on, unread_heads
from storage.lost_tombstones import takedowns_told
from storage.more import nor_more
from storage.names import SetName
from storage.place import Place, RemotePlace
from storage.run_watch import file_system_time, run_statuses
from storage.store import require_store, require_writable
from storage.takedown_cache import purge_cache
from storage.takedown_receipts import mark_finished, receipt_names
from storage.takedown_scan import SetScan
from storage.takedown_set import SetTakedown, clean_set, foresee
from storage.takedown_unknown import FIELD, not_found, taken_before, without_keys
from storage.tombstones import (
    Tombstone,
    hashed,
    leave_tombstone,
    read_tombstones,
    set_label,
    takedown_names,
    unfinished,
)

SETTLED_SECONDS = 600.0  # a private file that nobody has written to for so long has no writer any more
_HEX_DIGITS = 64
_FOREIGN = "belongs to no set: look into it, or remove it"


@dataclass(frozen=True)
class Request:
    """What to take down. Either of the two.

    images: digests, 64 hex digits each. keys: of items. corpus: in which the keys are; None: in any.
    """

    images: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    corpus: str | None = None

    def __post_init__(self) -> None:
        if bool(self.images) == bool(self.keys):
            raise UsageError(
                "expected images or keys to take down, and not both"
                if self.images
                else "expected images or keys to take down: --image, --images, --key or --keys"
            )
        if "" in self.keys:
            raise UsageError("an empty key names no item: is a shell variable not set, or a line of the file of keys empty?")
        if self.images and self.corpus is not None:
            raise UsageError("an image is taken down in all corpora: leave out the corpus")
        for image in self.images:
            if len(image) != _HEX_DIGITS or not set(image) <= set("0123456789abcdef"):
                raise UsageError(f"{image!r} is no digest of an image: expected the sha256 of its bytes, 64 hex digits, or its file")

    def tombstone(self, name: SetName | None) -> Tombstone:
        keys = sorted((self.corpus, hashed(key)) for key in set(self.keys))
        return Tombstone(set_label(name) if name else None, tuple(sorted(set(self.images))), tuple(keys))


@dataclass(frozen=True)
class Takedown:
    """What was done, or (unless `done`) would be. unreached: what may still hold what was taken down, and how to get at it.

    beyond: what no takedown can reach, of any store like this one. not_found: images, and keys as they were asked for, that nothing had,
    nor was any takedown before about them.
    """

    id: str
    done: bool
    sets: tuple[SetTakedown, ...]
    cached: int  # files removed from this machine's cache
    unreached: tuple[str, ...]
    beyond: tuple[str, ...]
    not_found: tuple[str, ...] = ()

    @property
    def anything(self) -> bool:
        return any(each.versions or each.files or each.logs for each in self.sets)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def image_digest(text: str) -> str:
    """The digest that a request names: as it is, or that of the file at this path. Raises NotFoundError, UsageError."""
    if len(text) == _HEX_DIGITS and set(text.lower()) <= set("0123456789abcdef"):
        return text.lower()
    try:
        data = Path(text).read_bytes()
    except IsADirectoryError:
        raise UsageError(f"{text!r} is a folder: expected an image file, or the sha256 of one") from None
    except OSError as error:
        raise NotFoundError(f"{text!r} is neither a sha256 (64 hex digits) nor a file that can be read ({error.strerror})") from None
    if not data:
        raise UsageError(f"{text!r} is an empty file, and no image")
    return hashlib.sha256(data).hexdigest()


def take_down(root: Place, name: SetName | None, request: Request, do_it: bool) -> Takedown:
    """Take images down in one set of a store (`name`), or in all (None); keys in one.

    Raises UsageError, NotFoundError (no such store or set; a key that nothing there has, and that was not taken down before), DamagedError
    (what is damaged must be mended first, or nobody knows what it holds; the other sets are clean then), ConflictError.
    """
    require_writable(root)
    require_store(root)
    if request.keys and name is None:
        raise UsageError("a key belongs to a set: expected ROOT/TEAM/SET, and an image to take it out of all sets of the store")
    if name and name.at:
        raise UsageError(f"{name}: a takedown reaches all versions; leave out '@{name.at}'")
    names = [name] if name else set_names(root)
    if name:
        read_description(name)
    stone = request.tombstone(name)
    was_left = _was_left(root, stone)
    scans, before = [SetScan(each) for each in names], taken_before(root, name, stone if was_left else None)
    is_new_to_keys = bool(request.keys) and not was_left  # of a repeated one, others may be lost that are to be repeated, too
    foreseen = (
        [foresee(scan, read_tombstones(scan.name, coming=stone).adding(stone)) for scan in scans] if is_new_to_keys or not do_it else []
    )
    if is_new_to_keys and not any(each.files or each.logs for each in foreseen):
        gone = not _not_found(request, [], before)
        raise NotFoundError(
            f"nothing in {name} has the key {request.keys[0]!r}{nor_more(request.keys)}"
            + (f" in corpus {request.corpus!r}" if request.corpus else "")
            + (": it was taken down before, and is kept out" if gone else "")
        )
    beyond = tuple(_beyond(root))
    if not do_it:
        unreached = tuple(_unreached(root, name, names, foreseen))
        return Takedown(stone.id, False, tuple(foreseen), 0, unreached, beyond, _not_found(request, scans, before))
    leave_tombstone(root, stone)
    sets, failures = _clean_all(scans)
    for each in names:
        _remove_private_files(each)
    cached = sum(purge_cache(read_tombstones(each)) for each in names) if isinstance(root, RemotePlace) else 0
    if failures:
        raise _told(failures, len(names))
    missed = _not_found(request, scans, before)
    done = Takedown(stone.id, True, sets, cached, tuple(_unreached(root, name, names, sets)), beyond, missed)
    mark_finished(root, stone.id, {**done.to_dict(), FIELD: without_keys(missed, request.keys)})
    return done


def _not_found(request: Request, scans: Sequence[SetScan], before: frozenset[str]) -> tuple[str, ...]:
    return not_found(request.images, request.keys, before.union(*(scan.met for scan in scans)))


def _was_left(root: Place, stone: Tombstone) -> bool:
    """Whether this takedown was begun before, though its tombstone may have been lost since."""
    tombstone = f"{stone.id}.json"
    return tombstone in takedown_names(root) | takedowns_told(root) or any(
        entry.startswith(f"{stone.id}.") for entry in receipt_names(root)
    )


def _clean_all(scans: Sequence[SetScan]) -> tuple[tuple[SetTakedown, ...], list[PermafrostError | OSError]]:
    """Make sets clean of all that was taken down in their store; and why some could not be made so, which keeps no other from it."""
    done, failures = [SetTakedown(set_label(scan.name)) for scan in scans], dict[int, PermafrostError | OSError]()
    for again in (False, True) if len(scans) > 1 else (False,):
        for number, scan in enumerate(scans):
            # A name that an image had in one set may stand in another one, which could not read its bytes.
            if number in failures or (again and not read_tombstones(scan.name).known):
                continue
            try:
                done[number] = _and_then(done[number], clean_set(scan))
            except ConnectionError:  # nor can any other set be reached
                raise
            except (PermafrostError, OSError) as error:
                failures[number] = error
    return tuple(done), list(failures.values())


def _told(failures: Sequence[PermafrostError | OSError], sets: int) -> PermafrostError | OSError:
    if sets == 1:
        return failures[0]
    kind = DamagedError if any(isinstance(each, DamagedError) for each in failures) else PermafrostError
    texts = "; ".join(str(each) for each in failures)
    return kind(f"{len(failures)} of {sets} sets could not be made clean, the others are; repeat the takedown after mending them: {texts}")


def finish_takedowns(name: SetName) -> None:
    """Go on with takedowns in the store that were cut off, as far as they concern this set."""
    if unfinished(name.root):
        clean_set(SetScan(name))


def _and_then(one: SetTakedown, other: SetTakedown) -> SetTakedown:
    return replace(
        one,
        versions=(*one.versions, *other.versions),
        files=(*one.files, *other.files),
        logs=(*one.logs, *other.logs),
        unreadable=tuple(sorted({*one.unreadable, *other.unreadable})),
    )


def _unreached(root: Place, only: SetName | None, names: Sequence[SetName], sets: Sequence[SetTakedown]) -> Iterator[str]:
    for name, done in zip(names, sets, strict=True):
        touched = {loss.version for loss in done.versions if loss.items}
        for head in heads_on(name):
            if head.version in touched:
                yield f"head {head.name} was fitted on version {head.version} of {done.set}: fit it anew and remove this one"
        for status in run_statuses(name):
            if status.state in ("running", "unreadable"):
                yield f"run {status.run} is at work on {done.set}: repeat the takedown when it has ended"
        for version in missing_versions(name):
            yield f"version {version} of {done.set} is lost: `permafrost store repair --from` brings it back from a copy, and cleans it"
        for path in done.unreadable:
            yield f"{done.set}/{path} cannot be read: look into it, or remove it"
        told = {*done.unreadable, *(gone.path for gone in done.files)}
        for entry in foreign_in_set(name):
            if entry not in told:
                yield f"{done.set}/{entry} {_FOREIGN}"
        for path in _private_files(name):
            yield f"{done.set}/{path} is a writer's private file: repeat the takedown when the writer has ended"
    for unread, why in unread_heads(root).items():
        yield f"head {unread} may have been fitted on it, for its head.json {why}: look into it, or remove it"
    if only is None:
        yield from (f"{path} {_FOREIGN}" for path in foreign_in_store(root))


def _beyond(root: Place) -> Iterator[str]:
    yield "copies of the store, exports, backups and heads elsewhere: take it down there too"
    yield "files that somebody reads in this moment, until he closes them"
    if isinstance(root, RemotePlace):
        yield "old versions of objects, if the bucket keeps them: delete them there"
        yield "caches of other machines, until they next open the store"


def _private_files(name: SetName) -> list[str]:
    """On a disk; what goes to a bucket is written elsewhere first."""
    if not isinstance(name.folder, Path):
        return []
    return [str(path.relative_to(name.folder)) for path in name.folder.rglob(".*.partial") if path.is_file()]


def _remove_private_files(name: SetName) -> None:
    """Of writers that are gone: nobody knows what is in them."""
    now = file_system_time(name.folder / "runs") if _private_files(name) else time.time()
    for path in _private_files(name):
        place = name.folder / path
        with suppress(FileNotFoundError):  # its writer is not gone, but done
            if isinstance(place, Path) and now - place.stat().st_mtime > SETTLED_SECONDS:
                remove(place)
