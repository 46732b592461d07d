"""How long a unit may take before its worker counts as hung."""

from __future__ import annotations

LEAST_SECONDS = 600.0  # a unit of 256 images of 100 megapixels on one old core
TIMES_SLOWEST = 20.0  # units of one run hold about as many items each, but not equally large ones


class Deadline:
    """`fixed`: seconds that the user wants; None for what the slowest unit so far suggests, generously."""

    def __init__(self, fixed: float | None = None) -> None:
        self._fixed = fixed
        self._slowest = 0.0

    def finished(self, seconds: float) -> None:
        """A unit was finished in this time."""
        self._slowest = max(self._slowest, seconds)

    @property
    def seconds(self) -> float:
        return self._fixed or max(LEAST_SECONDS, round(TIMES_SLOWEST * self._slowest))
