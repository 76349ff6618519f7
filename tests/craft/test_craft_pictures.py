"""What is drawn of the detector's data: the first batches, and pseudo labels of one's photos."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_words
from tiny_words import Darkness, make_page, weights, write_words

from craftjax import check, drawing
from craftjax.drawing import draw_labels
from craftjax.training import TrainError
from craftjax.weak.label_set import make, mark
from ocrcore.data.readers.icdar import write_icdar
from ocrcore.drawing import CHARACTER, FOUND
from ocrcore.images import ImageError, read_image
from ocrcore.pages import Word

RED = drawing._MASKED


def near(image, color):
    """How many pixels have about a color."""
    return int((np.abs(image.astype(int) - color) < 40).all(-1).sum())


def labeled(confidences):
    """Labels of the two words of each of some pages, in four parts of their boxes each."""
    pages, words, scores, quads = [], [], [], []
    for index, pair in enumerate(confidences):
        page = make_page(index).page
        pages.append((0, index, mark(page)))
        for number, confidence in enumerate(pair):
            words.append((index, number, 4))
            scores.append((confidence, float(confidence == 0.5), 0.3))
            ends = np.linspace(0, 1, 5)[:, None]
            top, bottom = (a + ends * (b - a) for a, b in page.words[number].quad[[[0, 1], [3, 2]]])
            quads.append(np.stack([top[:-1], top[1:], bottom[1:], bottom[:-1]], 1))
    return make(["mine"], pages, words, scores, quads)


def test_the_words_of_least_confidence_are_drawn_worst_first(monkeypatch):
    labels = labeled([(0.9, 0.5), (0.7, 0.95)])
    texts = []
    draw = drawing.draw_text
    monkeypatch.setattr(
        drawing, "draw_text", lambda text, **more: (texts.append(text), draw(text, **more))[1]
    )
    sheet = draw_labels(labels, lambda name, index: make_page(index), title="mine", count=3)
    said = [text for text in texts if text[0] == "'"]  # page by page, as they are read
    assert sorted(said) == ["'lunch' 0.50, in equal parts", "'north' 0.90", "'water' 0.70"]
    assert sheet.shape[1] == 3 * 380 + 2 * 12
    first = sheet[-drawing._HEIGHT - 2 * drawing._LINE : -2 * drawing._LINE, :380]
    alone = draw_labels(labels, lambda name, index: make_page(index), title="mine", count=1)
    np.testing.assert_array_equal(
        first, alone[-len(first) - 2 * drawing._LINE :, :380][: len(first)]
    )
    assert near(first, FOUND) > 100 and near(first, CHARACTER) > 100


def test_photos_that_changed_or_went_are_left_out_of_the_sheet():
    labels = labeled([(0.9, 0.5), (0.7, 0.95)])

    def read(name, index):
        if index == 0:
            raise ImageError("gone")
        return make_page(index)

    assert draw_labels(labels, read, title="mine").shape[1] == 2 * 380 + 12
    assert draw_labels(labels, lambda name, index: make_page(7), title="mine") is None


def test_a_word_beyond_the_border_is_drawn():
    page = make_page(0)
    word = Word([(-20, 50), (300, 50), (300, 90), (-20, 90)], "x")
    assert drawing._draw_word(page.image, word, "", "a.png").shape == (150, 380, 3)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Six photos; a word of the second is not to be read, the third has no text."""
    folder = write_words(tmp_path / "photos")
    for index, changed in ((1, {"care": False}), (2, {"text": ""})):
        page = make_page(index).page
        word = Word(page.words[0].quad, **changed)
        write_icdar(folder / "gt" / f"gt_p{index}.txt", page.with_words([word, *page.words[1:]]))
    monkeypatch.setenv("TINY_WORDS", str(folder))
    return folder


def test_check_draws_and_counts_what_is_trained_on(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(check, "make_model", lambda section: Darkness())
    monkeypatch.setattr(check, "begin", lambda *arguments: weights(1.0))
    config, said = tiny_words.get_config(), []
    config.batch_size = 3
    found = check.check_run(config, tmp_path / "run", log=said.append)
    assert found["pages"] == 9  # three whole batches: the pages once and a half
    assert found["words"] + found["masked"] == 18 and found["masked"] in (2, 3, 4)
    text = "\n".join(said)
    assert "evaluation: 2 pages" in text and "words: 6 samples" in text
    assert "pseudo labels by the start weights: random" in text
    assert "making pseudo labels for 6 pages" in text
    assert " masked, " in text and " don't care, " in text
    assert text.count("without characters") == 1 and "dropped (" not in text
    sheet = read_image(tmp_path / "run" / "batches.png")
    assert sheet.shape[1] == 2 * (4 * 320 + 3 * 4) + 16
    assert near(sheet, RED) > 1000  # beside the picture, and the words that are not to be read
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["batches.png"]


def test_check_needs_data_to_train_on(photos, tmp_path):
    config = tiny_words.get_config()
    config.data.train = {}
    with pytest.raises(TrainError, match="nothing to check"):
        check.check_run(config, tmp_path)
