"""What object stores and web servers answer, in words that help: no secrets, and the way out where credentials lack."""

from __future__ import annotations

import re

# Asked last, for the role of a machine in a cloud, when nothing else gives credentials: its address helps nobody.
_METADATA = re.compile(r"://(169\.254\.[0-9]+\.[0-9]+|metadata\.google\.internal)\b|Account must be specified")
# "Error performing GET http://... in 1.13s, after 4 retries, max_retries: 4, retry_timeout: 10s - ...": with it, the reject of one dead
# link would differ from run to run, and make a version each time.
_TIMES = re.compile(r" in [0-9.]+[mnµ]?s(?=[, ]|$)(, after [0-9]+ retries)?(, max_retries: [0-9]+)?(, retry_timeout: [0-9.]+[mnµ]?s)?")
# Variables that obstore 0.12 takes: with each alternative it went on to ask the bucket itself.
_VARIABLES = {
    "Generic S3 error": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true for a public bucket",
    "Generic GCS error": "GOOGLE_APPLICATION_CREDENTIALS, or GOOGLE_SKIP_SIGNATURE=true for a public bucket",
    "Generic MicrosoftAzure error": (
        "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or the name and AZURE_SKIP_SIGNATURE=true for a public container"
    ),
}
# What S3, Azure and GCS answer those whom they know, and who may not do this; keys that are wrong or have expired have other words.
_REFUSAL = re.compile("AccessDenied|AuthorizationPermissionMismatch|does not have storage\\.")
MAX_CHARACTERS = 300


def is_refusal(error: Exception) -> bool:
    """Whether the credentials are good and this is not allowed with them."""
    return _REFUSAL.search(str(error)) is not None


def remote_error(error: BaseException) -> str:
    """The first line of what obstore raised; what stands behind a '?' may be a signature."""
    line = (str(error).strip().splitlines() or [""])[0]
    if _METADATA.search(line):
        for store, variables in _VARIABLES.items():
            if line.startswith(store):
                return f"there are no credentials in the environment, nor has this machine a role: set {variables}"
    told = _TIMES.sub("", re.sub(r"\?\S+", "?...", line))
    return told if len(told) <= MAX_CHARACTERS else f"{told[:MAX_CHARACTERS].rpartition(' ')[0]} ..."  # never within an address
