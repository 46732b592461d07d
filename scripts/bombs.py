"""Decompression bombs: small files that claim or unpack to much. For tests, and for the campaign of fuzzed files."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

from PIL import Image

# 300x200 pixels of (9, 99, 199) by libjxl, lossless: Pillow neither writes nor reads it.
JXL = base64.b64decode("/woxQSQIBAEACAFLGIsVANSIu7sxxj2AAyglLCR7MAhXz6FbKWimZOG4hABB8akDmin6Qz2T5ClNAXZ+/RaONd9WCpop+oNFVoOvRhM=")
SIDE = 9_400  # SIDE x SIDE is just under the limit of pixels
MANY = 60_000  # MANY x MANY is far above it


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _zeros(n: int, level: int = 9) -> bytes:
    """n zero bytes, compressed piece by piece."""
    packer, piece = zlib.compressobj(level), bytes(1 << 20)
    return b"".join(packer.compress(piece[: min(len(piece), n - done)]) for done in range(0, n, len(piece))) + packer.flush()


def png(width: int, height: int, colour: int = 2, depth: int = 8, before: bytes = b"", data: bytes | None = None) -> bytes:
    """A black PNG; `before`: chunks before its data."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    data = _zeros(height * (1 + width * samples * depth // 8)) if data is None else data
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + before + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def text_png(chunks: int, size: int) -> bytes:
    """A tiny PNG with compressed texts of `size` bytes each."""
    return png(8, 8, before=_chunk(b"zTXt", b"a\0\0" + _zeros(size)) * chunks)


def tiff(
    width: int, height: int, tile: tuple[int, int] | None, data: bytes, samples: int = 3, bits: int = 8, compression: int = 8
) -> bytes:
    """A little-endian TIFF, RGB or grey, whose data is one strip, or one tile of the given size."""
    tags: list[tuple[int, int, int, int]] = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, bits),
        (259, 3, 1, compression),
        (262, 3, 1, 2 if samples == 3 else 1),
        (277, 3, 1, samples),
    ]
    if tile:
        tags += [(322, 4, 1, tile[0]), (323, 4, 1, tile[1]), (324, 4, 1, 0), (325, 4, 1, len(data))]
    else:
        tags += [(273, 4, 1, 0), (278, 4, 1, height), (279, 4, 1, len(data))]
    tags.sort()
    start = 8 + 2 + 12 * len(tags) + 4 + 6
    extra = struct.pack("<HHH", bits, bits, bits)
    entries = b""
    for tag, kind, count, value in tags:
        if tag == 258 and samples == 3:
            count, value = 3, start - 6
        if tag in (273, 324):
            value = start
        entries += struct.pack("<HHII", tag, kind, count, value)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0) + extra + data


def gif(width: int, height: int, frames: int) -> bytes:
    """`frames` black frames; each is small, since it has few codes for its many pixels."""
    buffer = io.BytesIO()
    Image.new("P", (width, height)).save(buffer, "GIF")
    data = buffer.getvalue()
    start = data.index(b",", 13)
    return data[:start] + data[start:-1] * frames + b";"


def jpeg(width: int, height: int, scans: int, real: int = 64) -> bytes:
    """A progressive JPEG of a declared size, its last scan repeated: each one is a walk over all coefficients."""
    buffer = io.BytesIO()
    Image.new("RGB", (real, real), "red").save(buffer, "JPEG", progressive=True)
    data = bytearray(buffer.getvalue())
    frame = data.index(b"\xff\xc2")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    last = data.rindex(b"\xff\xda")
    return bytes(data[:last]) + bytes(data[last:-2]) * scans + b"\xff\xd9"


def bmp_rle(width: int, height: int) -> bytes:
    """An RLE8 BMP of runs of one pixel, the slowest there is."""
    body = b"\x01\x00" * (width * height) + b"\0\1"
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 1024 + len(body), 0, 0, 54 + 1024) + header + bytes(1024) + body


def ico(inner: bytes, entries: int) -> bytes:
    """An icon whose entries are all the same PNG, whatever size they state."""
    start = 6 + 16 * entries
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), start)
    return struct.pack("<HHH", 0, 1, entries) + entry * entries + inner


def saved(mode: str, size: tuple[int, int], kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind, **options)
    return buffer.getvalue()


def animated(kind: str, frames: int, side: int) -> bytes:
    images = [Image.new("RGB", (side, side), (i % 256, i // 256, 90)) for i in range(frames)]
    buffer = io.BytesIO()
    images[0].save(buffer, kind, save_all=True, append_images=images[1:], duration=40)
    return buffer.getvalue()


BOMBS: dict[str, Callable[[], bytes]] = {
    "png-claims-much.png": lambda: png(MANY, MANY, data=b"x"),
    "png-rgb-at-the-limit.png": lambda: png(SIDE, SIDE),
    "png-rgba-at-the-limit.png": lambda: png(SIDE, SIDE, colour=6),
    "png-16-bit-rgba-at-the-limit.png": lambda: png(SIDE, SIDE, colour=6, depth=16),
    "png-16-bit-grey-at-the-limit.png": lambda: png(SIDE, SIDE, colour=0, depth=16),
    "png-unpacks-more-than-it-says.png": lambda: png(8, 8, data=_zeros(1 << 31)),
    "png-texts.png": lambda: text_png(1000, 7_900_000),
    "png-one-text.png": lambda: text_png(1, 1 << 30),
    "png-profile.png": lambda: png(8, 8, before=_chunk(b"iCCP", b"a\0\0" + _zeros(1 << 30))),
    "tiff-tile-larger-than-image.tif": lambda: tiff(8, 8, (16384, 16384), _zeros(16384 * 16384 * 3)),
    "tiff-claims-much.tif": lambda: tiff(MANY, MANY, None, b"x"),
    "tiff-at-the-limit.tif": lambda: tiff(SIDE, SIDE, None, _zeros(SIDE * SIDE * 3)),
    "tiff-tile-at-the-limit.tif": lambda: tiff(SIDE, SIDE, (9408, 9408), _zeros(9408 * 9408 * 3)),
    "gif-frames.gif": lambda: gif(2000, 2000, 3000),
    "gif-frames-without-an-end.gif": lambda: gif(2000, 2000, 3000)[:-40] + b"!",
    "gif-frames-that-only-one-reads.gif": lambda: b"GIF89b" + gif(2000, 2000, 3000)[6:],
    "webp-at-the-limit.webp": lambda: saved("RGBA", (SIDE, SIDE), "WEBP", lossless=True, method=0),
    "webp-claims-much.webp": lambda: _webp_canvas(saved("RGBA", (16, 16), "WEBP"), 16383, 16383),
    "webp-frames.webp": lambda: animated("WEBP", 300, 64),
    "apng-frames.png": lambda: animated("PNG", 300, 64),
    "avif-at-the-limit.avif": lambda: saved("RGB", (8_000, 8_000), "AVIF", speed=10),
    "avif-frames.avif": lambda: animated("AVIF", 40, 64),
    "ico-many-entries.ico": lambda: ico(png(16, 16), 65_535),
    "ico-hides-a-large-png.ico": lambda: ico(png(13_000, 13_000), 1),
    "bmp-rle.bmp": lambda: bmp_rle(2000, 2000),
    "bmp-claims-much.bmp": lambda: b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, MANY, MANY, 1, 24, 0, 0, 0, 0, 0, 0),
    "jpeg-claims-much.jpg": lambda: jpeg(MANY, MANY, 1),
    "jpeg-progressive-at-the-limit.jpg": lambda: jpeg(SIDE, SIDE, 1),
    "jpeg-progressive-long.jpg": lambda: jpeg(1000, 65_000, 1),
    "jpeg-scans.jpg": lambda: jpeg(4_000, 4_000, 2_000),
    "jxl-claims-much.jpg": lambda: bytes.fromhex("ff0a7ca9232012080201009802") + bytes(100),
    "ppm-at-the-limit.ppm": lambda: b"P6 6000 6000 255\n" + bytes(6000 * 6000 * 3),
}  # fmt: skip


def _webp_canvas(data: bytes, width: int, height: int) -> bytes:
    """Put a WebP into a canvas of another size (VP8X)."""
    flags = struct.pack("<I", 0x10)
    canvas = flags + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunks = data[12:]
    if chunks[:4] == b"VP8X":
        chunks = chunks[18:]
    body = b"WEBPVP8X" + struct.pack("<I", 10) + canvas + chunks
    return b"RIFF" + struct.pack("<I", len(body)) + body
