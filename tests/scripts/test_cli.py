"""The command line: wrong use in words, exit codes, and one JSON document."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import pyarrow.parquet as pq
import pytest

import storage
from scripts.cli import build_parser
from tests.conftest import draw
from tests.scripts.conftest import SMALL_START, Said

ROOT = Path(__file__).resolve().parents[2]
BACKBONE = [*SMALL_START, "--dtype", "float32", "--local"]


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("extract",),
        ("train",),
        ("evaluate",),
        ("predict",),
        ("runs",),
        ("runs", "status"),
        ("runs", "cancel"),
        ("store",),
        ("store", "ls"),
        ("store", "show"),
        ("store", "versions"),
        ("store", "rejects"),
        ("store", "export"),
        ("store", "import"),
        ("store", "card"),
        ("store", "compact"),
        ("store", "remove"),
        ("store", "relabel"),
    ],
)
def test_every_command_has_help_with_an_example(say: Said, command: tuple[str, ...]) -> None:
    code, out, _ = say(*command, "--help")
    assert code == 0
    assert "example: permafrost" in out


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_help_tells_the_defaults_of_hybrid_heads(say: Said, command: str) -> None:
    told = " ".join(say(command, "--help")[1].split())
    assert "flatten (default; hybrid avg)" in told
    assert any(words in told for words in ("16 MiB; hybrid 32", "16 MiB; hybrid and fine-tuning 32"))


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "No space left on device (features): no room is left there; run the same command again when there is room"),
        (errno.EACCES, "Permission denied (features): this user may not do that there"),
        (errno.EROFS, "Read-only file system (features): nothing can be written there"),
        (errno.ENOTDIR, "Not a directory (features)"),
    ],
)
def test_what_the_system_refuses_is_told_with_the_folder_and_the_way_out(
    say: Said, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("storage.disk.os.fsync", refused)
    code, out, err = say("store", "init", "features", "--json")
    assert (code, f"permafrost: {said}" in err) == (1, True), err
    assert said in json.loads(out)["error"]


@pytest.mark.parametrize(
    ("words", "goes_on"),
    [
        (["sweep", "s/t/n", "--out", "h"], True),
        (["train", "s/t/n", "--out", "h", "--strategy", "fine-tuning"], True),
        (["train", "s/t/n", "--out", "h"], False),
        (["train", "s/t/n", "--out", "h", "--strategy", "hybrid"], False),
        (["advise", "s/t/n"], False),
        (["store", "export", "s/t/n", "f.npz"], False),
    ],
)
def test_only_what_keeps_something_says_that_it_goes_on(
    say: Said, monkeypatch: pytest.MonkeyPatch, words: list[str], goes_on: bool
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("storage.open", stopped)
    left = "what was finished is kept, run the same command again to go on" if goes_on else "nothing is kept to go on from"
    code, out, err = say(*words, "--json")
    assert (code, json.loads(out)["error"]) == (130, f"interrupted; {left}"), err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interruption_that_a_library_made_another_error_of_is_one(
    say: Said, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """A hybrid run that `timeout` ended said "'NoneType' object is not iterable": of a callback that was broken off."""

    def stopped(*_: object) -> None:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise TypeError("'NoneType' object is not iterable") from None

    monkeypatch.setattr("storage.open", stopped)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which is ignored where the tests run in the background
    try:
        code, _, err = say("advise", "s/t/n")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (code, err) == (130, "permafrost: interrupted; nothing is kept to go on from\n")


@pytest.mark.parametrize("words", [["copy", "a/b/c", "d/b/c"], ["repair", "a/b/c"], ["takedown", "a"], ["rm", "a/b/c"], ["gc", "a/b/c"]])
def test_actions_of_the_store_that_go_on_are_known_by_their_default(words: list[str]) -> None:
    assert build_parser().parse_args(["store", *words]).goes_on is True


def test_notes_of_the_store_look_like_all_others(say: Said, capsys: pytest.CaptureFixture[str]) -> None:
    say("store", "init", "features")
    logging.getLogger("storage.hints").warning("the hints could not be written: %s", "no room")
    assert capsys.readouterr().err == "permafrost: note: the hints could not be written: no room\n"


def test_every_leaf_command_takes_json() -> None:
    parser = build_parser()
    for words in (
        ["extract", "a", "b/c/d", "--backbone", "resnet50"],
        ["train", "a/b/c", "--out", "h"],
        ["evaluate", "h", "a/b/c"],
        ["predict", "h", "i"],
        ["runs", "status", "r"],
        ["runs", "cancel", "r/t/s", "run"],
        ["store", "ls", "r"],
        ["store", "rejects", "a/b/c"],
        ["store", "export", "a/b/c", "f.h5"],
        ["store", "import", "f.h5", "a/b/c"],
        ["store", "card", "a/b/c"],
        ["store", "compact", "a/b/c"],
        ["store", "remove", "a/b/c"],
        ["store", "relabel", "a/b/c", "f.csv"],
    ):
        assert parser.parse_args([*words, "--json"]).json is True


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["extract", "nowhere", "s/t/n", *BACKBONE], 1, "no such folder, list or container: nowhere"),
        (["extract", "empty", "s/t/n", *BACKBONE], 2, "no images in empty"),
        (["extract", "a.txt", "s/t/n", *BACKBONE], 2, "a.txt is neither a folder nor a list"),
        (["extract", "photos", "s/t/n", "--backbone", "resnet51"], 2, "unknown backbone 'resnet51': expected a .keras model file"),
        (["extract", "photos", "onlyname", *BACKBONE], 2, "expected ROOT/TEAM/SET"),
        (["extract", "photos", "s/../n", *BACKBONE], 2, "team '..' is not a usable name"),
        (["extract", "photos", "s/heads/n", *BACKBONE], 2, "team 'heads' is reserved"),
        (["extract", "photos", "ftp://bucket/t/n", *BACKBONE], 2, "can be no store: expected a folder, or a bucket"),
        (["extract", "photos", "s/t/n", "--backbone", "resnet50", "--weights", "no.h5"], 1, "--weights no.h5: no such file"),
        (["extract", "photos", "s/t/n", "--backbone", "resnet50", "--weights", "random:x"], 2, "expected random:SEED"),
        (["extract", "photos", "s/t/n", *BACKBONE, "--workers", "0"], 2, "--workers must be 1 to 4096"),
        (["extract", "photos", "s/t/n", *BACKBONE, "--input-size", "7"], 2, "--input-size must be 32 to 2048"),
        (["extract", "photos", "s/t/n", *BACKBONE, "--max-rejects", "200%"], 2, "--max-rejects: expected a share from 0% to 100%"),
        (["extract", "photos", "s/t/n", *BACKBONE, "--max-rejects", "some"], 2, "expected a share from 0% to 100%, such as 1% or 0.01"),
        (["extract", "photos", "s/t/n", *BACKBONE, "--unit-deadline", "0"], 2, "--unit-deadline must be above 0 seconds, got 0"),
        (["extract", "photos", "s/t/n", *BACKBONE, "--grace", "-1"], 2, "--grace must be 0 to 86400 seconds, got -1"),
        (["extract", "photos", "s/t/n", *BACKBONE, "--corpus-id", "a/b"], 2, "--corpus-id 'a/b' is not a usable name"),
        (["extract", "photos", "s/t/n", *BACKBONE, "--max-pixels", "0"], 2, "--max-pixels must be 1 to 89478485, got 0"),
        (["extract", "photos", "s/t/n", *BACKBONE, "--max-bytes", "1.5"], 2, "invalid int value"),
        (["extract", "photos", "s/t/n", *BACKBONE, "--retry-rejects", "bad"], 2, "--retry-rejects bad: expected reasons"),
        (["extract", "photos", "s/t/n", *BACKBONE, "--ray", "auto"], 2, "not allowed with argument"),
        (["extract", "photos", "s/t/n", *BACKBONE, "--views", "flip,mirror"], 2, "--views: expected flip, crop or flip-crop"),
        (["extract", "photos", "s/t/n", *BACKBONE, "--views", ""], 2, "got ''"),
        (["extract", "photos", "s/t/n", *BACKBONE, "--views", "flip", "--view-seed", "1"], 2, "--views names none: leave it out"),
        (["extract", "photos", "s/t/n", *BACKBONE, "--also", "s/t/m,layers=x"], 2, "'layers=x' should be NAME=VALUE with one of layer,"),
        (["extract", "photos", "s/t/n", *BACKBONE, "--also", "s/t/m,input-size=big"], 2, "input-size should be a number, got 'big'"),
        (["extract", "photos", "s/t/n", *BACKBONE, "--also", "s/t/n,pooling=max"], 2, "s/t/n is named twice"),
        (["extract", "photos", "s/t/n", *BACKBONE, "--also", "m,pooling=max"], 2, "expected ROOT/TEAM/SET"),
        (["extract", "photos", "s/t/n", *BACKBONE, "--also", "s/t/m,pooling=mean"], 2, "--pooling must be one of avg, max, none"),
        (["train", "s/t/n", "--out", "h", "--views", "all"], 2, "invalid choice: 'all'"),
        (["train", "s/t/n", "--out", "h"], 1, "s is not a feature store"),
        (["store", "ls", "nowhere"], 1, "nowhere is not a feature store"),
        (["store", "show", "s/t/n@"], 2, "expected a version number or a tag after '@'"),
        (["store", "rejects", "s/t/n"], 1, "s is not a feature store"),
        (["store", "rejects", "s/t/n", "--out", "r.xlsx"], 2, "--out r.xlsx must end in .csv or .parquet; got .xlsx"),
        (["runs", "status", "nowhere"], 1, "nowhere is not a feature store"),
        (["runs", "status", "s/t/n"], 1, "got s/t/n: neither it nor s has a permafrost.json"),
        (["runs", "status", "s/t/n@3"], 1, "got s/t/n@3: neither it nor s has a permafrost.json"),
        (["runs", "cancel", "onlyname", "r"], 2, "expected ROOT/TEAM/SET"),
        (["runs", "cancel", "s/t/n@3", "r"], 2, "leave out '@3'"),
        (["predict", "nohead", "photos/a.png"], 1, "no head at nohead"),
        (["predict", "nohead", "gone.png"], 1, "no such image: gone.png"),
        (["predict", "nohead", "photos/a.png", "--out", "p.xlsx"], 2, "--out p.xlsx must end in .csv or .parquet; got .xlsx"),
        (["predict", "nohead", "photos/a.png", "--all-probabilities"], 2, "--all-probabilities is about the columns of --out"),
        (["evaluate", "h", "s/t/n"], 1, "s is not a feature store"),
        (["train", "s/t/n", "--out", "h", "--hidden", "a,b"], 2, "expected sizes such as 128 or 512,128"),
        (["retrain"], 2, "invalid choice"),
    ],
)  # fmt: skip
def test_wrong_use_is_told_in_words(say: Said, tmp_path: Path, words: list[str], code: int, said: str) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(draw(1))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "readme.txt").write_text("no image")
    (tmp_path / "a.txt").write_text("text")
    received, _, err = say(*words)
    assert said in err
    assert received == code


@pytest.mark.slow
def test_weights_of_another_architecture_are_told_in_words(say: Said, make_corpus: Callable[..., Path], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.attrs["layer_names"] = [b"dense"]
        group = file.create_group("dense")
        group.attrs["weight_names"] = [b"kernel"]
        group.create_dataset("kernel", data=[[1.0, 2.0]])
    words = ["extract", make_corpus(1), "s/t/n", "--backbone", "mobilenet_v2", "--input-size", "32", "--local", "--weights", "other.h5"]
    code, _, err = say(*words)
    assert code == 2
    assert "do not fit mobilenet_v2" in err
    assert "104 layers with weights, the file 1" in err


def test_failures_are_one_json_document_too(say: Said) -> None:
    code, out, err = say("store", "ls", "nowhere", "--json")
    assert code == 1
    assert json.loads(out)["exit_code"] == 1
    assert json.loads(out)["error"] in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["store", "ls", "features", "--bogus"], "permafrost: unrecognized arguments: --bogus"),
        (["store", "ls"], "permafrost: store ls: the following arguments are required: ROOT"),
        (["store"], "permafrost: store: the following arguments are required: ACTION"),
        (["store", "gc", "a/b/c", "--grace"], "permafrost: store gc: argument --grace: expected one argument"),
        (["sweep", "a/b/c", "--out", "x", "--c", ","], "permafrost: sweep: argument --c: expected values such as"),
    ],
)
def test_words_that_do_not_parse_are_one_json_document_too(say: Said, words: list[str], said: str) -> None:
    code, out, err = say(*words, "--json")
    assert (code, said in err, "usage: permafrost" in err, err.count("\n")) == (2, True, True, 2), err
    told = json.loads(out)
    assert (told["exit_code"], err.endswith(f"\npermafrost: {told['error']}\n")) == (2, True), err
    assert say(*words)[:2] == (2, "")


@pytest.mark.parametrize(
    "words",
    [
        *(["train", "a/b/c", "--out", "x", option, ""] for option in ("--labels", "--group-by", "--out", "--classes", "--map", "--from")),
        *(["sweep", "a/b/c", "--out", "x", option, ""] for option in ("--labels", "--group-by", "--metric", "--head")),
        *(["evaluate", "x", "a/b/c", option, ""] for option in ("--split", "--slice-by", "--against", "--labels", "--images")),
        ["predict", "x", "a.jpg", ""],
    ],
)
def test_an_empty_text_is_no_value(say: Said, words: list[str]) -> None:
    code, _, err = say(*words)
    assert (code, "expected a value, got ''" in err) == (2, True), err


@pytest.mark.parametrize(
    "words",
    [
        ["train", "a/b/c", "--out", "x", "--report", "s3://a/b.html"],
        ["sweep", "a/b/c", "--out", "x", "--state", "s3://a/b"],
        ["predict", "x", "y", "--out", "s3://a/b.csv"],
        ["export", "x", "--to", "keras", "--out", "file:///a"],
    ],
)
def test_what_is_written_here_is_no_address(say: Said, words: list[str], tmp_path: Path) -> None:
    code, _, err = say(*words)
    assert (code, "expected a path on this machine" in err, list(tmp_path.iterdir())) == (2, True, [])


@pytest.mark.slow
def test_the_whole_line_by_command(say: Said, make_corpus: Callable[..., Path], tmp_path: Path) -> None:
    corpus = make_corpus(60)
    code, out, err = say("extract", corpus, "features/me/photos", *BACKBONE, "--owner", "team insects", "--json")
    extracted = json.loads(out)
    assert code == 0
    assert "embedding: 60 of 60" in err
    counts = ["listed", "read", "embedded", "reused", "rows", "rejected", "pending", "shards", "bytes"]
    fields = [*counts, "seconds", "images_per_second", "version", "space_id"]
    assert all(name in extracted for name in fields)
    assert (extracted["listed"], extracted["rows"]) == (60, 60)

    for how in ([], ["--rehash"]):  # nothing to embed, and so no rate by trying
        code, out, _ = say("extract", corpus, "features/me/photos", *BACKBONE, "--dry-run", *how)
        assert (code, "would embed" in out, "at most 0 images" in out) == (0, True, True)

    code, out, _ = say("train", "features/me/photos", "--out", "heads/photos", "--max-epochs", 5, "--json")
    trained = json.loads(out)
    assert code == 0
    assert trained["classes"] == ["ant", "bee"]
    assert {"accuracy", "macro_f1", "per_class", "confusion"} <= trained["metrics"]["test"].keys()
    assert trained["rows"] == sum(trained["rows_by_split"].values()) == 60
    assert trained["head"] == "heads/photos"

    code, out, _ = say("runs", "status", "features", "--json")
    [finished] = json.loads(out)["runs"]
    assert (finished["set"], finished["run"], finished["state"]) == ("me/photos", extracted["run"], "finished")
    code, out, _ = say("runs", "status", "features/me/photos")
    assert "version 1: 60 rows + 0 rejected + 0 pending" in out
    code, _, err = say("runs", "cancel", "features/me/photos", extracted["run"])
    assert code == 1
    assert "is finished: there is nothing to stop" in err

    (tmp_path / "broken.jpg").write_bytes(b"no image")
    (tmp_path / "more.csv").write_text("path,key\nbroken.jpg,broken\ngone.jpg,gone\n")
    code, out, err = say("predict", "heads/photos", corpus / "ant", "more.csv", "--json")
    predicted = json.loads(out)
    assert code == 3
    assert len(predicted["predictions"]) == 40
    assert [(reject["image"], reject["reason"]) for reject in predicted["rejects"]] == [("gone", "missing"), ("broken", "not-an-image")]
    assert all(abs(sum(p["probabilities"].values()) - 1) < 1e-5 for p in predicted["predictions"])

    code, _, err = say("predict", "heads/photos", "broken.jpg", "--weights", "random:2")
    assert code == 1
    assert "they differ in weights:" in err

    code, out, _ = say("evaluate", "heads/photos", "features/me/photos", "--json")
    evaluated = json.loads(out)
    assert (code, evaluated["metrics"]["rows"], evaluated["unknown_classes"]) == (0, 60, {})
    code, out, _ = say("evaluate", "heads/photos", "features/me/photos")
    assert "all, confusion matrix" in out

    code, out, err = say("predict", "heads/photos", "features/me/photos", "--json")
    of_set = {p["key"]: p["probabilities"] for p in json.loads(out)["predictions"]}
    assert code == 0
    assert "predicting: 60 of 60" in err
    of_images = {Path(p["image"]).relative_to(corpus).as_posix(): p["probabilities"] for p in predicted["predictions"]}
    assert len(of_set) == 60
    for key, probabilities in of_images.items():
        assert probabilities == pytest.approx(of_set[key], abs=1e-4)
    code, out, _ = say("predict", "heads/photos", "features/me/photos", "--out", "p.parquet", "--json")
    assert (code, json.loads(out)["rows"]) == (0, 60)
    assert pq.read_table("p.parquet").schema.names == ["corpus", "key", "class", "probability"]
    code, out, _ = say("predict", "heads/photos", "features/me/photos")
    assert "corpus" in out
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scripts.predict.MAX_TABLE_ROWS", 5)
        code, out, _ = say("predict", "heads/photos", "features/me/photos")
    assert "... and 55 more; --out FILE.csv or FILE.parquet writes all 60" in out
    code, _, err = say("predict", "heads/photos", "features/me/photos", corpus)
    assert code == 2
    assert "features/me/photos is a feature set: predict one set, or images" in err
    code, _, err = say("predict", "heads/photos", "features/me/photos", "--weights", "random:2")
    assert code == 2
    assert "--weights and --backbone are for images" in err

    (tmp_path / "labels.csv").write_text("key,label\nnothing.jpg,ant\nother.jpg,bee\n")
    code, _, err = say("train", "features/me/photos", "--labels", "labels.csv", "--out", "heads/x")
    assert code == 2
    assert "none of the 2 labels in labels.csv fits any of the 60 items: the items have keys like 'ant/0001.jpg'" in err
    assert not (tmp_path / "heads" / "x").exists()

    code, _, err = say("train", "features/me/photos", "--out", corpus)
    assert code == 1
    assert "exists and is not a head folder" in err

    code, out, _ = say("store", "ls", "features", "--json")
    assert [(s["name"], s["version"], s["rows"]) for s in json.loads(out)["sets"]] == [("me/photos", 1, 60)]
    code, out, _ = say("store", "versions", "features/me/photos", "--json")
    assert [v["version"] for v in json.loads(out)["versions"]] == [1]
    for words in (("store", "ls", "features"), ("store", "versions", "features/me/photos"), ("store", "show", "features/me/photos")):
        code, out, _ = say(*words)
        assert code == 0
        assert "60" in out
    assert "owner          team insects" in out

    code, _, err = say("extract", corpus, "features/me/photos", *BACKBONE, "--weights", "random:3")
    assert code == 1
    assert "they differ in weights:" in err

    (corpus / "ant" / "broken.jpg").write_bytes(b"no image")
    code, out, _ = say("extract", corpus, "features/me/photos", *BACKBONE)
    assert code == 3
    assert "61 listed = 60 rows + 1 rejected + 0 pending" in out
    code, _, _ = say("extract", corpus, "features/me/photos", *BACKBONE, "--max-rejects", "5%", "--dry-run")
    assert code == 0


@pytest.mark.slow
def test_stdout_that_is_closed_early_is_no_error() -> None:
    command = f"{sys.executable} -m scripts.cli store --help | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, check=False)
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_thread_that_still_works_neither_aborts_the_end_nor_holds_it_up() -> None:
    """TensorFlow in such a thread does: 1 of 5 interrupted runs with --local ended with 134 for 130."""
    code = "import atexit, threading, time, scripts.cli as cli; cli.main = lambda: 130; atexit.register(print, 'at exit')\n"
    worker = "threading.Thread(target=time.sleep, args=(60,), name=cli.WORKER_THREAD, daemon=True).start()\n"
    reader = "threading.Thread(target=time.sleep, args=(60,)).start()\n"
    for with_thread, said in ((worker, ""), (reader, "at exit\n"), ("", "at exit\n")):
        words = [sys.executable, "-c", f"{code}{with_thread}cli.run()"]
        done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False, timeout=30)
        assert (done.returncode, done.stdout, done.stderr) == (130, said, "")


@pytest.mark.slow
def test_a_failing_download_leaves_stdout_to_json(make_corpus: Callable[..., Path], tmp_path: Path) -> None:
    """Runs where no download is possible, whether or not this machine has a network: the proxy leads nowhere, the cache is empty."""
    words = ["extract", str(make_corpus(1)), f"{tmp_path}/s/t/n", "--backbone", "mobilenet_v2", "--local", "--json"]
    nowhere = {**os.environ, "https_proxy": "http://127.0.0.1:9", "KERAS_HOME": str(tmp_path / "keras")}
    done = subprocess.run([sys.executable, "-m", "scripts.cli", *words], capture_output=True, text=True, cwd=ROOT, env=nowhere, check=False)
    assert done.returncode == 1
    assert "could not be downloaded" in json.loads(done.stdout)["error"]
    assert "--weights FILE" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_sigterm_ends_a_run_in_words_and_leaves_no_half_file(make_corpus: Callable[..., Path], tmp_path: Path) -> None:
    words = ["extract", str(make_corpus(400)), f"{tmp_path}/s/t/n", *BACKBONE]
    process = subprocess.Popen([sys.executable, "-m", "scripts.cli", *words], stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stderr is not None
    assert process.stderr.readline() == "embedding: listing the corpus, then starting workers\n"
    process.terminate()
    assert process.stderr.read() == "permafrost: interrupted; what was finished is kept, run the same command again to go on\n"
    assert process.wait(60) == 130
    assert list(tmp_path.rglob("*.partial")) == []


@pytest.mark.slow
def test_an_interruption_while_the_program_ends_shows_no_traceback() -> None:
    """As where it waits for the calls of a stream that was left."""
    code = "import atexit, signal, sys, time, storage, scripts.cli as cli\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "atexit.register(lambda: (print('leaving', flush=True), time.sleep(60)))\n"
    code += "def stopped(*_): raise KeyboardInterrupt\nstorage.open, sys.argv = stopped, ['permafrost', 'advise', 's/t/n']\ncli.run()"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == "leaving\n"
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=60)[1]
    assert (process.returncode, told) == (-signal.SIGINT, "permafrost: interrupted; nothing is kept to go on from\n")


@pytest.mark.slow
def test_a_read_that_hangs_ends_a_local_run_in_words(make_corpus: Callable[..., Path], tmp_path: Path) -> None:
    """The file is a pipe by the time it is read, which nobody writes to: what a network folder that is gone looks like."""
    code = "import os, sys, extractor.run as run; from scripts.cli import main; listed = run.list_corpus\n"
    code += "def swap(source, *rest):\n found = listed(source, *rest); path = next(source.rglob('*.png')); path.unlink(); os.mkfifo(path)\n"
    code += " return found\nfrom pathlib import Path; run.list_corpus = lambda source, *rest: swap(Path(source), *rest)\n"
    code += "sys.exit(main(sys.argv[1:]))"
    words = ["extract", str(make_corpus(3)), f"{tmp_path}/s/t/n", *BACKBONE, "--unit-deadline", "0.5", "--json"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT, check=False, timeout=120)
    assert done.returncode == 1
    assert "unit 000000 has not ended within 0.5 s" in json.loads(done.stdout)["error"]


@pytest.mark.slow
@pytest.mark.full
def test_other_settings_of_keras_change_nothing(make_corpus: Callable[..., Path], tmp_path: Path) -> None:
    """~/.keras/keras.json and KERAS_BACKEND belong to the user's other work."""
    (tmp_path / "keras").mkdir()
    settings = {"floatx": "float16", "epsilon": 0.1, "backend": "jax", "image_data_format": "channels_first"}
    (tmp_path / "keras" / "keras.json").write_text(json.dumps(settings))
    corpus, found = make_corpus(4), []
    for name, extra in {"plain": {}, "odd": {"KERAS_HOME": str(tmp_path / "keras"), "KERAS_BACKEND": "jax"}}.items():
        command = [sys.executable, "-m", "scripts.cli", "extract", str(corpus), f"{tmp_path}/{name}/t/n", *BACKBONE, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **extra}, check=True)
        embeddings = storage.open(f"{tmp_path}/{name}/t/n").to_numpy()[1]
        found.append((json.loads(done.stdout)["space_id"], embeddings.tobytes()))
    assert found[0] == found[1]
