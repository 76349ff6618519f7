"""Pictures in: files, bytes, Pillow images and arrays of any kind to RGB uint8."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ocrcore.files import write_bytes
from ocrcore.pages import ByteArray

ImageLike: TypeAlias = str | os.PathLike[str] | NDArray[np.generic] | Image.Image
"""A picture: a path, an array as `as_rgb` takes it, or a Pillow image."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")


class ImageError(ValueError):
    """A picture that cannot be read; the message names the file."""


def one_or_many(images: ImageLike | Iterable[ImageLike]) -> tuple[list[ImageLike], bool]:
    """Returns pictures as a list, and whether it was a single one, which is no list.

    A str is a path, never a row of letters; an array of four axes is several pictures.
    """
    if isinstance(images, str | os.PathLike | Image.Image):
        return [images], True
    if isinstance(images, np.ndarray) and images.ndim < 4:
        return [images], True
    return list(images), False


def load_image(image: ImageLike) -> ByteArray:
    """Returns `(H, W, 3)` RGB uint8 of any kind of picture: `read_image` or `as_rgb`.

    Raises:
        ImageError: not a picture.
    """
    if isinstance(image, str | os.PathLike):
        return read_image(image)
    return as_rgb(image)


def read_image(path: str | os.PathLike[str]) -> ByteArray:
    """Reads a picture file.

    The EXIF orientation is applied, 16-bit is scaled to 8-bit, transparency is laid over white, and
    of an animation the first frame is taken.

    Returns:
        `(H, W, 3)` uint8, RGB.

    Raises:
        ImageError: the file is missing, empty or not a picture.
    """
    return decode_image(_read_bytes(path), name=str(path))


def decode_image(data: ByteArray | bytes, *, name: str = "image") -> ByteArray:
    """Decodes the bytes of a picture file, as `read_image` does."""
    data = np.frombuffer(data, np.uint8)
    if not data.size:
        raise ImageError(f"{name}: the file is empty")
    try:
        # Orientation is left to us: which formats OpenCV applies it to differs between versions.
        image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if image is not None and _may_have_alpha(data):
            raw = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
            if raw is not None and raw.ndim == 3 and raw.shape[2] == 4:
                return _turn(as_rgb(cv2.cvtColor(raw, cv2.COLOR_BGRA2RGBA)), _orientation(data))
    except cv2.error as error:
        raise ImageError(f"{name}: OpenCV cannot decode it: {error.err}") from error
    if image is None:
        kinds = ", ".join(SUFFIXES)
        raise ImageError(f"{name}: not a picture that OpenCV reads ({kinds}), or truncated")
    return _turn(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), _orientation(data))


def decode_gray(data: ByteArray | bytes, *, name: str = "image") -> ByteArray:
    """Decodes the bytes of a picture file to gray, twice as fast as `decode_image` for a JPEG.

    Of a JPEG its own luminance is taken, as `cv2.imread` does for EasyOCR; the rest is that of
    `decode_image`.

    Returns:
        `(H, W)` uint8.

    Raises:
        ImageError: not a picture.
    """
    data = np.frombuffer(data, np.uint8)
    if data[:3].tobytes() != b"\xff\xd8\xff":
        return np.asarray(cv2.cvtColor(decode_image(data, name=name), cv2.COLOR_RGB2GRAY), np.uint8)
    try:
        image = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ImageError(f"{name}: OpenCV cannot decode it: {error.err}") from error
    if image is None:
        raise ImageError(f"{name}: not a JPEG that OpenCV reads, or truncated")
    return _turn(image, _orientation(data))


def encoded_size(data: ByteArray | bytes, *, name: str = "image") -> tuple[int, int]:
    """Height and width of the picture that `decode_image` would return, from its header.

    Raises:
        ImageError: not a picture.
    """
    data = np.frombuffer(data, np.uint8)
    turned = _orientation(data) >= 5
    if size := _jpeg_size(data[:65536].tobytes()):
        return size[::-1] if turned else size
    try:
        with Image.open(io.BytesIO(data.tobytes())) as image:
            width, height = image.size
    except (OSError, ValueError, SyntaxError, TypeError, Image.DecompressionBombError):
        # OpenCV reads a few kinds that Pillow does not.
        height, width = decode_image(data, name=name).shape[:2]
        return height, width
    return (width, height) if turned else (height, width)


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    """Height and width in the frame header of a JPEG, ten times as fast as by Pillow, or None."""
    at = 2
    while head[:3] == b"\xff\xd8\xff" and at + 9 < len(head) and head[at] == 0xFF:
        kind = head[at + 1]
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", head, at + 5)
            # A height of 0 stands behind the picture.
            return (height, width) if height and width else None
        at += 2 + struct.unpack_from(">H", head, at + 2)[0]
    return None


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Height and width of the picture that `read_image` would return, from the file's header.

    Raises:
        ImageError: the file is missing, empty or not a picture.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = _may_be_turned(_read_bytes(path, 65536)) and _exif_orientation(image) >= 5
    except OSError as error:
        if error.errno is not None:
            raise ImageError(f"{path}: {error.strerror}") from error
    except (ValueError, SyntaxError, TypeError, Image.DecompressionBombError):
        pass
    else:
        return (width, height) if turned else (height, width)
    # OpenCV reads a few kinds that Pillow does not.
    height, width = read_image(path).shape[:2]
    return height, width


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Reads a picture file as it is.

    Raises:
        ImageError: it cannot be read.
    """
    return _read_bytes(path).tobytes()


_ORIENTATION = 0x0112  # EXIF tag; 5 to 8 swap height and width


def _read_bytes(path: str | os.PathLike[str], count: int = -1) -> ByteArray:
    try:
        return np.fromfile(path, np.uint8, count)
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror or error}") from error


def _orientation(data: ByteArray) -> int:
    if not _may_be_turned(data[:65536]):
        return 1
    try:
        with Image.open(io.BytesIO(data.tobytes())) as image:
            return _exif_orientation(image)
    except (OSError, ValueError, SyntaxError, TypeError, Image.DecompressionBombError):
        return 1


def _exif_orientation(image: Image.Image) -> int:
    return int(image.getexif().get(_ORIENTATION, 1))


def _may_be_turned(head: ByteArray) -> bool:
    """Whether to look for an orientation; `head` is the file's first 64 KiB."""
    start = head[:4].tobytes()
    if start in (b"II*\0", b"MM\0*"):
        return False  # Pillow and OpenCV turn a TIFF by themselves
    # WebP keeps its EXIF block at the end, the others near the start.
    return start == b"RIFF" or b"exif" in head.tobytes().lower()


def _turn(image: ByteArray, orientation: int) -> ByteArray:
    """Applies an EXIF orientation, 1 to 8."""
    if orientation in (5, 6, 7, 8):
        image = cv2.transpose(image)
    if orientation in (2, 3, 6, 7):
        image = cv2.flip(image, 1)
    if orientation in (3, 4, 7, 8):
        image = cv2.flip(image, 0)
    return image


def _may_have_alpha(data: ByteArray) -> bool:
    head = data[:26].tobytes()
    if head.startswith(b"\x89PNG"):
        return len(head) == 26 and head[25] in (3, 4, 6)  # palette, gray + alpha, RGBA
    return head[:4] in (b"RIFF", b"II*\0", b"MM\0*", b"GIF8")


def as_rgb(image: NDArray[np.generic] | Image.Image) -> ByteArray:
    """Turns a Pillow image or an array of gray, RGB or RGBA values into RGB uint8.

    Args:
        image: a Pillow image (its EXIF orientation is applied), or an array `(H, W)`, `(H, W, 1)`,
            `(H, W, 3)` RGB or `(H, W, 4)` RGBA of uint8, uint16, bool, or floats in [0, 1].

    Returns:
        `(H, W, 3)` uint8, RGB, contiguous.

    Raises:
        ImageError: a shape or type that is no picture.
    """
    values: NDArray[Any] = (
        _pillow_values(image) if isinstance(image, Image.Image) else np.asarray(image)
    )
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (3, 4)):
        raise ImageError(
            f"an image of shape {values.shape}: expected (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"
        )
    if not values.size:
        raise ImageError(f"an image of shape {values.shape}: it has no pixels")
    if values.dtype == np.uint16:
        values = (values >> 8).astype(np.uint8)
    elif values.dtype == np.bool_:
        values = values.astype(np.uint8) * 255
    elif np.issubdtype(values.dtype, np.floating):
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise ImageError("a float image with values outside [0, 1]: scale it, or pass uint8")
        values = np.rint(values * 255).astype(np.uint8)
    elif values.dtype != np.uint8:
        raise ImageError(f"an image of type {values.dtype}: expected uint8, uint16, bool or float")
    if values.ndim == 2:
        return cv2.cvtColor(np.ascontiguousarray(values), cv2.COLOR_GRAY2RGB)
    if values.shape[2] == 4:
        alpha = values[:, :, 3:].astype(np.uint16)
        blend = values[:, :, :3] * alpha + 255 * (255 - alpha)
        values = ((blend + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(values)


def _pillow_values(image: Image.Image) -> NDArray[Any]:
    """A Pillow image as an array of one of the kinds that `as_rgb` takes."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if image.mode == "I":
        return np.clip(np.asarray(image), 0, 65535).astype(np.uint16)
    if image.mode in ("LA", "PA") or "transparency" in image.info:
        return np.asarray(image.convert("RGBA"))
    if image.mode not in ("L", "RGB", "RGBA"):
        return np.asarray(image.convert("RGB"))
    return np.asarray(image)


def find_images(roots: list[str] | list[Path]) -> list[Path]:
    """Lists the pictures among files and, recursively, folders; sorted, each once.

    Raises:
        ImageError: a root that does not exist, or a folder without a picture.
    """
    found: dict[Path, None] = {}
    for root in map(Path, roots):
        if root.is_dir():
            inside = sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES)
            if not inside:
                raise ImageError(f"{root}: no pictures in this folder ({', '.join(SUFFIXES)})")
            found.update(dict.fromkeys(inside))
        elif root.exists():
            found[root] = None
        else:
            raise ImageError(f"{root}: no such file or folder")
    return list(found)


def encode_image(image: ByteArray, *, suffix: str = ".jpg", quality: int = 95) -> bytes:
    """Encodes an RGB uint8 picture as a JPEG of this quality, or as a PNG."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else []
    ok, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    if not ok:
        raise ImageError(f"OpenCV cannot encode {suffix} pictures")
    return bytes(data)


def write_image(path: str | Path, image: ByteArray) -> None:
    """Writes an RGB uint8 picture; the suffix names the format, folders are made as needed."""
    path = Path(path)
    ok, data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not ok:
        raise ImageError(f"{path}: OpenCV cannot write this format")
    write_bytes(path, data.data)
