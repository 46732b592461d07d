"""What the report says: the account, examples of rejects, seconds by thread, and what binds."""

from __future__ import annotations

import copy
import json

import pytest

from extractor.bottleneck import find_bottleneck
from extractor.report import MAX_EXAMPLES
from extractor.report_page import render
from extractor.stages import STAGES
from storage.files import to_json
from tests.extractor.report_example import HOSTILE, SECONDS, make_example


def test_the_account_and_what_surrounds_it() -> None:
    report = make_example()
    counts = report["counts"]
    assert counts["listed"] == counts["rows"] + counts["rejected"] + counts["pending"] == 40
    assert (report["started"], report["finished"]) == ("2026-01-01T23:59:44+00:00", "2026-01-02T00:00:00+00:00")
    assert report["versions"] == {"before": 2, "after": 3, "committed": True}
    assert report["sizes"]["bytes_read"] == 4 * 12345
    assert report["settings"]["recipe"]["name"] == "mobilenet_v2"
    assert report["skipped"] == {"hidden": 2}


def test_rejects_have_counts_and_a_few_examples() -> None:
    rejects = make_example()["rejects"]
    assert {reason: told["count"] for reason, told in rejects.items()} == {"corrupt": 4, "not-an-image": 3}
    assert [one["key"] for one in rejects["not-an-image"]["examples"]] == HOSTILE
    assert all(len(told["examples"]) <= MAX_EXAMPLES for told in rejects.values())


def test_each_stage_stands_once_under_its_thread() -> None:
    seconds = make_example()["seconds"]
    found = {name: thread for thread, group in seconds.items() if thread != "total" for name in group}
    assert found.pop("no_unit") == "forward"
    assert found == {name: stage.thread for name, stage in STAGES.items()}
    assert sum(seconds["forward"].values()) == pytest.approx(2 * SECONDS["work"])  # two workers, each accounted for to the end


def test_a_report_is_json_and_rendering_leaves_it_alone() -> None:
    report = make_example()
    before = copy.deepcopy(report)
    render(report)
    assert report == before
    assert json.loads(to_json(report)) == before


@pytest.mark.parametrize(
    ("seconds", "stage", "said"),
    [
        ({"work": 10, "wait": 6.2, "infer": 3, "wait_decoder": 9, "decode": 19, "decode_idle": 1}, "decode",
         "Decoding: the forward pass waited 62% of its time for images; more CPU cores or smaller images would help."),
        ({"work": 10, "wait": 8, "infer": 1, "wait_read": 8, "wait_decoder": 1, "decode": 1, "decode_idle": 19}, "read",
         "Reading: the forward pass waited 80% of its time for images; a faster disk or network"),
        ({"work": 10, "wait": 8, "infer": 1, "wait_claim": 8, "wait_read": 1}, "claim", "Claims: the forward pass waited 80%"),
        ({"work": 10, "wait": 8, "infer": 1, "hash": 8, "wait_read": 1}, "hash", "Hashing: the forward pass waited 80%"),
        ({"work": 10, "wait": 8, "infer": 1, "wait_decoder": 8, "decode": 2, "decode_idle": 8}, "fill", "Starting units: the forward pass"),
        ({"work": 10, "wait": 1, "infer": 9, "wait_decoder": 9, "decode": 5, "decode_idle": 15}, "infer",
         "The forward pass: it was busy 90% of the workers' time, while the decoding threads had nothing to do 75% of theirs"),
        ({"work": 10, "wait": 1, "infer": 1, "write": 1, "publish": 7}, "write", "Writing: it took 80% of the workers' time"),
        ({"work": 10, "infer": 2}, "no_unit", "The end of the run: workers had no unit left to do 80% of their time"),
        ({"work": 10, "wait": 3, "hash": 3}, "", "No image was decoded"),
        ({"work": 0.1, "list": 3}, "", "Workers finished no unit"),
        ({}, "", "Workers finished no unit"),
    ],
)  # fmt: skip
def test_what_binds_is_told_in_words(seconds: dict[str, float], stage: str, said: str) -> None:
    found = find_bottleneck(seconds, workers=1)
    assert found.stage == stage
    assert said in found.words


def test_what_took_longer_than_the_work_is_said_first() -> None:
    seconds = {"list": 1, "start": 20, "calibrate": 135, "compare": 1, "weigh": 60, "prepare": 3, "work": 52, "commit": 3, "infer": 50}
    found = find_bottleneck(seconds, workers=1)
    assert found.stage == "infer"
    assert found.words.startswith(
        "The larger part was calibrating the network, or taking the one that the set has: 49% of the run, and work"
    )
    assert "work on units 19%. Of that work: The forward pass: it was busy 96%" in found.words
    assert "weighing the precision" in find_bottleneck(seconds | {"calibrate": 1}, workers=1).words
    assert find_bottleneck(seconds | {"work": 200}, workers=1).words.startswith("The end of the run")


def test_what_took_longer_is_said_where_no_image_was_decoded_or_no_unit_finished_too() -> None:
    known = find_bottleneck({"engine": 24, "weigh": 6, "work": 8, "wait": 8, "hash": 3}, workers=1)
    assert known.stage == ""
    assert known.words.startswith("The larger part was measuring engines: 63% of the run, and work on units 21%. No image was decoded: ")
    assert find_bottleneck({"list": 3}, workers=1).words == (
        "The larger part was listing the corpus: 100% of the run, and work on units 0%. Workers finished no unit: there was none, or none "
        "could be finished."
    )


def test_time_lost_to_dead_workers_is_not_called_the_end_of_the_run() -> None:
    found = find_bottleneck({"work": 10, "infer": 2}, 1, replaced=5)
    assert (found.stage, found.share) == ("replaced", 0.8)
    assert "5 died, and the workers were without a unit 80%" in found.words


def test_a_gpu_is_not_told_to_get_a_gpu() -> None:
    seconds = {"work": 10, "infer": 9, "wait": 1}
    assert "with a GPU" in find_bottleneck(seconds, 1).words
    assert find_bottleneck(seconds, 1, on_gpu=True).words.endswith("more GPUs would help.")


def test_decoding_that_binds_on_gpus_names_the_helpers() -> None:
    seconds = {"work": 10, "wait": 9, "infer": 1, "wait_decoder": 9, "decode": 10}
    assert find_bottleneck(seconds, 1, on_gpu=True).words.endswith("or --decode-helpers on nodes without GPUs would help.")
    assert "more --decode-helpers" in find_bottleneck(seconds, 1, on_gpu=True, helped=True).words
    assert "helpers" not in find_bottleneck(seconds | {"wait_read": 20}, 1, on_gpu=True).words
