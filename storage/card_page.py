"""The page of a set, README.md: what it is, who made it, from what, how big, how good, how to read it.

A front matter as Hugging Face's dataset cards have it (github.com/huggingface/hub-docs, datasetcard.md) comes first. The page follows
from the state of the set, without a clock. A page without our mark, which has the checksum of all else, is left alone.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass

from storage.card import Card, read_card
from storage.errors import DamagedError, PermafrostError
from storage.feature_set import SetDescription, read_description
from storage.files import read_bytes, write_atomic
from storage.heads import HeadNote, heads_on
from storage.manifest import Manifest
from storage.names import SetName
from storage.sizes import human_bytes
from storage.stated_space import STATED
from storage.versions import Tag, list_tags, list_versions, read_manifest
from storage.words import backbone_in_words, origin_in_words, shape_in_words, source_in_words, views_in_words

logger = logging.getLogger(__name__)

FILE = "README.md"
MARK = "<!-- Written by permafrost at each commit. Without this line the page is yours, and is left alone. sha256 of the rest: {} -->"
_MARK = re.compile(re.escape(MARK).replace(r"\{\}", "([0-9a-f]{64})"))
_HALVES = ("Written by permafrost at each commit.", "Without this line the page is yours")  # a flipped bit leaves one
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"), (10**8, "10M<n<100M"))
LARGEST = "100M<n<1B"
LICENCES = frozenset(
    {"apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "odc-by", "odbl"}
)  # some of hf.co/docs/hub/repositories-licenses; others go by `license_name`
MAX_CORPORA = 100
MAX_CELL = 300  # characters


@dataclass(frozen=True)
class Facts:
    """All that the page tells. manifest: of the newest version; None where there is none yet."""

    name: str  # TEAM/SET
    description: SetDescription
    card: Card
    versions: Sequence[int]
    manifest: Manifest | None
    tags: Sequence[Tag]
    heads: Sequence[HeadNote]


def leave_page(name: SetName) -> None:
    """Bring the page up to date. A store that refuses it, or a card that is damaged, is no reason to stop."""
    try:
        place = name.folder / FILE
        try:
            there = read_bytes(place).decode(errors="replace")
        except FileNotFoundError:
            there = MARK
        page = page_of(name)
        if is_ours(there) and page != there:
            write_atomic(place, page.encode())
    except (OSError, PermafrostError) as error:
        logger.warning("the page %s of %s could not be written: %s", FILE, name.folder, error)


def page_of(name: SetName) -> str:
    """What the page should be now. Raises NotFoundError, DamagedError."""
    return seal_page(render(read_facts(name)))


def is_ours(page: str) -> bool:
    return any(half in page for half in _HALVES)


def seal_page(page: str) -> str:
    """The page with the checksum of all else in its mark."""
    return page.replace(MARK, MARK.format(hashlib.sha256(page.encode()).hexdigest()), 1)


def require_sealed(name: SetName) -> None:
    """Raises DamagedError for a page of ours that is not as it was written."""
    page = read_bytes(name.folder / FILE).decode(errors="replace")
    if is_ours(page) and not (_MARK.search(page) and seal_page(_MARK.sub(lambda _: MARK, page, count=1)) == page):
        raise DamagedError(
            f"{name.folder / FILE} is damaged, or was changed by hand without taking its mark out: `permafrost store card` writes it anew"
        )


def read_facts(name: SetName) -> Facts:
    """Raises NotFoundError, DamagedError."""
    versions = list_versions(name.folder)
    manifest = read_manifest(name.folder, versions[-1]) if versions else None
    description = read_description(name)
    card, tags, heads = read_card(name, description), list_tags(name), heads_on(name)
    return Facts(f"{name.team}/{name.name}", description, card, versions, manifest, tags, heads)


def render(facts: Facts) -> str:
    """The whole page. Pure."""
    parts = [_front_matter(facts), MARK, f"# {facts.name}", facts.card.description or "_Nobody has described this set yet._", _what(facts)]
    if facts.manifest:
        parts += ["## Images", _corpora(facts.manifest), "## Versions", _versions(facts)]
    if facts.heads:
        parts += ["## Heads fitted on it", _heads(facts.heads)]
    return "\n\n".join([*parts, "## Reading it", _reading(facts)]) + "\n"


def _front_matter(facts: Facts) -> str:
    """Texts as JSON, which is YAML too and lets nobody add fields."""
    licence = facts.card.licence
    known = licence.lower() in LICENCES
    fields = [("pretty_name", facts.name)]
    if licence:
        fields += [("license", licence.lower())] if known else [("license", "other"), ("license_name", licence)]
    rows = facts.manifest.counts["rows"] if facts.manifest else 0
    size = next((text for bound, text in SIZES if rows < bound), LARGEST)
    tags = ["permafrost", "image-features", str(facts.description.backbone.get("name")).rpartition("/")[2]]
    lines = [f"{name}: {json.dumps(text, ensure_ascii=False)}" for name, text in fields]
    lines += [f"size_categories: [{json.dumps(size)}]", 'task_categories: ["image-feature-extraction"]', f"tags: {json.dumps(tags)}"]
    return "\n".join(["---", *lines, "---"])


def _what(facts: Facts) -> str:
    description, card = facts.description, facts.card
    counts = facts.manifest.counts if facts.manifest else {"rows": 0, "embeddings": 0, "bytes": 0}
    each = f"{shape_in_words(description.shape)} numbers, {description.dtype}"
    pairs = [
        ("Owner", card.owner or "not stated"),
        ("Licence", card.licence or "not stated"),
        ("Items", f"{counts['rows']:,} with an embedding"),
        ("Embeddings", f"{counts['embeddings']:,} of {each}, {human_bytes(counts['bytes'])} ({description.shard_format})"),
        ("Network", backbone_in_words(description)),
        *([("Views", views)] if (views := views_in_words(description)) else []),
        ("Preprocessing", _preprocessing(description)),
        ("Feature space", f"`{description.space.id}`"),
        ("Made", description.created),
    ]
    return _table(("", ""), pairs)


def _preprocessing(description: SetDescription) -> str:
    space = description.space
    if description.backbone.get("name") == STATED:
        return "as stated by whoever imported it; nobody here can check it"
    return f"image policy {space.image_policy}, pixels scaled {space.preprocessing}, computed in {space.precision}"


def _corpora(manifest: Manifest) -> str:
    shown = sorted(manifest.corpora.items())[:MAX_CORPORA]
    rows = [(corpus, source_in_words(s.source) or "by hand", s.listed, s.rows, s.rejected, s.pending) for corpus, s in shown]
    more = f"\n\n... and {len(manifest.corpora) - len(shown)} more." if len(shown) < len(manifest.corpora) else ""
    return _table(("corpus", "source", "listed", "with embedding", "rejected", "pending"), rows) + more


def _versions(facts: Facts) -> str:
    manifest = facts.manifest
    assert manifest is not None
    text = f"{len(facts.versions)} in the set, {facts.versions[0]} to {facts.versions[-1]}. The newest, {manifest.version}, is of "
    text += f"{manifest.created}, made by {origin_in_words(manifest.provenance)}."
    environment = ", ".join(f"{name} {value}" for name, value in manifest.provenance.get("environment", {}).items())
    lines = [text, *([f"Made with {environment}."] if environment else [])]
    return "\n\n".join(
        [_safe(line) for line in lines] + ([_table(("tag", "version"), [(t.name, t.version) for t in facts.tags])] if facts.tags else [])
    )


def _heads(heads: Sequence[HeadNote]) -> str:
    rows = [
        (
            head.name,
            head.kind,
            head.classes,
            head.version or "",
            ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in head.metrics.items())
            + (f" ({head.split})" * bool(head.split)),
        )
        for head in heads
    ]
    return _table(("head", "kind", "classes", "fitted on version", "how good"), rows)


def _reading(facts: Facts) -> str:
    return f"""`STORE` is the folder, bucket or web address that holds `{facts.name}`.

```python
import storage

feature_set = storage.open("STORE/{facts.name}")
keys, embeddings = feature_set.to_numpy()  # embeddings: [N, {", ".join(map(str, facts.description.shape))}] {facts.description.dtype}
items = feature_set.items  # key, corpus, digest, label, split and attributes, as an Arrow table
```

```
permafrost store show STORE/{facts.name}    # with queries for DuckDB and Polars, or h5py
permafrost train STORE/{facts.name} --out STORE/heads/TEAM/HEAD
permafrost store export STORE/{facts.name} features.parquet
```"""


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_safe(str(cell)) for cell in line) + " |" for line in lines)


def _safe(text: str) -> str:
    """Names from outside as plain text: in one line, and neither a column nor a tag."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    shown = shown if len(shown) <= MAX_CELL else f"{shown[:MAX_CELL]}..."
    return shown.replace("|", "\\|").replace("<", "&lt;")
