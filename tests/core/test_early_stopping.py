from __future__ import annotations

import json
import math

from ocrcore.training.early_stopping import EarlyStopping
from ocrcore.training.loop import every


def test_every():
    assert [step for step in range(10) if every(step, 3)] == [3, 6, 9]
    assert not any(every(step, interval) for step in range(10) for interval in (0, None))


def test_patience_counts_evaluations_without_a_better_score():
    stopping = EarlyStopping(patience=2)
    seen = [stopping.update(s, v) for s, v in enumerate([0.1, 0.3, 0.3, 0.4, math.nan, 0.2])]
    assert seen == [True, True, False, True, False, False]
    assert (stopping.best, stopping.best_step, stopping.should_stop) == (0.4, 3, True)


def test_no_patience_never_stops():
    endless = EarlyStopping(patience=0)
    for step in range(3):
        endless.update(step, 0.5)
    assert not endless.should_stop


def test_state_survives_json():
    one = EarlyStopping(patience=3)
    for step, score in enumerate([0.5, 0.4, 0.4]):
        one.update(step, score)
    two = EarlyStopping(patience=3)
    two.restore(json.loads(json.dumps(one.state())))
    assert two == one
    two.update(3, 0.1)
    assert two.should_stop


def test_an_equal_score_is_not_better():
    stopper = EarlyStopping(2)
    assert stopper.update(1, 0.5) and not stopper.is_better(0.5)
    assert not stopper.update(2, 0.5) and not stopper.is_better(float("nan"))
    assert (stopper.best_step, stopper.since) == (1, 1)
