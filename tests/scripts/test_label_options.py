"""The options of labels and splits: what becomes of them, and wrong use in words."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scripts.label_options import add_label_options, add_split_options, split_fields
from tests.scripts.conftest import Said

KEYS = [f"{i:02d}.png" for i in range(40)]
CLASSES = ["ant", "bee", "cat", "dog"]


@pytest.fixture
def a_set(say: Said, tmp_path: Path) -> str:
    """features/me/clip: forty items of four classes, in groups of four; `brand` is not known of all."""
    columns = {
        "key": KEYS,
        "label": [CLASSES[i % 4] for i in range(40)],
        "product": [f"p{i // 4}" for i in range(40)],
        "brand": [None if i == 7 else "b" for i in range(40)],
        "embedding": np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32).tolist(),
    }
    pq.write_table(pa.table(columns), tmp_path / "clip.parquet")
    (tmp_path / "clip.json").write_text(json.dumps({"model": "clip", "weights": "openai"}))
    code, _, err = say("store", "import", "clip.parquet", "features/me/clip", "--space", "clip.json")
    assert code == 0, err
    return "features/me/clip"


def test_options_become_those_of_a_fit() -> None:
    import trainer

    parser = argparse.ArgumentParser()
    add_label_options(parser)
    add_split_options(parser)
    assert trainer.FitOptions(**split_fields(parser.parse_args([]))) == trainer.FitOptions()
    words = "--missing-labels refuse --classes insect,cat --merge insect=ant,bee --merge pet=dog --labels-by digest --shots 3"
    args = parser.parse_args([*words.split(), "--split-by", "hash", "--group-by", "product", "--test", "0.3", "--validation", "0"])
    assert trainer.FitOptions(**split_fields(args)) == trainer.FitOptions(
        labels=trainer.LabelOptions("refuse", ("insect", "cat"), {"insect": ("ant", "bee"), "pet": ("dog",)}, "digest"),
        split_by="hash",
        group_by="product",
        shots=3,
        test=0.3,
        validation=0.0,
    )


@pytest.mark.slow
def test_wrong_use_is_told_in_words_and_nothing_is_written(say: Said, a_set: str, tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text("key,label\n00.png,ant\n01.png,bee\n02.png,ant\n")
    (tmp_path / "digests.csv").write_text(f"digest,label\n{'ab' * 32},ant\n")
    cases = [
        ("--classes ant", "all 10 labelled items have the label 'ant': a head needs at least two classes"),
        (
            "--classes ant,eel",
            "no label in the items of features/me/clip is of the class 'eel' to keep; there are 'ant', 'bee'",
        ),
        ("--merge pet=eel,dog", "is of the class 'eel' to merge"),
        ("--merge pet", "a merge must be NEW=OLD,OLD such as clothing=hat,coat; got 'pet'"),
        ("--merge all=ant,bee,cat,dog", "have the label 'all'"),
        ("--group-by shop", "no item has a column 'shop' to group by; there are key, corpus"),
        ("--group-by brand", "1 labelled items have no brand to group by, such as 07.png"),
        ("--split-by grouped", "a grouped split needs the column of the groups: pass --group-by COLUMN"),
        ("--split-by given", "neither the items nor the labels carry splits to keep"),
        ("--shots 50", "there are too few training images for 50 shots: 7 of 'ant'"),
        ("--shots 0", "shots must be a whole number from 1, got 0"),
        ("--labels-by digest", "labels are joined by digest from a file only: pass --labels FILE"),
        ("--labels some.csv --missing-labels refuse", "37 items have no label in some.csv, such as 03.png, 04.png, 05.png"),
        ("--labels some.csv --split-by hash --test 0.9", "a head cannot learn a class it never sees"),
        ("--labels digests.csv", "none of the 1 labels in digests.csv fits any of the 40 items: the items have digests like"),
        ("--labels some.csv --labels-by digest", "the label file some.csv must have the columns digest and label; it has key, label"),
    ]
    for words, said in cases:
        code, _, err = say("train", a_set, "--out", "head", *words.split())
        assert (code, said in err) == (2, True), (words, err)
    assert not (tmp_path / "head").exists()


@pytest.mark.slow
def test_a_head_of_merged_classes_and_grouped_items_tells_what_was_left_out(say: Said, a_set: str) -> None:
    words = "--classes insect,cat --merge insect=ant,bee --group-by product --max-epochs 2"
    code, out, err = say("train", a_set, "--out", "head", *words.split(), "--json")
    told = json.loads(out)
    assert (code, told["classes"], told["rows"]) == (0, ["cat", "insect"], 30)
    assert told["labels"]["left_out"] == {"dog": 10}
    assert told["labels"]["merged"] == {"ant": "insect", "bee": "insect"}
    assert len(told["labels"]["joined_sha256"]) == 64
    assert "1 classes are not among the chosen ones (10 dog): 10 items left out for it" in err
    code, asked, err = say("evaluate", "head", a_set, "--merge", "insect=ant,bee", "--classes", "insect,cat", "--json")
    assert "as for the head" not in err
    code, out, err = say("evaluate", "head", a_set, "--json")
    evaluated = json.loads(out)
    assert evaluated["metrics"] == json.loads(asked)["metrics"]
    assert "note: labels are merged and chosen as for the head (--merge insect=ant,bee --classes insect,cat)" in err
    keys = "".join(f"{key},{'insect' if i % 4 < 2 else 'cat'}\n" for i, key in enumerate(KEYS) if i % 4 < 3)
    Path("merged.csv").write_text(f"key,label\n{keys}")
    code, merged, err = say("evaluate", "head", a_set, "--labels", "merged.csv", "--json")
    assert (code, json.loads(merged)["metrics"]["rows"]) == (0, 30), err
    assert (code, evaluated["metrics"]["rows"], evaluated["unknown_classes"]) == (0, 30, {})
    assert evaluated["labels"]["joined_sha256"] == told["labels"]["joined_sha256"]
    options = json.loads(Path("head/head.json").read_text())["options"]
    assert (options["group_by"], options["labels"]["merge"]) == ("product", {"insect": ["ant", "bee"]})
