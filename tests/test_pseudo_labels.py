from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from craftjax.pseudo_labels import (
    MAP_STRIDE,
    PseudoOptions,
    WordCrop,
    count_confidence,
    crop_word,
    equal_split,
    find_characters,
    graphemes,
    is_vertical,
    label_word,
)
from craftjax.targets import draw_targets

GOLDEN = np.load(Path(__file__).parent / "golden" / "craft_golden.npz")
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
    centre = np.array([x, slopes[0] * x + starts[0]])
    out = []
    for corner, (p, q), sign in (
        (a, (a, centre), (-1, -1)),
        (b, (centre, b), (1, -1)),
        (c, (centre, c), (1, 1)),
        (d, (d, centre), (-1, 1)),
    ):
        angle = np.arctan((q[1] - p[1]) / (q[0] - p[0] + 1e-7))
        reach = 0.5 * np.hypot(*(corner - centre)) * np.abs([np.cos(angle), np.sin(angle)])
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
    quads = [box(a, 0, b, height) for a, b in zip(edges, edges[1:], strict=False)]
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
