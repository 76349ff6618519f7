"""The CTC loss of the recognizer, reduced as in torch, without targets that do not fit."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

Array = jax.Array
Metrics = Mapping[str, tuple[Array, Array]]


def needed_steps(labels: Array, lengths: Array) -> Array:
    """Return the time steps that targets need: one per character, one between equal neighbors.

    Args:
        labels: `(B, L)` int.
        lengths: `(B,)` int, number of valid labels.

    Returns:
        `(B,)` int.
    """
    at = jnp.arange(1, labels.shape[1])
    repeats = (labels[:, 1:] == labels[:, :-1]) & (at < lengths[:, None])
    return lengths + jnp.sum(repeats, axis=1)


def ctc_losses(logits: Array, steps: Array, labels: Array, lengths: Array) -> tuple[Array, Array]:
    """Return the negative log-probability of each target.

    Like `torch.nn.CTCLoss(reduction="none", zero_infinity=True)` of `log_softmax(logits)`: a target
    that needs more time steps than there are has loss 0 and no gradient.

    Args:
        logits: `(B, T, N)`; the blank is class 0.
        steps: `(B,)` int, valid time steps.
        labels: `(B, L)` int, classes from 1 on; values beyond the length are ignored.
        lengths: `(B,)` int, 0 for an empty target.

    Returns:
        `(B,)` float32 losses, never negative, and `(B,)` bool, which targets fit.
    """
    fits = needed_steps(labels, lengths) <= steps
    # optax selects log-probabilities by products with one-hot rows, which devices compute with
    # fewer bits by default.
    with jax.default_matmul_precision("highest"):
        losses = optax.ctc_loss(
            logits.astype(jnp.float32),
            (jnp.arange(logits.shape[1]) >= steps[:, None]).astype(jnp.float32),
            labels,
            (jnp.arange(labels.shape[1]) >= lengths[:, None]).astype(jnp.float32),
        )
    # The loss of a certain alignment may be rounded to slightly below zero. optax's loss of a
    # target that does not fit is finite, so that `where` passes no NaN to the gradient.
    return jnp.where(fits, jnp.maximum(losses, 0), 0), fits


def ctc_loss(logits: Array, steps: Array, labels: Array, lengths: Array) -> tuple[Array, Metrics]:
    """Return the loss of a batch: the mean over rows of loss / target length.

    This is torch's `reduction="mean"` with `zero_infinity=True`: rows that do not fit count as 0.

    Args:
        logits: as for `ctc_losses`.
        steps: as for `ctc_losses`.
        labels: as for `ctc_losses`.
        lengths: as for `ctc_losses`.

    Returns:
        The scalar float32 loss; and as (sum, count) pairs `loss`, the same loss over rows, and
        `infeasible`, the share of targets that do not fit.
    """
    losses, fits = ctc_losses(logits, steps, labels, lengths)
    losses = losses / jnp.maximum(lengths, 1)
    rows = jnp.float32(losses.shape[0])
    total = jnp.sum(losses)
    return total / rows, {"loss": (total, rows), "infeasible": (jnp.sum(1.0 - fits), rows)}
