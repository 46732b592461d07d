"""Where a run's units go: to threads of this process or to Ray's workers."""

from __future__ import annotations

from extractor.executor import Executor
from extractor.keras_backend import require_backend
from extractor.options import ExtractOptions


def make_executor(options: ExtractOptions) -> Executor:
    """Raises UsageError for an engine that this process cannot have."""
    recipes = (options.recipe, *(each.recipe for each in options.also))
    # Imported here: the local one brings TensorFlow into this process, the other one Ray, and a run needs one of them.
    if options.local:
        require_backend(options.first_engine)
        from extractor.local_executor import LocalExecutor

        return LocalExecutor(recipes, options.workers, options.unit_deadline, options.first_engine)
    from extractor.ray_executor import RayExecutor

    return RayExecutor(recipes, options.workers, options.ray_address, options.unit_deadline, options.first_engine, options.decode_helpers)
