"""Images that are sound and that no decoder here reads, by their first bytes: the way out is to convert them, not to look for damage."""

from __future__ import annotations

_JPEG_2000 = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")  # ISO/IEC 15444-1: a JP2 file, a bare codestream
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")  # ISO/IEC 23008-12
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # ITU-T T.81, table B.1: start of frame
_DEEP = (12, 16)  # bits of a sample that a JPEG may have beside 8


def unsupported_kind(encoded: bytes) -> str | None:
    """Its name; None for all else. Asked of what no decoder knows, so it need not tell a format that is read."""
    if encoded.startswith(_JPEG_2000):
        return "JPEG 2000"
    if encoded[4:8] == b"ftyp" and encoded[8:12] in _HEIF_BRANDS:
        return "HEIF (HEIC)"
    if encoded.startswith(b"\xff\xd8"):
        bits = _jpeg_bits(encoded)
        return f"a JPEG of {bits} bits a sample" if bits in _DEEP else None
    return None


def _jpeg_bits(encoded: bytes) -> int | None:
    at = 2
    while at + 4 < len(encoded) and encoded[at] == 0xFF:
        marker = encoded[at + 1]
        if marker in _FRAMES:
            return encoded[at + 4]
        at += 1 if marker == 0xFF else 2 + int.from_bytes(encoded[at + 2 : at + 4])  # 0xFF may be repeated
    return None
