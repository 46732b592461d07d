"""View 0 alone, for tests that are about the image policy and not about views."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from extractor import image_policy


def decode(*args: Any, **options: Any) -> npt.NDArray[np.uint8]:
    [plain] = image_policy.decode(*args, **options)
    return np.asarray(plain)


def decode_with_pillow(*args: Any, **options: Any) -> npt.NDArray[np.uint8]:
    [plain] = image_policy.decode_with_pillow(*args, **options)
    return np.asarray(plain)
