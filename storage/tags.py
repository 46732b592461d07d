"""Tags: movable names for versions."""

from __future__ import annotations

from datetime import UTC, datetime

from storage.announce import announce
from storage.asked_version import read_asked
from storage.errors import ConflictError, UsageError
from storage.expected_versions import hinted_tags
from storage.files import exists, read_bytes, remove, write_atomic
from storage.moment import looks_like_moment, moment_of
from storage.names import SetName, check_name
from storage.sealed import seal
from storage.versions import Tag, list_versions, read_tag, tag_names, tag_place, version_path


def move_tag(name: SetName, tag: str) -> Tag:
    """Let a tag, new or not, mean the version of the name. A reader finds the old version or the new one.

    Raises UsageError for a tag that would be taken for a version or a time, NotFoundError, ConflictError (the version has just expired).
    """
    check_name(tag, "tag")
    if tag.isdigit() or moment_of(tag) or looks_like_moment(tag):
        raise UsageError(f"the tag {tag!r} would be taken for a version or a time: choose a name with letters")
    moved = Tag(tag, read_asked(name, list_versions(name.folder)).version, datetime.now(UTC).isoformat(timespec="seconds"))
    place = tag_place(name, tag)
    before = read_bytes(place) if exists(place) else None
    write_atomic(place, seal({"version": moved.version, "moved": moved.moved}))
    if not exists(version_path(name.folder, moved.version)):
        write_atomic(place, before) if before else remove(place)
        announce(name, [tag])  # somebody may have told of it meanwhile
        raise ConflictError(f"version {moved.version} of {name.folder} has expired in this very moment; the tag {tag!r} is as it was")
    announce(name)
    return moved


def remove_tag(name: SetName, tag: str) -> None:
    """Also one that is damaged, or lost and only told of. Raises NotFoundError."""
    if tag not in {*hinted_tags(name), *tag_names(name)}:
        read_tag(name, tag)
    if exists(place := tag_place(name, tag)):  # a folder is no tag
        remove(place)
    announce(name, [tag])
