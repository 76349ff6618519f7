"""Augmentation of crops: gray, uint8, already at the network's height; their size does not change.

Every change has its own probability, 0 by default. The order is that of a camera: view, light,
resolution, blur, noise, compression. All random numbers of a crop are drawn at once, so that
enabling one change does not affect the others.

NumPy and OpenCV only: it runs in threads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ocrcore.pages import ByteArray

Rng = np.random.Generator
Range = tuple[float, float]

_RANGES: Mapping[str, tuple[float, float]] = {
    "gain": (0.05, 8),
    "low_resolution": (1, 16),
    "blur": (0, 0.5),
    "noise": (0, 128),
    "jpeg_quality": (1, 100),
}
_DRAWS = 24  # random numbers per crop
_NOISE = 1 << 18


@dataclass(frozen=True, slots=True)
class AugmentOptions:
    """Augmentation of crops. `p_...` are probabilities; ranges are (least, greatest).

    Attributes:
        p_perspective: probability of a perspective distortion.
        perspective: greatest shift of each corner, relative to the height.
        p_shear: probability of a shear.
        shear: greatest horizontal shift per height, to either side.
        p_rotation: probability of a rotation.
        rotation: greatest angle in degrees, to either side; less for long crops, which would lose
            their ends.
        p_contrast: probability of a change of contrast and brightness.
        gain: factor of the distance from the mean gray.
        brightness: greatest number of gray levels added, to either side.
        p_invert: probability of inverting the gray values.
        p_low_resolution: probability of scaling the crop down and up again.
        low_resolution: scale of the smaller crop.
        p_blur: probability of a Gaussian blur.
        blur: its standard deviation, relative to the height.
        p_noise: probability of sensor noise.
        noise: its standard deviation in gray levels.
        p_jpeg: probability of JPEG compression.
        jpeg_quality: its quality.

    Raises:
        ValueError: an option is out of range; the message names it.
    """

    p_perspective: float = 0.0
    perspective: float = 0.12
    p_shear: float = 0.0
    shear: float = 0.3
    p_rotation: float = 0.0
    rotation: float = 5.0
    p_contrast: float = 0.0
    gain: Range = (0.5, 1.5)
    brightness: float = 40.0
    p_invert: float = 0.0
    p_low_resolution: float = 0.0
    low_resolution: Range = (1.3, 2.5)
    p_blur: float = 0.0
    blur: Range = (0.01, 0.045)
    p_noise: float = 0.0
    noise: Range = (2.0, 14.0)
    p_jpeg: float = 0.0
    jpeg_quality: Range = (20, 90)

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name in _RANGES:
                least, most = _RANGES[one.name]
                try:
                    low, high = (float(bound) for bound in value)
                except (TypeError, ValueError):
                    low, high = math.nan, math.nan
                if not least <= low <= high <= most:
                    raise ValueError(
                        f"{one.name} is {value!r}, expected (low, high) with "
                        f"{least} <= low <= high <= {most}"
                    )
                object.__setattr__(self, one.name, (low, high))
            else:
                limits = {"rotation": 45.0, "brightness": 255.0, "perspective": 0.45}
                limit = limits.get(one.name, 1.0)
                if not 0 <= value <= limit:
                    raise ValueError(f"{one.name} is {value!r}, expected 0 to {limit:g}")


PRESETS: Mapping[str, AugmentOptions] = {
    "none": AugmentOptions(),
    "light": AugmentOptions(
        p_perspective=0.25,
        p_shear=0.15,
        p_rotation=0.15,
        p_contrast=0.3,
        p_invert=0.02,
        p_low_resolution=0.05,
        p_blur=0.1,
        p_noise=0.15,
        p_jpeg=0.1,
    ),
    "strong": AugmentOptions(
        p_perspective=0.5,
        p_shear=0.3,
        p_rotation=0.3,
        p_contrast=0.5,
        p_invert=0.05,
        p_low_resolution=0.2,
        p_blur=0.25,
        p_noise=0.3,
        p_jpeg=0.25,
    ),
}
"""Options by name; "light" leaves about a quarter of the crops unchanged."""


def augment(rng: Rng, image: ByteArray, options: AugmentOptions) -> ByteArray:
    """Change a crop at random.

    Args:
        rng: random generator; the result is a function of its state, the crop and the options.
        image: `(H, W)` uint8.
        options: the augmentation.

    Returns:
        `(H, W)` uint8; the crop itself if nothing was changed.
    """
    draws: list[float] = rng.random(_DRAWS).tolist()
    height, width = image.shape
    if matrix := _view(draws[:13], height, width, options):
        image = cv2.warpPerspective(
            image,
            np.array(matrix),
            (width, height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
    if draws[13] < options.p_contrast:
        gain = _between(options.gain, draws[14])
        mean = cv2.mean(image)[0]
        shift = mean * (1 - gain) + options.brightness * (2 * draws[15] - 1)
        levels = np.clip(np.arange(256) * gain + (shift + 0.5), 0, 255).astype(np.uint8)
        image = cv2.LUT(image, levels)
    if draws[16] < options.p_invert:
        image = cv2.bitwise_not(image)
    if draws[17] < options.p_low_resolution:
        factor = _between(options.low_resolution, draws[18])
        small = (max(1, round(width / factor)), max(1, round(height / factor)))
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    if draws[19] < options.p_blur:
        sigma = max(0.05, height * _between(options.blur, draws[20]))
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    if draws[21] < options.p_noise:
        image = _noisy(rng, image, _between(options.noise, draws[22]))
    if draws[23] < options.p_jpeg:
        quality = round(_between(options.jpeg_quality, rng.random()))
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)
    return np.asarray(image, np.uint8)


def _between(bounds: Range, draw: float) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * draw


def _view(
    draws: list[float], height: int, width: int, options: AugmentOptions
) -> list[list[float]] | None:
    """Homography of the new view, for OpenCV's pixel centers; None for no change."""
    seen = draws[0] < options.p_perspective
    leans = draws[1] < options.p_shear
    turned = draws[2] < options.p_rotation
    if not (seen or leans or turned):
        return None
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    across, down = width / 2, height / 2
    corners = [(-across, -down), (across, -down), (across, down), (-across, down)]
    if seen:
        reach = options.perspective * height
        moves = [reach * (2 * draw - 1) for draw in draws[3:11]]
        corners = [(x + moves[2 * i], y + moves[2 * i + 1]) for i, (x, y) in enumerate(corners)]
    if leans:
        slope = options.shear * (2 * draws[11] - 1)
        corners = [(x + slope * y, y) for x, y in corners]
    if turned:
        # The ends of a long crop may move up or down by a fifth of its height.
        most = min(math.radians(options.rotation), math.atan2(0.4 * height, width))
        angle = most * (2 * draws[12] - 1)
        cosine, sine = math.cos(angle), math.sin(angle)
        corners = [(x * cosine - y * sine, x * sine + y * cosine) for x, y in corners]
    # Keep the whole crop visible: scale it down if it exceeds the frame.
    out_x = max(max(abs(x) for x, _ in corners) / across, 1.0)
    out_y = max(max(abs(y) for _, y in corners) / down, 1.0)
    goal = np.array([(middle_x + x / out_x, middle_y + y / out_y) for x, y in corners], np.float32)
    start = np.array(
        [
            (middle_x - across, middle_y - down),
            (middle_x + across, middle_y - down),
            (middle_x + across, middle_y + down),
            (middle_x - across, middle_y + down),
        ],
        np.float32,
    )
    matrix: list[list[float]] = cv2.getPerspectiveTransform(start, goal).tolist()
    return matrix


def _noisy(rng: Rng, image: ByteArray, sigma: float) -> ByteArray:
    bank = _bank()
    start = int(rng.random() * max(len(bank) - image.size, 1))
    noise = np.resize(bank[start : start + image.size], image.shape)
    out: Any = cv2.addWeighted(image, 1.0, noise, sigma, 0.5, dtype=cv2.CV_32F)
    return np.asarray(np.clip(out, 0, 255).astype(np.uint8))


@lru_cache(maxsize=1)
def _bank() -> NDArray[np.float32]:
    """A bank of noise to take parts from, the same in every process."""
    rng = np.random.Generator(np.random.Philox(key=[7, 31]))
    return rng.standard_normal(_NOISE, np.float32)
