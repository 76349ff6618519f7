import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ocrcore.synth.fonts import bundled_fonts
from ocrcore.synth.text import TextConfig, TextError
from ocrcore.synth.words import WordConfig, WordRenderer
from ocrcore.text import graphemes

# Every chance at 1: each branch is taken.
EVERYTHING = {
    "p_spacing", "p_stretch", "p_rotation", "p_shear", "p_perspective", "p_arc", "p_outline",
    "p_gradient", "p_texture", "p_blur", "p_motion", "p_low_resolution", "p_noise", "p_jpeg",
}  # fmt: skip
PLAIN = dict.fromkeys(EVERYTHING, 0.0)


def same(a, b):
    return (
        a.text == b.text and np.array_equal(a.image, b.image) and np.array_equal(a.quads, b.quads)
    )


@pytest.mark.parametrize("height", [12, 32, 64])
@pytest.mark.parametrize("chance", [None, 1.0])
def test_crops_have_their_shape_and_quads(height, chance):
    options = {} if chance is None else dict.fromkeys(EVERYTHING, chance)
    renderer = WordRenderer(WordConfig(height=height, **options), seed=3)
    for index in range(40):
        crop = renderer[index]
        assert crop.image.dtype == np.uint8 and crop.image.ndim == 3
        assert crop.image.shape[0] == height and crop.image.shape[2] == 3
        assert crop.image.shape[1] <= 1024
        letters = [c for c in graphemes(crop.text) if not c.isspace()]
        assert crop.quads.shape == (len(letters), 4, 2) and crop.quads.dtype == np.float32
        assert crop.quads.min() > -0.2 * height
        assert (crop.quads.max((0, 1)) < np.array(crop.image.shape[1::-1]) + 0.2 * height).all()


def test_a_crop_depends_on_config_seed_and_index_alone():
    renderer = WordRenderer(seed=5)
    forwards = [renderer[index] for index in range(30)]
    other = pickle.loads(pickle.dumps(WordRenderer(seed=5)))
    for index in reversed(range(30)):
        assert same(other[index], forwards[index])
    with ThreadPoolExecutor(4) as pool:
        assert all(map(same, pool.map(WordRenderer(seed=5).__getitem__, range(30)), forwards))
    assert not same(WordRenderer(seed=6)[0], forwards[0])
    assert len({crop.text for crop in forwards}) > 20


def test_ink_lies_in_the_quads_and_differs_from_the_ground():
    config = WordConfig(contrast=(0.6, 0.9), **PLAIN)
    renderer = WordRenderer(config)
    for index in range(60):
        crop = renderer[index]
        ground = crop.image[0, 0].astype(int)
        ink = np.abs(crop.image.astype(int) - ground).max(2)
        assert ink.max() > 80, crop.text
        inside = np.zeros(ink.shape, bool)
        for quad in crop.quads:
            (x0, y0), (x1, y1) = np.floor(quad.min(0)).astype(int), np.ceil(quad.max(0)).astype(int)
            inside[max(0, y0) : y1, max(0, x0) : x1] = True
        assert ink[inside].sum() > 0.95 * ink.sum(), crop.text


def test_contrast_is_what_was_asked_for():
    luma = np.array([0.299, 0.587, 0.114])
    heavy = tuple(font for font in bundled_fonts() if font.weight >= 800)
    for contrast in (0.2, 0.6):
        bounds = (contrast, contrast)
        renderer = WordRenderer(WordConfig(contrast=bounds, fonts=heavy, **PLAIN))
        for index in range(20):
            light = renderer[index].image @ luma
            found = max(light.max() - light[0, 0], light[0, 0] - light.min())
            assert 255 * contrast * 0.8 - 3 < found < 255 * contrast * 1.25 + 6


def test_texts_without_a_font_are_counted_and_replaced():
    config = WordConfig(text=TextConfig(sources={"words": 1}, languages=("en", "zh")))
    renderer = WordRenderer(config)
    assert all(renderer[index].text.isascii() for index in range(20))
    assert renderer.refused and not any(c.isascii() for c in renderer.refused)


def test_a_charset_that_no_font_has_is_an_error():
    config = WordConfig(text=TextConfig(sources={"random": 1}, charset="漢字"))
    with pytest.raises(TextError, match=r"no font has .*[漢字]"):
        WordRenderer(config)[0]


def test_words_that_are_too_wide_are_an_error():
    text = TextConfig(sources={"random": 1}, min_length=20, max_length=20)
    with pytest.raises(TextError, match="100 were wider than 40"):
        WordRenderer(WordConfig(max_width=40, text=text))[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": 2}, "height"),
        ({"max_width": 10}, "max_width"),
        ({"p_blur": 1.5}, "p_blur"),
        ({"contrast": (0.9, 0.2)}, "contrast"),
        ({"ink_height": (0.0, 0.5)}, "ink_height"),
        ({"jpeg_quality": (0, 50)}, "jpeg_quality"),
        ({"perspective": 0.9}, "perspective"),
    ],
)
def test_impossible_configurations_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        WordConfig(**options)


def test_indices_have_bounds():
    renderer = WordRenderer(length=3)
    assert len(renderer) == 3 and len(list(renderer)) == 3
    for index in (-1, 3):
        with pytest.raises(IndexError):
            renderer[index]
    with pytest.raises(ValueError, match="seed"):
        WordRenderer(seed=-1)
