"""Scaling of crops for the network, as in EasyOCR and deep-text-recognition-benchmark.

Host code; runs in threads.
"""

from __future__ import annotations

import math
import os

import cv2
import numpy as np
from PIL import Image

from ocrcore.images import ImageError, decoding, read_bytes
from ocrcore.pages import ByteArray


def as_gray(image: ByteArray) -> ByteArray:
    """Convert an RGB crop to gray by OpenCV's weights; a gray crop is unchanged.

    Args:
        image: `(H, W, 3)` RGB, `(H, W, 1)` or `(H, W)`, uint8, not empty.

    Returns:
        `(H, W)` uint8.

    Raises:
        ValueError: another shape or type.
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or not image.size:
        raise ValueError(
            f"a crop of shape {image.shape} and dtype {image.dtype}: expected (H, W, 3) RGB or "
            "(H, W) gray of uint8 with at least one pixel"
        )
    if image.ndim == 2:
        return image
    if image.shape[2] == 1:
        return image[:, :, 0]
    if image.shape[2] != 3:
        raise ValueError(f"a crop with {image.shape[2]} channels: expected 1 or 3")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


def read_gray(path: str | os.PathLike[str]) -> ByteArray:
    """Read an image file as gray by OpenCV, as EasyOCR does with a path.

    For PNG files libpng computes the gray values, with other weights than `as_gray` and in linear
    light if the file has a gamma: they differ by a few levels.

    Returns:
        `(H, W)` uint8.

    Raises:
        ImageError: the file is missing or not an image.
    """
    data = np.frombuffer(read_bytes(path), np.uint8)
    with decoding(data, name=str(path)):
        gray = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
        if gray is None:
            raise ImageError(f"{path}: truncated, or not an image that OpenCV can read")
    return np.asarray(gray, np.uint8)


def turn_tall(image: ByteArray, above: float) -> ByteArray:
    """Rotate a tall crop by 90 degrees counterclockwise, so that a word running down is level.

    PaddleOCR does so from a ratio of 1.5 on (`get_rotate_crop_image` in `tools/infer/utility.py`).

    Args:
        image: `(H, W)` or `(H, W, C)`.
        above: height / width from which a crop is rotated; 0 rotates none.
    """
    if not above or image.shape[0] < above * image.shape[1]:
        return image
    return np.ascontiguousarray(np.rot90(image))


def easyocr_width(height: int, width: int, model_height: int) -> int:
    """Return the input width that EasyOCR uses for a single crop.

    `ceil` of the longer side over the shorter, times the network's height (`get_image_list` in
    `easyocr/utils.py`).

    Args:
        height: height of the crop.
        width: width of the crop.
        model_height: height of the network's input.
    """
    return math.ceil(_ratio(height, width)) * model_height


def bucket_width(width: int, model_height: int) -> int:
    """Return the least bucket width that fits a scaled crop.

    Buckets are 1, 2, 4, ... and 1.5, 3, 6, ... times the network's height: few programs for lines
    of any length, and at most a third of an input is padding (except for very narrow crops).

    Args:
        width: width of the scaled crop.
        model_height: height of the network's input.
    """
    bucket = model_height
    while bucket < width:
        half = bucket * 3 // 2
        if half >= width:
            return half
        bucket *= 2
    return bucket


def scaled_size(height: int, width: int, model_height: int) -> tuple[int, int]:
    """Return height and width of a crop after `scale_crop`, from its size."""
    long = int(model_height * _ratio(height, width))
    return (long, model_height) if width < height else (model_height, long)


def scale_crop(gray: ByteArray, model_height: int) -> ByteArray:
    """Scale a crop as EasyOCR 1.7.2 does first: the shorter side to the network's height.

    Bilinear by OpenCV (`compute_ratio_and_resize` in `easyocr/utils.py`). A crop that is taller
    than wide stays taller; `level_crop` comes next.

    Args:
        gray: `(H, W)` uint8.
        model_height: height of the network's input.
    """
    height, width = scaled_size(gray.shape[0], gray.shape[1], model_height)
    return np.asarray(cv2.resize(gray, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def level_width(height: int, width: int, model_height: int) -> int:
    """Return the width of a crop of this size after `scale_crop` and `level_crop`."""
    height, width = scaled_size(height, width, model_height)
    return math.ceil(model_height * (width / height))


def level_crop(scaled: ByteArray, model_height: int) -> ByteArray:
    """Scale the result of `scale_crop` to the network's height, which only changes tall crops.

    Bicubic by Pillow (`AlignCollate` in `easyocr/recognition.py`).

    Args:
        scaled: `(H, W)` uint8, from `scale_crop`.
        model_height: height of the network's input.

    Returns:
        `(model_height, W)` uint8.
    """
    height, width = scaled.shape
    return _bicubic(scaled, math.ceil(model_height * (width / height)), model_height)


def pad_crop(gray: ByteArray, width: int) -> ByteArray:
    """Repeat the last column to the right, as EasyOCR does."""
    return np.pad(gray, ((0, 0), (0, width - gray.shape[1])), mode="edge")


def raise_contrast(gray: ByteArray, target: float) -> ByteArray:
    """Stretch the gray values of a low-contrast crop.

    Contrast is (p90 - p10) / max(10, p90 + p10) of the percentiles (`adjust_contrast_grey` in
    `easyocr/recognition.py`).

    Args:
        gray: `(H, W)` uint8.
        target: crops of at least this contrast are unchanged.
    """
    low, high = np.percentile(gray, [10, 90])
    if (high - low) / max(10, high + low) >= target:
        return gray
    stretched = (gray.astype(np.int64) - low + 25) * (200.0 / max(10, high - low))
    return np.clip(stretched, 0, 255).astype(np.uint8)


def fixed_crop(gray: ByteArray, model_height: int, model_width: int) -> ByteArray:
    """Scale a crop of any shape to one size, bicubic by Pillow.

    As deep-text-recognition-benchmark does without `--PAD` (`ResizeNormalize` in `dataset.py`).

    Args:
        gray: `(H, W)` uint8.
        model_height: height of the network's input.
        model_width: width of the network's input.
    """
    return _bicubic(gray, model_width, model_height)


def _ratio(height: int, width: int) -> float:
    # As in EasyOCR: in floats, 1 / (a / b) does not always equal b / a.
    ratio = width / height
    return 1.0 / ratio if ratio < 1.0 else ratio


def _bicubic(gray: ByteArray, width: int, height: int) -> ByteArray:
    if gray.shape == (height, width):
        return gray
    image = Image.fromarray(gray).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image, np.uint8)
