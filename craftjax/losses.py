"""The two map losses of EasyOCR's CRAFT trainer: squared error with hard negative mining.

Most pixels of a page are background, so only the worst of them count: the sum of the k largest
errors among negative pixels, with k proportional to the number of positive pixels. k depends on the
data. A full sort gives that sum in fixed shapes but is slow in XLA; here the k-th largest error is
found exactly, bit by bit, by counting (`sum_of_largest`), and everything above it is summed.

All functions are pure and work inside `jax.jit`, also with the batch sharded over devices: counts
and sums are then over the whole batch.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import lax

POSITIVE = 0.1
"""A label above this is text; one of exactly this is text for `loss_v3` only."""

Metrics = dict[str, tuple[jax.Array, jax.Array]]


def loss_v2(
    region_label: jax.Array,
    affinity_label: jax.Array,
    region_pred: jax.Array,
    affinity_pred: jax.Array,
    mask: jax.Array,
    *,
    neg_rto: float,
    n_min_neg: int,
    count_masked: bool = True,
) -> tuple[jax.Array, Metrics]:
    """Return the loss for pseudo-labeled pages: hard negatives are chosen in the whole batch.

    For each of the two maps, with P positive and N negative pixels in the batch: the mean error of
    the positive ones, plus the sum of the `int(neg_rto P)` largest errors of the negative ones over
    `neg_rto P`. If P is 0 or `N < neg_rto P`, the second term is instead the mean of the
    `n_min_neg` largest (pixels that are not negative stand in as zeros).

    With fewer pixels than `n_min_neg` the original fails; this takes all pixels.

    Args:
        region_label: `(B, H, W)` in [0, 1].
        affinity_label: `(B, H, W)` in [0, 1].
        region_pred: `(B, H, W)`, any float type; computed in float32.
        affinity_pred: `(B, H, W)`.
        mask: `(B, H, W)`, the confidence that each squared error is multiplied by.
        neg_rto: number of negative pixels per positive pixel.
        n_min_neg: number of negative pixels if the ratio cannot be applied.
        count_masked: whether pixels of mask 0 count as positive or negative, as in the original.

    Returns:
        The loss, the sum over both maps, and its parts as pairs of a sum and a count, to be added
        up over steps and then divided: `positive_loss` and `negative_loss` (count: images) and
        `positive_share` (positive pixels of both maps; count: pixels of both maps).

    Raises:
        ValueError: the shapes differ, or an option is out of range.
    """
    error, positive, counted = _errors(
        region_label, affinity_label, region_pred, affinity_pred, mask, count_masked, strict=True
    )
    _check_options(neg_rto, n_min_neg)
    axis = (1, 2, 3)
    negative = counted & ~positive
    p, n = _count(positive, axis), _count(negative, axis)
    wanted = neg_rto * p
    size = jnp.where((p > 0) & (n >= wanted), wanted, float(n_min_neg))
    parts = _parts(error, positive, negative, size, axis)
    return _results(parts, positive, counted, images=1, batch=mask.shape[0])


def loss_v3(
    region_label: jax.Array,
    affinity_label: jax.Array,
    region_pred: jax.Array,
    affinity_pred: jax.Array,
    mask: jax.Array,
    *,
    neg_rto: float,
    n_min_neg: int,
    count_masked: bool = True,
) -> tuple[jax.Array, Metrics]:
    """Return the loss for pages with true characters: hard negatives are chosen in each image.

    For each of the two maps of each image, with p positive and n negative pixels: the mean error of
    the positive ones, plus the sum of the `int(k)` largest errors of the negative ones over k, with
    `k = max(n_min_neg, neg_rto p)`; `k = n` if `n < neg_rto p`, and `k = n_min_neg` if p is 0. The
    result is the mean over the batch.

    An image without negative pixels has no second term (the original returns NaN). With fewer
    pixels than k, this takes all (the original fails).

    Args:
        region_label: as for `loss_v2`.
        affinity_label: as for `loss_v2`.
        region_pred: as for `loss_v2`.
        affinity_pred: as for `loss_v2`.
        mask: as for `loss_v2`.
        neg_rto: as for `loss_v2`.
        n_min_neg: the least number of negative pixels that count.
        count_masked: as for `loss_v2`.

    Returns:
        As `loss_v2`.

    Raises:
        ValueError: as for `loss_v2`.
    """
    error, positive, counted = _errors(
        region_label, affinity_label, region_pred, affinity_pred, mask, count_masked, strict=False
    )
    _check_options(neg_rto, n_min_neg)
    axis = (2, 3)
    negative = counted & ~positive
    p, n = _count(positive, axis), _count(negative, axis)
    wanted = neg_rto * p
    size = jnp.where((p > 0) & (n < wanted), n, jnp.maximum(float(n_min_neg), wanted))
    parts = _parts(error, positive, negative, size, axis)
    batch = mask.shape[0]
    return _results(parts, positive, counted, images=batch, batch=batch)


def sum_of_largest(values: jax.Array, k: jax.Array, *, axis: tuple[int, ...]) -> jax.Array:
    """Sum the k largest values, for a k that may depend on data.

    The bit patterns of nonnegative floats have the order of the floats. So the k-th largest value
    is found exactly in 31 steps, each of which fixes one bit by counting the values that are not
    below a candidate. Values above it count in full; values equal to it share the remaining places,
    so that the sum equals that of any choice among them.

    The gradient goes to the selected values; ties at the threshold share it. NaN counts as the
    largest value.

    Args:
        values: float32, nonnegative.
        k: int32, broadcastable to `values` with `axis` reduced to 1; at least 0, and at most the
            number of values.
        axis: axes to reduce.

    Returns:
        The sums, without `axis`.
    """
    # Drop the sign bit, which a NaN or a -0 may have.
    bits = lax.bitcast_convert_type(jnp.abs(lax.stop_gradient(values)), jnp.int32)

    def step(index: jax.Array, found: jax.Array) -> jax.Array:
        candidate = found | (jnp.int32(1) << (30 - index))
        enough = jnp.sum(bits >= candidate, axis=axis, keepdims=True, dtype=jnp.int32) >= k
        return jnp.where(enough, candidate, found)

    shape = tuple(1 if at in axis else size for at, size in enumerate(values.shape))
    threshold = lax.fori_loop(0, 31, step, jnp.zeros(shape, jnp.int32))
    above, equal = bits > threshold, bits == threshold
    left = k - jnp.sum(above, axis=axis, keepdims=True, dtype=jnp.int32)
    ties = jnp.sum(equal, axis=axis, keepdims=True, dtype=jnp.int32)
    share = left / jnp.maximum(ties, 1)
    return jnp.sum(values * jnp.where(above, 1.0, jnp.where(equal, share, 0.0)), axis=axis)


def _errors(
    region_label: jax.Array,
    affinity_label: jax.Array,
    region_pred: jax.Array,
    affinity_pred: jax.Array,
    mask: jax.Array,
    count_masked: bool,
    *,
    strict: bool,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return errors, which pixels are positive, and which count, `(2, B, H, W)`."""
    arrays = {
        "region_label": region_label,
        "affinity_label": affinity_label,
        "region_pred": region_pred,
        "affinity_pred": affinity_pred,
        "mask": mask,
    }
    for name, array in arrays.items():
        if array.ndim != 3 or array.shape != mask.shape:
            raise ValueError(
                f"{name} has shape {array.shape} and mask {mask.shape}, expected equal (B, H, W)"
            )
    label = jnp.stack([region_label, affinity_label]).astype(jnp.float32)
    pred = jnp.stack([region_pred, affinity_pred]).astype(jnp.float32)
    weight = mask.astype(jnp.float32)[None]
    error = (pred - label) ** 2 * weight
    positive = label > POSITIVE if strict else label >= POSITIVE
    counted = jnp.broadcast_to(jnp.asarray(count_masked) | (weight > 0), label.shape)
    return error, positive & counted, counted


def _check_options(neg_rto: float, n_min_neg: int) -> None:
    if not 0 <= neg_rto < math.inf:
        raise ValueError(f"neg_rto is {neg_rto!r}, expected a number of at least 0")
    if n_min_neg < 1:
        raise ValueError(f"n_min_neg is {n_min_neg!r}, expected at least 1")


def _count(which: jax.Array, axis: tuple[int, ...]) -> jax.Array:
    return jnp.sum(which, axis=axis, keepdims=True, dtype=jnp.int32).astype(jnp.float32)


def _parts(
    error: jax.Array,
    positive: jax.Array,
    negative: jax.Array,
    size: jax.Array,
    axis: tuple[int, ...],
) -> tuple[jax.Array, jax.Array]:
    """Return the two terms, with `axis` reduced; `size` divides the sum of hard negatives."""
    p, n = _count(positive, axis), _count(negative, axis)
    size = jnp.minimum(size, p + n)
    hard = sum_of_largest(jnp.where(negative, error, 0.0), size.astype(jnp.int32), axis=axis)
    over = jnp.squeeze(size, axis)
    mean = jnp.sum(jnp.where(positive, error, 0.0), axis=axis) / jnp.maximum(
        jnp.squeeze(p, axis), 1.0
    )
    return mean, hard / jnp.where(over > 0, over, 1.0)


def _results(
    parts: tuple[jax.Array, jax.Array],
    positive: jax.Array,
    counted: jax.Array,
    *,
    images: int,
    batch: int,
) -> tuple[jax.Array, Metrics]:
    """Add both maps; `images` is the number of losses for each map."""
    mean, hard = (jnp.sum(part) / images for part in parts)
    everywhere = tuple(range(positive.ndim))
    metrics = {
        "positive_loss": (mean * batch, jnp.float32(batch)),
        "negative_loss": (hard * batch, jnp.float32(batch)),
        "positive_share": (
            jnp.squeeze(_count(positive, everywhere)),
            jnp.squeeze(_count(counted, everywhere)),
        ),
    }
    return mean + hard, metrics
