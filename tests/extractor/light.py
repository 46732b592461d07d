"""A Ray executor whose workers have no network: real actors on real nodes, ready in a second, that answer units with receipts."""

from __future__ import annotations

from typing import Any

from extractor.ray_executor import RayExecutor, _Actor
from extractor.recipe import Recipe

RECIPE = Recipe("mobilenet_v2", "random:1", input_size=32, dtype="float32")


class LightRayExecutor(RayExecutor):
    """unit_seconds: how long a unit takes. refusing: workers on nodes with so many GPUs fail their check."""

    def __init__(self, *args: Any, unit_seconds: float = 0.05, refusing: float = 0.0, **options: Any) -> None:
        super().__init__((RECIPE,), *args, **options)
        self.actor_class = _light_actor(unit_seconds, refusing)


def _light_actor(unit_seconds: float, refusing: float) -> type:
    from extractor.engine_choice import EngineChoice
    from extractor.job import WorkerInfo
    from extractor.receipt import RECEIPT_FIELDS, Receipt
    from storage.errors import DriftError
    from storage.space import Space

    class Light(_Actor):  # local, so that Ray sends it by value: an actor cannot import the tests
        def build(self, versions: Any, recipes: Any, engine: Any) -> Any:
            import os

            import ray

            self._where = f"{ray.get_runtime_context().get_node_id()} GPU {os.environ.get('CUDA_VISIBLE_DEVICES')} {self._threads}"
            return self.use(engine)

        def use(self, engine: Any) -> Any:
            space = Space("g", "w", "l", "avg", 32, "image-v1", "tf", "float32", "float32")
            self._engine = engine
            return WorkerInfo(space, (4,), self._where, {}, engine=engine)

        def ask(self, what: str, *arguments: Any) -> Any:
            assert what == "choose_engine"
            return EngineChoice("openvino", why=f"for {arguments[0]} images", measured=True)

        def begin(self, job: Any, claims: Any, *helpers: Any) -> None:
            import ray

            node = next(n for n in ray.nodes() if n["NodeID"] == ray.get_runtime_context().get_node_id())
            if refusing and node["Resources"].get("GPU") == refusing:
                raise DriftError(f"golden image 'a' with cosine 0.5 on a node with {refusing:g} GPUs")

        def run(self, unit: Any, number: int) -> Any:
            import time

            import pyarrow as pa

            time.sleep(unit_seconds)
            columns = {name: [None] * len(unit.items) for name, _ in RECEIPT_FIELDS} | {"key": [item.key for item in unit.items]}
            table = pa.table(columns, schema=pa.schema(RECEIPT_FIELDS))
            worker = f"{self._where} {self._engine.name}"
            return Receipt(unit.id, "photos", None, table, {"read": 1, "bytes_read": 10, "embedded": 1}, {"infer": 0.5}, worker)

    Light.__name__ = Light.__qualname__ = "_Actor"  # names its process
    return Light
