"""All that can be done to a set, in any order, against a model that is a dictionary: both formats, on a disk and in a bucket.

A new operation is a new rule of the machine, which does the same to the set and to the model.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from scripts.made_set import MadeSet, made_space, new_set
from scripts.s3_server import new_bucket, serve
from storage.changes import Changed, append
from storage.changes import remove as remove_items
from storage.changes import replace as replace_items
from storage.commit import commit
from storage.compact import compact_set
from storage.errors import AlreadyExistsError, ConflictError, NotFoundError
from storage.expire import expire_versions
from storage.export import export_set
from storage.files import remove
from storage.gc import collect_garbage
from storage.import_features import import_features
from storage.import_options import ImportOptions
from storage.names import SetName
from storage.place import Place
from storage.removal import remove_set
from storage.repair import repair_set
from storage.store import init_store
from storage.tags import move_tag, remove_tag
from storage.takedown import Request, take_down
from storage.transfer import copy_set
from storage.verify import verify_set
from storage.version_diff import diff_versions
from storage.versions import list_tags, list_versions

CORPORA, TAGS = st.sampled_from(["one", "two"]), st.sampled_from(["prod", "test"])
Pictures = dict[str, int | None]  # by key; None: it was rejected
PICTURES = st.dictionaries(st.sampled_from([f"k{i}" for i in range(6)]), st.one_of(st.integers(0, 9), st.none()), max_size=5)
ON_A_DISK, IN_A_BUCKET = (int(os.environ.get("PERMAFROST_EXAMPLES", usual)) for usual in ("10", "1"))  # examples; for a campaign: 500
Version = dict[str, Pictures]  # by corpus


def embedded(pictures: Pictures) -> dict[str, int]:
    return {key: picture for key, picture in pictures.items() if picture is not None}


def rejected(pictures: Pictures) -> list[str]:
    return [key for key, picture in pictures.items() if picture is None]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serve() as address, tempfile.TemporaryDirectory() as cache, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERMAFROST_CACHE", cache)
        yield address


class SetMachine(RuleBasedStateMachine):
    shard_format: str
    roots: Iterator[Place]

    @initialize(first=st.lists(PICTURES, min_size=1, max_size=3))
    def make(self, first: list[Pictures]) -> None:
        self.made = new_set(self.new_name(), made_space(), self.shard_format)
        self.model: dict[int, Version] = {}
        self.tags: dict[str, int] = {}
        self.newest = 0
        self.copy: SetName | None = None
        self.taken: set[int] = set()  # pictures that were taken down
        self.taken_keys: set[tuple[str, str]] = set()  # with their corpora
        self.taken_names: set[tuple[str, str]] = set()  # of such pictures
        for pictures in first:
            self.commit_one("one", pictures, 2)

    @rule(corpus=CORPORA, pictures=PICTURES, per_shard=st.integers(1, 4))
    def commit(self, corpus: str, pictures: Pictures, per_shard: int) -> None:
        self.commit_one(corpus, pictures, per_shard)

    @rule(pictures=st.lists(PICTURES, min_size=2, max_size=3))
    def commit_some(self, pictures: list[Pictures]) -> None:
        for each in pictures:
            self.commit_one("two", each, 3)

    def commit_one(self, corpus: str, pictures: Pictures, per_shard: int) -> None:
        pictures = self.allowed(corpus, pictures)
        self.note(self.made.commit(corpus, embedded(pictures), per_shard, rejected(pictures)).version, corpus, pictures)

    def allowed(self, corpus: str, pictures: Pictures) -> Pictures:
        """Without what was taken down, which no commit brings back; nor does it name the keys that such images had."""
        return {
            key: p
            for key, p in pictures.items()
            if p not in self.taken and (corpus, key) not in self.taken_keys and not (p is None and (corpus, key) in self.taken_names)
        }

    def note(self, version: int, corpus: str, pictures: Pictures) -> None:
        assert version == self.newest + 1
        self.model[version] = {**self.model.get(self.newest, {}), corpus: dict(pictures)}
        self.newest = version

    @rule(pictures=PICTURES, others=PICTURES)
    def commit_from_an_old_base(self, pictures: Pictures, others: Pictures) -> None:
        old, pictures = self.made.open().manifest, self.allowed("two", pictures)
        self.commit_one("one", others, 3)
        draft = self.made.draft("two", embedded(pictures), 3, rejected(pictures))
        self.note(commit(self.made.name, old, draft, "two").version, "two", pictures)
        if self.made.open().manifest.corpora["two"] != old.corpora.get("two"):
            with pytest.raises(ConflictError, match="corpus 'two'"):
                commit(self.made.name, old, replace(draft, nonce="another"), "two")

    @precondition(lambda self: self.model)
    @rule(data=st.data(), tag=TAGS)
    def tag(self, data: Any, tag: str) -> None:
        version = data.draw(st.sampled_from(sorted(self.model)))
        move_tag(replace(self.made.name, at=str(version)), tag)
        self.tags[tag] = version

    @precondition(lambda self: self.tags)
    @rule(data=st.data())
    def untag(self, data: Any) -> None:
        self.untag_one(data.draw(st.sampled_from(sorted(self.tags))))

    def untag_one(self, tag: str) -> None:
        remove_tag(self.made.name, tag)
        del self.tags[tag]

    @precondition(lambda self: self.model)
    @rule(keep=st.integers(1, 3), hold=st.booleans())
    def expire(self, keep: int, hold: bool) -> None:
        if hold:
            oldest = min(self.model)
            move_tag(replace(self.made.name, at=str(oldest)), "held")
            self.tags["held"] = oldest
        staying = {*sorted(self.model)[-keep:], *self.tags.values()}
        left = expire_versions(self.made.name, keep, None, remove_them=True).leaving
        assert set(left) == set(self.model) - staying
        self.model = {version: state for version, state in self.model.items() if version in staying}

    @rule()
    def collect(self) -> None:
        collect_garbage(self.made.name, delete=True, grace_seconds=-1)
        found = verify_set(self.made.name, full=True)
        assert found.findings == (), "nothing is left that nobody lists, and nothing is gone that somebody does"

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def compare(self, data: Any) -> None:
        old, new = (data.draw(st.sampled_from(sorted(self.model))) for _ in range(2))
        found = diff_versions(self.made.open(str(old)), self.made.open(str(new))).counts
        flat = [{(c, k): p for c, keys in self.model[v].items() for k, p in embedded(keys).items()} for v in (old, new)]
        assert found["changed"] == sum(flat[0][key] != flat[1][key] for key in flat[0].keys() & flat[1].keys())
        assert found["added"] + found["renamed"] == len(flat[1].keys() - flat[0].keys())
        assert found["removed"] + found["renamed"] == len(flat[0].keys() - flat[1].keys())

    @precondition(lambda self: self.model)
    @rule()
    def copy_it(self) -> None:
        self.copy = self.copy or SetName(next(self.roots), "team", "copy")
        init_store(self.copy.root)
        copy_set(self.made.name, self.copy)
        assert verify_set(self.copy, full=True).sound
        assert set(self.model) <= set(list_versions(self.copy.folder))

    @precondition(lambda self: self.copy and self.model)
    @rule(data=st.data())
    def lose_a_file_and_mend_it(self, data: Any) -> None:
        assert self.copy is not None
        copy_set(self.made.name, self.copy)
        files = sorted(entry.path for version in self.model for entry in self.made.open(str(version)).manifest.files)
        path = data.draw(st.sampled_from(files))
        remove(self.made.folder / path)
        assert not verify_set(self.made.name, full=False).sound
        mended = MadeSet(replace(self.made.name), self.made.description)
        copies = SetName(self.copy.root, "team", "copy")
        assert repair_set(mended.name, [copies.root]).mended == (), "the copy goes by another name there"
        target = self.new_name()
        copy_set(copies, target)
        assert repair_set(self.made.name, [target.root]).left.sound

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def copy_one_version(self, data: Any) -> None:
        version = data.draw(st.sampled_from(sorted(self.model)))
        target = MadeSet(self.new_name(), self.made.description)
        copy_set(replace(self.made.name, at=str(version)), target.name)
        assert list_versions(target.folder) == [version]
        self.require_equal(target, version, self.model[version])
        assert verify_set(target.name, full=True).findings == ()

    @rule(kind=st.sampled_from(["npz", "parquet", "h5"]))
    def export_and_import(self, kind: str) -> None:
        state = embedded(self.model[self.newest].get("one", {}))
        if not state:
            return
        with tempfile.TemporaryDirectory() as folder:
            file, target = Path(folder) / f"features.{kind}", self.new_name()
            export_set(self.made.open(), file)
            imported = import_features(file, str(target), ImportOptions(corpus="one"))
        assert (imported.rows, imported.rejected) == (len(state), 0)
        self.require_equal(MadeSet(target, self.made.description), 1, {"one": dict(state)})

    @rule(corpus=CORPORA)
    def lose_the_items_of_a_corpus_for_good(self, corpus: str) -> None:
        """Only the newest version is left, and then one without what was lost, which extraction would do again."""
        for tag in list(self.tags):
            self.untag_one(tag)
        self.expire(1, hold=False)
        lost = self.model[self.newest].get(corpus, {})
        if not embedded(lost):
            return
        before = self.made.open().manifest.corpora[corpus]
        for entry in before.items:
            remove(self.made.folder / entry.path)
        repair = repair_set(self.made.name, give_up=True)
        assert (repair.mended, repair.version) == ((), self.newest + 1)
        self.note(self.newest + 1, corpus, dict.fromkeys(rejected(lost)))
        assert self.made.open().manifest.corpora[corpus].pending == before.pending + len(embedded(lost))
        self.expire(1, hold=False)
        assert verify_set(self.made.name, full=True).sound

    @rule(corpus=CORPORA, pictures=PICTURES)
    def append(self, corpus: str, pictures: Pictures) -> None:
        """Of keys that are there, those with another picture are a mistake; rejects give way."""
        state = self.model[self.newest].get(corpus, {})
        wanted = embedded(self.allowed(corpus, pictures))
        if not wanted:
            return
        if any(state.get(key) not in (None, picture) for key, picture in wanted.items()):
            with pytest.raises(AlreadyExistsError):
                self.put(append, corpus, wanted)
            return
        self.note_change(self.put(append, corpus, wanted), corpus, {**state, **wanted})

    @rule(corpus=CORPORA, pictures=PICTURES)
    def replace(self, corpus: str, pictures: Pictures) -> None:
        state = self.model[self.newest].get(corpus, {})
        wanted = {key: picture for key, picture in embedded(self.allowed(corpus, pictures)).items() if key in state}
        if wanted:
            self.note_change(self.put(replace_items, corpus, wanted), corpus, {**state, **wanted})

    def put(self, change: Callable[..., Changed], corpus: str, wanted: dict[str, int]) -> Changed:
        pictures = list(wanted.values())
        columns = self.made.items_table(corpus, wanted, dict.fromkeys(pictures, ("", 0))).select(["label", "split"]).to_pydict()
        digests = [self.made.digest(picture) for picture in pictures]
        return change(self.made.name, list(wanted), self.made.embeddings(pictures), corpus=corpus, digest=digests, **columns)

    @rule(corpus=CORPORA, data=st.data())
    def remove(self, corpus: str, data: Any) -> None:
        state = self.model[self.newest].get(corpus, {})
        if not state:
            return
        keys = data.draw(st.lists(st.sampled_from(sorted(state)), min_size=1, unique=True))
        left = {key: picture for key, picture in state.items() if key not in keys}
        self.note_change(remove_items(self.made.name, keys, corpus=corpus), corpus, left)

    def note_change(self, changed: Changed, corpus: str, state: Pictures) -> None:
        if changed.committed:
            self.note(changed.version, corpus, state)
        else:
            assert (changed.version, state) == (self.newest, self.model[self.newest].get(corpus, {}))

    @rule()
    def compact(self) -> None:
        done = compact_set(self.made.name, do_it=True)
        if done.version is not None:
            self.note(done.version, "one", self.model[self.newest].get("one", {}))
            assert done.after.embeddings == done.before.embeddings - done.dropped
            assert done.after.embeddings >= len({p for state in self.model[self.newest].values() for p in embedded(state).values()})

    @rule(picture=st.integers(0, 9))
    def take_down_an_image(self, picture: int) -> None:
        take_down(self.made.name.root, None, Request(images=(self.made.digest(picture).hex(),)), do_it=True)
        self.taken.add(picture)
        for version in self.model.values():
            for corpus, state in version.items():
                self.taken_names |= {(corpus, key) for key, held in state.items() if held == picture}
        self.note_takedown()

    @rule(corpus=CORPORA, data=st.data())
    def take_down_a_key(self, corpus: str, data: Any) -> None:
        keys = {key for version in self.model.values() for key in version.get(corpus, {})}
        if keys:
            key = data.draw(st.sampled_from(sorted(keys)))
            take_down(self.made.name.root, self.made.name, Request(keys=(key,), corpus=corpus), do_it=True)
            self.taken_keys.add((corpus, key))
            self.note_takedown()

    def note_takedown(self) -> None:
        """In every version; the copy, which is another store, has it still, and no longer follows."""
        self.model = {
            number: {corpus: self.allowed(corpus, state) for corpus, state in version.items()} for number, version in self.model.items()
        }
        self.copy = None
        assert verify_set(self.made.name, full=True).sound

    def new_name(self) -> SetName:
        name = SetName(next(self.roots), "team", "set")
        init_store(name.root)
        return name

    def require_equal(self, made: MadeSet, version: int, state: Version) -> None:
        opened = made.open(str(version))
        keys, embeddings = opened.to_numpy()
        expected = [(key, picture) for _, pictures in sorted(state.items()) for key, picture in sorted(embedded(pictures).items())]
        assert keys == [key for key, _ in expected]
        np.testing.assert_array_equal(embeddings, made.embeddings([picture for _, picture in expected]))
        without = [key for _, pictures in sorted(state.items()) for key in sorted(rejected(pictures))]
        assert sorted(opened.rejects["key"].to_pylist()) == sorted(without)

    @invariant()
    def every_version_is_what_was_committed(self) -> None:
        if not hasattr(self, "made"):
            return
        assert list_versions(self.made.folder) == sorted(self.model)
        assert {tag.name: tag.version for tag in list_tags(self.made.name)} == self.tags
        for version, state in self.model.items():
            self.require_equal(self.made, version, state)
        assert verify_set(self.made.name, full=False).sound
        assert self.made.open("2125-01-01").version == self.newest, "a day stands for the newest version until then"

    def teardown(self) -> None:
        if hasattr(self, "made"):
            remove_set(self.made.name, remove_it=True)
            with pytest.raises(NotFoundError):
                self.made.open()


def run(shard_format: str, roots: Iterator[Place], examples: int) -> None:
    machine = type("Machine", (SetMachine,), {"shard_format": shard_format, "roots": roots})
    checks = list(HealthCheck)
    run_state_machine_as_test(
        machine, settings=settings(max_examples=examples, stateful_step_count=12, deadline=None, suppress_health_check=checks)
    )


@pytest.mark.slow
@pytest.mark.parametrize("shard_format", ["parquet", "hdf5"])
def test_a_set_on_a_disk_does_what_the_model_does(shard_format: str, tmp_path: Path) -> None:
    run(shard_format, (tmp_path / f"{i}" for i in itertools.count()), ON_A_DISK)


@pytest.mark.slow
@pytest.mark.parametrize("shard_format", ["parquet", pytest.param("hdf5", marks=pytest.mark.full)])
def test_a_set_in_a_bucket_does_what_the_model_does(shard_format: str, server: str) -> None:
    run(shard_format, (new_bucket(server) for _ in itertools.count()), IN_A_BUCKET)
