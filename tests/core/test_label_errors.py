from __future__ import annotations

import math

import numpy as np
import pytest

from ocrcore.evaluation.label_errors import (
    Reading,
    crop_suspects,
    label_peaks,
    ranked,
    suspects,
)
from ocrcore.pages import Page, Word


def box(x, y, width=40, height=10):
    return [[x, y], [x + width, y], [x + width, y + height], [x, y + height]]


def word(x, y, text, **fields):
    return Word(quad=box(x, y), text=text, **fields)


SURE, UNSURE = math.log(0.99), math.log(0.3)


def test_a_sure_reading_that_contradicts_comes_first():
    page = Page(100, 200, (word(0, 0, "cat"), word(50, 0, "dog"), word(100, 0, "O0")))
    readings = [
        Reading("cat", SURE, SURE),
        Reading("frog", SURE, -25.0),
        Reading("00", math.log(0.5), math.log(0.4)),  # nearly as probable as the label
    ]
    found = ranked([suspects(page, readings)])
    assert [one.word for one in found] == [1, 0, 2]
    assert found[0].kind == "text" and found[0].read == "frog" and found[0].label == "dog"
    assert [one.suspicion for one in found[1:]] == [0, 0]
    assert "frog" in found[0].why and "99%" in found[0].why


def test_an_unsure_reading_says_little():
    page = Page(100, 200, (word(0, 0, "cat"), word(50, 0, "dog")))
    sure, unsure = suspects(page, [Reading("car", SURE, -9.0), Reading("dig", UNSURE, -9.0)])
    assert sure.suspicion > 1.5 * unsure.suspicion > 0


def test_swapped_labels_are_told():
    page = Page(100, 200, (word(0, 0, "dog"), word(50, 0, "cat")))
    readings = [Reading("cat", SURE, -20.0), Reading("dog", SURE, -20.0)]
    assert [one.kind for one in suspects(page, readings)] == ["neighbor", "neighbor"]


def test_a_found_word_without_a_label():
    page = Page(100, 200, (word(0, 0, "cat"),))
    found = page.with_words([Word(quad=box(1, 0), score=0.9), Word(quad=box(80, 50), score=0.9)])
    readings = [Reading("cat", SURE), Reading("dog", SURE)]
    label, extra = suspects(
        page, [Reading("cat", SURE, SURE)], found=found, found_readings=readings
    )
    assert label.suspicion == 0
    assert (extra.kind, extra.word, extra.read) == ("unlabeled", None, "dog")
    assert extra.quad == tuple(map(tuple, box(80.0, 50.0)))
    assert extra.suspicion > 1


def test_a_readable_word_that_is_ignored_and_one_that_is_not():
    page = Page(100, 200, (word(0, 0, "###", care=False), word(50, 0, None, care=False)))
    clear, blurred = suspects(page, [Reading("dog", SURE), Reading("xq", math.log(1e-4))])
    assert clear.kind == blurred.kind == "ignored"
    assert clear.suspicion > 10 * blurred.suspicion


def test_a_label_where_nothing_is():
    page = Page(100, 200, (word(0, 0, "cat"), word(100, 50, "dog")))
    maps = np.zeros((50, 100, 2), np.float32)
    maps[0:5, 0:20, 0] = 0.9
    peaks = label_peaks(page, maps)
    assert peaks == pytest.approx([0.9, 0.0])
    full, empty = suspects(page, [None, None], peaks=peaks)
    assert empty.kind == "empty" and empty.suspicion > 10 * full.suspicion
    assert label_peaks(page.with_words([word(500, 500, "far")]), maps) == [0.0]


def test_what_cannot_be_judged_is_left_out():
    page = Page(100, 200, (word(0, 0, "ç"), word(50, 0, "dog")))
    (one,) = suspects(page, [Reading("c", SURE, None), Reading("dog", SURE, SURE)])
    assert one.word == 1
    with pytest.raises(ValueError, match="1 readings for 2 words"):
        suspects(page, [None])


def test_a_label_that_cannot_be_written_in_the_time_steps():
    page = Page(100, 200, (word(0, 0, "much too long"),))
    (one,) = suspects(page, [Reading("cat", SURE, -math.inf)])
    assert math.isfinite(one.suspicion) and one.suspicion > 10


def test_crops_without_a_page():
    found = crop_suspects(
        ["a.png", "b.png", "c.png"],
        ["cat", "dog", "ç"],
        [Reading("cat", SURE, SURE), Reading("frog", SURE, -30.0), Reading("c", SURE)],
    )
    assert [(one.page, one.suspicion > 1) for one in found] == [("a.png", False), ("b.png", True)]


def test_equal_suspicions_keep_their_order():
    page = Page(100, 200, (word(0, 0, "a"), word(50, 0, "b")))
    same = suspects(page, [Reading("a", SURE, SURE), Reading("b", SURE, SURE)])
    assert [one.word for one in ranked([same])] == [0, 1]
