"""WebDataset tars: which members are images, and what their neighbours say of them.

Convention: https://github.com/webdataset/webdataset. A sample is a run of members of one name up to the first dot of the base name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from extractor.container import Container, Window
from extractor.contents import Contents, name_problem
from extractor.corpus import Item, ListingReject, printable
from extractor.folder_corpus import IMAGE_SUFFIXES
from extractor.part import ByteRange
from extractor.tar_members import CutOff, Member, tar_members
from storage.table_file import cell_text, label_text

MAX_LABEL_BYTES = 1 << 20  # of a .cls or .json


@dataclass
class _Sample:
    stem: str
    images: list[Member] = field(default_factory=list)
    texts: dict[str, Member] = field(default_factory=dict)  # by ending: cls, json


def read_tar(container: Container, name: str, location: str) -> Iterator[Contents]:
    """The images of one tar, in parts: key `NAME/STEM`, label from STEM.cls (its text) or STEM.json, split from STEM.json.

    name: of the tar in the corpus. location: how its items name it. A second image of a sample is a `repeated-key` in the end.
    What follows a damaged header is lost (`bad-container`). Raises PermafrostError (it cannot be read).
    """
    found = Contents()
    window = Window(container)
    for sample in _samples(container, window, name, found):
        if not sample.images:
            continue
        key, problems = f"{name}/{sample.stem}", list[str]()
        label, split = _label_and_split(sample, window, problems)
        if problems:
            found.bad_labels.add(key, problems[0])
        for image in sample.images:
            part = ByteRange(image.start, image.size)
            item = Item(key, f"{container.stamp}{part}", label, split, image.size, f"{location}{part}")
            found.items.append(item)
        if found.is_full:
            yield found.hand_over()
    yield found


def _samples(container: Container, window: Window, name: str, found: Contents) -> Iterator[_Sample]:
    """Samples of good images; all else goes into `found`."""
    sample = _Sample("")
    for member in _members(container, window, name, found):
        if isinstance(member, CutOff):
            cut = f"{name}/{printable(member.name)}" if member.name else name
            message = f"{name} ends at offset {member.offset}, before its end mark; what followed is lost"
            found.rejects.append(ListingReject(cut, container.stamp, "truncated", message))
            continue
        path = member.name.removeprefix("./")
        stem, ending = _stem_and_ending(path)
        if ending not in ("cls", "json") and not _is_image(ending):
            found.skipped["not-an-image-name" if stem else "hidden"] += 1
            continue
        if stem != sample.stem:
            yield sample
            sample = _Sample(stem)
        if ending in ("cls", "json"):
            sample.texts.setdefault(ending, member)
        elif problem := name_problem(path):
            found.rejects.append(ListingReject(f"{name}/{printable(stem)}", container.stamp, "bad-name", problem))
        elif member.problem:
            found.rejects.append(ListingReject(f"{name}/{stem}", container.stamp, "not-a-file", f"{member.problem}, in {name}"))
        else:
            sample.images.append(member)
    yield sample


def _members(container: Container, window: Window, name: str, found: Contents) -> Iterator[Member | CutOff]:
    with found.damage_rejected(name, container.stamp):
        yield from tar_members(container, window, name)


def _stem_and_ending(path: str) -> tuple[str, str]:
    """("a.b/0001", "left.jpg") of "a.b/0001.left.JPG"; ("", "") of hidden names, and ("...", "") of names without an ending."""
    folder, slash, base = path.rpartition("/")
    stem, _, ending = base.partition(".")
    return (f"{folder}{slash}{stem}", ending.lower()) if stem else ("", "")


def _is_image(ending: str) -> bool:
    return f".{ending.rpartition('.')[2]}" in IMAGE_SUFFIXES


def _label_and_split(sample: _Sample, window: Window, problems: list[str]) -> tuple[str | None, str | None]:
    """What a .cls or .json says. None for what cannot be read, which is told in `problems`."""
    fields: dict[str, Any] = {}
    label = None
    try:
        fields = _json_object(sample, window)
    except ValueError as error:
        problems.append(str(error))
    try:
        label = cell_text(_read_text(sample.texts["cls"], window).strip()) if "cls" in sample.texts else label_text(fields.get("label"))
    except ValueError as error:
        problems.append(str(error))
    return _valid(label, "label", problems), _valid(cell_text(fields.get("split")), "split", problems)


def _json_object(sample: _Sample, window: Window) -> dict[str, Any]:
    if "json" not in sample.texts:
        return {}
    try:
        value = json.loads(_read_text(sample.texts["json"], window))
    except RecursionError:
        raise ValueError(f"{printable(sample.texts['json'].name)} is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{printable(sample.texts['json'].name)} is not JSON: {error}") from None
    if not isinstance(value, dict) and "cls" not in sample.texts:  # beside a label, it may be anything, captions say
        raise ValueError(f"{printable(sample.texts['json'].name)} holds no object with a label, but a {type(value).__name__}")
    return value if isinstance(value, dict) else {}


def _read_text(member: Member, window: Window) -> str:
    if member.problem or member.size > MAX_LABEL_BYTES:
        raise ValueError(f"{printable(member.name)} is {member.problem or f'of {member.size} bytes, the limit is {MAX_LABEL_BYTES}'}")
    try:
        return window.read(member.start, member.size).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{printable(member.name)} is not UTF-8 text") from None


def _valid(text: str | None, what: str, problems: list[str]) -> str | None:
    try:
        (text or "").encode()
    except UnicodeEncodeError:
        problems.append(f"the {what} has half a character (a lone surrogate)")
        return None
    return text
