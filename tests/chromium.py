"""A page as a real browser sees it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def look_with_chromium(page: Path) -> tuple[str, list[str], list[str]]:
    """(the DOM, what the console said, the URLs that the page asked for)."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium (Debian: apt install chromium)")
    log = page.with_suffix(".netlog")
    quiet = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
    # Chromium itself asks its maker for news: that must not leave this machine either.
    quiet += ["--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={page.with_suffix('.profile')}"]
    words = [CHROMIUM, "--headless", "--no-sandbox", *quiet, "--enable-logging=stderr", f"--log-net-log={log}", "--dump-dom"]
    done = subprocess.run([*words, page.as_uri()], capture_output=True, text=True, timeout=60, check=True)
    events = json.loads(log.read_text())["events"]
    asked = [
        event["params"]["url"] for event in events if event.get("params", {}).get("network_isolation_key", "").startswith("file:")
    ]  # Chromium's own requests have no page that they are for
    return done.stdout, re.findall(r"CONSOLE[^\n]*", done.stderr), asked
