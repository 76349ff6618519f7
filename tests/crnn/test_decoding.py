"""Decoding against sums over every alignment, and against loops that are plainly right."""

from __future__ import annotations

import itertools
import math
import sys
from collections import defaultdict

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from crnnjax.charset import named
from crnnjax.decoding import (
    Greedy,
    beam_search,
    confidence,
    greedy,
    ignored_classes,
    log_probabilities,
    text_log_probability,
)
from crnnjax.lexicon import Lexicon

STEPS, CLASSES = 5, 4
EN36 = named("en36")
NAMES = "abc"
greedy_jit = jax.jit(greedy)


def values_up_to(limit):
    """No subnormal ones: XLA on a CPU takes them for zero, so their argmax is another."""
    return st.floats(-limit, limit, width=32, allow_subnormal=False)


logits = arrays(np.float32, (STEPS, CLASSES), elements=values_up_to(8))


def softmax(values):
    power = np.exp(values - values.max(-1, keepdims=True))
    return power / power.sum(-1, keepdims=True)


def logs_of(values):
    return np.log(softmax(values.astype(np.float64))).astype(np.float32)


def collapsed(path):
    return tuple(key for key, _ in itertools.groupby(path) if key)


def every_text(values):
    """The probability of each text, by adding up all alignments."""
    probabilities = softmax(values.astype(np.float64))
    out = defaultdict(float)
    for path in itertools.product(range(CLASSES), repeat=len(values)):
        out[collapsed(path)] += math.prod(probabilities[t, c] for t, c in enumerate(path))
    return out


def read(values, steps, ignored=None):
    return Greedy(*map(np.asarray, greedy_jit(values, np.asarray(steps), ignored)))


@given(
    arrays(np.float32, (3, STEPS, CLASSES), elements=values_up_to(8)),
    st.lists(st.integers(0, STEPS), min_size=3, max_size=3),
)
def test_greedy_is_the_plain_loop(values, steps):
    result = read(values, steps)
    for row, (value, length) in enumerate(zip(values, steps, strict=True)):
        path = [int(np.argmax(step)) for step in value[:length]]
        text = collapsed(path)
        assert tuple(result.indices[row]) == text + (0,) * (STEPS - len(text))
        assert result.counts[row] == len(text)
        assert list(result.path[row]) == path + [0] * (STEPS - length)
        best = softmax(value).max(1)
        best[length:] = 1
        np.testing.assert_allclose(result.probabilities[row], best, rtol=1e-5)


def test_a_repeat_needs_a_blank_between():
    path = [1, 1, 0, 1, 2]
    values = np.eye(CLASSES, dtype=np.float32)[None, path] * 10
    assert list(read(values, [5]).indices[0][:3]) == [1, 1, 2]
    # The blank that ends the word lies beyond the end of the input.
    assert list(read(values, [2]).indices[0][:2]) == [1, 0]


@given(logits)
def test_ignored_classes_are_those_that_easyocr_sets_to_zero(values):
    ignored = np.array([False, True, False, True])
    result = read(values[None], [STEPS], ignored)
    probabilities = softmax(values.astype(np.float64))
    probabilities[:, ignored] = 0
    probabilities /= probabilities.sum(1, keepdims=True)
    np.testing.assert_allclose(result.probabilities[0], probabilities.max(1), rtol=1e-4)
    assert not set(result.path[0]) & {1, 3}


def test_the_blank_is_never_ignored():
    values = np.zeros((1, 3, CLASSES), np.float32)
    result = read(values, [3], np.ones(CLASSES, np.bool_))
    assert result.counts[0] == 0
    np.testing.assert_allclose(result.probabilities, 1)


def test_confidences():
    path = np.array([[0, 1, 1, 2, 0], [0, 0, 0, 0, 0]], np.int32)
    probabilities = np.array([[0.5, 0.8, 0.9, 0.7, 0.6], [0.9] * 5], np.float32)
    found = Greedy(path, np.array([2, 0]), path, probabilities)
    np.testing.assert_allclose(
        confidence(found, "easyocr"), [(0.8 * 0.9 * 0.7) ** (2 / math.sqrt(3)), 0], rtol=1e-6
    )
    np.testing.assert_allclose(
        confidence(found, "dtrb"), [0.5 * 0.8 * 0.9 * 0.7 * 0.6, 0.9**5], rtol=1e-6
    )
    with pytest.raises(ValueError, match="'mean', expected one of easyocr, dtrb"):
        confidence(found, "mean")


def test_allowlist_wins_over_blocklist():
    assert ignored_classes(NAMES) is None
    assert list(ignored_classes(NAMES, allowlist="bx", blocklist="b")) == [False, True, False, True]
    assert list(ignored_classes(NAMES, blocklist="b")) == [False, False, True, False]
    with pytest.raises(ValueError, match="'xyz' has no character of the charset 'abc'"):
        ignored_classes(NAMES, allowlist="xyz")


@given(logits)
def test_a_texts_probability_is_the_sum_over_its_alignments(values):
    logs = logs_of(values)
    for text, probability in every_text(values).items():
        assert math.exp(text_log_probability(logs, text)) == pytest.approx(probability, rel=1e-4)


def test_a_text_that_does_not_fit_has_no_probability():
    logs = logs_of(np.zeros((3, CLASSES)))
    assert text_log_probability(logs, [1, 1]) > -math.inf  # with a blank between them
    assert text_log_probability(logs, [1, 1, 2]) == -math.inf
    assert text_log_probability(logs[:0], []) == 0
    assert text_log_probability(logs[:0], [1]) == -math.inf


@given(logits)
def test_a_wide_beam_finds_the_most_probable_text(values):
    found = beam_search(logs_of(values), width=1000, cut=0)
    best = max(every_text(values).values())
    assert math.exp(found.log_probability) == pytest.approx(best, rel=1e-4)


@given(arrays(np.float32, (12, CLASSES), elements=values_up_to(4)), st.integers(1, 5))
def test_a_beam_is_never_worse_than_greedy(values, width):
    logs = logs_of(values)
    greedily = text_log_probability(logs, collapsed(logs.argmax(1).tolist()))
    found = beam_search(logs, width=width)
    assert found.log_probability >= greedily - 1e-9
    assert found.log_probability == text_log_probability(logs, found.indices)


def test_beam_search_of_thousands_of_classes_and_of_no_steps():
    values = np.zeros((6, 7000), np.float32)
    values[:, 0] = 20
    values[[0, 2, 4], [6999, 42, 6999]] = 40
    assert beam_search(logs_of(values)).indices == (6999, 42, 6999)
    assert beam_search(logs_of(values)[:0]) == ((), 0.0)


def test_a_step_without_any_probable_class():
    values = np.zeros((2, 2000), np.float32)
    values[1, 5] = 30
    assert beam_search(logs_of(values), width=1).indices == (5,)


def test_a_beam_of_no_width():
    with pytest.raises(ValueError, match="beam width is 0"):
        beam_search(logs_of(np.zeros((2, CLASSES))), width=0)


def test_beam_search_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "fast_ctc_decode", None)
    with pytest.raises(ModuleNotFoundError, match=r"ocrjax\[beam-search\]"):
        beam_search(logs_of(np.zeros((2, CLASSES))))


WORDS = ["".join(w) for n in range(1, 5) for w in itertools.product(NAMES, repeat=n)]


@given(logits, st.lists(st.sampled_from(WORDS), min_size=1, max_size=20))
def test_a_lexicon_gives_each_word_its_probability(values, words):
    logs = logs_of(values)
    lexicon = Lexicon.from_words(words, NAMES)
    texts = every_text(values)
    scores = dict(zip(lexicon.words, lexicon.log_probabilities(logs), strict=True))
    assert list(scores) == list(dict.fromkeys(words))
    for word, score in scores.items():
        expected = texts.get(tuple(NAMES.index(c) + 1 for c in word), 0.0)
        assert math.exp(score) == pytest.approx(expected, rel=1e-4)
    result = lexicon.search(logs)
    if max(scores.values()) == -math.inf:
        assert result is None
    else:
        word, scored = result
        assert scored.log_probability == scores[word] == max(scores.values())
        assert "".join(NAMES[index - 1] for index in scored.indices) == word


def test_a_lexicon_drops_what_cannot_be_read():
    lexicon = Lexicon.from_words(["ab", "", "ax", "ab", "c"], NAMES)
    assert lexicon.words == ("ab", "c")
    assert lexicon.dropped == ("", "ax")
    with pytest.raises(ValueError, match="none of the 2 words"):
        Lexicon.from_words(["x", "y"], NAMES)
    assert Lexicon.from_words(["cafe\u0301"], "acefé").words == ("café",)
    assert Lexicon.from_words([EN36.fold("Cafe")], EN36.characters).words == ("cafe",)


def test_probabilities_far_too_small_for_a_float():
    """Two hundred sure steps against the word: its probability underflows, its logarithm not."""
    values = np.zeros((200, CLASSES), np.float32)
    values[:, 3] = 50
    lexicon = Lexicon.from_words(["ab", "ba", "a"], NAMES)
    scores = lexicon.log_probabilities(logs_of(values))
    assert np.isfinite(scores).all() and scores.max() < -5000
    assert np.isfinite(np.asarray(log_probabilities(values))).all()
