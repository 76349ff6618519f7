"""Crops scaled for the network as EasyOCR and deep-text-recognition-benchmark do it.

Needs no device: it runs in threads.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from PIL import Image

from ocrjax.pages import ByteArray


def as_grey(image: ByteArray) -> ByteArray:
    """Grey values of an RGB crop by OpenCV's weights; a grey one as it is.

    Args:
        image: `(H, W, 3)` RGB, `(H, W, 1)` or `(H, W)`, uint8, not empty.

    Returns:
        `(H, W)` uint8.

    Raises:
        ValueError: another shape or type.
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or not image.size:
        raise ValueError(
            f"a crop of shape {image.shape} and type {image.dtype}: expected (H, W, 3) RGB or "
            "(H, W) grey of uint8 with at least one pixel"
        )
    if image.ndim == 2:
        return image
    if image.shape[2] == 1:
        return image[:, :, 0]
    if image.shape[2] != 3:
        raise ValueError(f"a crop of {image.shape[2]} channels: expected 1 or 3")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


def easyocr_width(height: int, width: int, model_height: int) -> int:
    """Width of the input that EasyOCR makes of a crop read alone.

    `ceil` of the longer side over the shorter, times the network's height (`get_image_list` in
    `easyocr/utils.py`).

    Args:
        height: of the crop.
        width: of the crop.
        model_height: height of the network's input.
    """
    return math.ceil(_ratio(height, width)) * model_height


def easyocr_crop(grey: ByteArray, model_height: int, *, contrast: float = 0.0) -> ByteArray:
    """Scales and pads a crop exactly as EasyOCR 1.7.2 does before its network.

    Bilinear by OpenCV to the network's height (a crop that is taller than wide: to that width, and
    it stays tall), then bicubic by Pillow to the network's height, which changes tall crops only,
    then the last column is repeated to the right (`compute_ratio_and_resize` in `easyocr/utils.py`,
    `AlignCollate` in `easyocr/recognition.py`).

    Args:
        grey: `(H, W)` uint8.
        model_height: height of the network's input.
        contrast: raise the contrast up to this (`raise_contrast`) between the two; 0: leave it.

    Returns:
        `(model_height, easyocr_width)` uint8.
    """
    height, width = grey.shape
    long = int(model_height * _ratio(height, width))
    size = (model_height, long) if width < height else (long, model_height)
    scaled = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    if contrast > 0:
        scaled = raise_contrast(scaled, contrast)
    room = easyocr_width(height, width, model_height)
    ratio = scaled.shape[1] / scaled.shape[0]
    return _padded(_bicubic(scaled, min(math.ceil(model_height * ratio), room), model_height), room)


def raise_contrast(grey: ByteArray, target: float) -> ByteArray:
    """Stretches the grey values of a dull crop.

    Contrast is (p90 - p10) / max(10, p90 + p10) of the percentiles (`adjust_contrast_grey` in
    `easyocr/recognition.py`).

    Args:
        grey: `(H, W)` uint8.
        target: crops of at least this contrast stay as they are.
    """
    low, high = np.percentile(grey, [10, 90])
    if (high - low) / max(10, high + low) >= target:
        return grey
    stretched = (grey.astype(np.int64) - low + 25) * (200.0 / max(10, high - low))
    return np.clip(stretched, 0, 255).astype(np.uint8)


def fixed_crop(grey: ByteArray, model_height: int, model_width: int) -> ByteArray:
    """Scales a crop to one size whatever its shape, bicubic by Pillow.

    As deep-text-recognition-benchmark does without `--PAD` (`ResizeNormalize` in `dataset.py`).

    Args:
        grey: `(H, W)` uint8.
        model_height: of the network's input.
        model_width: of the network's input.
    """
    return _bicubic(grey, model_width, model_height)


def _ratio(height: int, width: int) -> float:
    # As EasyOCR computes it: the inverse of a quotient is not always the other quotient.
    ratio = width / height
    return 1.0 / ratio if ratio < 1.0 else ratio


def _bicubic(grey: ByteArray, width: int, height: int) -> ByteArray:
    if grey.shape == (height, width):
        return grey
    image = Image.fromarray(grey).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image, np.uint8)


def _padded(grey: ByteArray, width: int) -> ByteArray:
    return np.pad(grey, ((0, 0), (0, width - grey.shape[1])), mode="edge")
