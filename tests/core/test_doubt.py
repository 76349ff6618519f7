"""What is looked at first."""

from __future__ import annotations

import numpy as np
import pytest

from ocrcore.evaluation.doubt import least_sure


def test_the_least_sure_first():
    sure = [0.5, None, 0.1, 0.9, 0.1, float("nan"), 0.0]
    assert least_sure(sure) == [1, 5, 6, 2, 4, 0, 3]
    assert least_sure(sure, 3) == [1, 5, 6]
    assert least_sure(sure, 0) == [] and least_sure([]) == []
    assert least_sure(sure, 99) == least_sure(sure)
    with pytest.raises(ValueError, match="count is -1"):
        least_sure(sure, -1)


@pytest.mark.parametrize("count", [1, 7, 50])
def test_none_of_the_others_is_less_sure(count):
    sure = np.random.default_rng(count).integers(0, 9, 50) / 9
    chosen = least_sure(sure.tolist(), count)
    rest = np.delete(sure, chosen)
    assert len(set(chosen)) == count
    assert not len(rest) or sure[chosen].max() <= rest.min()
