from __future__ import annotations

import json
import math

from ocrcore.training.early_stopping import FEW_WORDS, EarlyStopping
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


def kept(scores, words):
    stopper = EarlyStopping(patience=1, words=words)
    return [step for step, score in scores.items() if stopper.update(step, score)], stopper


def test_few_words_leave_the_start_weights_only_for_more_than_chance():
    scores = {0: 4 / 6, 10: 5 / 6, 20: 1.0, 30: 0.0, 40: math.nan}
    steps, stopper = kept(scores, 6)
    assert steps == [0] and not stopper.should_stop  # six of six are no evidence against four
    assert kept({0: 0.5, 10: 0.6}, 60)[0] == [0]
    # Then the latest one that is not below the best by more than chance.
    assert kept({0: 0.5, 10: 0.8, 20: 0.75, 30: 0.5}, 60)[0] == [0, 10, 20]
    assert kept({10: 0.5, 20: 0.48, 30: 0.1, 40: 0.6}, 60)[0] == [10, 20, 40]  # from nothing
    assert kept({0: 0.5, 10: 0.51, 20: 0.505}, FEW_WORDS)[0] == [0, 10]
    other = EarlyStopping(patience=1)
    other.restore(json.loads(json.dumps(stopper.state())))
    assert other.should_stop and other.best == 4 / 6
