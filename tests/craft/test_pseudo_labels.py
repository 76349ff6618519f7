from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from craftjax.boxes import MAP_STRIDE
from craftjax.targets import draw_targets
from craftjax.weak.options import PseudoOptions
from craftjax.weak.pseudo_labels import count_confidence, equal_split, find_characters, label_word
from craftjax.weak.word_crops import WordCrop, crop_word, is_vertical
from ocrcore.text import visible_graphemes

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "craft_golden.npz")
ORIGINAL = PseudoOptions(method="watershed", original=True)
WATERSHED = PseudoOptions(method="watershed")
SPLIT = PseudoOptions()


def box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float64)


def as_quads(boxes: np.ndarray) -> np.ndarray:
    return boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)


def enlarged(quad: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The original's quad of a Gaussian, with its truncation: what the golden teacher drew."""
    a, b, c, d = quad
    slopes = [(q[1] - p[1]) / (q[0] - p[0] + 1e-7) for p, q in ((a, c), (d, b))]
    starts = [p[1] - slope * p[0] for p, slope in zip((a, d), slopes, strict=True)]
    x = (starts[1] - starts[0]) / (slopes[0] - slopes[1])
    center = np.array([x, slopes[0] * x + starts[0]])
    out = []
    for corner, (p, q), sign in (
        (a, (a, center), (-1, -1)),
        (b, (center, b), (1, -1)),
        (c, (center, c), (1, 1)),
        (d, (d, center), (-1, 1)),
    ):
        angle = np.arctan((q[1] - p[1]) / (q[0] - p[0] + 1e-7))
        reach = 0.5 * np.hypot(*(corner - center)) * np.abs([np.cos(angle), np.sin(angle)])
        out.append(np.clip(corner + sign * reach, 0, shape[::-1]))
    return np.array(out).astype(int)


def golden_teacher(shape: tuple[int, int], count: int) -> np.ndarray:
    """The region scores of the golden cases: so many characters side by side, drawn as there."""
    height, width = shape
    scores = np.zeros(shape, np.float32)
    for index in range(count):
        middle, half = (index + 0.5) * width / count, 0.3 * width / count
        quad = enlarged(
            box(middle - half, 0.25 * height, middle + half, 0.75 * height), (height, width)
        )
        left, top = quad.min(axis=0)
        patch = np.array([[0, 0], [200, 0], [200, 200], [0, 200]], np.float32)
        there = cv2.getPerspectiveTransform(patch, (quad - [left, top]).astype(np.float32))
        size = (quad.max(axis=0) - [left, top]).tolist()
        drawn = cv2.warpPerspective(GOLDEN["gauss_map"], there, size)
        under = scores[top : top + size[1], left : left + size[0]]
        np.maximum(under, drawn, out=under)
    return scores


def teacher(widths: list[float], *, height: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Perfect scores of characters of these widths side by side."""
    edges = np.concatenate([[0], np.cumsum(widths)])
    quads = [box(a, 0, b, height) for a, b in pairwise(edges)]
    targets = draw_targets([np.stack(quads)], (height, round(edges[-1])))
    return targets.region, targets.affinity


def crop_of(region: np.ndarray) -> WordCrop:
    height, width = region.shape
    image = np.zeros((MAP_STRIDE * height, MAP_STRIDE * width, 3), np.uint8)
    return WordCrop(image, np.eye(3), False)


@pytest.mark.parametrize("index", range(7))
def test_crops_are_those_of_the_original(index):
    case = {key: GOLDEN[f"pl{index}_{key}"] for key in ("box", "word", "M", "warp", "netshape")}
    crop = crop_word(GOLDEN["pl_img"], case["box"], text=str(case["word"]), options=ORIGINAL)
    assert crop is not None
    assert crop.image.shape == tuple(case["netshape"][[2, 3, 1]])
    assert crop.vertical is not bool(GOLDEN[f"pl{index}_horizontal"])
    scale = ORIGINAL.height / case["warp"].shape[0]
    to_crop = np.linalg.inv(crop.to_page @ np.diag([scale, scale, 1]))
    np.testing.assert_allclose(to_crop / to_crop[2, 2], case["M"], atol=1e-9)
    scaled = cv2.resize(case["warp"], None, fx=scale, fy=scale)
    levels = 1 if cv2.__version__ < "5" else 6
    assert np.abs(scaled.astype(int) - crop.image).max() <= levels


@pytest.mark.parametrize("index", range(7))
def test_characters_are_those_of_the_original(index):
    text = str(GOLDEN[f"pl{index}_word"])
    page = GOLDEN["pl_img"]
    crop = crop_word(page, GOLDEN[f"pl{index}_box"], text=text, options=ORIGINAL)
    assert crop is not None
    height, width = crop.image.shape[:2]
    scores = golden_teacher((height // 2, width // 2), int(GOLDEN[f"pl{index}_nblobs"]))
    word = label_word(scores, scores, crop=crop, text=text, options=ORIGINAL)
    assert word.confidence == pytest.approx(float(GOLDEN[f"pl{index}_conf"]))
    on_page = np.clip(word.quads, 0, page.shape[1::-1])  # the original clips, ours does not
    np.testing.assert_allclose(on_page, GOLDEN[f"pl{index}_chars"], atol=0.05)


def test_watershed_equals_the_original():
    scores = GOLDEN["ws_in"].astype(np.float32) / 255
    boxes = find_characters(scores, options=ORIGINAL)
    np.testing.assert_array_equal(as_quads(boxes), GOLDEN["ws_out"])
    # Mended, a box reaches to the end of its last pixel.
    mended = find_characters(scores, options=WATERSHED)
    np.testing.assert_array_equal(mended - boxes, [[0, 0, MAP_STRIDE, MAP_STRIDE]] * len(boxes))


def test_watershed_of_flat_maps_and_points():
    scores = np.zeros((20, 30), np.float32)
    assert find_characters(scores, options=ORIGINAL).shape == (0, 4)
    scores[10, 10] = 1
    np.testing.assert_array_equal(find_characters(scores, options=ORIGINAL), [[20, 20, 20, 20]])
    np.testing.assert_array_equal(find_characters(scores + 1, options=ORIGINAL), [[0, 0, 58, 38]])


def test_confidence_equals_the_original():
    table = GOLDEN["conf_table"]
    found = [[count_confidence(length, n) for n in range(13)] for length in range(1, 13)]
    np.testing.assert_allclose(found, table, atol=1e-12)


def test_equal_split_leaves_spaces_out():
    boxes = equal_split("a b", 128, 100)
    np.testing.assert_allclose(boxes, [[0, 0, 100 / 3, 128], [200 / 3, 0, 100, 128]])


@pytest.mark.parametrize(
    ("ratio", "character", "vertical"),
    [(2.0, 2.4, False), (2.01, 0, True), (1.7, 2.5, True), (1.7, 2.4, False), (1.6, 3, False)],
)
def test_vertical_rule(ratio, character, vertical):
    # `character` is how much longer a character is across the word than along it.
    width, count = 1000, round(character * ratio * 1000)
    assert is_vertical(width, width * ratio, count / 1000) is vertical


def test_the_original_counts_spaces_and_code_points():
    region, affinity = teacher([40.0] * 2)
    crop = crop_of(region)
    for text in ("a b", "e\u0301f"):
        found = [
            label_word(region, affinity, crop=crop, text=text, options=options).confidence
            for options in (ORIGINAL, WATERSHED)
        ]
        assert found == [pytest.approx(2 / 3), 1.0]


def test_visible_graphemes():
    assert visible_graphemes(" a\tb\u00a0") == ["a", "b"]
    assert visible_graphemes("e\u0301f") == ["\u00e9", "f"]
    assert visible_graphemes("x\u0323\u0302y") == ["x\u0323\u0302", "y"]
    assert visible_graphemes("a\u200bb\ufeff") == ["a", "b"]  # zero-width space, byte order mark
    assert visible_graphemes("") == []


def upright(quads: np.ndarray) -> np.ndarray:
    """`(n, 4)` left, top, right, bottom of quads that are upright boxes."""
    np.testing.assert_allclose(quads, as_quads(quads[:, [0, 2]].reshape(-1, 4)), atol=1e-3)
    return quads[:, [0, 2]].reshape(-1, 4)


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_perfect_scores_give_their_characters(count):
    for text, widths in (
        ("n" * count, [40.0] * count),
        ("nW" * count, [34.0, 52.0] * count),
    ):
        region, affinity = teacher(widths)
        word = label_word(region, affinity, crop=crop_of(region), text=text, options=SPLIT)
        edges = MAP_STRIDE * np.concatenate([[0], np.cumsum(widths)])
        boxes = upright(word.quads)
        np.testing.assert_allclose(boxes[:, 0], edges[:-1], atol=8)
        np.testing.assert_allclose(boxes[:, 2], edges[1:], atol=8)
        np.testing.assert_array_equal(boxes[:, [1, 3]], [[0, 128]] * len(widths))
        assert word.confidence > 0.9
        assert not word.equal


def test_scores_move_cuts_away_from_what_letters_expect():
    region, affinity = teacher([40.0, 55.0, 25.0, 40.0, 40.0])
    crop = crop_of(region)
    word = label_word(region, affinity, crop=crop, text="nnnnn", options=SPLIT)
    blind = PseudoOptions(min_confidence=1.0)
    without = label_word(region, affinity, crop=crop, text="nnnnn", options=blind)
    assert without.equal
    assert without.confidence == 1
    assert upright(without.quads)[2, 0] == 160
    assert 164 <= upright(word.quads)[2, 0] <= 190


def test_a_biased_teacher_is_seen_through():
    """Scores moved by an eighth of a character, where the ink says better."""
    region, affinity = teacher([40.0] * 6)
    moved = [np.roll(scores, 5, axis=1) for scores in (region, affinity)]
    crop = crop_of(region)
    crop.image[24:104] = 255 * (np.arange(crop.image.shape[1]) % 80 // 8 % 9 > 0)[:, None]
    crop.image[24:104:2] = 0  # strokes all over the characters, none between them
    word = label_word(*moved, crop=crop, text="nnnnnn", options=SPLIT)
    np.testing.assert_allclose(upright(word.quads)[1:, 0], 80 * np.arange(1, 6), atol=6)
    assert word.confidence > 0.8


def test_spaces_are_gaps():
    region, affinity = teacher([40.0, 40.0, 24.0, 40.0])
    region[:, 80:104] = 0
    word = label_word(region, affinity, crop=crop_of(region), text="no n", options=SPLIT)
    boxes = upright(word.quads)
    assert boxes.shape == (3, 4)
    np.testing.assert_allclose(boxes[:, 0], [0, 80, 208], atol=10)
    np.testing.assert_allclose(boxes[:, 2], [80, 160, 288], atol=10)


def test_scores_that_say_nothing():
    flat = np.zeros((64, 150), np.float32)
    word = label_word(flat, flat, crop=crop_of(flat), text="iWi", options=SPLIT)
    assert word.equal
    assert word.confidence == SPLIT.min_confidence
    widths = np.diff(upright(word.quads)[:, [0, 2]])[:, 0]
    assert widths[1] > 2 * widths[0]  # the letters still differ
    word = label_word(flat, flat, crop=crop_of(flat), text="iWi", options=WATERSHED)
    assert word.equal
    np.testing.assert_allclose(np.diff(upright(word.quads)[:, [0, 2]])[:, 0], 100)


def test_a_margin_without_ink_is_left_out():
    region, affinity = teacher([40.0] * 4)
    padded = [np.pad(scores, ((0, 0), (15, 15))) for scores in (region, affinity)]
    crop = crop_of(padded[0])
    crop.image[20:108:4, 30:-30] = 255
    word = label_word(*padded, crop=crop, text="nnnn", options=SPLIT)
    boxes = upright(word.quads)
    assert 14 <= boxes[0, 0] <= 30
    assert 350 <= boxes[-1, 2] <= 366


@settings(max_examples=60, deadline=None)
@given(
    text=st.text("abilmW.e\u0301 \u4e2d1", min_size=1, max_size=12),
    size=st.tuples(st.floats(3, 150), st.floats(3, 150)),
    degrees=st.floats(0, 360),
    seed=st.integers(0, 1 << 20),
    method=st.sampled_from(["split", "watershed"]),
)
@example(text="i" * 40, size=(3.0, 3.0), degrees=0.0, seed=0, method="split")
@example(text="中", size=(150.0, 5.0), degrees=10.0, seed=1, method="split")
def test_characters_are_in_their_word(text, size, degrees, seed, method):
    """Random pictures and scores: the right number, in order, inside the quad."""
    rng = np.random.default_rng(seed)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    quad = (box(-1, -1, 1, 1) * size / 2 + rng.uniform(-0.2, 0.2, (4, 2))) @ [[c, s], [-s, c]]
    quad += 100
    options = PseudoOptions(method=method, height=64)
    page = rng.integers(0, 256, (200, 200, 3), np.uint8)
    crop = crop_word(page, quad, text=text, options=options)
    if crop is None:  # a text of one line is never so long, or a side less than a pixel
        sides = np.linalg.norm(np.roll(quad, -1, axis=0) - quad, axis=1)
        assert min(sides) < 3 or max(sides) > 40 * min(sides)
        return
    assert crop.image.shape[0] == 64
    shape = crop.image.shape[0] // 2, crop.image.shape[1] // 2
    scores = cv2.GaussianBlur(rng.uniform(-0.5, 1.5, shape).astype(np.float32), (0, 0), 4)
    scores = (scores - scores.min()) / np.ptp(scores)
    if not visible_graphemes(text):
        with pytest.raises(ValueError, match="expected at least one character"):
            label_word(scores, scores, crop=crop, text=text, options=options)
        return
    word = label_word(scores, 1 - scores, crop=crop, text=text, options=options)
    assert word.quads.dtype == np.float32
    assert options.min_confidence <= word.confidence <= 1
    if method == "split":
        assert len(word.quads) == len(visible_graphemes(text))
    back = cv2.perspectiveTransform(
        word.quads.reshape(-1, 1, 2).astype(np.float64), np.linalg.inv(crop.to_page)
    ).reshape(-1, 4, 2)
    height, width = crop.image.shape[:2]
    assert back.min() >= -0.5
    assert (back.max(axis=(0, 1)) <= [width + 1.5, height + 1.5]).all()
    assert (np.diff(back[:, 0, 0]) >= -1e-2).all()
    if method == "split":
        # Side by side: each begins where the one before it ends, or later behind a space.
        assert (back[1:, 0, 0] >= back[:-1, 1, 0] - 1e-2).all()


def page_with_word(quad: np.ndarray) -> np.ndarray:
    """A page on which a quad is filled with stripes of eight shades along its reading direction."""
    page = np.zeros((120, 160, 3), np.uint8)
    for index in range(8):
        a, b = index / 8, (index + 1) / 8
        top, bottom = (quad[i] + np.outer([a, b], quad[j] - quad[i]) for i, j in ((0, 1), (3, 2)))
        corners = np.concatenate([top, bottom[::-1]])
        cv2.fillPoly(
            page, [np.rint(corners * 16).astype(np.int32) - 8], [30 * index + 20] * 3, 4, 4
        )
    return page


@pytest.mark.parametrize(
    "quad",
    [
        box(20, 30, 120, 60),
        box(20.5, 30.25, 119.5, 60.75),
        np.array([[30, 20], [130, 50], [122, 78], [24, 45]], np.float64),
        box(60, 10, 85, 110),  # vertical: turned clockwise, so that its lower end is on the left
    ],
)
def test_crops_show_the_word(quad):
    reading = np.roll(quad, 1, axis=0) if np.ptp(quad[:, 1]) > 2 * np.ptp(quad[:, 0]) else quad
    crop = crop_word(page_with_word(reading), quad, text="abcdefgh", options=SPLIT)
    assert crop is not None
    assert crop.vertical is (reading is not quad)
    width = crop.image.shape[1]
    places = ((np.arange(8) + 0.5) * width / 8).astype(int)
    shades = crop.image[64, places, 0].astype(int)
    np.testing.assert_allclose(shades, 30 * np.arange(8) + 20, atol=1)
    corners = np.array([[[0, 0]], [[width, 0]], [[width, 128]], [[0, 128]]], np.float64)
    on_page = cv2.perspectiveTransform(corners, crop.to_page)[:, 0]
    np.testing.assert_allclose(on_page, reading, atol=1.5)


def test_a_vertical_word_is_cut_along_it():
    quad = box(60, 10, 90, 110)
    crop = crop_word(np.zeros((120, 160, 3), np.uint8), quad, text="abcd", options=SPLIT)
    assert crop is not None
    region, affinity = teacher([crop.image.shape[1] / 8] * 4)
    region, affinity = (np.resize(s, (64, crop.image.shape[1] // 2)) for s in (region, affinity))
    word = label_word(region, affinity, crop=crop, text="abcd", options=SPLIT)
    assert word.quads.shape == (4, 4, 2)
    np.testing.assert_allclose(word.quads[:, :, 0].min(axis=1), 60, atol=0.5)
    np.testing.assert_allclose(word.quads[:, :, 0].max(axis=1), 90, atol=0.5)
    assert (np.diff(word.quads[:, 0, 1]) < 0).all()  # upwards: the crop's left is the lower end


@pytest.mark.parametrize(
    "quad",
    [
        box(20, 30, 120, 30),  # flat
        box(20, 30, 20, 30),
        box(20, 30, 120, 30.5),  # less than a pixel high
        box(0, 30, 160, 32),  # more than 64 times as long as high
        box(20, -60, 120, -10),  # beside the page
        box(20, 30, np.nan, 60),
        box(20, 30, 1e9, 60),
        np.array([[20, 30], [120, 60], [120, 30], [20, 60]]),  # crosses itself
    ],
)
def test_degenerate_quads_give_no_crop(quad):
    assert crop_word(np.zeros((120, 160, 3), np.uint8), quad, text="ab", options=SPLIT) is None


def test_huge_words_are_bounded():
    page = np.zeros((50, 50, 3), np.uint8)
    crop = crop_word(page, box(-9e4, -9e4, 9e4, 9e4), text="ab", options=SPLIT)
    assert crop is not None
    assert crop.image.shape == (128, 128, 3)


def test_bad_input_is_named():
    scores = np.zeros((64, 100), np.float32)
    crop = crop_of(scores)
    given = {"crop": crop, "text": "ab", "options": SPLIT}
    with pytest.raises(ValueError, match="affinity scores have shape"):
        label_word(scores, scores[:, 1:], **given)
    with pytest.raises(ValueError, match="region scores of 'ab' are not all finite"):
        label_word(scores + np.nan, scores, **given)
    with pytest.raises(ValueError, match=r"quad has shape \(3, 2\)"):
        crop_word(crop.image, np.zeros((3, 2)), text=None, options=SPLIT)
    with pytest.raises(ValueError, match="the page is float64"):
        crop_word(np.zeros((9, 9, 3)), box(0, 0, 5, 5), text=None, options=SPLIT)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("method", "cut"),
        ("height", 8),
        ("height", 64.0),
        ("core_threshold", 1.5),
        ("background_threshold", 0.8),
        ("min_confidence", -0.1),
        ("original", True),
    ],
)
def test_bad_options_are_named(field, value):
    with pytest.raises(ValueError, match=f"{field}="):
        PseudoOptions(**{field: value})
