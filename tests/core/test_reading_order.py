"""Reading order: lines, paragraphs, columns, at any slant."""

from __future__ import annotations

import numpy as np
import pytest

from ocrcore.pages import Page, Word
from ocrcore.reading_order import arrange


def typeset(text, left, top, *, size=20, letter=10, leading=26):
    """Words of a text as it stands, a line each."""
    words = []
    for row, line in enumerate(text.splitlines()):
        x, y = left, top + row * leading
        for word in line.split(" "):
            right = x + letter * len(word)
            words.append(Word([(x, y), (right, y), (right, y + size), (x, y + size)], word))
            x = right + letter
    return words


def shuffled(words, *, degrees=0.0, seed=0):
    turn = np.radians(degrees)
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    order = np.random.default_rng(seed).permutation(len(words))
    turned = [Word(words[index].quad @ matrix + 500, words[index].text) for index in order]
    return Page(2000, 2000, tuple(turned))


LEFT = "the first column\nhas three lines\nof some words\n"
RIGHT = "the second one\nis as long\nand beside it\n"


@pytest.mark.parametrize("degrees", [0, 7, -12, 90, 180, 200, 270])
def test_columns_below_a_headline(degrees):
    words = [
        *typeset("One headline over both columns", 0, 0, size=40, letter=14),
        *typeset(LEFT, 0, 80),
        *typeset("Next paragraph\nof column one\n", 0, 200),
        *typeset(RIGHT, 260, 80),
        *typeset("And a footer under all of this text here", 0, 320),
    ]
    page = arrange(shuffled(words, degrees=degrees))
    assert page.text == "\n\n".join(
        [
            "One headline over both columns",
            LEFT.strip(),
            "Next paragraph\nof column one",
            RIGHT.strip(),
            "And a footer under all of this text here",
        ]
    )
    assert page.orientation == pytest.approx(degrees % 360, abs=0.1)
    assert [word.line for word in page.words] == sorted(word.line for word in page.words)
    assert len(page.paragraphs) == 5 and len(page.lines) == 10


def test_the_order_of_the_input_does_not_matter():
    words = [*typeset(LEFT, 0, 0), *typeset(RIGHT, 400, 5)]
    texts = {arrange(shuffled(words, degrees=3, seed=seed)).text for seed in range(5)}
    assert texts == {f"{LEFT.strip()}\n\n{RIGHT.strip()}"}


def test_words_of_another_direction_are_lines_of_their_own():
    words = typeset(LEFT, 0, 0)
    quarter = [
        Word(word.quad @ np.array([[0, -1.0], [1, 0]]) + [-40, 150], word.text)
        for word in typeset("runs up", 0, 0)
    ]
    page = arrange(Page(2000, 2000, (*quarter, *words)))
    assert page.text == f"{LEFT.strip()}\n\nruns up"


def test_a_small_word_beside_a_large_one_is_no_part_of_its_line():
    words = [*typeset("LARGE", 0, 0, size=60, letter=40), *typeset("small", 220, 20)]
    assert len(arrange(shuffled(words)).lines) == 2
    wide = [*typeset("one", 0, 0), *typeset("two", 80, 0)]
    assert [line[0].text for line in arrange(shuffled(wide)).lines] == ["one", "two"]


def test_a_line_that_climbs_by_steps_stays_one():
    words = []
    for index, word in enumerate(typeset("a sign seen from the side climbs over the photo", 0, 0)):
        words.append(Word(word.quad - [0, 3.0 * index], word.text))
    assert len(arrange(shuffled(words)).lines) == 1


def test_nothing_and_one_word():
    assert arrange(Page(10, 10)).words == ()
    (word,) = arrange(Page(10, 10, (Word([(0, 0), (0, 0), (0, 0), (0, 0)], "x"),))).words
    assert (word.line, word.paragraph) == (0, 0)


def test_words_at_random_all_stay():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 900, (300, 1, 2)) + rng.uniform(-40, 40, (300, 4, 2))
    page = Page(1000, 1000, tuple(Word(quad, str(i)) for i, quad in enumerate(corners)))
    found = arrange(page)
    assert sorted(int(word.text) for word in found.words) == list(range(300))
    assert arrange(found).text == found.text
