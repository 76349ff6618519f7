"""Three kinds of convolutional features: VGG, ResNet and recurrent convolutions (RCNN).

Layers and names are those of deep-text-recognition-benchmark and EasyOCR (VGG is its generation 2,
ResNet its generation 1), so that weights can be exchanged
(`crnnjax.convert`). Each maps `(B, H, W, 1)` to `(B, H', T, channels)`; T is
`crnnjax.time_steps.time_steps(W)`, H' is `H // 16 - 1`.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from ocrcore.layers import BatchNorm, Frozen, add_bias, convolve, max_pool, never

Array = jax.Array


class Conv(nn.Module):
    """A convolution with stride 1.

    Attributes:
        features: output channels.
        size: side of the kernel: 1, 2, or 3, which is padded with zeros to the same size.
        use_bias: whether it has a bias.
        dtype: dtype of the computation.
    """

    features: int
    size: int = 3
    use_bias: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """`(B, H, W, C)` to `(B, H, W, features)`; H and W are one less for size 2."""
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape).astype(self.dtype)
        x = x.astype(self.dtype)
        if self.size == 1:
            x = jnp.dot(x, kernel[0, 0])
        elif self.size == 3:
            x = convolve(x, kernel)
        else:
            x = lax.conv_general_dilated(
                x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
        if not self.use_bias:
            return x
        return add_bias(x, self.param("bias", nn.initializers.zeros, (self.features,)))


def _pool_overlapping(x: Array) -> Array:
    """Pool like torch's `MaxPool2d(2, stride=(2, 1), padding=(0, 1))`: one column wider."""
    x = max_pool(x, height=2, width=1)
    # The padding is -inf, so the maximum at the border is the border column itself.
    before = jnp.concatenate([x[:, :, :1], x], axis=2)
    after = jnp.concatenate([x, x[:, :, -1:]], axis=2)
    return jnp.maximum(before, after)


class VGG(nn.Module):
    """Seven convolutions, as in CRNN."""

    channels: int = 512
    frozen: Frozen = never
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """`(B, H, W, 1)` to `(B, H // 16 - 1, W // 4 - 1, channels)`."""
        c = self.channels

        def conv(index: int, features: int, x: Array) -> Array:
            return Conv(features, use_bias=True, dtype=self.dtype, name=f"conv{index}")(x)

        def norm(index: int, x: Array) -> Array:
            x = Conv(c, dtype=self.dtype, name=f"conv{index}")(x)
            name = f"bn{index + 1}"
            return BatchNorm(dtype=self.dtype, frozen=self.frozen, name=name)(x, train=train)

        # ReLU after pooling gives the same as before it, at a lower cost.
        x = nn.relu(max_pool(conv(0, c // 8, x)))
        x = nn.relu(max_pool(conv(3, c // 4, x)))
        x = nn.relu(conv(6, c // 2, x))
        x = nn.relu(max_pool(conv(8, c // 2, x), width=1))
        x = nn.relu(norm(11, x))
        x = nn.relu(max_pool(norm(14, x), width=1))
        return nn.relu(Conv(c, 2, use_bias=True, dtype=self.dtype, name="conv18")(x))


class BasicBlock(nn.Module):
    """A residual block of two convolutions."""

    features: int
    frozen: Frozen = never
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """`(B, H, W, C)` to `(B, H, W, features)`."""

        def norm(conv: str, bn: str, x: Array, size: int = 3) -> Array:
            x = Conv(self.features, size, dtype=self.dtype, name=conv)(x)
            return BatchNorm(dtype=self.dtype, frozen=self.frozen, name=bn)(x, train=train)

        y = norm("conv2", "bn2", nn.relu(norm("conv1", "bn1", x)))
        if x.shape[-1] != self.features:
            x = norm("downsample_0", "downsample_1", x, 1)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """31 convolutions in residual blocks, as in FAN."""

    channels: int = 512
    frozen: Frozen = never
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """`(B, H, W, 1)` to `(B, H // 16 - 1, W // 4 + 1, channels)`."""
        c = self.channels

        def norm(index: str, features: int, x: Array, size: int = 3) -> Array:
            x = Conv(features, size, dtype=self.dtype, name=f"conv{index}")(x)
            name = f"bn{index}"
            return BatchNorm(dtype=self.dtype, frozen=self.frozen, name=name)(x, train=train)

        def layer(number: int, features: int, blocks: int, x: Array) -> Array:
            for index in range(blocks):
                block = BasicBlock(
                    features, self.frozen, dtype=self.dtype, name=f"layer{number}_{index}"
                )
                x = block(x, train=train)
            return x

        x = nn.relu(norm("0_1", c // 16, x))
        x = nn.relu(max_pool(norm("0_2", c // 8, x)))
        x = nn.relu(norm("1", c // 4, layer(1, c // 4, 1, x)))
        x = layer(2, c // 2, 2, max_pool(x))
        x = nn.relu(norm("2", c // 2, x))
        x = layer(3, c, 5, _pool_overlapping(x))
        x = nn.relu(norm("3", c, x))
        x = layer(4, c, 3, x)
        # torch's stride of (2, 1) and padding of (0, 1).
        x = _StridedConv(c, dtype=self.dtype, name="conv4_1")(x)
        norm_1 = BatchNorm(dtype=self.dtype, frozen=self.frozen, name="bn4_1")
        x = nn.relu(norm_1(x, train=train))
        return nn.relu(norm("4_2", c, x, 2))


class _StridedConv(nn.Module):
    """A 2x2 convolution with strides of 2 and 1 that pads a column on both sides."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """`(B, H, W, C)` to `(B, H // 2, W + 1, features)`."""
        shape = (2, 2, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        return lax.conv_general_dilated(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            (2, 1),
            ((0, 0), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )


class RecurrentConv(nn.Module):
    """A gated recurrent convolution (GRCL): five rounds with shared kernels, own BatchNorms."""

    features: int
    frozen: Frozen = never
    rounds: int = 5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """`(B, H, W, C)` to `(B, H, W, features)`."""

        def conv(name: str, size: int) -> Conv:
            return Conv(self.features, size, dtype=self.dtype, name=name)

        def norm(name: str, x: Array) -> Array:
            return BatchNorm(dtype=self.dtype, frozen=self.frozen, name=name)(x, train=train)

        gate_input, input_ = conv("wgf_u", 1)(x), conv("wf_u", 3)(x)
        gate_recurrent, recurrent = conv("wgr_x", 1), conv("wr_x", 3)
        x = nn.relu(norm("BN_x_init", input_))
        for index in range(self.rounds):
            gate = norm(f"GRCL_{index}_BN_gfu", gate_input)
            gate = nn.sigmoid(gate + norm(f"GRCL_{index}_BN_grx", gate_recurrent(x)))
            gated = norm(f"GRCL_{index}_BN_rx", recurrent(x)) * gate
            x = norm(f"GRCL_{index}_BN_fu", input_) + norm(f"GRCL_{index}_BN_Gx", gated)
            x = nn.relu(x)
        return x


class RCNN(nn.Module):
    """Two convolutions and three recurrent ones, as in GRCNN: the fewest parameters."""

    channels: int = 512
    frozen: Frozen = never
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """`(B, H, W, 1)` to `(B, H // 16 - 1, W // 4 + 1, channels)`."""
        c = self.channels

        def recurrent(index: int, features: int, x: Array) -> Array:
            layer = RecurrentConv(features, self.frozen, dtype=self.dtype, name=f"grcl{index}")
            return layer(x, train=train)

        x = nn.relu(max_pool(Conv(c // 8, use_bias=True, dtype=self.dtype, name="conv0")(x)))
        x = max_pool(recurrent(3, c // 8, x))
        x = _pool_overlapping(recurrent(5, c // 4, x))
        x = _pool_overlapping(recurrent(7, c // 2, x))
        x = Conv(c, 2, dtype=self.dtype, name="conv9")(x)
        norm = BatchNorm(dtype=self.dtype, frozen=self.frozen, name="bn10")
        return nn.relu(norm(x, train=train))


FEATURES: dict[str, Any] = {"vgg": VGG, "resnet": ResNet, "rcnn": RCNN}
