"""Tags: movable names for versions."""

from __future__ import annotations

from datetime import UTC, datetime

from storage.errors import NotFoundError, UsageError
from storage.files import remove, write_atomic
from storage.hints import leave_hints
from storage.moment import moment_of
from storage.names import SetName, check_name
from storage.sealed import seal
from storage.versions import Tag, list_versions, read_tag, resolve, tag_place


def move_tag(name: SetName, tag: str) -> Tag:
    """Let a tag, new or not, mean the version of the name. A reader finds the old version or the new one.

    Raises UsageError for a tag that would be taken for a version or a time, NotFoundError.
    """
    check_name(tag, "tag")
    if tag.isdigit() or moment_of(tag):
        raise UsageError(f"the tag {tag!r} would be taken for a version or a time: choose a name with letters")
    versions = list_versions(name.folder)
    if not versions:
        raise NotFoundError(f"the set {name.folder} has no committed version yet")
    moved = Tag(tag, resolve(name, versions), datetime.now(UTC).isoformat(timespec="seconds"))
    write_atomic(tag_place(name, tag), seal({"version": moved.version, "moved": moved.moved}))
    leave_hints(name)
    return moved


def remove_tag(name: SetName, tag: str) -> None:
    """Raises NotFoundError."""
    read_tag(name, tag)
    remove(tag_place(name, tag))
    leave_hints(name)
