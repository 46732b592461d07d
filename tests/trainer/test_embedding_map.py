from __future__ import annotations

import numpy as np
import pytest

from trainer.embedding_map import principal_plane


def test_the_plane_is_that_of_the_singular_values() -> None:
    random = np.random.default_rng(0)
    vectors = (random.normal(size=(200, 30)) * np.r_[9, 5, np.ones(28)] @ np.linalg.qr(random.normal(size=(30, 30)))[0]).astype(np.float32)
    places, shares = principal_plane(vectors)
    u, s, _ = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    for k in range(2):
        assert abs(places[:, k] @ (u[:, k] * s[k])) == pytest.approx(s[k] ** 2, rel=1e-3)
        assert shares[k] == pytest.approx(s[k] ** 2 / (s**2).sum(), rel=1e-3)


@pytest.mark.parametrize("shape", [(1, 5), (2, 1), (4, 3)])
def test_few_and_equal_items_have_places_too(shape: tuple[int, int]) -> None:
    places, shares = principal_plane(np.ones(shape, np.float32))
    assert places.shape == (shape[0], 2)
    assert np.isfinite(places).all()
    assert shares == (0, 0)
