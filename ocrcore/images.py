"""Reading images: files, bytes, Pillow images and arrays of any kind to RGB uint8."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ocrcore.files import check_regular, write_bytes
from ocrcore.image_headers import header_size, kind_of, page_sizes, png_chunks, png_fault
from ocrcore.pages import ByteArray

ImageLike: TypeAlias = str | os.PathLike[str] | NDArray[np.generic] | Image.Image
"""An image: a path, an array as accepted by `as_rgb`, or a Pillow image."""

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"),
    *(".ppm", ".pgm", ".jp2", ".avif"),
)
PICTURE_SUFFIXES = (".heic", ".heif", ".jxl", ".pdf", ".psd", ".svg", ".tga", ".ico", ".dng")
"""Suffixes of image files that cannot be read here; they are reported, not silently skipped."""
MAX_PIXELS = 178_956_970
"""Images with more pixels are rejected before they are decoded: Pillow's limit."""
PIXELS_VARIABLE = "OCRJAX_MAX_PIXELS"
"""Environment variable with another limit, for all processes of a run."""
EXIF_VARIABLE = "OCRJAX_EXIF"
"""Environment variable: "ignore" reads images as stored, without EXIF rotation."""
_TEXT_SUFFIXES = (".txt", ".json", ".csv", ".tsv", ".xml", ".md", ".mat", ".yaml")
_LARGE = 1 << 22  # pixels; the total of larger images decoded at a time is bounded


class ImageError(ValueError):
    """An image cannot be read; the message names the file."""


@dataclass(frozen=True, slots=True)
class PageOfFile(os.PathLike[str]):
    """A page of a multi-page TIFF; `load_image` and `image_size` accept it.

    Attributes:
        path: path of the file.
        number: number of the page, from 1.
    """

    path: str
    number: int

    def __fspath__(self) -> str:
        return self.path

    def __str__(self) -> str:
        return f"{self.path} (page {self.number})"


def one_or_many(images: ImageLike | Iterable[ImageLike]) -> tuple[list[ImageLike], bool]:
    """Return images as a list, and whether a single one was given.

    A str is a path, never a sequence of letters; an array with four axes is several images.
    """
    if isinstance(images, str | os.PathLike | Image.Image):
        return [images], True
    if isinstance(images, np.ndarray) and images.ndim < 4:
        return [images], True
    return list(images), False


def load_image(image: ImageLike) -> ByteArray:
    """Return `(H, W, 3)` RGB uint8 for any kind of image: `read_image` or `as_rgb`.

    Raises:
        ImageError: not an image.
    """
    if isinstance(image, PageOfFile):
        return decode_image(_read_bytes(image), name=str(image), page=image.number)
    if isinstance(image, str | os.PathLike):
        return read_image(image)
    return as_rgb(image)


def read_image(path: str | os.PathLike[str]) -> ByteArray:
    """Read an image file.

    The EXIF orientation is applied, 16-bit is scaled to 8-bit, transparency is blended over white,
    and of an animation the first frame is read.

    Returns:
        `(H, W, 3)` uint8, RGB.

    Raises:
        ImageError: the file is missing, not a regular file, empty, not an image, or has more
            pixels than allowed (`OCRJAX_MAX_PIXELS` in the environment, default `MAX_PIXELS`).
    """
    return decode_image(_read_bytes(path), name=str(path))


def decode_image(data: ByteArray | bytes, *, name: str = "image", page: int = 1) -> ByteArray:
    """Decode an encoded image, like `read_image`; of a TIFF this page, from 1."""
    data = np.frombuffer(data, np.uint8)
    with decoding(data, name=name, page=page):
        # Rotation is done here: OpenCV's versions differ in the formats that they rotate.
        image = _decoded(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION, page)
        if image is not None and _may_have_alpha(data):
            raw = _decoded(data, cv2.IMREAD_UNCHANGED, page)
            if raw is not None and raw.ndim == 3 and raw.shape[2] == 4:
                return _turn(as_rgb(cv2.cvtColor(raw, cv2.COLOR_BGRA2RGBA)), _orientation(data))
        if image is None:
            kinds = ", ".join(SUFFIXES)
            raise ImageError(f"{name}: not an image that OpenCV can read ({kinds}), or truncated")
        return _turn(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), _orientation(data))


def decode_gray(data: ByteArray | bytes, *, name: str = "image") -> ByteArray:
    """Decode an encoded image to gray, twice as fast as `decode_image` for a JPEG.

    A JPEG's own luminance is returned, as by `cv2.imread` in EasyOCR; otherwise this is like
    `decode_image`.

    Returns:
        `(H, W)` uint8.

    Raises:
        ImageError: not an image.
    """
    data = np.frombuffer(data, np.uint8)
    if data[:3].tobytes() != b"\xff\xd8\xff":
        return np.asarray(cv2.cvtColor(decode_image(data, name=name), cv2.COLOR_RGB2GRAY), np.uint8)
    with decoding(data, name=name):
        image = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
        if image is None:
            raise ImageError(f"{name}: not a JPEG that OpenCV can read, or truncated")
        return _turn(image, _orientation(data))


def check_image(image: str | os.PathLike[str] | bytes, *, name: str = "") -> None:
    """Decode an image file to check that it is complete; arguments as for `read_small`.

    Raises:
        ImageError: missing, truncated, too large or not an image.
    """
    read_small(image, name=name)


def read_small(image: str | os.PathLike[str] | bytes, *, name: str = "") -> ByteArray:
    """Decode an image file to gray, a JPEG at an eighth of its size.

    Args:
        image: a path, or an encoded image.
        name: name for the error, if `image` is bytes.

    Returns:
        `(H, W)` uint8, rotated by EXIF if OpenCV supports that for the format.

    Raises:
        ImageError: missing, truncated, too large or not an image.
    """
    data = np.frombuffer(image, np.uint8) if isinstance(image, bytes) else _read_bytes(image)
    name = name or ("image" if isinstance(image, bytes) else str(image))
    with decoding(data, name=name):
        jpeg = data[:3].tobytes() == b"\xff\xd8\xff"
        flags = cv2.IMREAD_REDUCED_GRAYSCALE_8 if jpeg else cv2.IMREAD_GRAYSCALE
        small = cv2.imdecode(data, flags)
    if small is None:
        raise ImageError(f"{name}: not an image that OpenCV can read, or truncated")
    return np.asarray(small, np.uint8)


@contextmanager
def decoding(data: ByteArray, *, name: str, page: int = 1) -> Iterator[None]:
    """Check the claimed size, wait while others decode large images, convert errors."""
    if not data.size:
        raise ImageError(f"{name}: the file is empty")
    head = data[:65536].tobytes()
    size = header_size(head) if kind_of(head) == "jpeg" else None  # avoids copying the file
    height, width = _checked(size, name) if size else _stored_size(data.tobytes(), name, page)
    try:
        with _Room(height * width):
            yield
    except cv2.error as error:
        raise ImageError(f"{name}: OpenCV cannot decode it: {error.err}") from error


def _decoded(data: ByteArray, flags: int, page: int) -> Any:
    if page == 1:
        return cv2.imdecode(data, flags)
    ok, images = cv2.imdecodemulti(data, flags, range=(page - 1, page))
    return images[0] if ok and images else None


class _Room:
    """Bounds the total pixels of large images that this process decodes at a time."""

    _condition = threading.Condition()
    _used = 0

    def __init__(self, pixels: int) -> None:
        self._pixels = pixels if pixels > _LARGE else 0

    def __enter__(self) -> None:
        if self._pixels:
            with _Room._condition:
                # A single image may always start: it is within the limit of one image.
                _Room._condition.wait_for(
                    lambda: not _Room._used or _Room._used + self._pixels <= max_pixels()
                )
                _Room._used += self._pixels

    def __exit__(self, *error: object) -> None:
        if self._pixels:
            with _Room._condition:
                _Room._used -= self._pixels
                _Room._condition.notify_all()


def max_pixels() -> int:
    """Return the pixel limit: `OCRJAX_MAX_PIXELS` in the environment, default `MAX_PIXELS`.

    Raises:
        ImageError: the variable is not a positive number.
    """
    value = os.environ.get(PIXELS_VARIABLE, "")
    if value and not (value.isascii() and value.isdigit() and int(value) > 0):
        raise ImageError(f"{PIXELS_VARIABLE} is {value!r}: expected a number of pixels")
    return int(value) if value else MAX_PIXELS


def encoded_size(data: ByteArray | bytes, *, name: str = "image") -> tuple[int, int]:
    """Return height and width of what `decode_image` would return, from the header.

    Raises:
        ImageError: not an image, or one with too many pixels.
    """
    data = np.frombuffer(data, np.uint8)
    size = header_size(data[:65536].tobytes())
    size = _checked(size, name) if size else _stored_size(data.tobytes(), name)
    return size[::-1] if _orientation(data) >= 5 else size


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return height and width of what `load_image` would return, from the file's header.

    Raises:
        ImageError: the file is missing, not a regular file, empty, not an image, or has too many
            pixels.
    """
    if isinstance(path, PageOfFile):
        return _stored_size(_read_bytes(path).tobytes(), str(path), path.number)
    head = _read_bytes(path, 65536)
    size = header_size(head.tobytes()) if kind_of(head[:16].tobytes()) != "tiff" else None
    if size is None:
        return encoded_size(_read_bytes(path), name=str(path))
    turned = _may_be_turned(head) and _orientation(_read_bytes(path)) >= 5
    return _checked(size[::-1] if turned else size, str(path))


def page_count(path: str | os.PathLike[str]) -> int:
    """Return the number of pages of a TIFF; 1 for other files and for unreadable ones."""
    try:
        head = _read_bytes(path, 16).tobytes()
        return len(page_sizes(_read_bytes(path).tobytes())) if kind_of(head) == "tiff" else 1
    except ImageError:
        return 1


def is_turned(path: str | os.PathLike[str]) -> bool:
    """Return whether EXIF rotates an image by 90 degrees or more; False if it is unreadable."""
    try:
        head = _read_bytes(path, 65536)
        return _may_be_turned(head) and _orientation(_read_bytes(path)) in (3, 4, 5, 6, 7, 8)
    except ImageError:
        return False


def orientation(path: str | os.PathLike[str]) -> int:
    """Return the EXIF orientation of an image, 1 to 8; 1 if not rotated or unreadable."""
    try:
        head = _read_bytes(path, 65536)
        found = _orientation(_read_bytes(path)) if _may_be_turned(head) else 1
    except ImageError:
        return 1
    return found if 1 <= found <= 8 else 1


def _stored_size(data: bytes, name: str, page: int = 1) -> tuple[int, int]:
    """Return height and width of the stored pixels of a whole file, after checking the limit."""
    if not data:
        raise ImageError(f"{name}: the file is empty")
    if fault := png_fault(data):
        raise ImageError(f"{name}: {fault}")
    if page > 1:
        sizes = page_sizes(data)
        if page > len(sizes):
            raise ImageError(f"{name}: the file has {len(sizes)} pages")
        return _checked(sizes[page - 1], name)
    if size := header_size(data):
        return _checked(size, name)
    try:
        with Image.open(io.BytesIO(data)) as image:
            return _checked(image.size[::-1], name)
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: {error}") from error
    except (OSError, ValueError, SyntaxError, TypeError) as error:
        if isinstance(error, ImageError):
            raise
        kinds = ", ".join(SUFFIXES)
        raise ImageError(
            f"{name}: not an image that OpenCV can read ({kinds}), or truncated"
        ) from error


def _checked(size: tuple[int, int], name: str) -> tuple[int, int]:
    if size[0] * size[1] > (bound := max_pixels()):
        raise ImageError(
            f"{name}: {size[1]}x{size[0]} pixels by its header: expected at most {bound:,} pixels "
            f"({PIXELS_VARIABLE}=NUMBER in the environment sets another limit)"
        )
    return size


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Read the bytes of an image file.

    Raises:
        ImageError: it cannot be read.
    """
    return _read_bytes(path).tobytes()


_ORIENTATION = 0x0112  # EXIF tag; 5 to 8 swap height and width


def _read_bytes(path: str | os.PathLike[str], count: int = -1) -> ByteArray:
    try:
        check_regular(path)
        return np.fromfile(path, np.uint8, count)
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror or error}") from error


def _orientation(data: ByteArray) -> int:
    if not _may_be_turned(data[:65536]):
        return 1
    whole = data.tobytes()
    exif = Image.Exif()
    try:
        if kind_of(whole) == "png" and b"Raw profile type" not in whole[:65536]:
            # Pillow would decode a whole PNG to find an orientation after the pixels.
            for name, start, length in png_chunks(whole):
                if name == b"eXIf":
                    exif.load(b"Exif\0\0" + whole[start : start + length])
        else:
            with Image.open(io.BytesIO(whole)) as image:
                exif = image.getexif()
        return int(exif.get(_ORIENTATION, 1))
    except (OSError, ValueError, SyntaxError, TypeError, Image.DecompressionBombError):
        return 1


def _may_be_turned(head: ByteArray) -> bool:
    """Return whether to look for an orientation; `head` is the file's first 64 KiB."""
    if os.environ.get(EXIF_VARIABLE) == "ignore":
        return False
    start = head[:4].tobytes()
    if start in (b"II*\0", b"MM\0*"):
        return False  # Pillow and OpenCV rotate a TIFF themselves
    # WebP keeps its EXIF block at the end, the others near the start.
    text = head.tobytes()
    # An AVIF stores its rotation in its own boxes; Pillow reports it as an EXIF orientation.
    in_boxes = text[4:8] == b"ftyp" and (b"irot" in text or b"imir" in text)
    return start == b"RIFF" or in_boxes or b"exif" in text.lower()


def _turn(image: ByteArray, orientation: int) -> ByteArray:
    """Apply an EXIF orientation, 1 to 8."""
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
    """Convert a Pillow image or an array of gray, RGB or RGBA values to RGB uint8.

    Args:
        image: a Pillow image (its EXIF orientation is applied), or an array `(H, W)`, `(H, W, 1)`,
            `(H, W, 3)` RGB or `(H, W, 4)` RGBA of uint8, uint16, bool, or floats in [0, 1].

    Returns:
        `(H, W, 3)` uint8, RGB, contiguous.

    Raises:
        ImageError: a shape or type that is not an image.
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
    """Convert a Pillow image to an array of one of the kinds that `as_rgb` accepts."""
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
    """List the images among files and, recursively, folders; sorted, each once.

    Raises:
        ImageError: a root does not exist, or a folder holds no image.
    """
    found: dict[Path, None] = {}
    for root in map(Path, roots):
        if root.is_dir():
            inside = sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES)
            if not inside:
                others = left_out(root, deep=True)
                there = f"; these files are not supported: {name_files(others)}" if others else ""
                raise ImageError(f"{root}: no images in this folder ({', '.join(SUFFIXES)}){there}")
            found.update(dict.fromkeys(inside))
        elif root.exists():
            found[root] = None
        else:
            raise ImageError(f"{root}: no such file or folder")
    return list(found)


def left_out(folder: str | Path, *, deep: bool = False) -> list[Path]:
    """Return files of a folder that look like images, but are not read.

    Args:
        folder: folder of the images.
        deep: whether subfolders are read as well; if not, images in them are returned.

    Returns:
        Images judged by their suffix or their first bytes, in order.
    """
    found = []
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            suffix = path.suffix.lower()
            if suffix in SUFFIXES:
                if not deep and path.parent != Path(folder):
                    found.append(path)
            elif suffix in PICTURE_SUFFIXES or (suffix not in _TEXT_SUFFIXES and _is_picture(path)):
                found.append(path)
    return found


def _is_picture(path: Path) -> bool:
    """Return whether a file begins like an image."""
    try:
        return kind_of(_read_bytes(path, 32).tobytes()) not in ("", "bmp", "pnm")
    except ImageError:
        return False


def name_files(paths: Sequence[Path | PageOfFile], *, most: int = 3) -> str:
    """Return the first of some files and how many more there are, for a message."""
    more = f" and {len(paths) - most:,} more" if len(paths) > most else ""
    return ", ".join(map(str, paths[:most])) + more


def encode_image(image: ByteArray, *, suffix: str = ".jpg", quality: int = 95) -> bytes:
    """Encodes an RGB uint8 image as a JPEG of this quality, or as a PNG."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else []
    ok, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    if not ok:
        raise ImageError(f"OpenCV cannot encode {suffix} images")
    return bytes(data)


def write_image(path: str | Path, image: ByteArray) -> None:
    """Write an RGB uint8 image; the suffix sets the format; creates folders if needed."""
    path = Path(path)
    ok, data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not ok:
        raise ImageError(f"{path}: OpenCV cannot write this format")
    write_bytes(path, data.data)
