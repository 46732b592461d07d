"""What a process that is a decode helper settles before it serves workers: code, libraries, threads. TensorFlow comes after the check."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from extractor.code_version import require_same_code, versions_here
from extractor.device import prepare_process


class HelperProcess:
    """where: the node's address, for messages. Serves several threads at a time."""

    def __init__(self, threads: int, where: str) -> None:
        self._threads, self._where = threads, where
        self._helper: Any = None
        self._preparing = threading.Lock()

    def prepare(self, versions: Mapping[str, str]) -> None:
        """versions: the driver's. Raises CodeMismatchError."""
        with self._preparing:
            if not self._helper:
                require_same_code(versions, versions_here(), self._where)
                prepare_process(self._threads, use_gpus=False)
                from extractor.decoding_helper import DecodingHelper

                self._helper = DecodingHelper(self._threads)

    def ask(self, what: str, *arguments: Any) -> Any:
        """The answer of one of the `Helper`'s methods. After `prepare`."""
        return getattr(self._helper, what)(*arguments)
