from __future__ import annotations

import numpy as np
import pytest

from extractor.refusals import require_different
from storage.errors import RunError


def test_a_network_that_sees_no_difference_is_refused() -> None:
    same = np.ones((4, 2, 3), np.float16)
    with pytest.raises(RunError, match="gives the same features for 4 different images"):
        require_different(same)
    same[3, 1, 2] = 2
    require_different(same)
