"""OpenVINO without its usage statistics, which importing and converting otherwise send by default.

They are sent by a package of their own (https://docs.openvino.ai/2026/about-openvino/additional-resources/telemetry.html); where its import
fails OpenVINO does without.
"""

from __future__ import annotations

import sys

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import openvino  # noqa: E402

__all__ = ["openvino"]
