"""Characters' places from a best path: against all paths, and what must hold for any."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from crnnjax.alignment import best_path, character_spans, character_steps
from crnnjax.time_steps import step_columns, time_steps

STEPS, CLASSES = 5, 3
LOGS = arrays(np.float32, (STEPS, CLASSES), elements=st.floats(-8, 0, width=32))


def collapsed(path):
    return [int(key) for key, _ in itertools.groupby(path) if key]


@given(LOGS, st.lists(st.integers(1, CLASSES - 1), max_size=STEPS))
def test_the_best_path_is_the_best_of_all_that_read_the_text(logs, text):
    def log_probability(path):
        return math.fsum(float(logs[step, index]) for step, index in enumerate(path))

    fitting = [
        path for path in itertools.product(range(CLASSES), repeat=STEPS) if collapsed(path) == text
    ]
    found = best_path(logs, text)
    if not fitting:
        assert found is None
        return
    assert collapsed(found) == text
    best = max(map(log_probability, fitting))
    assert log_probability(found) == pytest.approx(best, abs=1e-5)


@given(st.lists(st.integers(0, 2), max_size=12), st.randoms(use_true_random=False))
def test_characters_stand_where_the_path_names_them(path, random):
    sure = [random.random() for _ in path]
    steps, most = character_steps(path, sure)
    assert len(steps) == len(most) == len(collapsed(path))
    assert (np.diff(steps) >= 1).all()
    runs = []
    for index, group in itertools.groupby(range(len(path)), key=path.__getitem__):
        if index:
            runs.append(list(group))
    assert [float(np.mean(run)) for run in runs] == steps.tolist()
    assert [max(sure[step] for step in run) for run in runs] == most.tolist()


TEXTS = st.text("iIl.m Wé日", min_size=1, max_size=8)


@given(TEXTS, st.data())
def test_spans_follow_each_other_within_the_crop(text, data):
    end = data.draw(st.floats(8, 500))
    gaps = data.draw(st.lists(st.floats(1, 50), min_size=len(text), max_size=len(text)))
    centers = np.cumsum(gaps) - gaps[0] / 2
    spans = character_spans(centers, text, end)
    assert spans.shape == (len(text), 2)
    assert (spans >= 0).all() and (spans <= end).all()
    assert (spans[:, 0] <= spans[:, 1]).all()
    np.testing.assert_array_equal(spans[1:, 0], spans[:-1, 1])
    inside = centers <= end
    assert (spans[inside, 0] <= centers[inside]).all()
    assert (centers[inside] <= spans[inside, 1]).all()
    # Twice as large: twice as far.
    twice = character_spans(2 * centers, text, 2 * end)
    np.testing.assert_allclose(twice, 2 * spans, rtol=1e-9, atol=1e-9)


def test_equal_characters_meet_halfway_and_narrow_ones_give_way():
    spans = character_spans([10, 30, 50], "ooo", 100)
    np.testing.assert_allclose(spans, [(0, 20), (20, 40), (40, 65)])
    narrow = character_spans([10, 30], "mi", 40)
    assert narrow[0, 1] > 24
    assert character_spans([3.0], "o", 40).tolist() == [[0, 40]]
    assert character_spans([], "", 40).shape == (0, 2)


@pytest.mark.parametrize("features", ["resnet", "rcnn"])
def test_columns_of_steps_lie_even_in_the_picture(features):
    for width in (32, 100, 256):
        steps = time_steps(width, features=features)
        first, last = step_columns(np.array([0, steps - 1]), features=features)
        assert first + last == width
    assert step_columns(3, features="lcnetv4") - step_columns(2, features="lcnetv4") == 8
