"""Images for a page: small enough to be embedded, as WebP in `data:` URLs."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ocrcore.images import ImageError
from ocrcore.pages import ByteArray, FloatArray

_MAP_SIDE = 160  # longer side of a heat map in pixels; words can still be told apart
_REGION, _AFFINITY = (255, 110, 0), (0, 110, 255)
_QUALITIES = (78, 60, 45, 30)
_LEAST_SIDE = 64


def small_maps(maps: FloatArray | NDArray[np.uint8] | Path) -> NDArray[np.uint8]:
    """Shrink score maps to the size shown on a page, so that hundreds fit in memory.

    Args:
        maps: `(h, w, 2)` float in [0, 1], or uint8; or the `.npy` file of such an array.

    Returns:
        `(h', w', 2)` uint8, the longer side at most 160.

    Raises:
        ImageError: the file or array is not of this form.
    """
    if isinstance(maps, Path):
        try:
            loaded = np.load(maps, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ImageError(f"{maps}: not a file of score maps: {error}") from error
        maps = np.asarray(loaded)
    if maps.ndim != 3 or maps.shape[2] != 2 or 0 in maps.shape:
        raise ImageError(f"score maps of shape {maps.shape}, expected (h, w, 2)")
    scale = min(1.0, _MAP_SIDE / max(maps.shape[:2]))
    size = max(1, round(maps.shape[1] * scale)), max(1, round(maps.shape[0] * scale))
    if maps.dtype != np.uint8:
        values = np.nan_to_num(maps.astype(np.float32), nan=0.0, posinf=1.0, neginf=0.0)
        maps = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    small = cv2.resize(maps, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8).reshape(size[1], size[0], 2)


def heat_map(maps: NDArray[np.uint8]) -> str:
    """Render region scores in orange and affinity in blue on a transparent background.

    Args:
        maps: score maps of `small_maps`.

    Returns:
        A `data:` URL.
    """
    scores = maps.astype(np.float32)
    total = np.maximum(scores.sum(axis=2, keepdims=True), 1)
    color = (scores[:, :, :1] * _REGION + scores[:, :, 1:] * _AFFINITY) / total
    alpha = 0.8 * scores.max(axis=2, keepdims=True)
    pixels = np.concatenate([color, alpha], axis=2)
    return _address(_webp(np.rint(pixels).astype(np.uint8), quality=50))


def thumbnail(image: ByteArray, *, side: int, most: int) -> str:
    """Return an image as a `data:` URL of bounded length, as large as that allows.

    Args:
        image: `(H, W, 3)` uint8, RGB.
        side: longest side in pixels; images are never enlarged.
        most: greatest length of the URL. An image of 64 pixels is kept even if it is longer.

    Returns:
        A `data:` URL.
    """
    longest = max(image.shape[:2])
    side = min(side, longest)
    while True:
        size = [max(1, round(n * side / longest)) for n in (image.shape[1], image.shape[0])]
        small = image
        if side < longest:
            small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        for quality in _QUALITIES[:2] if side > _LEAST_SIDE else _QUALITIES:
            address = _address(_webp(small, quality=quality))
            if len(address) <= most:
                return address
        if side <= _LEAST_SIDE:
            return address
        # The size is roughly proportional to the area.
        shrink = min(0.9, (most / len(address)) ** 0.5)
        side = max(_LEAST_SIDE, int(side * shrink))


def _webp(image: ByteArray, *, quality: int) -> bytes:
    data = io.BytesIO()
    Image.fromarray(image).save(data, "WEBP", quality=quality, method=2)
    return data.getvalue()


def _address(data: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(data).decode("ascii")
