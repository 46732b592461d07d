"""What a verification has found: of single files, and in all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finding:
    """Something wrong with one file. kind: missing, resized, damaged, dangling (a tag whose version is not there, a record or receipt of a
    takedown whose tombstone or record is not), unfinished (a takedown without a receipt, or a file that is back after one); and, of files
    that are no damage of the set: unlisted (nothing lists it, so nobody reads it), cached (this machine's copy of it had changed, and was
    removed), unannounced (readers over the web go by it, and it tells nothing of the set).
    """

    kind: str
    path: str  # relative to the set
    message: str
    versions: tuple[int, ...] = ()  # that list it
    items: Mapping[int, int] = field(default_factory=dict)  # of each such version, how many it costs
    sha256: str | None = None  # that it should have; None of a JSON file, which proves itself

    @property
    def is_damage(self) -> bool:
        return self.kind not in ("unlisted", "cached", "unannounced")


@dataclass(frozen=True)
class Verification:
    files: int
    bytes: int  # of those files
    full: bool
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        return not any(finding.is_damage for finding in self.findings)
