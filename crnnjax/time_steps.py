"""Widths of pictures and the time steps that the network makes of them. Host code: no jax."""

from __future__ import annotations

from typing import Any

MIN_HEIGHT = 32
MIN_WIDTH = 8

# Time steps beyond a quarter of the width, by the kind of features: their last layers have kernels
# two wide, without padding in VGG, between two paddings by one in the others.
_BEYOND = {"vgg": -1, "resnet": 1, "rcnn": 1}


def time_steps(width: Any, *, features: str) -> Any:
    """Time steps that the network gives for a picture: `W // 2 // 2 - 1`, or `+ 1`.

    Of a picture that is padded, these are the first time steps, which hold its text: the input
    length of its CTC loss.

    Args:
        width: of the picture in pixels; a number or an array, also of jax.
        features: `vgg`, `resnet` or `rcnn`.

    Returns:
        As many numbers, at least 1.

    Raises:
        KeyError: features of another name.
    """
    steps = width // 4 + _BEYOND[features]
    return max(steps, 1) if isinstance(steps, int) else steps.clip(1)
