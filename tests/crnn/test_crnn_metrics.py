"""Metrics of readings against values worked out by hand and properties that hold for all."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crnnjax.metrics import format_scores, pooled, score_texts
from ocrcore.evaluation.statistics import ratio_interval, wilson
from ocrcore.text import fold

texts = st.text(alphabet="abAB01.- é", max_size=8)
pairs = st.lists(st.tuples(texts, texts), min_size=1, max_size=12)


def distance(one: str, two: str) -> int:
    """Levenshtein's by its recurrence."""
    row = list(range(len(two) + 1))
    for i, a in enumerate(one, 1):
        last, row[0] = row[0], i
        for j, b in enumerate(two, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (a != b))
    return row[-1]


@given(pairs)
def test_scores_follow_their_definitions(pairs):
    truth, read = map(list, zip(*pairs, strict=True))
    scores = score_texts(truth, read)
    count = len(truth)
    assert list(scores.distances) == [distance(a, b) for a, b in pairs]
    assert scores.accuracy().value == pytest.approx(sum(a == b for a, b in pairs) / count)
    folded = [(fold(a), fold(b)) for a, b in pairs]
    assert scores.alnum_accuracy().value == pytest.approx(sum(a == b for a, b in folded) / count)
    close = [1 - distance(a, b) / max(len(a), len(b)) if a or b else 1.0 for a, b in pairs]
    assert scores.one_minus_ned().value == pytest.approx(np.mean(close))
    letters = sum(map(len, truth)) or 1
    assert scores.cer().value == pytest.approx(sum(scores.distances) / letters)
    for score in (scores.accuracy(), scores.alnum_accuracy(), scores.one_minus_ned()):
        assert 0 <= score.low <= score.value + 1e-9 and score.value - 1e-9 <= score.high <= 1


def test_by_hand():
    scores = score_texts(["Hello", "50%", "-", "", "é"], ["hello", "50", "", "", "e\u0301"])
    values = scores.to_dict()
    assert values["count"] == 5
    assert values["without_alnum"] == 3
    assert values["accuracy"]["value"] == pytest.approx(2 / 5)
    assert values["alnum_accuracy"]["value"] == 1
    assert values["one_minus_ned"]["value"] == pytest.approx((4 / 5 + 2 / 3 + 0 + 1 + 1) / 5)
    assert values["cer"]["value"] == pytest.approx(3 / 10)
    assert scores.worst(9) == [2, 1, 0]
    assert scores.worst(1) == [2]
    line = format_scores({"mine": scores}).splitlines()[1]
    assert line.startswith("mine      5  0.4000 (0.")


def test_words_of_several_sets_count_alike():
    one, two = score_texts(["ab", "c"], ["ab", "d"]), score_texts(["efg"], ["ef"])
    both = score_texts(["ab", "c", "efg"], ["ab", "d", "ef"])
    assert pooled([one, two]).to_dict() == both.to_dict()
    assert pooled([]).to_dict() == score_texts([], []).to_dict()


def test_letters_are_compared_in_composed_form():
    decomposed = unicodedata.normalize("NFD", "Åé")
    assert score_texts(["Åé"], [decomposed]).accuracy().value == 1


def test_nothing_to_score():
    scores = score_texts([], [])
    assert scores.accuracy() == wilson(0, 0)
    assert scores.to_dict()["cer"] == {"value": 0, "low": 0, "high": 0}
    assert scores.worst(3) == []


def test_different_numbers():
    with pytest.raises(ValueError, match="2 true texts and 1 readings"):
        score_texts(["a", "b"], ["a"])


def test_wilson():
    # Newcombe (1998), table I: 81 of 263, method 3.
    interval = wilson(81, 263)
    assert interval.value == pytest.approx(0.3080, abs=5e-5)
    assert (interval.low, interval.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20).low == 0 and wilson(0, 20).high == pytest.approx(0.1611, abs=5e-5)
    assert wilson(5, 5).high == 1
    with pytest.raises(ValueError, match="6 hits of 5"):
        wilson(6, 5)


def test_the_bootstrap_is_as_wide_as_theory_says():
    rng = np.random.default_rng(0)
    values = rng.normal(10, 2, 400)
    interval = ratio_interval(values, np.ones(400), samples=4000)
    half = 1.96 * values.std() / 20
    assert interval.value == pytest.approx(values.mean())
    assert interval.high - interval.value == pytest.approx(half, rel=0.1)
    assert interval.value - interval.low == pytest.approx(half, rel=0.1)
    assert interval == ratio_interval(values, np.ones(400), samples=4000)
