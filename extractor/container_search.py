"""From what a user names (a file, folder, pattern, URI or prefix) to the containers that are meant, each with a name of its own."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from extractor.container_kind import container_kind, is_compressed_container
from extractor.content import open_remote
from extractor.folder_corpus import walk_files
from extractor.patterns import expand_braces, fixed_folder, has_wildcard, is_pattern, matches
from storage.errors import NotFoundError, PermafrostError, UsageError
from storage.remote_errors import remote_error


@dataclass(frozen=True)
class Containers:
    """`names`: location by name, sorted; names are relative to the source and begin the keys of what has no keys of its own."""

    source: Path | str  # resolved, and enough to find them again
    base: Path  # what relative locations start from
    names: dict[str, str]
    skipped: Counter[str] = field(default_factory=Counter)


def is_container_name(name: str) -> bool:
    """Compressed ones, too: they are refused in words, not passed over."""
    return container_kind(name) is not None or is_compressed_container(name)


def one_container(path: Path) -> Containers:
    path = path.resolve()
    return Containers(path, path.parent, {path.name: path.name})


def containers_in_folder(folder: Path) -> Containers:
    """All of a folder tree; none of it may be."""
    root = folder.resolve()
    skipped: Counter[str] = Counter()
    names = sorted(name for name, _, _ in walk_files(root, is_container_name, skipped))
    return Containers(root, root, {name: name for name in names}, skipped)


def containers_by_pattern(pattern: str) -> Containers:
    """Braces name files that must all be there; wildcards name those that are. Raises NotFoundError, UsageError."""
    if not os.path.isabs(pattern):  # what looks like a wildcard in the current folder's name is none
        pattern = os.path.join(glob.escape(os.getcwd()), pattern)
    pattern = os.path.normpath(pattern)
    base = Path(fixed_folder(pattern) or "/")
    found: list[str] = []
    for name in expand_braces(pattern):
        paths = sorted(glob.glob(name)) if has_wildcard(name) else [name] * os.path.exists(name)
        if not paths:
            raise NotFoundError(f"no such file: {name} (of the pattern {pattern})")
        found += paths
    names = sorted({os.path.relpath(path, base) for path in found if os.path.isfile(path)})
    return Containers(pattern, base, {name: name for name in names})


def containers_by_uri(uri: str) -> Containers:
    """A URI of a file, or a pattern, or a prefix of an object store, below which everything that is a container is meant."""
    parts = urlsplit(uri)
    path = _path_of(uri)
    root = f"{parts.scheme}://{parts.netloc}"
    base = "/" + unquote(fixed_folder(path) if is_pattern(path) else path.rpartition("/")[0] if is_container_name(path) else path)
    names = sorted(set(_remote_names(root, path)))
    if not names:
        raise NotFoundError(f"no containers of images at {uri}; expected names such as shard-000.tar, part.parquet or train.tfrecord")
    return Containers(uri, Path("/"), {os.path.relpath("/" + name, base): f"{root}/{quote(name)}" for name in names})


def _path_of(uri: str) -> str:
    """The path in the bucket or server. Not by urlsplit: a '?' may be a wildcard."""
    if "@" in urlsplit(uri).netloc or "#" in uri or ("?" in uri and uri.lower().startswith("http")):
        raise UsageError(
            "a URI with a query, a user or a fragment cannot be a corpus: it would be recorded, with what is secret in it. Credentials for "
            "object stores come from the environment; signed URIs of single images may stand in a list; write %23 for # and %3F for ?"
        )
    return uri.split("/", 3)[3] if uri.count("/") > 2 else ""


def _remote_names(root: str, path: str) -> Iterator[str]:
    """Paths in the bucket or server, decoded."""
    for name in expand_braces(path):
        if is_container_name(name) and not has_wildcard(name):
            yield unquote(name)
            continue
        if root.lower().startswith("http"):
            raise UsageError(f"a web server cannot be asked what it has: name the files, such as {root}/shards-{{000..009}}.tar")
        prefix = fixed_folder(name) if has_wildcard(name) else name.rstrip("/")
        for found in _list_remote(root, unquote(prefix)):
            if matches(found, unquote(name)) if has_wildcard(name) else is_container_name(found):
                yield found


def _list_remote(root: str, prefix: str) -> Iterator[str]:
    import obstore
    from obstore.exceptions import BaseError

    try:
        store, _ = open_remote(root)
        for page in obstore.list(store, prefix or None, chunk_size=1000):
            yield from (entry["path"] for entry in page)
    except (BaseError, OSError, ValueError) as error:
        raise PermafrostError(f"cannot list {root}/{prefix}: {remote_error(error)}") from None
