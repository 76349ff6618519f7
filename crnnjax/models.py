"""The recognizer's network: features of image columns, a sequence model, and CTC classes.

Functional Flax (linen), NHWC. The layers and the names of the stages are those of the networks that
deep-text-recognition-benchmark and EasyOCR train with CTC, so that weights convert in both ways
(`crnnjax.convert`): CRNN of Shi et al. (2015) is `CRNN(37)`, EasyOCR's generation 2
`CRNN(97, channels=256)`, its generation 1 `CRNN(168, "resnet", hidden=512)`. PP-OCRv6's small
recognizer is `CRNN(18710, "lcnetv4", 384, 120, "lightsvtr", batch_norm=False)`.

An image may be padded on the right to fit into a batch. Given its true width, the network ignores
the padding, as needed for training with input lengths; without, it reads all columns, as EasyOCR
does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from crnnjax.features import FEATURES, Conv
from crnnjax.lcnet import BLOCKS, LCNetV4
from crnnjax.lightsvtr import HEADS, LightSVTR
from crnnjax.lstm import BiLSTM
from crnnjax.time_steps import (
    FEATURE_KINDS,
    FULL_HEIGHT,
    MIN_HEIGHT,
    MIN_WIDTH,
    time_steps,
)
from ocrcore.layers import BatchNorm, Frozen, Linear, max_pool, never

__all__ = ["CRNN", "count_parameters", "init_variables", "normalize", "options_of", "time_steps"]

Array = jax.Array
Variables = Mapping[str, Any]

# Channels of the spatial transformer's convolutions, and of the layer before its six outputs.
_LOCALIZATION, _HIDDEN = (32, 64, 128), 64


def normalize(images: Array, *, dtype: Any = jnp.float32) -> Array:
    """Map 0..255, uint8 or float, to -1..1."""
    return (images.astype(jnp.float32) / 127.5 - 1).astype(dtype)


class CRNN(nn.Module):
    """The recognizer's network.

    Attributes:
        num_classes: number of characters plus the blank, which is class 0.
        features: `vgg`, `resnet`, `rcnn` or `lcnetv4`.
        channels: channels of the last features: 512 in the papers and EasyOCR's generation 1, 256
            in its generation 2, 384 in PP-OCRv6's small recognizer.
        hidden: hidden size of the LSTM, per direction, or of LightSVTR, a multiple of 8, 120 in
            PP-OCRv6's small recognizer.
        sequence: `bilstm`, two layers; `lightsvtr`, only after lcnetv4; or `none`.
        transform: `affine` straightens the image first (`Affine`), `none` does not.
        batch_norm: only for lcnetv4: whether convolutions have BatchNorm, for training from
            scratch, or a bias into which it is folded, as in published weights.
        dtype: dtype of the computation, float32 or bfloat16; parameters and logits are float32.
        frozen: tells which parameters are not trained; frozen BatchNorm keeps its running
            statistics and normalizes by them.
    """

    num_classes: int
    features: str = "vgg"
    channels: int = 512
    hidden: int = 256
    sequence: str = "bilstm"
    transform: str = "none"
    batch_norm: bool = True
    dtype: Any = jnp.float32
    frozen: Frozen = never

    @nn.compact
    def __call__(self, images: Array, widths: Array | None = None, *, train: bool = False) -> Array:
        """Score the classes at each time step.

        Args:
            images: `(B, H, W, 1)`, gray, 0 to 255, uint8 or float; H at least 31, W at least 8.
            widths: `(B,)` int, widths in pixels without the padding on the right, which give
                `time_steps(widths)` valid time steps; None reads all columns.
            train: normalize by the batch's statistics and update `batch_stats`.

        Returns:
            `(B, T, num_classes)` float32 logits; T is `time_steps(W)`.
        """
        self._check(images)
        if (missing := FULL_HEIGHT - images.shape[1]) > 0:
            images = jnp.pad(images, ((0, 0), (0, missing), (0, 0), (0, 0)), mode="edge")
        x = normalize(images, dtype=self.dtype)
        if self.transform == "affine":
            x = Affine(self.frozen, dtype=self.dtype, name="Transformation")(x, widths, train=train)
        shared = {"frozen": self.frozen, "dtype": self.dtype}
        steps = None if widths is None else time_steps(widths, features=self.features)
        if self.features == "lcnetv4":  # it excludes the padding from its means
            shared["batch_norm"] = self.batch_norm
            x = LCNetV4(self.channels, **shared, name="FeatureExtraction")(x, widths, train=train)
        else:
            encoder = FEATURES[self.features](self.channels, **shared, name="FeatureExtraction")
            x = encoder(x, train=train)
        x = jnp.mean(x, axis=1)
        if self.sequence == "bilstm":
            x = Sequence(self.hidden, dtype=self.dtype, name="SequenceModeling")(x, steps)
        elif self.sequence == "lightsvtr":
            x = LightSVTR(self.hidden, **shared, name="SequenceModeling")(x, steps, train=train)
        # Classes in float32: the loss takes differences of their logarithms.
        return Linear(self.num_classes, name="Prediction")(x.astype(jnp.float32))

    def _check(self, images: Array) -> None:
        for name, known in (
            ("features", FEATURE_KINDS),
            ("sequence", ("bilstm", "none", "lightsvtr")),
            ("transform", ("affine", "none")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"config.model.{name} is {getattr(self, name)!r}, expected one of "
                    f"{', '.join(known)}"
                )
        compact = self.features == "lcnetv4"
        if not compact and (self.sequence == "lightsvtr" or not self.batch_norm):
            raise ValueError(
                f"config.model.features is {self.features!r}, expected lcnetv4 with sequence "
                "'lightsvtr' and with batch_norm=False"
            )
        if self.sequence == "lightsvtr" and self.hidden % HEADS:
            raise ValueError(
                f"config.model.hidden is {self.hidden}, expected a multiple of {HEADS} with "
                "sequence 'lightsvtr'"
            )
        if (
            images.ndim != 4
            or images.shape[-1] != 1
            or images.shape[1] < MIN_HEIGHT
            or images.shape[2] < MIN_WIDTH
        ):
            raise ValueError(
                f"images of shape {images.shape}: expected (B, H, W, 1) with H at least "
                f"{MIN_HEIGHT} and W at least {MIN_WIDTH}"
            )


class Sequence(nn.Module):
    """Two bidirectional LSTMs, each followed by a linear layer."""

    hidden: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, steps: Array | None = None) -> Array:
        """`(B, T, C)` to `(B, T, hidden)`; `steps` `(B,)` are valid, None for all."""
        for index in range(2):
            x = BiLSTM(self.hidden, dtype=self.dtype, name=f"rnn{index}")(x, steps)
            x = Linear(self.hidden, dtype=self.dtype, name=f"linear{index}")(x)
        return x


class Affine(nn.Module):
    """A spatial transformer (Jaderberg et al., 2015) with an affine map, the identity at the start.

    A small network predicts six numbers from the image, and the image is resampled bilinearly by
    the affine map that they define, with its border continued outside. Coordinates run from -1 to 1
    over the true width, so that padding does not change the result.
    """

    frozen: Frozen = never
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, widths: Array | None = None, *, train: bool) -> Array:
        """`(B, H, W, 1)` to the same; `widths` as for `CRNN`."""
        y = x
        for index, features in enumerate(_LOCALIZATION):
            y = Conv(features, dtype=self.dtype, name=f"conv{index}")(y)
            norm = BatchNorm(dtype=self.dtype, frozen=self.frozen, name=f"bn{index}")
            y = nn.relu(norm(max_pool(y), train=train))
        columns = jnp.mean(y.astype(jnp.float32), axis=1)
        b, width = x.shape[0], x.shape[2]
        if widths is None:
            widths = jnp.full((b,), width)
        inside = jnp.arange(columns.shape[1]) < jnp.maximum(widths // 8, 1)[:, None]
        mean = jnp.sum(columns * inside[..., None], 1) / jnp.sum(inside, 1, keepdims=True)
        hidden = nn.relu(Linear(_HIDDEN, name="linear0")(mean))
        kernel = self.param("kernel", nn.initializers.zeros, (_HIDDEN, 6))
        bias = self.param("bias", nn.initializers.zeros, (6,))
        # The network predicts the difference from the identity.
        theta = (hidden @ kernel + bias).reshape(b, 2, 3) + jnp.eye(2, 3)
        return sample_affine(x, theta, widths)


def sample_affine(x: Array, theta: Array, widths: Array) -> Array:
    """Sample images bilinearly at affinely mapped places; the border is continued.

    Args:
        x: `(B, H, W, C)`.
        theta: `(B, 2, 3)`, maps (x, y, 1) in the result to the place in the image.
        widths: `(B,)`, widths without padding, over which x runs from -1 to 1, edge to edge.

    Returns:
        `(B, H, W, C)` of the same dtype.
    """
    _, height, width, _ = x.shape
    across = (jnp.arange(width) + 0.5) / widths[:, None] * 2 - 1
    down = (jnp.arange(height) + 0.5) / height * 2 - 1

    def place(row: int, size: Array) -> Array:
        at = (
            theta[:, row, 0, None, None] * across[:, None, :]
            + theta[:, row, 1, None, None] * down[:, None]
            + theta[:, row, 2, None, None]
        )
        return jnp.clip((at + 1) / 2 * size - 0.5, 0, size - 1)

    ys = place(1, jnp.full((x.shape[0], 1, 1), height))
    xs = place(0, widths[:, None, None])

    def one(image: Array, ys: Array, xs: Array) -> Array:
        top, left = jnp.floor(ys).astype(jnp.int32), jnp.floor(xs).astype(jnp.int32)
        bottom, right = jnp.minimum(top + 1, height - 1), jnp.minimum(left + 1, width - 1)
        dy, dx = (ys - top)[..., None], (xs - left)[..., None]
        above = image[top, left] * (1 - dx) + image[top, right] * dx
        below = image[bottom, left] * (1 - dx) + image[bottom, right] * dx
        return above * (1 - dy) + below * dy

    return jax.vmap(one)(x, ys, xs).astype(x.dtype)


def init_variables(model: CRNN, *, seed: int = 0) -> dict[str, Any]:
    """Make random variables as in the original: He-normal kernels, zero biases, identity norms.

    NumPy fills them, since XLA takes seconds to compile one random generator per shape. The same
    seed gives the same values on every platform.

    Returns:
        `{"params": ..., "batch_stats": ...}` of float32 NumPy arrays.
    """
    paths, tree = jax.tree_util.tree_flatten_with_path(shapes_of(model))
    leaves = []
    for index, (path, leaf) in enumerate(paths):
        names = [entry.key for entry in path]
        if names[-1].endswith("kernel") and names[-2] != "Transformation":
            # (in, out), (2, in, out) of both directions, (height, width, in, out).
            fan_in = leaf.shape[-2] * (leaf.shape[0] * leaf.shape[1] if leaf.ndim == 4 else 1)
            rng = np.random.default_rng((seed, index))
            value = rng.standard_normal(leaf.shape, np.float32) * np.float32(np.sqrt(2 / fan_in))
            leaves.append(value)
        else:
            leaves.append(np.full(leaf.shape, float(names[-1] in ("scale", "var")), np.float32))
    variables: dict[str, Any] = jax.tree_util.tree_unflatten(tree, leaves)
    variables.setdefault("batch_stats", {})
    return variables


def shapes_of(model: CRNN) -> dict[str, Any]:
    """Return the shapes of the variables without computing them."""
    image = jax.ShapeDtypeStruct((1, MIN_HEIGHT, 32, 1), jnp.uint8)
    return dict(jax.eval_shape(model.init, jax.random.key(0), image))


def count_parameters(variables: Variables) -> int:
    """Return the number of trained values, without running statistics."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree_util.tree_leaves(variables["params"]))


def options_of(variables: Variables) -> dict[str, Any]:
    """Infer the arguments of `CRNN` from variables, except for `dtype` and `frozen`."""
    params = variables["params"]
    features, sequence = params["FeatureExtraction"], params.get("SequenceModeling", {})
    # For each kind a layer that only it has, and the layer with the channels of the features.
    kinds = {
        "conv18": ("vgg", "conv18"),
        "conv4_2": ("resnet", "conv4_2"),
        "conv9": ("rcnn", "conv9"),
        "stem1": ("lcnetv4", f"block{len(BLOCKS) - 1}_project"),
    }
    (told,) = kinds.keys() & features.keys()
    kind, last = kinds[told]
    # Without a sequence model `hidden` has no meaning: use the usual value.
    name, hidden = "none", 120 if kind == "lcnetv4" else 256
    if sequence:
        name, layer = ("lightsvtr", "skip") if "skip" in sequence else ("bilstm", "linear0")
        hidden = sequence[layer]["kernel"].shape[-1]
    return {
        "num_classes": params["Prediction"]["kernel"].shape[-1],
        "features": kind,
        "channels": features[last]["kernel"].shape[-1],
        "hidden": hidden,
        "sequence": name,
        "transform": "affine" if "Transformation" in params else "none",
        "batch_norm": kind != "lcnetv4" or "bn" in features["stem1"],
    }
