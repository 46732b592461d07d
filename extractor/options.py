"""How to run an extraction, beside the recipe of the network."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from extractor.engine_choice import AUTO, INT8, EngineChoice, check_engine, default_engine
from extractor.limits import DEFAULT_LIMITS, Limits
from extractor.reasons import REASONS
from extractor.recipe import Recipe
from storage.asked import check_fields
from storage.errors import UsageError
from storage.names import check_name
from storage.shard import DEFAULT_FORMAT, shard_format
from storage.store import require_store


@dataclass(frozen=True)
class Also:
    """A further feature set that is made from the same reading and decoding."""

    set: str  # ROOT/TEAM/SET
    recipe: Recipe
    format: str | None = None  # as in ExtractOptions

    def __post_init__(self) -> None:
        check_fields(self, set="the name of a further set")
        shard_format(self.format or DEFAULT_FORMAT)


@dataclass(frozen=True)
class ExtractOptions:
    recipe: Recipe
    format: str | None = None  # of the shards; None: that of the set, parquet for a new one
    also: tuple[Also, ...] = ()  # further sets
    workers: int | None = None  # None: the executor's own choice
    engine: str = ""  # of engine_choice.ENGINES; "auto": the fastest, measured; "": tensorflow, and openvino for int8
    decode_helpers: int = 0  # processes on nodes without workers that read and decode for them
    local: bool = False  # True: threads of this process, without Ray
    ray_address: str | None = None
    corpus_id: str | None = None  # None: derived from the corpus' location
    add: bool = False  # True: the corpus may enter a set that mirrors others
    rehash: bool = False  # True: trust no stamp, read every file and go by its bytes
    reuse_from: tuple[str, ...] = ()  # further stores whose sets lend embeddings
    limits: Limits = DEFAULT_LIMITS
    retry_rejects: tuple[str, ...] = ()  # reasons whose rejects are read again although their stamps are unchanged
    dry_run: bool = False
    price: float | None = None  # of an hour of the machines, in whatever currency
    check_disk: bool = True  # False: start although the disk may be too small for what is to be read
    unit_deadline: float | None = None  # seconds after which a worker counts as hung; None: generous, from the units so far
    grace: float = 20.0  # seconds that units under way have to end after SIGTERM
    max_rejects: float = 0.01  # share of the listed items above which the result counts as incomplete

    def __post_init__(self) -> None:
        check_fields(self)
        shard_format(self.format or DEFAULT_FORMAT)
        recipes = [self.recipe, *(each.recipe for each in self.also)]
        object.__setattr__(self, "engine", self.engine or default_engine(recipes))
        check_engine(self.engine, recipes)
        if self.also and any(recipe.precision == INT8 for recipe in recipes):
            raise UsageError("--also: each int8 set has a network that is calibrated for it, so it is made alone; leave out --also")
        if self.workers is not None and not 1 <= self.workers <= 4096:
            raise UsageError(f"--workers must be 1 to 4096, got {self.workers}")
        if not 0 <= self.decode_helpers <= 4096:
            raise UsageError(f"--decode-helpers must be 0 to 4096, got {self.decode_helpers}")
        if self.local and self.decode_helpers:
            raise UsageError("--decode-helpers are processes on other nodes of a Ray cluster: leave out --local, or --decode-helpers")
        if self.ray_address == "":
            raise UsageError("--ray is empty: expected an address such as auto or host:6379; leave it out for a private cluster")
        if self.local and self.ray_address:
            raise UsageError("--local and --ray exclude each other: drop one of them")
        if self.price is not None and not 0 <= self.price <= 1e6:
            raise UsageError(f"--price must be the price of an hour, from 0 to a million; got {self.price}")
        for root in self.reuse_from:
            require_store(Path(root))
        if not 0 <= self.max_rejects <= 1:
            raise UsageError(f"--max-rejects must be 0% to 100%, got {self.max_rejects:.0%}")
        if unknown := [reason for reason in self.retry_rejects if reason not in REASONS]:
            raise UsageError(f"--retry-rejects {unknown[0]}: expected reasons of rejects ({', '.join(REASONS)})")
        if self.unit_deadline is not None and not self.unit_deadline > 0:
            raise UsageError(f"--unit-deadline must be above 0 seconds, got {self.unit_deadline:g}")
        if not 0 <= self.grace <= 86400:
            raise UsageError(f"--grace must be 0 to 86400 seconds, got {self.grace:g}")
        if self.corpus_id is not None:
            check_name(self.corpus_id, "--corpus-id")

    @property
    def first_engine(self) -> EngineChoice:
        """What workers start with: where the engine is to be chosen, the default."""
        return EngineChoice(default_engine([self.recipe]) if self.engine == AUTO else self.engine)

    def to_dict(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "reuse_from": list(self.reuse_from),
            "retry_rejects": list(self.retry_rejects),
            "recipe": self.recipe.to_dict(),
            "also": [{"set": each.set, "recipe": each.recipe.to_dict(), "format": each.format} for each in self.also],
        }
