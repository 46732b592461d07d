"""What can be done about damage that a repair has left, in words: by what the files are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from storage.card import FILE as CARD
from storage.changes import DEFAULT_CORPUS
from storage.errors import PermafrostError
from storage.finding import Finding, Verification
from storage.import_options import APPEND, REPLACE
from storage.item_change import all_sources
from storage.manifest import Manifest
from storage.names import SetName
from storage.stated_space import STATED
from storage.store import STORE_FILE
from storage.versions import list_versions, read_manifest
from storage.web_root import TAKEDOWNS
from storage.words import source_in_words

_IMPORTS = ("import", APPEND, REPLACE)


def ways_out(name: SetName, left: Verification) -> list[str]:
    """One for each kind of damage that is left after all that could be given up was. Empty for a sound set."""
    versions, damage = list_versions(name.folder), [finding for finding in left.findings if finding.is_damage]
    newest = versions[-1] if versions else 0
    ways = dict.fromkeys(way for finding in damage if (way := _of_file(name, finding, newest)))
    old = sorted({version for finding in damage for version in finding.versions if version in versions and version != newest})
    if old and old[-1] < newest and any(finding.versions and not _is_manifest(finding) for finding in damage):
        keep = sum(version > old[-1] for version in versions)
        told = (
            f"versions {', '.join(map(str, old))} list files that are gone or damaged: `permafrost store expire {name} --keep {keep} --yes`"
        )
        ways[f"{told} lets them go (a tag keeps the version that it means), and then the set is sound"] = None
    return list(ways)


def ways_to_pending(name: SetName) -> list[str]:
    """How the items come back that are pending in the newest version: one for each corpus that has some."""
    manifests = _manifests(name)
    states = manifests[0].corpora.items() if manifests else ()
    return [
        f"the {state.pending} items of corpus {corpus} that are pending come back with {_maker(name, corpus, manifests)}"
        for corpus, state in sorted(states)
        if state.pending
    ]


def _of_file(name: SetName, finding: Finding, newest: int) -> str | None:
    copy = f"`permafrost store repair {name} --from ROOT` takes it from a copy of the store"
    anew = f"without one, `permafrost store rm {name} --yes` removes the set, which is extracted or imported anew then"
    first, _, rest = finding.path.partition("/")
    if finding.kind == "unfinished":
        return f"{finding.path.removeprefix('../../')}: {finding.message}"
    match first:
        case "set.json":
            return f"set.json says what the set is, and nothing can make it again: {copy}; {anew}"
        case "versions" if "this program reads" in finding.message:
            return f"{finding.path} is of another format than this program reads: whoever wrote it has one that does"
        case "versions":
            return f"{finding.path} cannot be read, and there is no older version to go on from: {copy}; {anew}"
        case "golden" if newest in finding.versions:
            return f"the golden images, by which drift of the network is seen, are in no other file: {copy}; {anew}"
        case "runs":
            run = f"{first}/{rest.partition('/')[0]}"
            return f"{run} is the log of a run, which no version needs: {copy}, or remove the folder {name.folder / run}"
        case _ if finding.path == CARD:
            return f"`permafrost store card {name} --owner ... --description ... --licence ...` writes the card anew"
        case _ if finding.path.endswith(f"/{STORE_FILE}"):
            return (
                f"{STORE_FILE} describes the store: {copy}; without one, remove it, and `permafrost store init {name.root}` makes it anew"
            )
        case _ if f"/{TAKEDOWNS}/" in finding.path and finding.kind == "dangling":
            told = f"{finding.path.removeprefix('../../')}: {finding.message}, and nothing is committed without one"
            return f"{told}: {copy}, or repeat that takedown, which leaves it anew"
        case _ if f"/{TAKEDOWNS}/" in finding.path:
            told = f"{finding.path.removeprefix('../../')} says what was taken down, and nothing is committed without it"
            return f"{told}: {copy}, or repeat that takedown, which leaves it anew"
    return None if finding.versions else f"{finding.path}: {copy}"


def _is_manifest(finding: Finding) -> bool:
    return finding.path.startswith("versions/")


def _manifests(name: SetName) -> list[Manifest]:
    """Those that can be read, newest first."""
    found = []
    for version in reversed(list_versions(name.folder)):
        with suppress(PermafrostError):
            found.append(read_manifest(name.folder, version))
    return found


def _maker(name: SetName, corpus: str, manifests: list[Manifest]) -> str:
    """The command that made the corpus what it is: that of the newest version in which it changed by one."""
    source = source_in_words(manifests[0].corpora[corpus].source)
    made_by = next((each for each in _operations(corpus, manifests) if each in (*_IMPORTS, "extract")), "")
    if made_by in _IMPORTS or (not made_by and manifests[0].provenance.get("space") == STATED):
        own = f" --corpus-id {corpus}" if corpus != DEFAULT_CORPUS else ""
        files = f"before older versions expire, FILE being each that it was made of ({_all_sources(corpus, manifests)})"
        return (
            f"`permafrost store import FILE {name} --pending --like {name}{own}`, {files}: they come as they were, and nothing else changes"
        )
    return f"`permafrost extract {source or 'FOLDER'} {name}`, with the options that it had"


def _all_sources(corpus: str, manifests: Sequence[Manifest]) -> str:
    """What a program put in from memory has none."""
    told = all_sources(manifest.corpora[corpus].source for manifest in manifests if corpus in manifest.corpora)
    return ", ".join(source_in_words(source) for source in told if source) or "from memory"


def _operations(corpus: str, manifests: list[Manifest]) -> Iterator[str]:
    for manifest, before in zip(manifests, [*manifests[1:], None], strict=True):
        if corpus in manifest.corpora and not (before and before.corpora.get(corpus) == manifest.corpora[corpus]):
            yield "extract" if manifest.provenance.get("run") else str(manifest.provenance.get("operation"))
