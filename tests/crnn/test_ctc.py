"""CTC against torch's, whose values are in the golden file."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden.make_crnn_golden import ctc_case

from crnnjax.losses import ctc_loss, ctc_losses, needed_steps


def test_values_and_gradient_are_torchs(crnn_golden):
    case = ctc_case()
    arrays = case["steps"], case["labels"], case["lengths"]
    losses, fits = jax.jit(ctc_losses)(case["logits"], *arrays)
    np.testing.assert_allclose(losses, crnn_golden["ctc_none"], rtol=1e-5)
    assert fits.tolist() == [True, False, True, False, False, True, True]
    (value, metrics), gradient = jax.jit(jax.value_and_grad(ctc_loss, has_aux=True))(
        case["logits"], *arrays
    )
    assert float(value) == pytest.approx(float(crnn_golden["ctc_mean"]), rel=1e-5)
    np.testing.assert_allclose(gradient, crnn_golden["ctc_gradient"], atol=1e-5)
    assert not gradient[1].any() and not gradient[4].any()
    assert gradient[6].any()
    assert [float(x) for x in metrics["infeasible"]] == [3, 7]
    assert float(metrics["loss"][0]) == pytest.approx(7 * float(value))


def test_what_a_target_needs():
    labels = np.array([[1, 1, 1, 2], [1, 2, 1, 2], [3, 3, 0, 0], [0, 0, 0, 0]])
    assert needed_steps(labels, np.array([4, 4, 2, 0])).tolist() == [6, 4, 3, 0]
    assert needed_steps(labels, np.array([2, 1, 1, 0])).tolist() == [3, 1, 1, 0]


def test_never_negative_and_finite():
    """A sure alignment, which rounding may take below zero; and nothing to align to."""
    labels = np.array([[1, 2], [1, 1], [0, 0]])
    path = np.array([[1, 0, 2, 0], [1, 1, 0, 1], [0, 0, 0, 0]])
    logits = 200.0 * jax.nn.one_hot(path, 3)
    lengths, steps = np.array([2, 2, 0]), np.array([4, 4, 4])
    value, gradient = jax.value_and_grad(
        lambda x: jnp.sum(ctc_losses(x, steps, labels, lengths)[0])
    )(logits)
    assert 0 <= float(value) < 1e-3
    assert np.isfinite(gradient).all()
    losses, fits = ctc_losses(logits, np.array([1, 2, 0]), labels, lengths)
    assert losses.tolist()[:2] == [0, 0]
    assert fits.tolist() == [False, False, True]


def test_bfloat16_logits_lose_nothing_more():
    case = ctc_case()
    arrays = case["steps"], case["labels"], case["lengths"]
    rough = jnp.asarray(case["logits"], jnp.bfloat16)
    one, _ = ctc_loss(rough, *arrays)
    two, _ = ctc_loss(rough.astype(jnp.float32), *arrays)
    assert one.dtype == jnp.float32
    assert float(one) == float(two)
