"""Pictures to look at."""

from __future__ import annotations

import numpy as np
import pytest

from ocrcore.drawing import (
    CHARACTER,
    FOUND,
    IGNORED,
    MISSED,
    draw_caption,
    draw_page,
    draw_readings,
    draw_text,
    drawing_names,
    fit_cell,
    grid,
)
from ocrcore.images import PageOfFile
from ocrcore.pages import Character, Page, Word
from ocrcore.synth.shapes import box


def places(image, color):
    """Where a color is, as antialiasing leaves it: `(N, 2)` x, y."""
    return np.argwhere((np.abs(image.astype(int) - color) < 60).all(2))[:, ::-1]


def test_outlines_are_where_the_words_are():
    image = np.zeros((40, 60, 3), np.uint8)
    # Corners in the middle of pixels, so that lines are not spread over two.
    characters = (
        Character("a", box(10.5, 10.5, 20.5, 30.5)),
        Character("b", box(20.5, 10.5, 30.5, 30.5)),
    )
    words = (
        Word(box(10.5, 10.5, 30.5, 30.5), "ab", characters=characters),
        Word(box(40.5, 10.5, 50.5, 30.5), care=False),
    )
    page = Page(40, 60, words)
    drawn = draw_page(image, page)
    assert not image.any()
    assert places(drawn, FOUND).max(0).tolist() == [30, 30]
    assert places(drawn, IGNORED).max(0).tolist() == [50, 30]
    assert not len(places(drawn, CHARACTER))
    large = draw_page(image, page, scale=3, characters=True)
    assert large.shape == (120, 180, 3)
    assert places(large, FOUND).max(0).tolist() == [91, 91]
    assert np.median(places(large, CHARACTER)[:, 0]) == 61


def test_texts_are_drawn_within_their_picture():
    short, long = (draw_text(text, width=100, height=20) for text in ("abc", "abc" * 20))
    assert short.shape == long.shape == (20, 100, 3)
    assert short.min() < 100 and (short[:, 50:] == 255).all() and (long[:, 90:] < 255).any()
    unknown, code = (draw_text(text, width=100, height=20) for text in ("\U0001f600", "<1F600>"))
    assert (unknown == code).all()
    assert (draw_text("", width=100, height=20) < 255).any()
    red = draw_text("abc", width=100, height=20, color=(255, 0, 0))
    assert (red[:, :, 0] == 255).all() and (red[:, :, 1] == short[:, :, 1]).all()


@pytest.mark.parametrize("width", [60, 1200, 4000])
def test_a_caption_has_title_and_colors(width):
    legend = [("found", FOUND), ("labeled, " * 12, MISSED), ("a dot", None)]
    image = draw_caption("IMG_1.jpg", legend, width=width)
    assert image.shape[1] == max(width, 480)
    line = round(1.6 * max(16, width / 80))
    assert image.shape[0] % line == 0 and image.shape[0] >= 2 * line
    title = image[:line]
    assert title.min() < 100 and (title[:, image.shape[1] // 2 :] == 255).all()
    for color in (FOUND, MISSED):
        found = places(image, color)
        assert line**2 / 8 < len(found) < line**2 and found[:, 1].min() >= line
    plain = draw_caption("IMG_1.jpg", width=width)
    np.testing.assert_array_equal(plain, title)


def test_drawings_are_called_as_their_pictures():
    paths = ["a/one.jpg", "b/one.jpg", "b/ONE.png", "c/b/one.gif", None, "x.y.jpg"]
    names = drawing_names(paths)
    assert [*names[:2], *names[4:]] == ["one", "b_one", "page_004", "x.y"]
    assert len({name.casefold() for name in names}) == 6
    assert names[2].endswith("_ONE") and names[3].endswith("b_one")
    pages = [PageOfFile("scan.tif", 1), PageOfFile("scan.tif", 2), "scan_page1.png"]
    first, second, third = drawing_names(pages)
    assert (first, second) == ("scan_page1", "scan_page2")
    assert third.endswith("_scan_page1") and third != first
    # A picture whose name is that of the heat map of another.
    a, b = drawing_names(["a.jpg", "a_scores.jpg"], (".png", "_scores.png"))
    assert a == "a" and b.endswith("_a_scores")


def test_cells_hold_pictures_of_any_shape():
    image = np.zeros((10, 40, 3), np.uint8)
    cell = fit_cell(image, width=20, height=30)
    assert cell.shape == (30, 20, 3)
    assert not cell[:5].any() and (cell[5:] == 255).all()
    assert fit_cell(image[:, :1], width=20, height=5).shape == (5, 20, 3)


def test_a_grid_has_rows_as_high_as_their_cells():
    cells = [np.full((height, 8, 3), height, np.uint8) for height in (3, 5, 4)]
    sheet = grid(cells, columns=2, gap=1)
    assert sheet.shape == (5 + 1 + 4, 8 + 1 + 8, 3)
    assert (sheet[:3, :8] == 3).all() and (sheet[:5, 9:] == 5).all() and (sheet[6:, :8] == 4).all()
    assert (sheet[3:5, :8] == 255).all() and (sheet[6:, 8:] == 255).all()
    assert grid(cells[:1], columns=4).shape == (3, 8, 3)
    with pytest.raises(ValueError, match="without images"):
        grid([], columns=2)


def test_texts_are_drawn_at_the_places_of_their_words():
    image = np.full((100, 200, 3), 90, np.uint8)
    upwards = [(150, 90), (150, 10), (170, 10), (170, 90)]
    words = (Word([(20, 40), (90, 40), (90, 70), (20, 70)], "text"), Word(upwards, "upwards"))
    drawn = draw_readings(image, Page(100, 200, (*words, Word(upwards))))
    assert drawn.shape == (100, 400, 3)
    rows, columns = np.nonzero((drawn[:, 200:] < 128).all(axis=2))
    left = columns < 100
    assert columns[left].min() >= 20 and columns[left].max() < 90
    assert rows[left].min() >= 40 and rows[left].max() < 70
    assert columns[~left].min() >= 150 and columns[~left].max() < 170
    assert np.ptp(rows[~left]) > 40
