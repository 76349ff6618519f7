import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from craftjax import boxes
from craftjax.boxes import find_boxes, scale_boxes
from craftjax.options import DetectorOptions

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "craft_golden.npz")
TEXT, LINK, LOW = 0.7, 0.4, 0.4


def reference(region, affinity, text, link, low):
    """The original's steps one component after the other, each on the whole map."""
    is_text, is_link = region > np.float32(low), affinity > np.float32(link)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        (is_text | is_link).astype(np.uint8), connectivity=4
    )
    quads, ids, dilated = [], [], []
    for k in range(1, count):
        x, y, w, h, area = (int(v) for v in stats[k])
        inside = labels == k
        if area < 10 or region[inside].max() < np.float32(text) or not (inside & is_text).any():
            continue
        n = int(2 * math.sqrt(area * min(w, h) / (w * h)))
        part = (inside & is_text).astype(np.uint8)
        window = np.s_[max(y - n, 0) : y + h + n + 1, max(x - n, 0) : x + w + n + 1]
        part[window] = cv2.dilate(part[window].copy(), np.ones((n + 1, n + 1), np.uint8))
        rows, columns = np.nonzero(part)
        quad = cv2.boxPoints(cv2.minAreaRect(np.column_stack([columns, rows]).astype(np.int32)))
        a, b = np.linalg.norm(quad[0] - quad[1]), np.linalg.norm(quad[1] - quad[2])
        if abs(1 - max(a, b) / (min(a, b) + np.float32(1e-5))) <= np.float32(0.1):
            l, r, t, b = columns.min(), columns.max(), rows.min(), rows.max()  # noqa: E741
            quad = np.array([[l, t], [r, t], [r, b], [l, b]], np.float32)
        quads.append(np.roll(quad, -int(quad.sum(1).argmin()), axis=0))
        ids.append(k)
        dilated.append(part)
    return np.array(quads, np.float32).reshape(-1, 4, 2), ids, labels, dilated


def noise_maps(rng, shape, sigma):
    """Blobs of any form, many of them at the border."""
    maps = [cv2.GaussianBlur(rng.standard_normal(shape, np.float32), (0, 0), sigma) for _ in "ra"]
    return [m / m.max() for m in maps]


def word_maps(words, shape):
    """Draws words as CRAFT would see them: `(x, y, angle, letters, height, bend)` each."""
    region, affinity = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    yy, xx = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    for x, y, angle, letters, height, bend in words:
        step = 0.8 * height
        along = (np.arange(letters) - (letters - 1) / 2) * step
        across = bend * (along / (step * max(letters, 2))) ** 2 * height
        c, s = math.cos(angle), math.sin(angle)
        centers = np.stack([x + c * along - s * across, y + s * along + c * across], axis=1)
        between = (centers[1:] + centers[:-1]) / 2
        for out, points in ((region, centers), (affinity, between)):
            for px, py in points:
                u, v = c * (xx - px) + s * (yy - py), c * (yy - py) - s * (xx - px)
                blob = np.exp(-((u / (0.36 * step)) ** 2 + (v / (0.42 * height)) ** 2))
                np.maximum(out, blob, out=out)
    return region, affinity


def random_words(rng, shape, count=5):
    return [
        (
            rng.uniform(0, shape[1]),  # so that some touch the border
            rng.uniform(0, shape[0]),
            rng.choice([0, 0.05, math.pi / 2, rng.uniform(-math.pi, math.pi)]),
            rng.integers(1, 9),
            rng.uniform(4, 24),
            rng.choice([0, rng.uniform(-6, 6)]),
        )
        for _ in range(count)
    ]


def check(region, affinity, text=TEXT, link=LINK, low=LOW):
    quads, ids, labels, _ = reference(region, affinity, text, link, low)
    got, scores, got_ids, got_labels = boxes._find_quads(region, affinity, text, link, low)
    assert got_ids.tolist() == ids
    np.testing.assert_array_equal(got, quads)
    np.testing.assert_array_equal(got_labels, labels)
    assert scores.tolist() == [region[labels == k].max() for k in ids]
    return quads


@pytest.mark.parametrize(
    "case, text, link, low", [(0, 0.75, 0.2, 0.5), (1, 0.85, 0.2, 0.5), (2, 0.7, 0.4, 0.4)]
)
def test_quads_are_the_originals(case, text, link, low):
    region, affinity = GOLDEN["tgt_region"], GOLDEN["tgt_affinity"]
    quads, _, ids, labels = boxes._find_quads(region, affinity, text, link, low)
    np.testing.assert_allclose(quads, GOLDEN[f"pp0_{case}_boxes"], atol=1e-3)
    np.testing.assert_array_equal(ids, GOLDEN[f"pp0_{case}_mapper"])
    np.testing.assert_array_equal(labels, GOLDEN[f"pp0_{case}_labels"])
    found = find_boxes(
        region, affinity, text_threshold=text, link_threshold=link, low_text=low, polygons=True
    )
    np.testing.assert_array_equal(found.quads, quads)
    assert found.polygons == (None,) * len(quads)  # straight words


def test_polygon_is_the_originals():
    found = find_boxes(
        GOLDEN["poly_region"],
        GOLDEN["poly_affinity"],
        text_threshold=0.75,
        link_threshold=0.2,
        low_text=0.5,
        polygons=True,
        min_polygon_side=30,
    )
    np.testing.assert_allclose(found.quads, GOLDEN["poly_boxes"], atol=1e-3)
    (polygon,) = found.polygons
    np.testing.assert_allclose(polygon, GOLDEN["poly_out"], atol=1e-3)
    assert polygon.dtype == np.float32


@pytest.mark.parametrize("seed", range(12))
def test_noise_like_the_reference(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(40, 160, 2))
    region, affinity = noise_maps(rng, shape, rng.uniform(1, 6))
    text, link, low = rng.uniform(0.1, 0.9, 3)
    check(region, affinity, text, link, low)
    assert len(check(region, affinity, 0.3, 0.5, 0.2)) > 0


def test_rectangles_last_bits_do_not_depend_on_how_points_are_listed():
    """One of the few maps where listing a component's points run by run moves a corner by 1e-6."""
    rng = np.random.default_rng(927)
    maps = noise_maps(rng, tuple(rng.integers(12, 60, 2)), rng.uniform(0.7, 8))
    check(*maps, 0.3, 0.1, 0.05)


@pytest.mark.parametrize("seed", range(12))
def test_words_like_the_reference(seed):
    rng = np.random.default_rng(100 + seed)
    shape = (120, 180)
    region, affinity = word_maps(random_words(rng, shape), shape)
    check(region, affinity)
    check(region, affinity, 0.7, 0.2, 0.5)
    check(region.T.copy(), affinity.T.copy())


@pytest.mark.parametrize("size", [(1, 10), (10, 1), (2, 5), (3, 40), (40, 3), (7, 7), (21, 19)])
@pytest.mark.parametrize("place", [(20, 25), (0, 0), (57, 60)])
def test_rectangles_like_the_reference(size, place):
    region = np.zeros((60, 62), np.float32)
    region[place[0] : place[0] + size[0], place[1] : place[1] + size[1]] = 1
    quads = check(region, np.zeros_like(region))
    assert len(quads) == (region.sum() >= boxes.MIN_AREA)


@pytest.mark.parametrize("shape", [(1, 30), (30, 1), (4, 4), (1, 1)])
def test_full_maps_like_the_reference(shape):
    check(np.ones(shape, np.float32), np.zeros(shape, np.float32))


def test_square_comes_out_upright():
    yy, xx = np.mgrid[:60, :60]
    diamond = (abs(yy - 30) + abs(xx - 28) <= 15).astype(np.float32)
    quads = check(diamond, np.zeros_like(diamond))
    (left, top), (right, _), (_, bottom), _ = quads[0]
    assert quads[0].tolist() == [[left, top], [right, top], [right, bottom], [left, bottom]]
    assert right - left >= 30  # the diamond itself has sides of 21


@pytest.mark.parametrize(
    "rows, columns, before, after",
    [(1, 12, 1, 1), (3, 6, 1, 2), (4, 9, 2, 2), (7, 20, 2, 3), (9, 30, 3, 3), (13, 40, 3, 4)],
)
def test_dilation_leans_right_and_down(rows, columns, before, after):
    region = np.zeros((60, 80), np.float32)
    region[20 : 20 + rows, 15 : 15 + columns] = 1
    quads = check(region, np.zeros_like(region))
    assert quads[0, 0].tolist() == [15 - before, 20 - before]
    assert quads[0, 2].tolist() == [15 + columns - 1 + after, 20 + rows - 1 + after]


def test_links_join_words_but_are_not_in_the_box():
    region, affinity = np.zeros((2, 40, 90), np.float32)
    region[15:25, 10:30] = region[15:25, 50:70] = 0.9
    affinity[18:21, 25:85] = 1  # from one to the other, and on
    joined = find_boxes(region, affinity)
    assert len(joined) == 1
    assert joined.quads[0, :, 0].max() < 80
    assert len(find_boxes(region, affinity * 0)) == 2
    # Enough region for a word, but all of it below low_text, so that there is nothing to box.
    faint = find_boxes(affinity * 0.3, affinity, text_threshold=0.2, low_text=0.5)
    assert len(faint) == 0


def test_component_of_too_few_pixels_or_too_little_score():
    region = np.zeros((20, 40), np.float32)
    region[3:6, 3:6] = 1  # 9 pixels
    region[3:5, 10:15] = 1  # 10
    region[10:15, 10:30] = 0.69
    found = find_boxes(region, np.zeros_like(region))
    assert len(found) == 1
    assert len(find_boxes(region, np.zeros_like(region), text_threshold=0.69)) == 2  # reached
    assert 9 <= found.quads[0, 0, 0] <= 10


def test_score_is_the_text_threshold_that_a_box_survives():
    region, affinity = noise_maps(np.random.default_rng(5), (150, 150), 3)
    low = find_boxes(region, affinity, text_threshold=0.3, low_text=0.2)
    assert np.ptp(low.scores) > 0.3
    for threshold in (0.4, 0.6, 0.8):
        high = find_boxes(region, affinity, text_threshold=threshold, low_text=0.2)
        keep = low.scores >= np.float32(threshold)
        np.testing.assert_array_equal(high.quads, low.quads[keep])
        np.testing.assert_array_equal(high.scores, low.scores[keep])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), sigma=st.floats(0.8, 6))
def test_quads_enclose_their_words(seed, sigma):
    rng = np.random.default_rng(seed)
    shape = tuple(int(v) for v in rng.integers(8, 90, 2))
    region, affinity = noise_maps(rng, shape, sigma)
    quads, scores, ids, labels = boxes._find_quads(region, affinity, 0.3, 0.4, 0.2)
    assert quads.dtype == scores.dtype == np.float32
    assert quads.shape == (len(ids), 4, 2) and scores.shape == ids.shape
    assert (np.diff(ids) > 0).all()
    assert (scores >= np.float32(0.3)).all()
    reach = max(shape)  # the rectangle's corners may lie outside the map, but not far
    for quad, label in zip(quads, ids, strict=True):
        sides = np.roll(quad, -1, axis=0) - quad
        following = np.roll(sides, -1, axis=0)
        assert (sides[:, 0] * following[:, 1] - sides[:, 1] * following[:, 0] > 0).all()
        assert quad.sum(1).argmin() == 0
        assert (quad >= -reach).all() and (quad <= np.array(shape[::-1]) + reach).all()
        points = np.argwhere((labels == label) & (region > 0.2))[:, ::-1]
        away = points[:, None] - quad
        assert (sides[:, 0] * away[..., 1] - sides[:, 1] * away[..., 0] >= -0.05 * reach).all()


def test_vertical_words_and_single_characters_are_found():
    words = [(30, 60, math.pi / 2, 5, 16, 0), (100, 40, 0, 1, 20, 0), (150, 60, -1.2, 4, 16, 0)]
    region, affinity = word_maps(words, (120, 190))
    quads = check(region, affinity)
    assert len(quads) == 3
    for quad, (x, y, *_) in zip(quads[np.argsort(quads[:, :, 0].mean(1))], words, strict=True):
        np.testing.assert_allclose(quad.mean(0), (x, y), atol=2)
    found = find_boxes(region, affinity, polygons=True)
    assert found.polygons == (None, None, None)


def test_noise_of_many_components():
    region = np.random.default_rng(0).random((1120, 1120), np.float32)
    found = find_boxes(region, np.zeros_like(region), text_threshold=0.9, low_text=0.75)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        (region > 0.75).astype(np.uint8), connectivity=4
    )
    assert count > 100_000
    certain = np.unique(labels[region >= 0.9])
    assert len(found) == (stats[certain, cv2.CC_STAT_AREA] >= boxes.MIN_AREA).sum() > 0


def test_curved_words_get_polygons():
    words = [(100, 40, 0, 7, 20, 5), (100, 130, 0.2, 7, 20, -5)]
    region, affinity = word_maps(words, (200, 200))
    found = find_boxes(region, affinity, polygons=True, low_text=0.3)
    assert len(found) == 2
    for polygon, (x, y, *_) in zip(found.polygons, words, strict=True):
        assert polygon.shape == (14, 2) and polygon.dtype == np.float32
        center_line = (polygon[:7] + polygon[13:6:-1]) / 2
        assert cv2.contourArea(polygon) > 0.5 * 20 * np.ptp(center_line[:, 0])
        assert np.hypot(*(center_line - (x, y)).T).min() < 6
    small = find_boxes(region, affinity, polygons=True, low_text=0.3, min_polygon_side=200)
    assert small.polygons == (None, None)
    np.testing.assert_array_equal(small.quads, found.quads)


@pytest.mark.parametrize("seed", range(8))
def test_polygons_never_break(seed):
    """Gaps, one-pixel necks, empty columns, words that leave the map."""
    rng = np.random.default_rng(seed)
    shape = (130, 160)
    outlined = 0
    for sigma in (0.8, 1.5, 3):
        noisy = noise_maps(rng, shape, sigma)
        words = word_maps(random_words(rng, shape, 8), shape)
        for maps in (noisy, words, [np.maximum(*pair) for pair in zip(noisy, words, strict=True)]):
            found = find_boxes(
                *maps, text_threshold=0.4, low_text=0.3, polygons=True, min_polygon_side=1
            )
            assert len(found.polygons) == len(found) == len(found.quads)
            for polygon in found.polygons:
                if polygon is not None:
                    outlined += 1
                    assert polygon.shape == (14, 2) and np.isfinite(polygon).all()
    assert outlined > 0


def test_polygon_of_a_word_that_does_not_reach_the_end_of_its_box():
    """The original folds the last line over: see `_polygon`."""
    labels = np.zeros((60, 130), np.int32)
    xs = np.arange(5, 105)
    for x in xs:
        y = int(30 + 15 * math.sin(x / 30))
        labels[y - 5 : y + 5, x] = 3
    quad = np.array([[5, 8], [104, 8], [104, 52], [5, 52]], np.float32)
    assert boxes._polygon(quad, labels, 3, 10) is not None
    for empty in (np.s_[94:], np.s_[:16]):
        part = labels.copy()
        part[:, empty] = 0
        assert boxes._polygon(quad, part, 3, 10) is None
    labels[:] = 0
    assert boxes._polygon(quad, labels, 3, 10) is None
    assert boxes._polygon(np.zeros((4, 2), np.float32), labels, 3, 1) is None


def test_scaling_to_the_picture():
    region, affinity = word_maps([(60, 60, 0.1, 7, 20, 5)], (120, 120))
    found = find_boxes(region, affinity, polygons=True, low_text=0.3)
    scaled = scale_boxes(found, 1.6)
    np.testing.assert_allclose(scaled.quads, found.quads * 1.25, rtol=1e-6)
    np.testing.assert_allclose(scaled.polygons[0], found.polygons[0] * 1.25, rtol=1e-6)
    assert scaled.quads.dtype == scaled.polygons[0].dtype == np.float32
    np.testing.assert_array_equal(scaled.scores, found.scores)
    clipped = scale_boxes(found, 1.6, size=(80, 140))
    for points in (clipped.quads, clipped.polygons[0]):
        assert points[..., 0].max() <= 140 and points[..., 1].max() == 80 and points.min() >= 0
    with pytest.raises(ValueError, match="ratio is 0, expected a positive number"):
        scale_boxes(found, 0)


@pytest.mark.parametrize("shape", [(0, 0), (0, 7), (7, 0), (5, 5)])
def test_maps_without_text(shape):
    found = find_boxes(np.zeros(shape), np.zeros(shape), polygons=True)
    assert len(found) == 0 and found.polygons == ()
    assert found.quads.shape == (0, 4, 2) and found.scores.shape == (0,)
    scaled = scale_boxes(found, 2)
    assert scaled.quads.shape == (0, 4, 2) and scaled.quads.dtype == np.float32


def test_other_types_and_layouts_of_maps():
    region, affinity = word_maps([(60, 60, 0.1, 6, 20, 0)], (120, 120))
    expected = find_boxes(region, affinity).quads
    both = np.stack([region, affinity], axis=-1)
    for maps in ((both[..., 0], both[..., 1]), (region.astype(np.float64), affinity.tolist())):
        np.testing.assert_array_equal(find_boxes(*maps).quads, expected)
    before = region.copy()
    region.flags.writeable = False
    find_boxes(region, affinity, polygons=True)
    np.testing.assert_array_equal(region, before)


def bad_map(value):
    out = np.zeros((6, 8))
    out[2, 5] = value
    return out


@pytest.mark.parametrize(
    "region, affinity, options, message",
    [
        (np.zeros((6, 8)), np.zeros((8, 6)), {}, r"shape \(6, 8\) and the affinity map \(8, 6\)"),
        (np.zeros((1, 6, 8)), np.zeros((6, 8)), {}, r"the region map has shape \(1, 6, 8\)"),
        (np.zeros((6, 8)), np.zeros((6, 8), complex), {}, "the affinity map is complex128"),
        (bad_map(np.nan), np.zeros((6, 8)), {}, "the region map is nan at row 2, column 5"),
        (np.zeros((6, 8)), bad_map(-np.inf), {}, "the affinity map is -inf at row 2, column 5"),
        (bad_map(1e300), np.zeros((6, 8)), {}, r"the region map is 1e\+300 at row 2, column 5"),
        (np.zeros((6, 8)), np.zeros((6, 8)), {"text_threshold": 1.5}, "text_threshold is 1.5"),
        (np.zeros((6, 8)), np.zeros((6, 8)), {"link_threshold": -0.1}, "link_threshold is -0.1"),
        (np.zeros((6, 8)), np.zeros((6, 8)), {"low_text": math.nan}, "low_text is nan"),
        (np.zeros((6, 8)), np.zeros((6, 8)), {"min_polygon_side": 0}, "min_polygon_side is 0"),
    ],
)
def test_bad_input_is_named(region, affinity, options, message):
    with pytest.raises(ValueError, match=message):
        find_boxes(region, affinity, **options)
    if options:  # those of a detector have the same limits
        with pytest.raises(ValueError, match=message):
            DetectorOptions(**options)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(40))
def test_like_easyocr(seed, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    peers = pytest.importorskip("peers")
    try:
        peers.import_easyocr()
    except peers.PeerMissing as error:
        pytest.skip(str(error))
    from easyocr.craft_utils import getDetBoxes

    rng = np.random.default_rng(seed)
    shape = (150, 200)
    thresholds = rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.6), rng.uniform(0.2, 0.6)
    if thresholds[0] < thresholds[2]:
        thresholds = thresholds[2], thresholds[1], thresholds[0]
    for maps in (noise_maps(rng, shape, 4), word_maps(random_words(rng, shape, 8), shape)):
        names = "text_threshold", "link_threshold", "low_text"
        found = find_boxes(*maps, **dict(zip(names, thresholds, strict=True)), polygons=True)
        quads, polygons, _ = getDetBoxes(*maps, *thresholds, True)
        np.testing.assert_array_equal(found.quads, np.reshape(quads, (-1, 4, 2)))
        for quad, mine, theirs in zip(found.quads, found.polygons, polygons, strict=True):
            if mine is None:
                # theirs may be one whose last line runs from the bottom to the top
                assert theirs is None or (theirs[8] - theirs[5]) @ (quad[3] - quad[0]) < 0
            else:
                np.testing.assert_allclose(mine, theirs, atol=1e-3)
