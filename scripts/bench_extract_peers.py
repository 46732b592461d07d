"""What others would write, for `bench_extract`: Keras' plain recipe, Ray Data, and PyTorch with the same architecture of torchvision.

The work begins when networks are built and have been called once, and ends when all embeddings are on the disk. Each is a process of its
own and imports only what it is about; none of these libraries but Permafrost's own is needed elsewhere.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from scripts.bench_extract_job import BATCH, Task, given, now, tell


def predict(task: Task) -> None:
    """`base_model.predict` over `image_dataset_from_directory`."""
    import keras
    import numpy as np

    photos = keras.utils.image_dataset_from_directory(
        task.photos, labels=None, image_size=(task.size, task.size), batch_size=BATCH, shuffle=False, verbose=False
    )
    model, preprocess = _keras_model(task)
    photos = photos.map(preprocess).prefetch(2)
    model.predict(photos.take(1), verbose=0)
    began = now()
    features = model.predict(photos, verbose=0)
    np.save(Path(task.out) / "features.npy", features)
    tell(began, now(), len(features))


def ray_data(task: Task) -> None:
    """`read_images`, `map_batches` with actors that hold the plain Keras model, `write_parquet`. task.more: number of actors."""
    import numpy as np
    import pyarrow.parquet as pq
    import ray

    actors = int(task.more[0])
    threads = max(1, task.threads // actors)

    class Embed:
        def __init__(self) -> None:
            import tensorflow as tf

            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(max(2, threads))
            self._model, self._preprocess = _keras_model(task)
            self._model.predict_on_batch(np.zeros((BATCH, task.size, task.size, 3), np.float32))
            (Path(task.out) / f"ready-{os.getpid()}").write_text(str(now()))

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            pixels = self._preprocess(batch["image"].astype(np.float32))
            return {"path": batch["path"], "embedding": self._model.predict_on_batch(pixels)}

    ray.init(address="local", num_cpus=task.threads, include_dashboard=False, log_to_driver=False, logging_level="error")
    # Ray starts a process at its first task, and reading would wait for that.
    ray.get([ray.remote(_import_ray_data).remote() for _ in range(task.threads)])
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.wait_for_min_actors_s = 600  # no image is read before the actors are ready: so the work has a beginning
    photos = ray.data.read_images(task.photos, size=(task.size, task.size), mode="RGB", include_paths=True)
    pool = ray.data.ActorPoolStrategy(size=actors)
    # Half of the CPUs for actors: with all of them nothing would be left for reading, and nothing would move.
    photos.map_batches(Embed, batch_size=BATCH, compute=pool, num_cpus=task.threads / 2 / actors).write_parquet(
        str(Path(task.out) / "features")
    )
    ended = now()
    began = max(float(path.read_text()) for path in Path(task.out).glob("ready-*"))
    rows = sum(pq.read_metadata(path).num_rows for path in Path(task.out, "features").glob("*.parquet"))
    tell(began, ended, rows)


def pytorch(task: Task) -> None:
    """A DataLoader whose workers decode, the network in channels last under bfloat16 autocast, compiled. task.more: workers."""
    import numpy as np
    import torch
    import torchvision

    torch.set_num_threads(task.threads)
    torch.manual_seed(0)
    model = getattr(torchvision.models, task.backbone)(weights=None)
    setattr(model, "fc" if hasattr(model, "fc") else "classifier", torch.nn.Identity())
    model = model.eval().to(memory_format=torch.channels_last)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) * 255 for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    embed = torch.compile(lambda images: model((images.permute(0, 3, 1, 2).float() - mean) / std))
    loader = torch.utils.data.DataLoader(_Photos(task), batch_size=BATCH, num_workers=int(task.more[0]))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        embed(torch.zeros((BATCH, task.size, task.size, 3), dtype=torch.uint8))
        began = now()
        features = torch.cat([embed(images).float() for images in loader]).numpy()
    np.save(Path(task.out) / "features.npy", features)
    tell(began, now(), len(features), width=features.shape[1])


def _import_ray_data() -> None:
    import ray.data  # noqa: F401

    time.sleep(1)  # so that no process gets two of these


class _Photos:
    """What a DataLoader asks for: uint8 [size, size, 3]."""

    def __init__(self, task: Task) -> None:
        self._files, self._size = sorted(Path(task.photos).iterdir()), (task.size, task.size)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, number: int) -> Any:
        import numpy as np
        from PIL import Image

        with Image.open(self._files[number]) as image:
            return np.asarray(image.convert("RGB").resize(self._size, Image.Resampling.BILINEAR)).copy()


def _keras_model(task: Task) -> tuple[Any, Any]:
    """The application as its documentation builds it, and its preprocessing."""
    import keras

    from extractor.backbone_table import BACKBONES

    entry = BACKBONES[task.backbone]
    keras.utils.set_random_seed(0)
    shape = (task.size, task.size, 3)
    model = getattr(keras.applications, entry.builder)(
        weights=None if task.weights.startswith("random:") else task.weights,
        include_top=False,
        pooling="avg",
        input_shape=shape,
        **dict(task.recipe.args),
    )
    if entry.preprocessing == "none":
        return model, lambda pixels: pixels
    return model, lambda pixels: keras.applications.imagenet_utils.preprocess_input(pixels, mode=entry.preprocessing)


if __name__ == "__main__":
    way, task = given()
    {"predict": predict, "ray_data": ray_data, "pytorch": pytorch}[way](task)
