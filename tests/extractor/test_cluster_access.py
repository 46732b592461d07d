from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator

import pytest

from extractor.cluster_access import sigterm_kept


@pytest.fixture
def own_handler() -> Iterator[signal.Handlers]:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield signal.SIG_IGN
    signal.signal(signal.SIGTERM, before)


def start_as_ray_does(then: Callable[[], object]) -> None:
    with sigterm_kept():
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))
        then()


def test_sigterm_while_ray_starts_is_an_interrupt(own_handler: signal.Handlers) -> None:
    with pytest.raises(KeyboardInterrupt):
        start_as_ray_does(lambda: signal.raise_signal(signal.SIGTERM))
    assert signal.getsignal(signal.SIGTERM) is own_handler


def test_the_callers_handler_is_back_after_a_start_and_after_one_that_failed(own_handler: signal.Handlers) -> None:
    start_as_ray_does(lambda: None)
    assert signal.getsignal(signal.SIGTERM) is own_handler
    with pytest.raises(ValueError, match="no port"):
        start_as_ray_does(lambda: int("no port"))
    assert signal.getsignal(signal.SIGTERM) is own_handler
