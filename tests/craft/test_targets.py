from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from craftjax.targets import affinity_quads, confidence_map, draw_targets, gaussian
from ocrcore.geometry import convex_quads

SHAPE = (60, 80)


def box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float64)


def line(count: int, *, width: float = 12, height: float = 20, at=(100.0, 100.0)) -> np.ndarray:
    """Boxes side by side, read to the right."""
    return np.stack([box(i * width, 0, (i + 1) * width, height) for i in range(count)]) + at


def turned(quads: np.ndarray, degrees: float, about=(100.0, 100.0)) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (quads - about) @ np.array([[c, s], [-s, c]]) + about


def random_quad(rng: np.random.Generator) -> np.ndarray:
    """A convex quad somewhere on or off the map: a turned box in perspective."""
    while True:
        size = rng.uniform(1, 30, 2)
        corners = (box(-1, -1, 1, 1) + rng.uniform(-0.4, 0.4, (4, 2))) * size
        quad = turned(corners, rng.uniform(0, 360), about=(0, 0)) + rng.uniform(-20, 100, 2)
        if convex_quads(quad[None])[0]:
            return quad


def random_words(seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 5, rng.integers(1, 5))
    return [np.stack([random_quad(rng) for _ in range(count)]) for count in counts]


words = st.integers(0, 1 << 32).map(random_words)


def radii(quad: np.ndarray, shape: tuple[int, int], enlarge: float) -> np.ndarray:
    """Squared radius of each pixel by OpenCV's homography from the enlarged quad to the square."""
    square = box(-1, -1, 1, 1).astype(np.float32)
    there = cv2.getPerspectiveTransform(quad.astype(np.float32), square).astype(np.float64)
    x, y, w = np.linalg.inv(there)[:, 2]
    center = np.array([x, y])[:, None, None] / w
    points = np.mgrid[: shape[0], : shape[1]][::-1] + 0.5
    back = center + (points - center) / (1 + enlarge)
    s, t, w = np.tensordot(there, np.concatenate([back, np.ones_like(back[:1])]), 1)
    return (s**2 + t**2) / w**2


def peaks(heat: np.ndarray) -> np.ndarray:
    """Places `(N, 2)`, x and y, of local maxima above one half."""
    top = (heat > cv2.dilate(heat, np.ones((7, 7))) - 1e-4) & (heat > 0.5)
    return cv2.connectedComponentsWithStats(top.astype(np.uint8))[3][1:]


# The original


def test_gaussian_is_the_patch_of_the_original(golden):
    offset = np.mgrid[:200, :200] - 100
    patch = gaussian((offset**2).sum(axis=0) / 100**2)
    assert patch.dtype == np.float32
    np.testing.assert_allclose(patch, golden["gauss_map"], atol=1e-6)


def test_affinity_quads_are_those_of_the_original(golden):
    word = [golden[f"tgt_word{index}"] for index in range(3)]
    found = affinity_quads(word, stacked=False)
    np.testing.assert_allclose(found, golden["tgt_affinity_boxes"], atol=1e-5)
    np.testing.assert_allclose(
        affinity_quads([np.stack([box(10, 20, 20, 40), box(22, 20, 32, 40)])])[0],
        [[15, 23.3333], [27, 23.3333], [27, 36.6667], [15, 36.6667]],
        atol=1e-3,
    )


def test_maps_are_those_of_the_original(golden):
    word = [golden[f"tgt_word{index}"] for index in range(3)]
    shape = golden["tgt_region"].shape
    targets = draw_targets(word, shape)
    assert not targets.dropped
    for name in ("region", "affinity"):
        ours, theirs = getattr(targets, name), golden[f"tgt_{name}"]
        assert ours.dtype == np.float32 and ours.shape == shape
        assert np.abs(ours - theirs).mean() <= 0.02
        apart = np.abs(peaks(theirs)[:, None] - peaks(ours)[None]).max(axis=2)
        assert len(apart) and (apart.min(axis=1) <= 1).all()
    assert len(peaks(targets.region)) == len(peaks(golden["tgt_region"])) == 14
    # Of the upright characters one below the other the original draws next to no affinity.
    assert len(peaks(targets.affinity)) == len(word[0]) - 1 + len(word[1]) - 1
    assert len(peaks(golden["tgt_affinity"])) == len(word[0]) - 1
    # Everything else differs by no more than the corners' truncation.
    left = np.s_[:, :180]
    assert np.abs(targets.region - golden["tgt_region"]).mean() < 0.002
    assert np.abs(targets.affinity - golden["tgt_affinity"])[left].mean() < 0.002


# The formula


@settings(max_examples=25)
@given(words, st.sampled_from([0.0, 0.5, 1.0]))
def test_maps_are_the_homography_of_the_patch(words, enlarge):
    targets = draw_targets(words, SHAPE, enlarge_region=enlarge)
    every = np.stack([radii(quad, SHAPE, enlarge) for word in words for quad in word])
    expected = gaussian(every).max(axis=0)
    clear = (np.abs(every - 1) > 1e-2).all(axis=0)  # the rim is a step
    np.testing.assert_allclose(targets.region[clear], expected[clear], atol=2e-3)
    assert clear.mean() > 0.5


@settings(max_examples=25)
@given(words)
def test_values_lie_between_0_and_1(words):
    targets = draw_targets(words, SHAPE)
    for heat in (targets.region, targets.affinity):
        assert np.isfinite(heat).all() and heat.min() >= 0 and heat.max() <= 1


@settings(max_examples=25)
@given(words, st.randoms(use_true_random=False))
def test_order_of_words_and_direction_of_reading_do_not_matter(words, random):
    first = draw_targets(words, SHAPE)
    shuffled = [word[::-1] for word in words]
    random.shuffle(shuffled)
    second = draw_targets(shuffled, SHAPE)
    np.testing.assert_array_equal(first.region, second.region)
    assert first.dropped["outside"] == second.dropped["outside"]


@settings(max_examples=25)
@given(words)
def test_quarter_turns_mirrors_and_shifts_move_the_maps_along(words):
    height, width = SHAPE
    targets = draw_targets(words, SHAPE)
    cases = [
        (lambda q: np.stack([height - q[..., 1], q[..., 0]], -1), lambda m: np.rot90(m, -1)),
        (lambda q: np.stack([width - q[..., 0], q[..., 1]], -1), lambda m: m[:, ::-1]),
        (lambda q: q[..., ::-1], lambda m: m.T),
        (lambda q: q + np.array([7, 0]), lambda m: m[:, :-7]),
    ]
    for move, follow in cases:
        expected = follow(targets.region), follow(targets.affinity)
        shift = move(np.zeros((1, 4, 2)))[0, 0, 0] == 7
        shape = SHAPE if shift else expected[0].shape
        moved = draw_targets([move(word) for word in words], shape)
        part = np.s_[:, 7:] if shift else np.s_[:, :]
        for found, map_ in zip((moved.region[part], moved.affinity[part]), expected, strict=True):
            off = np.abs(found - map_)
            # A pixel on the rim may fall to either side.
            assert ((off < 1e-3) | (np.minimum(found, map_) == 0) & (off < 0.046)).all()
            assert (off > 1e-3).mean() < 0.01


@settings(max_examples=25)
@given(words)
def test_scaling_by_three_keeps_the_values_of_middle_pixels(words):
    small = draw_targets(words, SHAPE)
    large = draw_targets([3 * word for word in words], (3 * SHAPE[0], 3 * SHAPE[1]))
    for name in ("region", "affinity"):
        off = np.abs(getattr(large, name)[1::3, 1::3] - getattr(small, name))
        assert (off > 1e-3).mean() < 0.01 and off.max() < 0.046


@settings(max_examples=25)
@given(st.floats(0, 360), st.floats(4, 25), st.floats(4, 25))
def test_peaks_are_in_the_centers_at_any_angle(degrees, width, height):
    word = line(5, width=width, height=height) - (2.5 * width, height / 2)
    word = turned(word + 0.5, degrees, about=(100.5, 100.5))
    targets = draw_targets([word], (200, 200))
    assert targets.region[100, 100] == pytest.approx(1, abs=1e-5)  # the third character
    for heat, quad in ((targets.region, word), (targets.affinity, affinity_quads([word]))):
        for x, y in quad.mean(axis=1):
            if 0 <= x < 200 and 0 <= y < 200:
                # Some pixel is within half a pixel, in x and y, of the center.
                nearest = gaussian(0.5 / (0.75 * 2 / 3 * min(width, height)) ** 2)
                assert heat[int(y), int(x)] >= nearest - 1e-4


def test_characters_reach_three_quarters_of_their_side():
    targets = draw_targets([[box(50, 40, 70, 50)]], (100, 120))
    rows, columns = np.nonzero(targets.region)
    assert (columns.min(), columns.max()) == (45, 74)
    assert (rows.min(), rows.max()) == (38, 51)
    assert not targets.affinity.any()


def test_a_character_over_the_border_is_cut():
    """Neither moved nor squeezed: what is on the map is what a larger map has there."""
    word = line(20, at=(-30.0, -4.0))
    whole = draw_targets([word + 50], (200, 400))
    part = draw_targets([word], SHAPE)
    np.testing.assert_allclose(part.region, whole.region[50:110, 50:130], atol=1e-5)
    np.testing.assert_allclose(part.affinity, whole.affinity[50:110, 50:130], atol=1e-5)
    # Enlarged, character 1 ends at x = -3 and character 10 begins at x = 87.
    assert part.dropped == {"outside": 12}
    assert part.region[0].max() > 0.5


# Words that do not run to the right


def test_words_that_turn_keep_their_affinity():
    word = line(4)
    level = draw_targets([word], (240, 240)).affinity
    assert len(peaks(level)) == 3
    for degrees in (90, 180, 270):
        again = draw_targets([turned(word, degrees, about=(120, 120))], (240, 240)).affinity
        np.testing.assert_allclose(again, np.rot90(level, -degrees // 90), atol=1e-5)


@settings(max_examples=25)
@given(st.floats(0, 360), st.floats(3, 30), st.floats(3, 30), st.floats(0.7, 3))
def test_upright_characters_below_each_other_take_the_other_rule(degrees, width, height, gap):
    """They are the mirror image of a line, in which x and y change places."""
    word = line(4, width=width, height=height)
    word += (np.arange(4) * (gap - 1) * width)[:, None, None] * (1, 0)
    stacked = word[:, [0, 3, 2, 1], ::-1]
    word, stacked = turned(word, -degrees), turned(stacked, degrees)
    between = affinity_quads([word, stacked])
    np.testing.assert_allclose(between[3:, :, ::-1], between[:3, [0, 3, 2, 1]], atol=1e-3)
    centers = (word.mean(axis=1)[1:] + word.mean(axis=1)[:-1]) / 2
    np.testing.assert_allclose(between[:3].mean(axis=1), centers, atol=1e-3)


def test_each_word_decides_for_itself():
    word, stacked = line(3), line(3)[:, [0, 3, 2, 1], ::-1]
    both = affinity_quads([word, [], stacked, word[:1]])
    np.testing.assert_array_equal(
        both, np.concatenate([affinity_quads([w]) for w in (word, stacked)])
    )
    assert not np.array_equal(both[2:], affinity_quads([stacked], stacked=False))


# What cannot be drawn


def test_bad_characters_are_dropped_and_counted():
    good = line(2, at=(20.0, 20.0))
    bad = {
        "flat": [
            box(10, 30, 40, 30),
            box(10, 30, 10, 50),
            box(10, 30, 10, 30),
            turned(box(30, 30, 50, 30), 30, about=(30, 30)),
        ],
        "not finite": [np.full((4, 2), np.nan), box(0, 0, np.inf, 5), box(0, 0, 1e30, 5)],
        "not convex": [
            np.array([[0, 0], [30, 0], [6, 6], [0, 30]]),
            box(5, 5, 30, 30)[[0, 1, 3, 2]],
        ],
        "outside": [box(200, 10, 220, 20), box(10, -40, 30, -20), box(-9e5, 0, -8e5, 9)],
        "no pixel": [box(30.1, 30.1, 30.2, 30.2)],
    }
    expected = draw_targets([good], SHAPE)
    for reason, characters in bad.items():
        found = draw_targets([good, *([c] for c in characters)], SHAPE)
        # A crossing quad encloses no area in sum; it may count as flat.
        assert found.dropped.total() == len(characters)
        assert found.dropped[reason] >= len(characters) - (reason == "not convex")
        np.testing.assert_array_equal(found.region, expected.region)
        np.testing.assert_array_equal(found.affinity, expected.affinity)


def test_no_affinity_to_a_bad_character():
    word = line(3, at=(20.0, 20.0))
    word[1] = np.nan
    targets = draw_targets([word], SHAPE)
    assert targets.dropped == {"not finite": 1}
    assert not targets.affinity.any()
    twice = draw_targets([word[[0, 0]]], SHAPE)  # one upon the other
    assert twice.dropped == {"flat affinity": 1}
    assert not twice.affinity.any() and twice.region.any()


def test_no_words_no_text():
    for words in ([], [[]], [np.zeros((0, 4, 2))]):
        targets = draw_targets(words, (3, 5))
        assert targets.region.shape == targets.affinity.shape == (3, 5)
        assert not targets.region.any() and not targets.affinity.any() and not targets.dropped


@settings(max_examples=30)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=8, max_size=8))
def test_any_numbers_are_drawn_or_dropped(numbers):
    with np.errstate(over="ignore"):
        targets = draw_targets([np.reshape(numbers, (1, 4, 2))], (9, 11))
    assert np.isfinite(targets.region).all()
    assert targets.region.any() or targets.dropped.total() == 1


def test_a_quad_that_covers_everything_many_times():
    """Large windows go through in parts."""
    word = np.repeat([box(-100, -100, 500, 500)], 40, axis=0)
    targets = draw_targets([word], (300, 300))
    assert targets.region.min() > 0.25


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match=r"word 1 has shape \(4, 2\), expected \(n, 4, 2\)"):
        draw_targets([line(1), box(0, 0, 1, 1)], SHAPE)
    with pytest.raises(ValueError, match="enlarge_affinity is -1"):
        draw_targets([], SHAPE, enlarge_affinity=-1)
    with pytest.raises(ValueError, match="shape of the map"):
        draw_targets([], (0, 4))


# Confidence


def test_confidence_covers_the_pixels_of_a_word():
    heat = confidence_map((8, 10), [box(2, 3, 6, 5)], [0.5])
    expected = np.ones((8, 10), np.float32)
    expected[2:6, 1:7] = heat[2:6, 1:7]  # the outline touches the pixels around
    np.testing.assert_array_equal(heat, expected)
    assert (heat[3:5, 2:6] == 0.5).all() and heat.dtype == np.float32


@settings(max_examples=25)
@given(
    words,
    st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=16, max_size=16),
    st.randoms(use_true_random=False),
)
def test_confidence_of_overlapping_words_is_the_least(words, trusts, random):
    pairs = list(zip(np.concatenate(words), trusts, strict=False))
    alone = [confidence_map(SHAPE, [quad], [trust]) for quad, trust in pairs]
    random.shuffle(pairs)
    together = confidence_map(SHAPE, [quad for quad, _ in pairs], [trust for _, trust in pairs])
    np.testing.assert_array_equal(together, np.min(alone, axis=0))


def test_confidence_follows_outlines_of_any_size():
    outline = np.array([[1, 1], [9, 1], [9, 9], [7, 9], [7, 3], [1, 3]])
    heat = confidence_map((10, 10), [outline, box(-1e9, -1e9, -1e8, -1e8)], [0, 0])
    assert heat[2, 2] == heat[8, 8] == 0 and heat[6, 3] == 1
    assert not confidence_map((10, 10), [box(-1e9, -1e9, 1e9, 1e9)], [0]).any()


@pytest.mark.parametrize(
    ("outlines", "trust", "message"),
    [
        ([box(0, 0, 1, 1)], [], r"confidence has shape \(0,\), expected \(1,\)"),
        ([box(0, 0, 1, 1)], [1.5], "confidence 0 is 1.5"),
        ([box(0, 0, 1, 1)], [np.nan], "confidence 0 is nan"),
        ([[[0, 0], [1, 1]]], [1], r"outline 0 has shape \(2, 2\)"),
        ([box(0, 0, 1, np.nan)], [1], "outline 0 has a coordinate that is not a finite"),
    ],
)
def test_wrong_confidence_is_named(outlines, trust, message):
    with pytest.raises(ValueError, match=message):
        confidence_map(SHAPE, outlines, trust)
