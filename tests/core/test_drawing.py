from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocrcore.drawing import _round_numbers, draw_curves


def colored(image: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """Where a color is in the plot, below the legend: `(N, 2)` x, y."""
    found = np.argwhere((image == color).all(2))[:, ::-1]
    return found[found[:, 1] >= 30]


def test_curves_go_where_the_points_are():
    falling = [(0, 100.0), (50, 10.0), (100, 1.0)]
    image = draw_curves({"falling": falling, "none": []}, log=True, width=600, height=300)
    assert image.shape == (300, 600, 3)
    assert image.dtype == np.uint8
    blue = colored(image, (30, 90, 200))
    # On a logarithmic axis this is a straight line.
    fit = np.polyfit(*blue.T, 1)
    assert fit[0] > 0
    assert np.abs(np.polyval(fit, blue[:, 0]) - blue[:, 1]).max() < 3
    bent = colored(draw_curves({"falling": falling}, width=600, height=300), (30, 90, 200))
    assert np.abs(np.polyval(np.polyfit(*bent.T, 1), bent[:, 0]) - bent[:, 1]).max() > 20


@given(
    low=st.floats(-1e6, 1e6),
    size=st.floats(0.1, 1e6),
)
def test_axes_have_a_few_round_numbers(low, size):
    found = _round_numbers(low, low + size)
    assert 3 <= len(found) <= 9
    assert all(low - 1e-6 * size <= one <= low + size * (1 + 1e-6) for one in found)
    step = np.diff(found).min()
    assert f"{step:.0e}"[0] in "125" and step == pytest.approx(float(f"{step:.0e}"), rel=1e-6)
    assert _round_numbers(10, 1500) == [200, 400, 600, 800, 1000, 1200, 1400]


def test_little_or_nothing_to_draw():
    assert draw_curves({}).shape == (360, 960, 3)
    assert len(colored(draw_curves({"one": [(3, 0.5)]}), (30, 90, 200)))
    empty = draw_curves({"loss": [(1, 0.0), (2, -1.0)]}, log=True)
    assert not len(colored(empty, (30, 90, 200)))
    many = draw_curves({str(i): [(0, i), (1, i)] for i in range(7)})
    assert (many == draw_curves({str(i): [(0, i), (1, i)] for i in range(7)})).all()
