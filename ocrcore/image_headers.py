"""Reads formats and sizes from the headers of image files, before anything is decoded.

A file of a few hundred bytes may claim an image of gigabytes. Nothing here allocates more memory
than the size of the file, and no decoder is called.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

SIGNATURES = {
    b"\xff\xd8\xff": "jpeg",
    b"\x89PNG\r\n\x1a\n": "png",
    b"GIF8": "gif",
    b"BM": "bmp",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"\0\0\0\x0cjP  ": "jp2",
    b"\xff\x4f\xff\x51": "jp2",
}
_MAX_PAGES = 1 << 16
_PNM = re.compile(rb"P[1-6]\s+(?:#[^\n]*\n\s*)*([0-9]{1,9})\s+(?:#[^\n]*\n\s*)*([0-9]{1,9})\s")


def kind_of(data: bytes) -> str:
    """Return the format by the first bytes: "jpeg", "png", ...; empty if unknown."""
    for start, kind in SIGNATURES.items():
        if data.startswith(start):
            return kind
    if _PNM.match(data[:512]):
        return "pnm"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis", b"mif1"):
        return "avif"
    return ""


def header_size(data: bytes) -> tuple[int, int] | None:
    """Return height and width of the stored pixels from the header; None if it does not say.

    If a file has several sizes (pages of a TIFF, parts of an AVIF), the first page's or the largest
    part's is returned.

    Args:
        data: the file, or its beginning.
    """
    read = _SIZES.get(kind_of(data))
    try:
        size = read(data) if read else None
    except struct.error:  # cut off inside the header
        return None
    return size if size and size[0] > 0 and size[1] > 0 else None


def png_fault(data: bytes) -> str:
    """Return what a PNG claims beyond its end; empty for complete PNGs and for other files."""
    if kind_of(data) != "png":
        return ""
    for name, start, length in png_chunks(data):
        if start + length + 4 > len(data):
            return (
                f"its chunk {name.decode('latin-1')!a} claims {length:,} bytes, but the file ends "
                f"after {len(data):,}: truncated or damaged"
            )
    return ""


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and length of the content of each PNG chunk, as claimed by the file."""
    at = 8
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        yield name, at + 8, length
        at += 12 + length


def page_sizes(data: bytes) -> list[tuple[int, int]]:
    """Return height and width of each TIFF page; empty for other files or damaged directories."""
    return list(map(_page_size, _directories(data))) if kind_of(data) == "tiff" else []


def _jpeg(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        kind = data[at + 1]
        if kind == 0xFF:  # a fill byte
            at += 1
        elif 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            # A height of 0 means that the height follows the image data.
            return height, width
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return None


def _png(data: bytes) -> tuple[int, int] | None:
    width, height = struct.unpack_from(">II", data, 16)
    return (height, width) if data[12:16] == b"IHDR" else None


def _gif(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, 6)
    return height, width


def _bmp(data: bytes) -> tuple[int, int]:
    if struct.unpack_from("<I", data, 14)[0] == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return abs(height), abs(width)


def _webp(data: bytes) -> tuple[int, int] | None:
    if data[12:16] == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        return int.from_bytes(data[27:30], "little") + 1, width
    if data[12:16] == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if data[12:16] == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return height & 0x3FFF, width & 0x3FFF
    return None


def _pnm(data: bytes) -> tuple[int, int] | None:
    found = _PNM.match(data[:512])
    return (int(found[2]), int(found[1])) if found else None


def _tiff(data: bytes) -> tuple[int, int] | None:
    return next(map(_page_size, _directories(data)), None)


def _page_size(tags: dict[int, int]) -> tuple[int, int]:
    """Return height and width as decoders return them, which rotate a TIFF themselves."""
    size = tags.get(257, 0), tags.get(256, 0)
    return size[::-1] if 5 <= tags.get(274, 1) <= 8 else size


def _jp2(data: bytes) -> tuple[int, int] | None:
    at = data.find(b"\xff\x4f\xff\x51")
    if at < 0:
        return None
    right, bottom, left, top = struct.unpack_from(">IIII", data, at + 8)
    return bottom - top, right - left


def _avif(data: bytes) -> tuple[int, int] | None:
    sizes, at = [], data.find(b"ispe")
    while at >= 0:
        width, height = struct.unpack_from(">II", data, at + 8)
        sizes.append((height, width))
        at = data.find(b"ispe", at + 4)
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def _directories(data: bytes) -> Iterator[dict[int, int]]:
    """Yield the integer values of each directory of a TIFF, by tag."""
    order = "<" if data[:2] == b"II" else ">"
    seen: set[int] = set()
    try:
        at = struct.unpack_from(order + "I", data, 4)[0]
        while at and at not in seen and len(seen) < _MAX_PAGES:
            seen.add(at)
            (count,) = struct.unpack_from(order + "H", data, at)
            tags = {}
            for entry in range(at + 2, at + 2 + 12 * count, 12):
                tag, kind = struct.unpack_from(order + "HH", data, entry)
                if kind in (3, 4):
                    form = order + ("H" if kind == 3 else "I")
                    tags[tag] = struct.unpack_from(form, data, entry + 8)[0]
            (following,) = struct.unpack_from(order + "I", data, at + 2 + 12 * count)
            # A preview thumbnail is not a page.
            if not tags.get(254, 0) & 1:
                yield tags
            at = following
    except struct.error:
        return


_SIZES = {
    "jpeg": _jpeg,
    "png": _png,
    "gif": _gif,
    "bmp": _bmp,
    "webp": _webp,
    "pnm": _pnm,
    "tiff": _tiff,
    "jp2": _jp2,
    "avif": _avif,
}
