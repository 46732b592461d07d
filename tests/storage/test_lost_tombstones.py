"""A takedown of which only traces are left: whoever writes is told, so that nothing comes back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.made_set import MadeSet
from storage.changes import append
from storage.errors import DamagedError, NotFoundError
from storage.repair import repair_set
from storage.takedown import Request, Takedown, take_down
from storage.takedown_receipts import receipt_names
from storage.tombstones import TAKEN_DOWN, read_tombstones
from storage.transfer import copy_set
from storage.verify import verify_set
from storage.way_out import ways_out


@pytest.fixture
def made(make_set: Callable[..., MadeSet]) -> MadeSet:
    made = make_set()
    made.commit("one", {"a": 1, "b": 2, "c": 3})
    return made


@pytest.fixture
def done(made: MadeSet) -> Takedown:
    return take_down(made.name.root, None, Request(images=(made.digest(1).hex(),)), do_it=True)


@pytest.fixture
def copy(made: MadeSet, done: Takedown, tmp_path: Path) -> Path:
    return shutil.copytree(made.name.root, tmp_path / "copy")


def lose(made: MadeSet, done: Takedown) -> Path:
    path = Path(made.name.root) / "takedowns" / f"{done.id}.json"
    path.unlink()
    return path


def found(made: MadeSet) -> list[tuple[str, str]]:
    return [(finding.kind, Path(finding.path).name) for finding in verify_set(made.name, full=True).findings if finding.is_damage]


def record_of(made: MadeSet) -> str:
    [path] = (Path(made.name.root) / "takedowns").glob("record-*.json")
    return path.name


def test_a_receipt_and_a_record_tell_of_a_tombstone(made: MadeSet, done: Takedown) -> None:
    assert verify_set(made.name, full=True).findings == ()
    lose(made, done)
    assert found(made) == [("missing", f"{done.id}.json"), ("dangling", record_of(made))]
    shutil.rmtree(Path(made.name.root) / "takedowns" / "receipts")
    (Path(made.name.root) / "catalog.json").unlink()
    assert found(made) == [("dangling", record_of(made))]


@pytest.fixture
def record(made: MadeSet, done: Takedown) -> Path:
    return Path(made.name.root) / "takedowns" / record_of(made)


def test_the_catalog_tells_of_a_record(made: MadeSet, copy: Path, record: Path) -> None:
    record.unlink()
    assert found(made) == [("missing", record.name)]
    made.commit("two", {"x": 7})
    assert found(made) == [("missing", record.name)], "a lost one stays told of"
    assert repair_set(made.name).left.findings
    assert repair_set(made.name, [copy]).left.findings == ()
    assert record.exists()


def test_the_catalog_tells_of_all_that_is_lost(made: MadeSet, done: Takedown, copy: Path) -> None:
    shutil.rmtree(Path(made.name.root) / "takedowns")
    assert sorted(kind for kind, _ in found(made)) == ["missing", "missing"]
    repair_set(made.name, give_up=True)
    assert found(made) == [("missing", f"{done.id}.json")], "what was taken down must not come back"
    with pytest.raises(DamagedError, match=rf"{done.id}.json is lost: .*catalog.json tells of it"):
        made.commit("one", {"a": 1, "b": 2})
    repair_set(made.name, [copy])
    assert found(made) == [("unfinished", f"{done.id}.json")]
    made.commit("one", {"b": 2})


def test_a_receipt_tells_of_a_record(made: MadeSet, copy: Path, record: Path) -> None:
    """Where no catalog could be written, say."""
    (Path(made.name.root) / "catalog.json").unlink()
    record.unlink()
    [receipt] = (Path(made.name.root) / "takedowns" / "receipts").iterdir()
    assert found(made) == [("dangling", receipt.name)]
    assert repair_set(made.name, [copy]).left.findings == ()
    assert record.exists()


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"x")])
def test_of_a_record_that_is_given_up_receipts_tell_most(made: MadeSet, record: Path, harm: Callable[[Path], object]) -> None:
    before = read_tombstones(made.name)
    harm(record)
    repair = repair_set(made.name, give_up=True)
    assert (repair.given_up, repair.left.findings) == ((f"../../takedowns/{record.name}",), ())
    after = read_tombstones(made.name)
    assert (after.images, after.gone, after.known) == (before.images, before.gone, frozenset())
    made.commit("two", {"x": 7})


def test_a_takedown_without_a_receipt_is_finished_by_the_same_one(made: MadeSet, done: Takedown) -> None:
    other = MadeSet(type(made.name)(made.name.root, "team", "other"), made.description)
    copy_set(made.name, other.name)
    take_down(made.name.root, made.name, Request(keys=("b",)), do_it=True)
    shutil.rmtree(Path(made.name.root) / "takedowns" / "receipts")
    own = [finding for finding in verify_set(made.name, full=False).findings if finding.is_damage]
    assert [finding.kind for finding in own] == ["unfinished", "unfinished"]
    assert sum(f"takedown {made.name.root} --image {made.digest(1).hex()} --yes`" in finding.message for finding in own) == 1
    assert f"{done.id}.json" in {Path(finding.path).name for finding in verify_set(other.name, full=False).findings}
    left = repair_set(made.name, give_up=True).left
    assert len(ways_out(made.name, left)) == 2
    take_down(made.name.root, None, Request(images=(made.digest(1).hex(),)), do_it=True)
    take_down(made.name.root, made.name, Request(keys=("b",)), do_it=True)
    assert verify_set(made.name, full=True).findings == ()


def test_a_damaged_receipt_is_given_up_where_another_tells_the_same(made: MadeSet, done: Takedown) -> None:
    [receipt] = (Path(made.name.root) / "takedowns" / "receipts").iterdir()
    receipt.write_bytes(b"x")
    take_down(made.name.root, None, Request(images=(made.digest(1).hex(),)), do_it=True)
    assert found(made) == [("damaged", receipt.name)]
    assert repair_set(made.name, give_up=True).left.findings == ()


def test_a_receipt_that_has_changed_is_found(made: MadeSet, done: Takedown) -> None:
    [receipt] = (Path(made.name.root) / "takedowns" / "receipts").iterdir()
    receipt.write_bytes(receipt.read_bytes().replace(b"done", b"dome"))
    assert found(made) == [("damaged", receipt.name)]


def test_who_writes_is_refused_until_it_is_back(made: MadeSet, done: Takedown, copy: Path, tmp_path: Path) -> None:
    path = lose(made, done)
    for write in (
        lambda: made.commit("one", {"a": 1, "b": 2}),
        lambda: append(made.uri, ["new"], made.embeddings([9])),
        lambda: copy_set(made.name, type(made.name)(made.name.root, "team", "copy")),
        lambda: copy_set(made.name, type(made.name)(tmp_path / "elsewhere", "team", "set")),
        lambda: take_down(made.name.root, None, Request(images=(made.digest(2).hex(),)), do_it=False),
    ):
        with pytest.raises(DamagedError, match=rf"{done.id}.json is lost: .*--from ROOT.*repeat that takedown"):
            write()
    assert made.open().rows == 2
    repair = repair_set(made.name, [copy])
    assert (repair.left.sound, path.exists()) == (True, True)
    assert read_tombstones(made.name).images == {made.digest(1)}


@pytest.mark.parametrize("by_key", [False, True])
def test_of_a_record_alone_a_copy_has_the_tombstone(made: MadeSet, tmp_path: Path, by_key: bool) -> None:
    """Its takedown was cut off before it left a receipt, or could not reach another set."""
    request = Request(keys=("a",)) if by_key else Request(images=(made.digest(1).hex(),))
    done = take_down(made.name.root, made.name, request, do_it=True)
    shutil.rmtree(Path(made.name.root) / "takedowns" / "receipts")
    copy = shutil.copytree(made.name.root, tmp_path / "copy")
    path = lose(made, done)
    (Path(made.name.root) / "catalog.json").unlink()
    assert [kind for kind, _ in found(made)] == ["dangling"]
    repair_set(made.name, [copy])
    assert path.exists()
    assert found(made) == [("unfinished", path.name)]


@pytest.mark.parametrize("is_damaged", [False, True])
@pytest.mark.parametrize("by_key", [False, True])
def test_the_same_takedown_makes_it_anew(made: MadeSet, by_key: bool, is_damaged: bool) -> None:
    request = Request(keys=("a",)) if by_key else Request(images=(made.digest(1).hex(),))
    name = made.name if by_key else None
    path = lose(made, take_down(made.name.root, name, request, do_it=True))
    if is_damaged:
        path.write_bytes(b"x")
    assert take_down(made.name.root, name, request, do_it=False).id == path.stem
    assert take_down(made.name.root, name, request, do_it=True).not_found == (), "it was found when it was taken down"
    assert (path.exists(), verify_set(made.name, full=True).findings) == (True, ())
    append(made.uri, ["new"], made.embeddings([9]))


def test_all_takedowns_are_made_anew_where_nothing_is_left_but_the_catalog(made: MadeSet) -> None:
    """Keys that nothing has are believed where the catalog names that takedown, and each is made anew though another is lost."""
    requests = [Request(keys=("a",)), Request(keys=("b",))]
    for request in requests:
        take_down(made.name.root, made.name, request, do_it=True)
    shutil.rmtree(Path(made.name.root) / "takedowns")
    with pytest.raises(DamagedError, match="repeat that takedown"):
        take_down(made.name.root, made.name, requests[0], do_it=True)  # the other one is lost yet
    for request in reversed(requests):
        take_down(made.name.root, made.name, request, do_it=True)
    append(made.uri, ["new"], made.embeddings([9]))
    assert repair_set(made.name, give_up=True).left.sound
    with pytest.raises(NotFoundError, match=r"nothing in .* has the key 'never'"):
        take_down(made.name.root, made.name, Request(keys=("never",)), do_it=True)


def test_without_it_items_are_not_given_up(made: MadeSet, done: Takedown) -> None:
    (Path(made.folder) / made.open().manifest.shards[0].path).unlink()
    path = lose(made, done)
    repair = repair_set(made.name, give_up=True)
    assert (repair.version, repair.left.sound) == (None, False)
    assert any("repeat that takedown" in way for way in ways_out(made.name, repair.left))
    path.write_bytes(b"x")
    assert repair_set(made.name, give_up=True).version is None


def test_a_damaged_tombstone_comes_from_a_copy(made: MadeSet, done: Takedown, copy: Path) -> None:
    path = lose(made, done)
    path.write_bytes(b"x")
    assert found(made) == [("damaged", path.name)]
    with pytest.raises(DamagedError, match=r"tombstone at .*repeat that takedown"):
        append(made.uri, ["new"], made.embeddings([9]))
    (path.parent / record_of(made)).write_bytes(b"x")
    messages = [finding.message for finding in verify_set(made.name, full=True).findings]
    assert [text.partition(" at ")[0] for text in messages] == ["the tombstone", "the record of a takedown"]
    assert repair_set(made.name, [copy]).left.findings == ()


def test_what_came_with_a_copy_of_a_set_is_no_trace(made: MadeSet, done: Takedown, tmp_path: Path) -> None:
    """Records come along, also of images that were taken down in other sets of the source alone."""
    target = type(made.name)(tmp_path / "other", "team", "set")
    other = MadeSet(type(made.name)(made.name.root, "team", "other"), made.description)
    copy_set(made.name, other.name)
    take_down(made.name.root, other.name, Request(images=(made.digest(2).hex(),)), do_it=True)
    copy_set(made.name, target)
    receipts = receipt_names(target.root)
    copy_set(made.name, target)
    assert receipt_names(target.root) == receipts, "one for each takedown, however often it is copied"
    assert verify_set(target, full=True).findings == ()
    append(str(target), ["new"], made.embeddings([9]))
    assert TAKEN_DOWN in made.open().manifest.corpora["one"].skipped
