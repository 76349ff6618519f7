from __future__ import annotations

import math

import numpy as np
import pytest

from crnnjax.charset import Charset
from crnnjax.label_readings import read_label, read_labels
from crnnjax.models import CRNN, init_variables
from crnnjax.recognizer import Recognizer

CHARSET = Charset("abc", ("a", "b", "c"))


@pytest.fixture(scope="module")
def recognizer():
    model = CRNN(CHARSET.num_classes, channels=16, hidden=8)
    return Recognizer(init_variables(model, seed=0), charset=CHARSET, height=32)


def logits_of(*steps):
    """Sure of one class at each step: `-` is the blank."""
    rows = [[9.0 if "-abc"[n] == step else 0.0 for n in range(4)] for step in steps]
    return np.array(rows, np.float32)


def test_the_label_is_judged_by_its_likelihood(recognizer):
    right, wrong, unknown, none = (
        read_label(recognizer, logits_of(*"a-bb"), label) for label in ("ab", "ac", "aX", None)
    )
    assert right.text == wrong.text == "ab"
    assert right.log_probability == right.label_log_probability > math.log(0.99)
    assert -20 < wrong.label_log_probability < -15  # two steps of b would have to be others
    assert unknown.label_log_probability is None and none.label_log_probability is None
    assert read_label(recognizer, logits_of("a"), "ab").label_log_probability == -math.inf


def test_the_best_path_is_not_always_the_best_text(recognizer):
    """Two steps of blank .4 and a .35: the blanks are the best path, but `a` has more paths."""
    probabilities = np.array([[0.4, 0.35, 0.125, 0.125]] * 2)
    reading = read_label(recognizer, np.log(probabilities).astype(np.float32), "a")
    assert reading.text == "a"
    assert math.exp(reading.log_probability) == pytest.approx(0.35**2 + 2 * 0.4 * 0.35)


def test_crops_are_read_in_order(recognizer):
    crops = [np.full((32, width, 3), width, np.uint8) for width in (40, 90, 60)]
    done = []
    readings = read_labels(recognizer, crops, ["a", None, "X"], done.append)
    assert done == [3]
    logits = recognizer.logits(crops)
    assert readings == [
        read_label(recognizer, one, label)
        for one, label in zip(logits, ["a", None, "X"], strict=True)
    ]
