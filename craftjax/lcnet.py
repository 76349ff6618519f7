"""A compact detector: CRAFT's two score maps on the layers of PP-OCRv6's small detector.

LCNetV4 computes features at 1/4 to 1/32 of the image size. A feature pyramid with large depthwise
kernels (LKPAN) joins them at 1/4. A head computes region and affinity at half the image size. All
but the last layer follow Cui et al. 2026, arXiv 2606.13108. The network has 2.5 million parameters.

It is meant to start from the published weights (`craftjax.ppocr`), in which each BatchNorm is
folded into its convolution. It therefore has no BatchNorm.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ocrcore.layers import Frozen, never
from ocrcore.lcnet import DETECTOR_BLOCKS, Layer, LCNetV4

Array = jax.Array

LEVELS = (32, 16, 8, 4)
"""Strides of the pyramid's levels, coarse first."""
CHANNELS, NARROW = 96, 24  # channels of the pyramid, and of each level before they are joined
SPAN = 7  # side of the depthwise kernels
_REDUCTION = 4  # channel reduction of the squeeze


class LCNetCRAFT(nn.Module):
    """The compact detector's network.

    Attributes:
        dtype: dtype of the computation, float32 or bfloat16; parameters and scores are float32.
        frozen: no effect, since there is no BatchNorm.
    """

    dtype: Any = jnp.float32
    frozen: Frozen = never

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> tuple[Array, Array]:
        """Score images, with the arguments and results of `craftjax.models.CRAFT`.

        Args:
            images: `(B, H, W, 3)`, RGB, 0 to 255, uint8 or float.
            train: no effect, since nothing depends on the batch.

        Returns:
            `(B, H // 2, W // 2, 2)` float32, region and affinity; and `(B, H // 2, W // 2, 24)`
            float32, the features below the last layer.
        """
        height, width = images.shape[1:3]
        down, across = -height % LEVELS[0], -width % LEVELS[0]
        x = (images.astype(jnp.float32) / 127.5 - 1).astype(self.dtype)
        x = jnp.pad(x, ((0, 0), (0, down), (0, across), (0, 0)))
        stages, _ = LCNetV4(DETECTOR_BLOCKS, dtype=self.dtype, name="features")(x, train=False)
        joined: list[Array] = []
        above: Array | None = None
        for level, stage in zip(LEVELS, reversed(stages), strict=True):
            y = self._excited(f"lateral{level}", self._layer(f"lateral{level}", CHANNELS, stage))
            above = y if above is None else y + enlarge(above, 2)
            y = self._layer(f"spread{level}", CHANNELS, above, size=SPAN, depthwise=True)
            y = self._excited(f"narrow{level}", self._layer(f"narrow{level}", NARROW, y))
            joined.append(enlarge(y, level // LEVELS[-1]))
        x = nn.relu(self._layer("join", NARROW, jnp.concatenate(joined, -1), size=3))
        x = nn.relu(_spread(self._layer("enlarge", 4 * NARROW, x)))
        x = x[:, : height // 2, : width // 2]
        scores = self._layer("scores", 2, x.astype(jnp.float32), dtype=jnp.float32)
        return scores, x.astype(jnp.float32)

    def _layer(self, name: str, features: int, x: Array, *, size: int = 1, **options: Any) -> Array:
        """Apply a convolution that keeps the size."""
        around = ((size // 2, size // 2),) * 2
        options = {"dtype": self.dtype, "padding": around, **options}
        return Layer(features, (size, size), **options, name=name)(x, train=False)

    def _excited(self, name: str, x: Array) -> Array:
        """Apply squeeze-and-excitation, and add it to its input."""
        mean = jnp.mean(x.astype(jnp.float32), axis=(1, 2), keepdims=True)
        channels = x.shape[-1]
        y = nn.relu(self._layer(f"{name}_squeeze", channels // _REDUCTION, mean))
        y = self._layer(f"{name}_excite", channels, y)
        return x + x * jnp.clip(0.2 * y + 0.5, 0, 1)


def enlarge(x: Array, times: int) -> Array:
    """Repeat each pixel of `(B, H, W, C)` along both sides."""
    b, h, w, c = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None], (b, h, times, w, times, c))
    return x.reshape(b, h * times, w * times, c)


def _spread(x: Array) -> Array:
    """Arrange four groups of channels as 2x2 pixels: the last step of a transposed convolution."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, 2 * h, 2 * w, c // 4)
