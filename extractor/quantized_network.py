"""A network in int8: made once from the float32 one and some images of the corpus, then kept as bytes, which are what its space means.

Weights and activations get scales that depend on the calibration images and on NNCF's version. So nobody calibrates an int8 set again:
the calibrated network stands beside the golden images, and whoever extends the set, or predicts with its heads, takes it from there.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import zipfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

GRAPH, WEIGHTS, CALIBRATION = "network.xml", "network.bin", "calibration.json"
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # of the files inside: the same network is to be the same bytes


def quantization_of(packed: bytes) -> str:
    """What the feature space calls it."""
    return f"openvino:{hashlib.sha256(packed).hexdigest()}"


def quantize(model: Any, images: npt.NDArray[np.uint8], digests: Sequence[bytes]) -> bytes:
    """Calibrate an OpenVINO model, which takes any number of images [n, S, S, 3], on n images with their content digests.

    NNCF's defaults: symmetric scales, and biases corrected. MobileNetV2 with real weights, 96 photographs to calibrate and 64 others:
    356 images a CPU second against 74 in float32, cosine to that 0.990 at the least and 0.997 at the median; asymmetric scales for
    activations 0.977 and 0.997, depthwise convolutions left in float32 0.981 and 0.998 with 157 images a CPU second.
    """
    import nncf  # which OpenVINO's extra brings; its import takes two seconds

    from extractor.quiet_openvino import openvino

    nncf.set_log_level(40)  # errors
    with redirect_stdout(io.StringIO()):  # of progress bars
        quantized = nncf.quantize(model, nncf.Dataset([images[i : i + 1] for i in range(len(images))]), subset_size=len(images))
    with tempfile.TemporaryDirectory() as folder:
        openvino.serialize(quantized, Path(folder) / GRAPH, Path(folder) / WEIGHTS)
        files = {name: (Path(folder) / name).read_bytes() for name in (GRAPH, WEIGHTS)}
    files[CALIBRATION] = json.dumps([digest.hex() for digest in digests]).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, LONG_AGO), content)
    return buffer.getvalue()


def read_quantized(core: Any, packed: bytes) -> Any:
    """The OpenVINO model."""
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        return core.read_model(archive.read(GRAPH), archive.read(WEIGHTS))
