"""`permafrost doctor`: what there is, and what fewer bits gain and cost."""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from extractor.recipe import Recipe
from scripts import doctor
from scripts.label_options import add_label_options
from scripts.precision_trial import try_precisions
from storage.store import init_store
from tests.scripts.conftest import Said

NETWORK = ["--backbone", "mobilenet_v2", "--weights", "random:1", "--input-size", "32"]


@pytest.mark.slow
def test_it_says_what_there_is_and_what_fewer_bits_cost(
    say: Said, make_corpus: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = make_corpus(40)
    (corpus / "bee" / "torn.jpg").write_bytes(b"no image")
    init_store(tmp_path / "features")
    before = sorted(tmp_path.rglob("*"))
    code, out, _ = say("doctor", tmp_path / "features", "--no-ray", "--images", corpus, *NETWORK, "--precisions", "bfloat16", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["machine"]["cores"] >= 1
    assert found["libraries"]["tensorflow"].startswith("2.")
    assert {each["engine"]: each["usable"] for each in found["engines"]}["tensorflow"]
    assert found["stores"][0]["writable"]
    fine, coarse = found["precisions"]
    assert (fine["precision"], fine["images"], fine["cosine_least"]) == ("float32", 40, 1.0)
    assert (coarse["precision"], coarse["images"]) == ("bfloat16", 40)
    assert 0.9 < coarse["cosine_least"] <= coarse["cosine_median"] <= 1
    assert coarse["images_per_second"] > 0
    low, high = coarse["difference_interval"]
    assert low <= coarse["difference"] <= high
    assert coarse["difference"] == pytest.approx(coarse["accuracy"] - fine["accuracy"], abs=1e-3)
    assert sorted(tmp_path.rglob("*")) == before
    assert coarse["c"] == fine["c"]
    doctor._print_precisions(found["precisions"])
    assert "40 images; not embedded: 1 not-an-image\n" in capsys.readouterr().out


@pytest.mark.slow
def test_heads_of_all_precisions_have_one_c(make_corpus: Callable[..., Path], tmp_path: Path) -> None:
    """Of these labels validation chooses 200 in float32 and 10 in bfloat16, which says nothing of either."""
    corpus, draw = make_corpus(48), random.Random(13)
    keys = sorted(path.relative_to(corpus).as_posix() for path in corpus.rglob("*.*"))
    (tmp_path / "labels.csv").write_text(
        "".join(f"{key},{label}\n" for key, label in [("key", "label"), *((k, draw.choice("xy")) for k in keys)])
    )
    parser = argparse.ArgumentParser()
    add_label_options(parser)
    args = parser.parse_args(["--labels", str(tmp_path / "labels.csv")])
    recipe = Recipe("mobilenet", weights="random:0", layer="conv_pw_6_relu", input_size=32, args=(("alpha", 0.25),))
    fine, coarse = try_precisions(str(corpus), recipe, ["float32", "bfloat16"], args)
    assert coarse["c"] == fine["c"]


@pytest.mark.slow
def test_ray_is_started_and_what_is_no_store_is_told(say: Said, tmp_path: Path) -> None:
    code, out, _ = say("doctor", tmp_path / "nowhere")
    assert code == 1
    assert "a private cluster starts: 1 node, " in out
    assert "nowhere is not a feature store" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--images", "photos"], "go together"),
        (["--no-ray", "--ray", "localhost:1"], "choose one"),
        (["--no-ray", "--precisions", "bfloat16"], "name them with --images CORPUS and --backbone NAME"),
        (["--images", "photos", "--no-ray", *NETWORK, "--precisions", "float8"], "no engine here computes in float8"),
    ],
)
def test_wrong_use_is_told(say: Said, words: list[str], message: str) -> None:
    code, _, err = say("doctor", *words)
    assert (code, message in err) == (2, True)


def test_wrong_labels_are_told_before_a_corpus_is_embedded(say: Said, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("file,class\na,b\n")
    code, _, err = say("doctor", "--no-ray", "--images", tmp_path / "no corpus", *NETWORK, "--labels", labels)
    assert (code, "labels.csv must have the columns" in err) == (2, True)
    code, _, err = say("doctor", "--no-ray", "--images", tmp_path, *NETWORK, "--labels", tmp_path / "none.csv")
    assert (code, "no such label file" in err) == (1, True)
