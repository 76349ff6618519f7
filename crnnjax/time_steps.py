"""Time steps of the network for image widths. Host code: no jax."""

from __future__ import annotations

from typing import Any

MIN_HEIGHT = 31
"""The height of keras-ocr. The networks halve the height four times and then join two rows; images
with less than `FULL_HEIGHT` rows are padded by repeating the last row."""
FULL_HEIGHT = 32
MIN_WIDTH = 8

# Time steps in addition to a quarter of the width, by kind of features: the last layers have
# kernels two wide, without padding in VGG, with paddings by one in the others.
_BEYOND = {"vgg": -1, "resnet": 1, "rcnn": 1}
# The column that the first time step refers to, and the columns from step to step. Measured on
# ppocrv6_small (lcnetv4) and on english_g2 (vgg), which emits a character two steps before its
# middle (benchmarks/lab/placed_characters.py); for the others the center of the receptive field.
_COLUMNS = {"vgg": (12.0, 4.0), "resnet": (0.0, 4.0), "rcnn": (0.0, 4.0), "lcnetv4": (2.5, 8.0)}
FEATURE_KINDS = (*_BEYOND, "lcnetv4")


def time_steps(width: Any, *, features: str) -> Any:
    """Return the time steps for an image width: `W // 4 - 1`, `W // 4 + 1` or about `W / 8`.

    For the width of an image without padding, this is the number of valid time steps at the start:
    the input length of the CTC loss.

    Args:
        width: width of the image in pixels; a number or an array, also of jax.
        features: `vgg`, `resnet`, `rcnn` or `lcnetv4`.

    Returns:
        Numbers of the same shape, at least 1.

    Raises:
        KeyError: features of another name.
    """
    # lcnetv4 halves the columns twice, rounding up, then pairs them, dropping an odd last one.
    steps = (width + 3) // 8 if features == "lcnetv4" else width // 4 + _BEYOND[features]
    return max(steps, 1) if isinstance(steps, int) else steps.clip(1)


def step_columns(steps: Any, *, features: str) -> Any:
    """Return the image columns of the middle of characters, from their time steps.

    Args:
        steps: time steps from 0; a number or an array.
        features: `vgg`, `resnet`, `rcnn` or `lcnetv4`.

    Returns:
        Columns of the same shape, measured from the left edge of the image.

    Raises:
        KeyError: features of another name.
    """
    first, stride = _COLUMNS[features]
    return first + stride * steps
