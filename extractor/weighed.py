"""What weighing a precision found, and who may go on asking with it. Imports no TensorFlow, because a Ray driver has none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Weighed:
    """cost: for the report (`extractor.precision_cost`). digests: sha256 of each of n images, and fine: float32 [n, *shape], their
    embeddings in float32 for the run's first set; none where nothing was weighed."""

    cost: dict[str, Any]
    digests: tuple[bytes, ...] = ()
    fine: npt.NDArray[np.float32] | None = None


# (the committed version, as ROOT/TEAM/SET@VERSION; what was weighed) -> for the report: what the difference is to a head, or `left_out`,
# why it is not known. Whoever calls `extract` may bring one, as fitting heads is not the extractor's.
AskHead = Callable[[str, Weighed], dict[str, Any]]
