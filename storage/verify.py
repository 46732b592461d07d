"""Proof that a set is what its versions say: every file there, of the right size, and (in full) of the right bytes.

What a manifest lists has its sha256 there; JSON files prove themselves (`storage.sealed`); the other files of a finished run are listed
in its report. So a full verification reads every byte of a set and finds each that has changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from storage.absent import FOLDER as ABSENT
from storage.absent import LIST, MARKER, absent_versions, is_absent, read_marker
from storage.asked_version import no_version
from storage.card import FILE as CARD
from storage.card import read_card
from storage.card_page import FILE as PAGE
from storage.card_page import require_sealed
from storage.damage import MEND, raise_outage
from storage.damage_scope import DamageScope
from storage.errors import NotFoundError, PermafrostError, UsageError
from storage.expected_versions import expected_versions
from storage.feature_set import SetDescription
from storage.files import FileEntry, exists, list_names, sha256_of, size_of
from storage.finding import Finding, Verification
from storage.foreign_files import LISTED_FOLDERS, RUN_JSON, foreign_in_set, foreign_in_store
from storage.hints import untold
from storage.manifest import Manifest
from storage.names import SetName
from storage.place import Place, RemotePlace
from storage.restored import restored_files, way_out
from storage.runs import RunFolder, run_folders
from storage.sealed import read_sealed
from storage.shard_cache import drop_changed
from storage.store import STORE_FILE, is_behind_web, require_store
from storage.verify_takedowns import check_takedowns
from storage.versions import Tag, list_versions, read_manifest, read_tag, tag_names, version_path
from storage.web_root import CATALOG, HINT

THREADS = 8


@dataclass(frozen=True)
class Expected:
    """A file as it should be. bytes: None where only its sha256 is known."""

    path: str
    sha256: str
    bytes: int | None
    versions: tuple[int, ...] = ()


def verify_set(name: SetName, full: bool, on_file: Callable[[int, int], None] = lambda done, total: None) -> Verification:
    """Check all versions of a set. full: every byte, else names and sizes. on_file: called with the files done and how many there are.

    Of a remote set, the copies of its files in this machine's cache are checked too, in full, and removed if they have changed.
    Raises NotFoundError for a set that is not there (behind a web server also where no version is found), UsageError for a single
    version, OSError where the store cannot be reached.
    """
    if name.at:
        raise UsageError(f"{name}: all versions are verified, and mended, together; leave out '@{name.at}'")
    if not exists(name.folder / "set.json") and not list_names(name.folder):  # a set may have lost even that
        require_store(name.root)
        raise NotFoundError(f"no feature set {name.team}/{name.name} in {name.root}")
    json_files = _JsonFiles(name)
    if is_behind_web(name.root) and not json_files.manifests and json_files.all_versions_read:
        raise no_version(name)
    listed = listed_files(json_files.manifests)
    expected = [*listed.values(), *json_files.of_runs]
    findings, scope = list(json_files.findings), DamageScope(name, json_files.manifests)
    with ThreadPoolExecutor(THREADS) as pool:
        for done, (file, wrong) in enumerate(zip(expected, pool.map(partial(_check, name, full), expected), strict=True), start=1):
            if wrong:
                findings.append(Finding(wrong[0], file.path, wrong[1], file.versions, scope.items(file.path, file.versions), file.sha256))
            on_file(done, len(expected))
    findings += _restored(name, json_files.manifests, listed, full)
    if json_files.all_versions_read:  # else nobody knows what is listed
        findings += _unlisted(name, listed)
    if full and isinstance(name.root, RemotePlace):
        findings += _changed_in_cache(listed)
    findings += _foreign(name)
    findings += _surplus_receipts(name, json_files.of_finished_runs)
    size = sum(file.bytes or 0 for file in expected)
    return Verification(len(expected) + json_files.count, size, full, tuple(findings))


def listed_files(manifests: Mapping[int, Manifest]) -> dict[str, Expected]:
    """All files that these versions list, by path."""
    versions: dict[str, list[int]] = defaultdict(list)
    entries: dict[str, FileEntry] = {}
    for version, manifest in sorted(manifests.items()):
        for entry in manifest.files:
            entries[entry.path] = entry
            versions[entry.path].append(version)
    return {path: Expected(path, entry.sha256, entry.bytes, tuple(versions[path])) for path, entry in entries.items()}


class _JsonFiles:
    """Reads all JSON files of a set: what is wrong with them, the manifests, and what reports say of the other files of their runs."""

    def __init__(self, name: SetName) -> None:
        self.findings: list[Finding] = []
        self.manifests: dict[int, Manifest] = {}
        self.of_runs: list[Expected] = []
        self.of_finished_runs: dict[str, Collection[str]] = {}  # by run, its files as its report lists them
        self.count = 0
        self._name = name
        self._read(f"../../{STORE_FILE}", lambda: require_store(name.root))
        self._read("set.json", lambda: SetDescription.from_dict(read_sealed(name.folder / "set.json", "set description"), name.folder))
        taken_down, lost = check_takedowns(name, self._read)
        self.findings += lost
        for version, teller in self._expected_versions().items():
            self._read(f"versions/{version:08d}.json", partial(self._read_version, version, teller), (version,))
        hint = self._read_hints(taken_down)
        if exists(name.folder / CARD):
            self._read(CARD, partial(read_card, name))
        if exists(name.folder / PAGE):
            self._read(PAGE, partial(require_sealed, name))
        for tag in sorted({*tag_names(name), *hint.get("tags", [])}):
            self._read_tag(tag)
        for run in run_folders(name):
            self._read_run(run)

    def _read_hints(self, taken_down: Collection[str]) -> dict[str, Any]:
        """Returns that of the set. taken_down: names of tombstones and records, which the store's names, too."""
        found: dict[str, dict[str, Any] | None] = {}
        for path, place in ((HINT, self._name.folder / HINT), (f"../../{CATALOG}", self._name.root / CATALOG)):
            what = "hint" if path == HINT else "catalog"
            found[path] = self._read(path, partial(read_sealed, place, what)) if exists(place) else {}
        hint, catalog = found.values()
        for path, why in untold(self._name, hint, catalog, taken_down).items():
            self.findings.append(Finding("unannounced", path, why))
        return hint or {}

    def _expected_versions(self) -> Mapping[int, str]:
        """And what tells of them. Where the list of absent ones is damaged, nobody knows what a gap means."""
        there = dict.fromkeys(list_versions(self._name.folder), "its manifest")
        for entry in list_names(self._name.folder / ABSENT):
            if found := MARKER.fullmatch(entry):
                self._read(f"{ABSENT}/{entry}", partial(read_marker, self._name, int(found[1])))
        absent = self._read(LIST, lambda: absent_versions(self._name)) if exists(self._name.folder / LIST) else set()
        return there if absent is None else {**expected_versions(self._name), **there}

    @property
    def all_versions_read(self) -> bool:
        return not any(finding.path.startswith("versions/") for finding in self.findings)

    def _read_version(self, version: int, teller: str) -> None:
        try:
            self.manifests[version] = read_manifest(self._name.folder, version)
        except NotFoundError:
            if not is_absent(self._name, version):  # else it has expired in this very moment
                raise NotFoundError(f"it is not there, and {teller} tells of it") from None

    def _read_tag(self, tag: str) -> None:
        path = f"tags/{tag}.json"
        found = self._read(path, partial(self._read_tag_told, tag))
        if found and not exists(version_path(self._name.folder, found.version)):
            self.findings.append(Finding("dangling", path, f"it means version {found.version}, which is not there"))

    def _read_tag_told(self, tag: str) -> Tag:
        try:
            return read_tag(self._name, tag)
        except NotFoundError:
            raise NotFoundError("it is not there, and hint.json tells of it: make it again, or let it go (`store tag --delete`)") from None

    def _read_run(self, run: RunFolder) -> None:
        there = list_names(run.path)
        for entry in [name for name in there if name in RUN_JSON] + self._lost(run, there):
            value = self._read(f"runs/{run.run_id}/{entry}", partial(read_sealed, run.path / entry, "file of the run"))
            if entry == "report.json" and value and "files" in value:
                self.of_finished_runs[run.run_id] = value["files"]
                self.of_runs += [Expected(f"runs/{run.run_id}/{file}", sha256, None) for file, sha256 in sorted(value["files"].items())]

    @staticmethod
    def _lost(run: RunFolder, there: Collection[str]) -> list[str]:
        """What must have been there: receipts come after the plan, and a page goes right before the report."""
        plan = ["plan.json"] if "plan.json" not in there and run.units_finished() else []
        return plan + (["report.json"] if "report.html" in there and not {"report.json", "end.json"} & set(there) else [])

    def _read(self, path: str, read: Callable[[], Any], versions: tuple[int, ...] = ()) -> Any:
        self.count += 1
        try:
            return read()
        except NotFoundError as error:
            self.findings.append(Finding("missing", path, str(error), versions))
        except (PermafrostError, OSError) as error:
            raise_outage(error)
            self.findings.append(Finding("damaged", path, str(error).removesuffix(f". {MEND}"), versions))
        return None


def _check(name: SetName, full: bool, file: Expected) -> tuple[str, str] | None:
    """(kind, message) of what is wrong with a file."""
    place = name.folder / file.path
    size = size_of(place)
    if size is None:
        return "missing", "it is not there"
    if file.bytes is not None and size != file.bytes:
        return "resized", f"it has {size} bytes and should have {file.bytes}"
    if not full:
        return None
    try:
        if sha256_of(place) == file.sha256:
            return None
    except OSError as error:
        raise_outage(error)
        return "damaged", f"it cannot be read: {error}"
    return "damaged", "its bytes are not those that were written: the sha256 differs"


def _changed_in_cache(listed: Mapping[str, Expected]) -> list[Finding]:
    """Copies on this machine, which nobody checks again once they have entered the cache: they are fetched anew."""
    message = "this machine's cached copy had changed, so numbers read from it may be wrong; it was removed, and is fetched anew"
    with ThreadPoolExecutor(THREADS) as pool:
        changed = pool.map(lambda file: drop_changed(file.sha256), listed.values())
        return [
            Finding("cached", file.path, message, file.versions, sha256=file.sha256)
            for file, is_changed in zip(listed.values(), changed, strict=True)
            if is_changed
        ]


def _restored(name: SetName, manifests: Mapping[int, Manifest], listed: Mapping[str, Expected], full: bool) -> Iterator[Finding]:
    """What was taken down and is back."""
    entries = {entry.path: entry for manifest in manifests.values() for entry in manifest.files}
    for entry in restored_files(name, entries.values(), full):
        versions = listed[entry.path].versions if entry.path in listed else ()
        why = f"it holds what was taken down, and is from a backup, say, or from another store: {way_out(name)}"
        yield Finding("unfinished", entry.path, why, versions, sha256=entry.sha256)


def _unlisted(name: SetName, listed: Mapping[str, Expected]) -> Iterator[Finding]:
    """Files beside those that versions list: of unfinished runs, or of expired versions."""
    for folder in LISTED_FOLDERS:
        for entry in list_names(name.folder / folder):
            if f"{folder}/{entry}" not in listed:
                yield Finding("unlisted", f"{folder}/{entry}", _why_unlisted(name.folder / folder / entry))


def _why_unlisted(place: Place) -> str:
    if exists(place):
        return "no version lists it: `permafrost store gc` removes it"
    if isinstance(place, Path) and not place.is_dir():
        return "neither a file nor a folder, such as a pipe or a link to nothing: `gc` leaves it"
    return "a folder, which no set has: `gc` leaves it"


def _foreign(name: SetName) -> Iterator[Finding]:
    """Beside what `_unlisted` names. Web servers list nothing."""
    if is_behind_web(name.root):
        return
    paths = [path for path in foreign_in_set(name) if path.partition("/")[0] not in LISTED_FOLDERS]
    for path in (*paths, *(f"../../{path}" for path in foreign_in_store(name.root))):
        yield Finding("unlisted", path, "nothing of this name belongs here")


def _surplus_receipts(name: SetName, files: Mapping[str, Collection[str]]) -> Iterator[Finding]:
    for run, listed in files.items():
        for unit in RunFolder(name.folder, run).units_finished():
            if (path := f"receipts/{unit}.parquet") not in listed and exists(name.folder / "runs" / run / path):
                yield Finding("unlisted", f"runs/{run}/{path}", "the report of its run does not list it")
