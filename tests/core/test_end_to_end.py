"""Readings against labels: which words are hits, which do not count, intervals over pictures."""

from __future__ import annotations

import pytest

from ocrcore.evaluation.end_to_end import evaluate_readings
from ocrcore.evaluation.statistics import bootstrap_hmean, paired_bootstrap
from ocrcore.pages import Page, Word


def word(text, left, *, right=None, care=True):
    right = left + 20 if right is None else right
    return Word([(left, 0), (right, 0), (right, 10), (left, 10)], text, care=care)


def page(*words, name="a.png"):
    return Page(50, 400, words, name)


def test_a_hit_is_at_its_place_and_has_the_text():
    truth = page(word("Hello!", 0), word("World", 30), word("left", 60), word("missed", 300))
    read = page(word("hello", 1), word("word", 30), word("left", 71), word("extra", 200))
    image = evaluate_readings([truth], [read]).images[0]
    # The second is another text, the third overlaps by 9 of 31, the fourth is found nowhere.
    assert image.pairs == ((0, 0),)
    assert (image.recall_sum, image.truth_care, image.found_care) == (1, 4, 4)
    assert image.precision == image.recall == 0.25


def test_what_does_not_count():
    truth = page(
        word("###", 0, care=False), word("&", 30), word("one", 60), word(None, 90), name="b.png"
    )
    read = page(
        word("x", 0, right=39),  # 20 of 39 on "don't care"
        word("y", 11, right=29),  # 9 of 18, which is no more than half
        word("8", 30),  # on a label without a letter or digit
        word("!?", 62),  # nothing that counts was read: no false alarm, and no hit
        word("one", 60),
        word("z", 90),  # on a label without a text
        name="b.png",
    )
    result = evaluate_readings([truth], [read])
    image = result.images[0]
    assert image.pairs == ((2, 4),) and image.ignored == (0, 2, 3, 5)
    assert (image.truth_care, image.found_care) == (1, 2)
    assert result.hmean == pytest.approx(2 / 3)


def test_one_to_one():
    truth = page(word("twin", 0))
    read = page(word("twin", 0), word("twin", 1))
    image = evaluate_readings([truth], [read]).images[0]
    assert image.pairs == ((0, 0),) and image.found_care == 2


def test_intervals_and_a_paired_comparison():
    truth = [page(word("one", 0), word("two", 30), name=f"{i}.png") for i in range(8)]
    good = [page(word("one", 0), word("two", 30), name=f"{i}.png") for i in range(8)]
    half = [page(word("one", 0), word("tow", 30), name=f"{i}.png") for i in range(8)]
    better, worse = evaluate_readings(truth, good), evaluate_readings(truth, half)
    assert (better.hmean, worse.hmean) == (1, 0.5)
    mixed = evaluate_readings(truth, good[:4] + half[4:])
    interval = bootstrap_hmean(mixed)
    assert interval.low < interval.value == mixed.hmean == 0.75 < interval.high
    difference = paired_bootstrap(worse, mixed)
    assert difference.low > 0 and difference.value == 0.25


def test_pages_of_other_pictures_are_refused():
    with pytest.raises(ValueError, match="1 labeled pages and 0 that were read"):
        evaluate_readings([page()], [])
    with pytest.raises(ValueError, match="same order"):
        evaluate_readings([page()], [page(name="z.png")])
