"""The checks of `test_engines`: run as a program with an engine's name under its Keras backend, it prints what came of each as JSON."""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import traceback
import unittest.mock
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from storage.golden import cosines

CLASSES = {"tensorflow": "TensorFlowEngine", "xla": "XlaEngine", "jax": "JaxEngine", "openvino": "OpenVinoEngine"}
BATCH = 4
SIZE, DEPTH = 32, 32
CHECKS: dict[str, Callable[[Any], None]] = {}  # name -> what raises AssertionError; its argument is a Bench
Images = npt.NDArray[np.uint8]


def check(function: Callable[[Any], None]) -> Callable[[Any], None]:
    CHECKS[function.__name__] = function
    return function


def images(n: int, seed: int = 0) -> Images:
    return np.random.default_rng(seed).integers(0, 256, (n, SIZE, SIZE, 3), np.uint8)


def small_network() -> Any:
    """What the networks of the table are made of, in eight layers: XLA compiles it in no time. It ends in 2x2, so that there is pooling."""
    import keras

    keras.utils.set_random_seed(3)
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(16, 4, strides=4, padding="same", use_bias=False)(inputs)
    x = keras.layers.BatchNormalization(name="middle")(x)
    x = keras.layers.ReLU(6.0)(x)
    y = keras.layers.DepthwiseConv2D(3, padding="same")(x)
    x = keras.layers.Add()([x, keras.layers.Activation("gelu")(y)])
    return keras.Model(inputs, keras.layers.Conv2D(DEPTH, 3, strides=4, padding="valid")(x))


class Bench:
    """An engine's class, and one small network built under its backend."""

    def __init__(self, name: str, folder: Path) -> None:
        from extractor import backbones
        from extractor.recipe import Recipe

        self.name = name
        self.engine_class = getattr(importlib.import_module(f"extractor.{name}_engine"), CLASSES[name])
        # OpenVINO shares a batch among two streams.
        self.make: Any = partial(self.engine_class, threads=2) if name == "openvino" else self.engine_class
        self.streams = 2 if name == "openvino" else 1
        small_network().save(folder / "small.keras")
        self.backbone = backbones.build(Recipe(str(folder / "small.keras"), preprocessing="tf"))
        self.engine = self.make(self.backbone, BATCH)

    def under(self, **options: str) -> Any:
        """The same network under other options; only what the engine reads is changed."""
        return replace(self.backbone, recipe=replace(self.backbone.recipe, **options))

    def greedy(self, over: int) -> Any:
        """A network that passes images on, and has no memory for a batch of more than so many."""
        import keras

        name = self.name

        def refuse(x: Images) -> Images:
            raise MemoryError

        class Greedy(keras.layers.Layer):
            def call(self, x: Any) -> Any:
                if not isinstance(x.shape[0], int) or x.shape[0] <= over:
                    return x
                if name == "tensorflow":  # which asks for 16 TiB for ten seconds before it gives up
                    import tensorflow as tf

                    return tf.ensure_shape(tf.numpy_function(refuse, [x], tf.float32), x.shape)
                numbers = keras.ops.arange(1 << 21, dtype="float32") * x[0, 0, 0, 0]
                return x + 0 * keras.ops.sort(numbers[:, None] + numbers)[0, 0]

        inputs = keras.Input((SIZE, SIZE, 3))
        return replace(self.under(preprocessing="none"), model=keras.Model(inputs, Greedy()(inputs)))

    def plain(self, batch: Images, model: Any = None, pooling: str = "avg", preprocessing: str = "tf") -> npt.NDArray[np.float32]:
        """What anyone would write: preprocess, call, pool."""
        import keras

        x = batch.astype(np.float32)
        if preprocessing != "none":
            x = keras.applications.imagenet_utils.preprocess_input(x, mode=preprocessing)
        features = np.asarray(keras.ops.convert_to_numpy((model or self.backbone.model)(x, training=False)), np.float32)
        pool = {"avg": lambda f: f.mean(axis=(1, 2)), "max": lambda f: f.max(axis=(1, 2)), "none": lambda f: f}
        return np.asarray(pool[pooling](features), np.float32)


@check
def poolings_and_their_shapes(bench: Bench) -> None:
    for pooling, shape in {"max": (DEPTH,), "none": (2, 2, DEPTH)}.items():
        engine = bench.make(bench.under(pooling=pooling), BATCH)
        assert engine.shapes == [shape]
        assert cosines(engine(images(BATCH)), bench.plain(images(BATCH), pooling=pooling)).min() >= 0.99999


@check
def preprocessings(bench: Bench) -> None:
    for mode in ("caffe", "none"):
        embedded = bench.make(bench.under(preprocessing=mode), BATCH)(images(BATCH))
        assert cosines(embedded, bench.plain(images(BATCH), preprocessing=mode)).min() >= 0.99999


@check
def batches_of_any_size(bench: Bench) -> None:
    for n in (1, 3, BATCH, BATCH + 1, 3 * BATCH + 2):
        embedded = bench.engine(images(n))
        assert embedded.shape == (n, DEPTH)
        assert embedded.dtype == np.float32
        assert cosines(embedded, bench.plain(images(n))).min() >= 0.99999


@check
def what_are_no_images_of_its_size_is_refused_in_words(bench: Bench) -> None:
    for wrong in (images(2)[:, :-1], images(2).astype(np.float32), images(2)[:0], images(2)[..., :1]):
        with pytest.raises(ValueError, match=rf"expected images as uint8 \[n, {SIZE}, {SIZE}, 3\], one at least; got "):
            bench.engine(wrong)


@check
def neighbours_and_padding_do_not_move_a_row(bench: Bench) -> None:
    together = bench.engine(images(BATCH))
    alone = np.concatenate([bench.engine(images(BATCH)[i : i + 1]) for i in range(BATCH)])
    assert cosines(together, alone).min() >= 0.99999


@check
def nothing_but_the_engine_is_loaded(bench: Bench) -> None:
    needed = ["tensorflow", "xla"] if bench.name == "xla" else [bench.name]
    assert [name for name in CLASSES if f"extractor.{name}_engine" in sys.modules] == needed
    assert ("openvino" in sys.modules) == (bench.name == "openvino")
    assert sys.modules.get("openvino_telemetry") is None


@check
def the_same_batch_gives_the_same_bytes(bench: Bench) -> None:
    assert bench.engine(images(BATCH)).tobytes() == bench.engine(images(BATCH)).tobytes()


@check
def different_images_have_different_embeddings(bench: Bench) -> None:
    black_white = np.stack([np.zeros((SIZE, SIZE, 3), np.uint8), np.full((SIZE, SIZE, 3), 255, np.uint8)])
    first, second = bench.engine(black_white)
    assert cosines(first[None], second[None])[0] < 0.999


@check
def several_cuts_of_one_network(bench: Bench) -> None:
    from extractor.backbones import build_together

    middle = replace(bench.backbone.recipe, layer="middle")
    [[(_, first), (_, second)]] = build_together([bench.backbone.recipe, middle])
    engine = bench.make(first, BATCH, further=[second])
    embedded = engine.embed(images(BATCH + 1))
    assert engine.shapes == [each.shape[1:] for each in embedded]
    for each, backbone in zip(embedded, (first, second), strict=True):
        assert cosines(each, bench.plain(images(BATCH + 1), backbone.model)).min() >= 0.99999


@check
def fewer_bits_move_embeddings_within_the_tolerance(bench: Bench) -> None:
    from extractor.compute_precision import in_precision

    for precision in ("bfloat16",) if bench.name == "openvino" else ("bfloat16", "float16"):
        embedded = bench.make(bench.under(precision=precision), BATCH)(images(2 * BATCH))
        assert embedded.dtype == np.float32
        same = cosines(embedded, bench.plain(images(2 * BATCH), in_precision(bench.backbone.model, precision)))
        assert same.min() >= 0.99, (precision, same)
        assert np.median(same) >= 0.999, (precision, same)
        assert not np.array_equal(embedded, bench.engine(images(2 * BATCH))), precision


@check
def tf32_is_what_a_chip_may_do_when_it_is_asked_for(bench: Bench) -> None:
    """A CPU computes float32 then. TensorFlow's own test has the other half of this."""
    if bench.name == "openvino":
        return
    asked = bench.make(bench.under(precision="tf32"), BATCH)
    assert cosines(asked(images(2 * BATCH)), bench.plain(images(2 * BATCH))).min() >= 0.9999
    if bench.name == "jax":
        assert "HIGHEST" in bench.engine.network.lower(BATCH).as_text()
        assert "HIGHEST" not in asked.network.lower(BATCH).as_text()
    if bench.name == "xla":
        from extractor.xla_engine import XlaEngine

        assert "highest" in compiled_by_xla(XlaEngine(bench.backbone, BATCH))
        assert "highest" not in compiled_by_xla(XlaEngine(bench.under(precision="tf32"), BATCH))


def compiled_by_xla(engine: Any) -> str:
    """As HLO, which tells of each product how exact it must be."""
    import tensorflow as tf

    engine(images(BATCH))
    return str(engine._function.experimental_get_compiler_ir(tf.constant(images(BATCH)))(stage="hlo"))


@check
def normalization_is_folded_into_convolutions(bench: Bench) -> None:
    """As in all engines, else bfloat16 rounds elsewhere. TensorFlow's has tests of its own, OpenVINO does it itself."""
    if bench.name == "jax":
        assert sum(len(weights) for weights in bench.engine.network.weights) == 6  # kernel and bias of three convolutions


@check
def what_jax_does_not_have_on_a_cpu_is_refused_in_words(bench: Bench) -> None:
    """Attention in float16: it multiplies in that, and sums in float32."""
    import keras

    from storage.errors import UsageError

    inputs = keras.Input((SIZE, SIZE, 3))
    tokens = keras.layers.Reshape((16, 8))(keras.layers.Conv2D(8, 8, strides=8)(inputs))
    model = keras.Model(inputs, keras.layers.MultiHeadAttention(2, 4)(tokens, tokens))
    for precision in ("float32", "bfloat16"):
        assert bench.make(replace(bench.under(precision=precision), model=model), BATCH)(images(BATCH)).shape == (BATCH, 8)
    if bench.name == "openvino":
        return
    try:
        bench.make(replace(bench.under(precision="float16"), model=model), BATCH)(images(BATCH))
    except UsageError as error:
        told = str(error)
    else:
        told = ""
    if bench.name != "jax":
        assert not told
    else:
        assert told.startswith(
            "JAX cannot compute this network in float16 here (The precision 'F16_F16_F32' is not supported by dot_general"
        )
        assert told.endswith("use --engine tensorflow, or --precision bfloat16 or float32")


@check
def a_network_with_a_loop(bench: Bench) -> None:
    """OpenVINO has no rule for it, and says so; Keras on JAX asks for TensorFlow, which is hidden here."""
    import keras

    if bench.name not in ("tensorflow", "xla"):
        return

    keras.utils.set_random_seed(4)
    inputs = keras.Input((SIZE, SIZE, 3))
    rows = keras.layers.Reshape((SIZE, 3 * SIZE))(keras.layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, keras.layers.GRU(DEPTH)(rows))
    embedded = bench.make(replace(bench.under(preprocessing="none", pooling="none"), model=model), BATCH)(images(BATCH + 1))
    assert cosines(embedded, bench.plain(images(BATCH + 1), model, "none", "none")).min() >= 0.99999


@check
def memory_that_is_short_halves_the_batch_for_good(bench: Bench) -> None:
    engine = bench.make(bench.greedy(over=2), 8)
    assert np.allclose(engine(images(7)), images(7).mean(axis=(1, 2)), atol=1e-2)
    assert engine.batch_size == 2 * bench.streams
    assert len(engine(images(7))) == 7


@check
def all_streams_have_a_share_of_any_batch(bench: Bench) -> None:
    """Also of half an even one."""
    odd = bench.make(bench.backbone, 2 * BATCH + 1)
    assert odd.batch_size == (2 * BATCH if bench.streams == 2 else 2 * BATCH + 1)
    assert cosines(odd(images(2 * BATCH + 1)), bench.plain(images(2 * BATCH + 1))).min() >= 0.99999
    halved = bench.make(bench.greedy(over=1), 6)
    assert len(halved(images(7))) == 7
    assert halved.batch_size == bench.streams


@check
def memory_that_does_not_suffice_for_one_image_is_an_error(bench: Bench) -> None:
    from extractor.engine import OutOfMemoryError

    try:
        bench.make(bench.greedy(over=0), 2)(images(2))
    except OutOfMemoryError:
        return
    raise AssertionError("expected an OutOfMemoryError")


@check
def an_extraction(bench: Bench) -> None:
    """From files to a version that tells its engine, in the same feature space with each of them."""
    from PIL import Image

    import storage
    from extractor import ExtractOptions, extract

    if sys.modules.get("tensorflow", bench) is None:
        del sys.modules["tensorflow"]  # it decodes for all of them
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        (folder / "corpus").mkdir()
        for i, pixels in enumerate(images(BATCH + 1)):
            Image.fromarray(pixels).save(folder / "corpus" / f"{i}.png")
        recipe = replace(bench.backbone.recipe, dtype="float32")
        result = extract(folder / "corpus", folder / "store/team/set", ExtractOptions(recipe, local=True, engine=bench.name))
        made = storage.open(folder / "store/team/set")
        assert made.manifest.provenance["environment"]["engine"] == result.engine["name"] == bench.name
        assert result.space_id == replace(bench.backbone.space, dtype="float32").id
        assert cosines(made.to_numpy()[1], bench.plain(images(BATCH + 1))).min() >= 0.99999


@check
def an_int8_set_is_calibrated_once(bench: Bench) -> None:
    """The second run, with other images, goes on with the first one's network, and so does who predicts."""
    from PIL import Image

    import storage
    from extractor import ExtractOptions, engine_settling, extract, precision_cost
    from extractor.backbone_source import OWN
    from extractor.embed import embed_images

    if bench.name != "openvino":
        return
    engine_settling.drawn = lambda _: BATCH  # type: ignore[attr-defined]
    precision_cost.affordable, precision_cost.LEAST_BATCHES = lambda *_: 3, 0  # type: ignore[attr-defined]
    precision_cost.SHARE = 1e6  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        (folder / "corpus").mkdir()
        write = [Image.fromarray(pixels).save for pixels in images(2 * BATCH)]
        for i in range(BATCH):
            write[i](folder / "corpus" / f"{i}.png")
        options = ExtractOptions(replace(bench.backbone.recipe, precision="int8", weights=OWN, dtype="float32"), local=True)
        first = extract(folder / "corpus", folder / "store/team/set", options)
        for i in range(BATCH, 2 * BATCH):
            write[i](folder / "corpus" / f"{i}.png")
        second = extract(folder / "corpus", folder / "store/team/set", options)
        assert (second.space_id, second.embedded, second.engine["why"]) == (first.space_id, BATCH, "calibrated as this set was")
        assert first.precision["images"] == 3
        assert 0.98 <= first.precision["cosine_least"] <= first.precision["cosine_median"] <= 1
        made = storage.open(folder / "store/team/set")
        embeddings = made.to_numpy()[1]
        assert cosines(embeddings, bench.plain(images(2 * BATCH))).min() >= 0.98
        assert not np.array_equal(embeddings, bench.engine(images(2 * BATCH)))
        again = embed_images([str(folder / "corpus" / "0.png")], options.recipe, made.space, "a head", 2, made.golden().quantized)
        assert cosines(next(again).embeddings, embeddings[:1]).min() >= 0.9999


@check
def calibration_keeps_the_limits_of_the_run(bench: Bench) -> None:
    from PIL import Image

    from extractor import ExtractOptions, extract
    from extractor.backbone_source import OWN
    from extractor.limits import Limits
    from storage.errors import RunError

    if bench.name != "openvino":
        return
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        (folder / "corpus").mkdir()
        for i, pixels in enumerate(images(BATCH)):
            Image.fromarray(pixels).resize((SIZE * (2 if i else 1), SIZE)).save(folder / "corpus" / f"{i}.png")
        options = ExtractOptions(replace(bench.backbone.recipe, precision="int8", weights=OWN, dtype="float32"), local=True)
        told = ""
        try:
            extract(folder / "corpus", folder / "store/team/none", replace(options, limits=Limits(pixels=100)))
        except RunError as error:
            told = str(error)
        assert f"none of {BATCH} could be decoded within" in told
        assert "100 pixels (--max-pixels)" in told
        result = extract(folder / "corpus", folder / "store/team/one", replace(options, limits=Limits(pixels=SIZE * SIZE)))
        assert (result.rows, result.rejected, result.engine["why"]) == (1, BATCH - 1, "calibrated on 1 images")


@check
def an_int8_run_that_died_is_continued_with_its_network(bench: Bench) -> None:
    """Before the first version, too, and though the corpus has changed, by whose images it would be calibrated now."""
    from PIL import Image

    import storage
    from extractor import ExtractOptions, Progress, extract, plan
    from extractor.backbone_source import OWN

    if bench.name != "openvino":
        return

    def interrupt(progress: Progress) -> None:
        if progress.done:
            raise KeyboardInterrupt

    with tempfile.TemporaryDirectory() as text, unittest.mock.patch.multiple(plan, MIN_UNIT_ITEMS=2, UNITS_AIMED_AT=10**6):
        folder = Path(text)
        (folder / "corpus").mkdir()
        write = [Image.fromarray(pixels).save for pixels in images(2 * BATCH + 1)]
        for i in range(2 * BATCH):
            write[i](folder / "corpus" / f"{i}.png")
        options = ExtractOptions(replace(bench.backbone.recipe, precision="int8", weights=OWN, dtype="float32"), local=True)
        with suppress(KeyboardInterrupt):
            extract(folder / "corpus", folder / "store/team/set", options, interrupt)
        [standing] = (folder / "store/team/set/golden").iterdir()
        write[-1](folder / "corpus" / "new.png")
        result = extract(folder / "corpus", folder / "store/team/set", options)
        assert (result.rows, result.engine["why"]) == (2 * BATCH + 1, "calibrated as this set was")
        assert result.read < result.rows
        assert storage.open(folder / "store/team/set").manifest.golden.path == f"golden/{standing.name}"


def main() -> None:
    name = sys.argv[1]
    if name == "jax":
        sys.modules["tensorflow"] = None  # type: ignore[assignment] - an import of it fails, as where it is not installed
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(name, Path(folder))
        print(json.dumps({check: outcome(function, bench) for check, function in CHECKS.items()}))


def outcome(function: Callable[[Bench], None], bench: Bench) -> str:
    try:
        function(bench)
    except Exception:  # noqa: BLE001 - whatever it is, it is told with the check's name
        return traceback.format_exc()
    return ""


if __name__ == "__main__":
    main()
