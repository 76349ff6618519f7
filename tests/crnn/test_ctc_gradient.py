"""The CTC gradient of benchmarks/lab/ctc.py against optax's."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "lab"))

from ctc import graded, make_case, optax_ctc_losses, own_ctc_losses


def _agree(*arrays, atol=2e-5):
    (value, gradient), (known, right) = (
        graded(losses)(*arrays) for losses in (own_ctc_losses, optax_ctc_losses)
    )
    np.testing.assert_allclose(value, known, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(gradient, right, atol=atol)
    assert np.isfinite(gradient).all()
    return float(value), np.asarray(gradient)


@pytest.mark.parametrize("shape", [(16, 24, 37, 8), (7, 5, 3, 5), (3, 1, 4, 2)])
def test_random_targets(shape):
    _agree(*make_case(*shape))


def test_repeats_and_empty_targets():
    logits = np.random.default_rng(1).normal(size=(4, 6, 4)).astype(np.float32)
    labels = np.array([[1, 1, 2], [2, 2, 2], [3, 1, 3], [0, 0, 0]], np.int32)
    value, gradient = _agree(
        logits, np.array([6, 5, 3, 4], np.int32), labels, np.array([3, 3, 3, 0], np.int32)
    )
    assert value > 0
    assert not gradient[2, 3:].any()  # beyond the valid time steps
    np.testing.assert_allclose(gradient.sum(-1), 0, atol=1e-5)


def test_sure_alignments():
    """Logits of 200 make every other path's probability zero in float32."""
    labels = np.array([[1, 2], [1, 1]], np.int32)
    path = np.array([[1, 0, 2, 0], [1, 0, 1, 1]])
    logits = 200 * np.eye(3, dtype=np.float32)[path]
    value, _ = _agree(logits, np.array([4, 4], np.int32), labels, np.array([2, 2], np.int32))
    assert value == pytest.approx(0, abs=1e-3)
    # The other way round: no path of the target is likely.
    value, _ = _agree(-logits, *(np.array(x, np.int32) for x in ([4, 4], labels, [2, 2])))
    assert value > 200
