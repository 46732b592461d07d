from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from extractor.corpus import Item
from extractor.ledger import Ledger
from extractor.refusals import require_different, require_storable, require_writable
from storage.errors import PermafrostError, RunError, UnstorableError
from storage.names import SetName
from storage.store import ensure_store
from tests.extractor.listings import diff_of, index_of, listing_of

NAME = SetName(Path("store"), "team", "set")


@pytest.mark.parametrize(
    ("number", "dtype", "way_out"), [(0, "float16", "use --dtype"), (1, "float16", "in its --also"), (1, "float32", "weights")]
)
def test_what_cannot_be_stored_names_the_set_and_its_way_out(number: int, dtype: str, way_out: str) -> None:
    listing = listing_of([Item(f"{i}", "s") for i in range(2000)])
    ledger = Ledger(listing, diff_of([], {}), index_of({}), unstorable=2)
    require_storable(ledger, dtype, NAME, number)
    ledger.unstorable = 3
    with pytest.raises(UnstorableError, match=f"^store/team/set: 3 embeddings .*{way_out}"):
        require_storable(ledger, dtype, NAME, number)


def test_a_store_that_cannot_be_written_to_is_refused_with_a_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = SetName(tmp_path / "store", "team", "set")
    require_writable(name)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(PermafrostError, match=f"there is no store {name.root}, and none can be made there"):
        require_writable(name)
    monkeypatch.undo()
    ensure_store(name.root)
    asked: list[Path] = []
    monkeypatch.setattr("os.access", lambda path, mode: bool(asked.append(Path(path))))  # root may write everywhere
    with pytest.raises(PermafrostError, match=f"the store {name.root} is read-only, .* --reuse-from {name.root} "):
        require_writable(name)
    assert asked == [name.root]  # where the set would be


def test_a_network_that_sees_no_difference_is_refused() -> None:
    same = np.ones((4, 2, 3), np.float16)
    with pytest.raises(RunError, match="gives the same features for 4 different images"):
        require_different(same)
    with pytest.raises(RunError, match=r"int8 may be too coarse for this network \(--precision float32 tells\), or check --weights"):
        require_different(same, "int8")
    same[3, 1, 2] = 2
    require_different(same)
