"""What the items that had to be read turned out to be. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from extractor.diff import Diff, Known

# In the order in which they are told. All but the first needed no forward pass.
KINDS = {
    "new": "images that nobody had embedded",
    "renamed": "images of keys that are gone",
    "duplicate": "images that the corpus has under another key, too",
    "elsewhere": "images that other versions, corpora or sets hold",
    "same": "files with another stamp and the bytes they had",
    "rejected": "files that gave no embedding",
    "pending": "files that were not finished",
}


def classify(diff: Diff, seen: Mapping[str, Known], embedded: Collection[bytes]) -> dict[str, int]:
    """Count the items of `diff.to_read` by kind, so that the counts add up to them.

    seen: what the run found of each key it finished, with a reject where one stands. embedded: digests that this run embedded.
    """
    gone = {known.digest for known in diff.deleted_items.values() if known.digest and not known.reject}
    here = {known.digest for known in diff.unchanged.values() if known.digest and not known.reject}
    counts = Counter(dict.fromkeys(KINDS, 0))
    for item in diff.to_read:
        known, before = seen.get(item.key), diff.read_before.get(item.key)
        if known is None:
            counts["pending"] += 1
        elif known.reject or known.digest is None:
            counts["rejected"] += 1
        else:
            counts[_kind(known.digest, before, gone, here, embedded)] += 1
            here.add(known.digest)
    return dict(counts)


def _kind(
    digest: bytes, before: Known | None, gone: Collection[bytes | None], here: Collection[bytes | None], embedded: Collection[bytes]
) -> str:
    if before is not None and before.digest == digest:
        return "same"
    if digest in here:
        return "duplicate"
    if digest in embedded:
        return "new"
    return "renamed" if digest in gone else "elsewhere"
