"""The arrays that the trainer's modules hand to each other, by what is in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]
Numbers = npt.NDArray[np.int64]  # of items, counted from 0
Matrix = npt.NDArray[np.float64]
Tensor = Any  # of TensorFlow, eager
