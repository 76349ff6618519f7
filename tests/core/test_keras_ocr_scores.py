"""keras-ocr's score of readings, against cases that were counted by hand."""

from __future__ import annotations

import pytest

from ocrcore.evaluation.end_to_end import evaluate_readings
from ocrcore.evaluation.keras_ocr import KerasOcrScores, keras_ocr_scores
from ocrcore.pages import Page, Word
from ocrcore.text import fold


def word(text, left, *, width=20, care=True):
    right = left + width
    return Word([(left, 0), (right, 0), (right, 10), (left, 10)], text, care=care)


def page(*words):
    return Page(50, 400, words)


def test_every_kind_of_word():
    truth = page(
        word("right", 0), word("alike", 30), word("wrong", 60), word("missed", 100),
        word("###", 140, care=False), word("unseen", 300, care=False),
    )  # fmt: skip
    read = page(
        word("right", 0), word("alive", 31), word("xyzzy", 60), word("extra", 200), word("a", 140)
    )
    found = keras_ocr_scores([truth], [read])
    # "alive" differs from "alike" in 1 of 5; "xyzzy" from "wrong" in all; "a" is ignored.
    assert found == KerasOcrScores(hits=2, misread=1, misses=1, false_alarms=1)
    assert found.precision == pytest.approx(2 / 3) and found.recall == pytest.approx(2 / 3)
    # One to one, with equal texts: of four words that count one is read right, of four found.
    ours = evaluate_readings([truth], [read])
    assert (ours.precision, ours.recall) == (0.25, 0.25)


def test_misread_words_do_not_count():
    lefts = range(0, 330, 30)
    truth = page(*(word("abcd", left) for left in lefts))
    read = page(word("abcd", 0), *(word("wxyz", left) for left in lefts[1:]))
    found = keras_ocr_scores([truth], [read])
    assert (found.precision, found.recall, found.misread) == (1.0, 1.0, 10)
    assert evaluate_readings([truth], [read]).hmean == pytest.approx(1 / 11)


@pytest.mark.parametrize(
    ("true", "read", "hit"),
    [("ab", "ax", True), ("abc", "axy", False), ("abc", "abxyzu", False), ("", "", True)],
)
def test_half_of_the_text_must_be_right(true, read, hit):
    found = keras_ocr_scores([page(word(true, 0))], [page(word(read, 0))])
    assert (found.hits, found.misread) == (int(hit), int(not hit))


def test_texts_are_compared_as_told():
    pages = [page(word("ABCD!", 0))], [page(word("abcd", 0))]
    assert keras_ocr_scores(*pages).hits == 0
    assert keras_ocr_scores(*pages, fold=fold).hits == 1


@pytest.mark.parametrize(("width", "at_one_place"), [(40, True), (41, False)])
def test_the_overlap_that_is_needed(width, at_one_place):
    """20 of 40 pixels are enough, 20 of 41 are not."""
    found = keras_ocr_scores([page(word("one", 0))], [page(word("one", 0, width=width))])
    assert found == KerasOcrScores(at_one_place, 0, not at_one_place, not at_one_place)


def test_fractions_of_pixels_are_cut_off():
    found = keras_ocr_scores([page(word("one", 0))], [page(word("one", 0, width=40.9))])
    assert found.hits == 1


def test_matches_are_not_one_to_one():
    twins = page(word("one", 0), word("one", 0))
    single = page(word("one", 0))
    assert keras_ocr_scores([twins], [single]) == KerasOcrScores(2, 0, 0, 0)
    assert keras_ocr_scores([single], [twins]) == KerasOcrScores(1, 0, 0, 0)
    # A true word with a right and a wrong reading at its place is a hit.
    both = page(word("zzz", 0), word("one", 0))
    assert keras_ocr_scores([single], [both]) == KerasOcrScores(1, 0, 0, 0)


def test_several_pictures_and_none():
    empty = page()
    found = keras_ocr_scores([page(word("one", 0)), empty], [empty, page(word("one", 0))])
    assert found == KerasOcrScores(0, 0, 1, 1)
    nothing = keras_ocr_scores([empty], [empty])
    assert (nothing.precision, nothing.recall) == (0.0, 0.0)
    flat = page(word("one", 0, width=0.5))
    assert keras_ocr_scores([flat], [flat]) == KerasOcrScores(0, 0, 1, 1)
    with pytest.raises(ValueError, match="1 labeled pages and 2 that were read"):
        keras_ocr_scores([empty], [empty, empty])
