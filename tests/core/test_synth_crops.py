"""Crops: rectified exactly, the same ones every time, keras-ocr's forms."""

from __future__ import annotations

import numpy as np
import pytest

from ocrcore.drawing import contact_sheet
from ocrcore.pages import Character, Page, Sample, Word
from ocrcore.synth.config import ConfigError, Effects, preset
from ocrcore.synth.crops import (
    CropSource,
    cut,
    jittered,
    keras_ocr_crops,
    keras_ocr_form,
    line_quad,
    page_lines,
)
from ocrcore.synth.pages import PageSource
from ocrcore.synth.shapes import box

# Without effects, so that every page has text that counts.
SMALL = preset("words", height=224, width=224, words=(5, 9), font_size=(14, 30), effects=Effects())


def word(text: str, x: float, y: float, line: int = 0, wide: float = 10, tall: float = 20) -> Word:
    characters = tuple(
        Character(text=c, quad=box(x + i * wide, y, x + (i + 1) * wide, y + tall))
        for i, c in enumerate(text)
    )
    quad = box(x, y, x + len(text) * wide, y + tall)
    return Word(quad=quad, text=text, characters=characters, line=line)


def test_cut_copies_whole_pixels_exactly() -> None:
    image = np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)
    np.testing.assert_array_equal(cut(image, box(7, 11, 47, 31), height=20), image[11:31, 7:47])
    # The quad's first corner is the crop's: a word that runs downwards is turned.
    turned = cut(image, np.roll(box(7, 11, 47, 31), -1, 0), height=40)
    np.testing.assert_array_equal(turned, np.rot90(image[11:31, 7:47]))


def test_cut_keeps_the_aspect_and_pads_on_the_right() -> None:
    image = np.full((60, 90, 3), 200, np.uint8)
    crop = cut(image, box(10, 10, 50, 30), height=31, width=200)
    assert crop.shape == (31, 200, 3)
    assert (crop[:, :61] == 200).all() and (crop[:, 63:] == 0).all()
    wide = cut(image, box(0, 10, 90, 20), height=31, width=90, margin=2)
    assert wide.shape == (31, 90, 3)
    assert (wide[:13] == 200).all() and (wide[14:] == 0).all()
    with pytest.raises(ConfigError, match="no room"):
        cut(image, box(0, 0, 9, 9), height=8, margin=4)


def test_line_quad_begins_where_the_line_begins() -> None:
    characters = word("abc", 10, 20).characters
    np.testing.assert_allclose(line_quad(characters), box(10, 20, 40, 40), atol=1e-3)
    upwards = [Character(text=c.text, quad=c.quad[:, ::-1] * (1, -1)) for c in characters]
    np.testing.assert_allclose(line_quad(upwards)[0], upwards[0].quad[0], atol=1e-3)


def test_jitter_moves_corners_within_three_deviations() -> None:
    rng = np.random.default_rng(0)
    quad = box(0, 0, 100, 20)
    moved = np.stack([jittered(rng, quad, 0.05) - quad for _ in range(200)])
    assert 0 < np.abs(moved).max() <= 3 * 0.05 * 20 + 1e-5
    assert moved.std() == pytest.approx(0.05 * 20, rel=0.1)
    np.testing.assert_array_equal(jittered(rng, quad, 0.0), quad)


@pytest.mark.parametrize("unit", ["word", "line"])
def test_crops_are_texts_of_their_page_in_any_order(unit: str) -> None:
    source = CropSource(SMALL, 3, unit=unit, width=100, per_page=4)  # type: ignore[arg-type]
    crops = [source[i] for i in range(12)]
    again = CropSource(SMALL, 3, unit=unit, width=100, per_page=4)  # type: ignore[arg-type]
    for i in reversed(range(12)):
        np.testing.assert_array_equal(again[i].image, crops[i].image)
        assert again[i].text == crops[i].text
    for i, crop in enumerate(crops):
        assert crop.image.shape == (32, 100, 3)
        lines = page_lines(PageSource(SMALL, 3)[i // 4].page.words)
        texts = [" ".join(w.text or "" for w in line) for line in lines]
        if unit == "word":
            texts = [text for line in texts for text in line.split(" ")]
        assert any(text[:25].strip() == crop.text for text in texts)


def test_crops_differ_within_a_page_and_are_cut_to_length() -> None:
    source = CropSource(SMALL, 1, max_length=3, per_page=3)
    assert {len(source[i].text) for i in range(9)} <= {1, 2, 3}
    assert len({source[i].image.tobytes() for i in range(3)}) == 3
    with pytest.raises(IndexError):
        CropSource(SMALL, length=2)[2]


def test_impossible_crops_are_refused() -> None:
    for changes in (dict(height=2), dict(margin=16), dict(jitter=2.0), dict(unit="page")):
        with pytest.raises(ConfigError):
            CropSource(SMALL, **changes)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no legible text"):
        CropSource(preset("plain", height=160, width=160, legible_height=500, words=(1, 2)))[0]


def keras_sample() -> Sample:
    words = (word("Hello", 10, 10), word("you", 70, 10), word("there", 10, 50, line=1))
    image = np.random.default_rng(1).integers(0, 255, (100, 120, 3), np.uint8)
    return Sample(image=image, page=Page(height=100, width=120, words=words))


def test_keras_ocr_form_has_boxes_for_every_character() -> None:
    ((image, text, lines),) = keras_ocr_form([keras_sample()])
    assert text == "Hello you\nthere"
    assert ["".join(c for _, c in line) for line in lines] == ["Hello you", "there"]
    for line in lines:
        for quad, _ in line:
            assert quad.shape == (4, 2) and quad.dtype == np.float32
    np.testing.assert_array_equal(lines[0][5][0], box(60, 10, 70, 30))  # the space
    assert image.shape == (100, 120, 3)


def test_keras_ocr_crops_are_single_lines_of_the_target_size() -> None:
    forms = list(keras_ocr_form([keras_sample()]))
    crops = list(keras_ocr_crops(forms, max_string_length=6, target_width=60, target_height=20))
    assert [text for _, text in crops] == ["Hello", "there"]
    np.testing.assert_array_equal(crops[0][0][:, :50], keras_sample().image[10:30, 10:60])
    assert (crops[0][0][:, 50:] == 0).all()


def test_contact_sheet_has_a_cell_for_every_sample() -> None:
    source = PageSource(preset("plain", height=96, width=128, font_size=(8, 14), words=(2, 3)))
    samples = [source[i] for i in range(5)]
    sheet = contact_sheet(samples, columns=3, side=64, gap=2)
    assert sheet.shape == (2 * 50 - 2, 3 * 66 - 2, 3)  # rows are as high as their cells
    bare = contact_sheet(samples, columns=3, side=64, gap=2, labels=False)
    assert (sheet != bare).any()
    with pytest.raises(ValueError, match="without images"):
        contact_sheet([])
