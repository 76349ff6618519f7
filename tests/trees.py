"""Trees of arrays compared, for tests of training."""

from __future__ import annotations

import jax
import numpy as np


def copies(tree):
    """The leaves on the host; a donated buffer does not take them along."""
    return [np.array(leaf) for leaf in jax.tree.leaves(tree)]


def assert_same(one, other):
    """To the last bit."""
    for a, b in zip(copies(one), copies(other), strict=True):
        np.testing.assert_array_equal(a, b)


def assert_close(one, other, **tolerance):
    """As `numpy.testing.assert_allclose`."""
    for a, b in zip(copies(one), copies(other), strict=True):
        np.testing.assert_allclose(a, b, **tolerance)
