"""Widths of pictures and the time steps that the network makes of them. Host code: no jax."""

from __future__ import annotations

from typing import Any

MIN_HEIGHT = 31
"""keras-ocr's. The networks halve the height four times and then join two rows: they see pictures
of less than `FULL_HEIGHT` rows with their last row repeated."""
FULL_HEIGHT = 32
MIN_WIDTH = 8

# Time steps beyond a quarter of the width, by the kind of features: their last layers have kernels
# two wide, without padding in VGG, between two paddings by one in the others.
_BEYOND = {"vgg": -1, "resnet": 1, "rcnn": 1}
# The column of what the first time step names, and columns from step to step. Measured on
# ppocrv6_small (lcnetv4) and on english_g2 (vgg), which names a character two steps before its
# middle (benchmarks/lab/placed_characters.py); of the others the middle of what the kernels see.
_COLUMNS = {"vgg": (12.0, 4.0), "resnet": (0.0, 4.0), "rcnn": (0.0, 4.0), "lcnetv4": (2.5, 8.0)}
FEATURE_KINDS = (*_BEYOND, "lcnetv4")


def time_steps(width: Any, *, features: str) -> Any:
    """Time steps that the network gives for a picture: `W // 4 - 1` or `+ 1`, about `W / 8`.

    Of a picture that is padded, these are the first time steps, which hold its text: the input
    length of its CTC loss.

    Args:
        width: of the picture in pixels; a number or an array, also of jax.
        features: `vgg`, `resnet`, `rcnn` or `lcnetv4`.

    Returns:
        As many numbers, at least 1.

    Raises:
        KeyError: features of another name.
    """
    # Twice half of the columns, rounded up, then pairs of them.
    steps = (width + 3) // 8 if features == "lcnetv4" else width // 4 + _BEYOND[features]
    return max(steps, 1) if isinstance(steps, int) else steps.clip(1)


def step_columns(steps: Any, *, features: str) -> Any:
    """The columns of a picture where stands what time steps name, in the middle.

    Args:
        steps: from 0; a number or an array.
        features: `vgg`, `resnet`, `rcnn` or `lcnetv4`.

    Returns:
        As many columns, counted from the left edge of the first.

    Raises:
        KeyError: features of another name.
    """
    first, stride = _COLUMNS[features]
    return first + stride * steps
