"""A Ray cluster of several hosts on one machine: network namespaces on a bridge, each with an address and made-up GPUs of its own.

What several raylets on one address cannot show: nodes that have different addresses, and that join and are lost one by one. Needs Linux,
root and iproute2; `possible()` tells.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

PORT = 6379
SECONDS_TO_DIE = 30.0


def possible() -> bool:
    """Whether namespaces can be made here."""
    if shutil.which("ip") is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        return False
    name = f"pf{secrets.token_hex(3)}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode == 0
    if made:
        _ip("netns", "del", name)
    return made


class NetCluster:
    """`hosts` hosts, number 0 the head, each with one CPU and `gpus` made-up GPUs (or one number for each host); the last `late` join when
    `start_host` is called. cores: the one that each host's processes are kept to, where that is wanted.

    Ray asks for a token as soon as a cluster has several nodes, and the nodes must agree on one
    (https://docs.ray.io/en/latest/ray-security/token-auth.html).
    """

    def __init__(self, folder: Path, hosts: int = 3, gpus: int | Sequence[int] = 2, late: int = 0, cores: Sequence[int] = ()) -> None:
        self._folder, self._late, self._cores = folder, late, cores
        self._gpus = [gpus] * hosts if isinstance(gpus, int) else list(gpus)
        self._tag = secrets.token_hex(2)
        self._bridge = f"pf{self._tag}"
        self._third = secrets.randbelow(200) + 20  # of the addresses: two clusters on one machine must not meet
        self._names = [f"pf{self._tag}h{i}" for i in range(hosts)]
        self.environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
        self.environment |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_IMPORT_WARNING": "1"}

    @property
    def address(self) -> str:
        return f"{self._ip_of(0)}:{PORT}"

    @property
    def addresses(self) -> list[str]:
        return [self._ip_of(number) for number in range(len(self._names))]

    def command(self, *words: str) -> list[str]:
        """A command that runs on the head's host, as a driver must."""
        return ["ip", "netns", "exec", self._names[0], *words]

    def start_host(self, number: int) -> None:
        """Start Ray on one host."""
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--node-ip-address={self._ip_of(number)}", "--num-cpus=1"]
        ray += [f"--num-gpus={self._gpus[number]}", "--object-store-memory=100000000", "--disable-usage-stats"]
        if number == 0:
            ray += ["--head", f"--port={PORT}", "--include-dashboard=false", f"--temp-dir={self._folder}"]
        else:
            ray += [f"--address={self.address}"]
        pinned = ["taskset", "--cpu-list", str(self._cores[number])] if self._cores else []
        run = ["ip", "netns", "exec", self._names[number], *pinned, *ray]
        subprocess.run(run, env=self.environment, check=True, capture_output=True, text=True, timeout=120)

    def processes(self, number: int) -> list[int]:
        """Process ids of all that runs on one host."""
        return [int(pid) for pid in _ip("netns", "pids", self._names[number]).split()]

    def lose_host(self, number: int) -> None:
        """SIGKILL to all that runs on one host, its raylet first: a machine that is gone."""
        for pid in self.processes(number):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + SECONDS_TO_DIE
        while self.processes(number) and time.monotonic() < deadline:
            time.sleep(0.05)

    def __enter__(self) -> NetCluster:
        try:
            _ip("link", "add", self._bridge, "type", "bridge")
            _ip("link", "set", self._bridge, "up")
            for number, name in enumerate(self._names):
                _ip("netns", "add", name)
                _ip("link", "add", f"{name}v", "type", "veth", "peer", "name", "eth0", "netns", name)
                _ip("link", "set", f"{name}v", "master", self._bridge, "up")
                _ip("-n", name, "addr", "add", f"{self._ip_of(number)}/24", "dev", "eth0")
                for link in ("eth0", "lo"):
                    _ip("-n", name, "link", "set", link, "up")
            for number in range(len(self._names) - self._late):
                self.start_host(number)
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._remove()

    def _remove(self) -> None:
        for number, name in enumerate(self._names):
            with suppress(subprocess.CalledProcessError):
                self.lose_host(number)
                _ip("netns", "del", name)
        with suppress(subprocess.CalledProcessError):
            _ip("link", "del", self._bridge)

    def _ip_of(self, number: int) -> str:
        return f"10.77.{self._third}.{11 + number}"


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout
