"""What each way of `bench_extract` is given, and what it tells: one JSON line, the last on its stdout."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

from extractor.backbone_args import parse_assignments
from extractor.recipe import Recipe

BATCH = 32


@dataclass(frozen=True)
class Task:
    """photos: a flat folder of JPEGs, so many that batches of BATCH are full. out: an empty folder for the embeddings."""

    photos: str
    out: str
    backbone: str  # by our name
    weights: str  # random:SEED or a file
    backbone_args: tuple[str, ...]  # NAME=VALUE
    size: int  # pixels
    threads: int
    more: tuple[str, ...] = ()  # of the way itself

    @property
    def recipe(self) -> Recipe:
        args: Any = parse_assignments(self.backbone_args)
        return Recipe(self.backbone, self.weights, input_size=self.size, args=args)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Task:
        fields = json.loads(text)
        return cls(**fields | {name: tuple(fields[name]) for name in ("backbone_args", "more")})


def given() -> tuple[str, Task]:
    """The way and its task, from the command line: a name and JSON."""
    return sys.argv[1], Task.from_json(sys.argv[2])


def tell(began: float, ended: float, images: int, **more: object) -> None:
    """began, ended: of the work itself, by `now`; what is before and after is start-up and end."""
    print(json.dumps({"began": began, "ended": ended, "images": images, **more}), flush=True)


def now() -> float:
    """Seconds of a clock that all processes of the machine share."""
    return time.monotonic()
