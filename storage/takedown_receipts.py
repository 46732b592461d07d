"""Receipts of takedowns: what each did, and that it was finished. The name begins with the id of the takedown."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from storage.files import create_exclusive, list_names
from storage.place import Place
from storage.sealed import read_sealed, seal
from storage.web_root import TAKEDOWNS

RECEIPTS = "receipts"  # folder of them
RECEIPT = re.compile(r"[0-9a-f]{20}\..+\.json")


def mark_finished(root: Place, takedown: str, receipt: Mapping[str, Any]) -> None:
    """Leave the receipt of a takedown: from then on nobody else needs to go on with it."""
    now = datetime.now(UTC)
    entry = f"{takedown}.{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}.json"
    create_exclusive(root / TAKEDOWNS / RECEIPTS / entry, seal({**receipt, "finished": now.isoformat(timespec="seconds")}))


def receipt_names(root: Place) -> list[str]:
    return [entry for entry in list_names(root / TAKEDOWNS / RECEIPTS) if RECEIPT.fullmatch(entry)]


def read_receipt(root: Place, entry: str) -> dict[str, Any]:
    """Raises NotFoundError, DamagedError."""
    return read_sealed(root / TAKEDOWNS / RECEIPTS / entry, "receipt of a takedown")
