import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ocrcore.data.readers.icdar import read_icdar_folder
from ocrcore.evaluation.matching import PROTOCOLS, evaluate, evaluate_pages, match
from ocrcore.evaluation.statistics import bootstrap_hmean, paired_bootstrap
from ocrcore.geometry import (
    box_pairs,
    convex_quads,
    intersection_areas,
    outlines,
    overlaps,
    quad_faults,
    signed_areas,
)
from ocrcore.pages import Page, Word

SHARED = Path(__file__).parents[3] / "shared"

# Made by the public scripts of the Robust Reading Competition (rectangles, inclusive pixels):
# precision, recall and hmean over the words, and the pairs, of each protocol.
FROZEN = [
    {
        "truth": [
            [187, 124, 235, 135],
            [177, 143, 191, 162],
            [114, 176, 134, 191],
            [172, 193, 185, 219],
        ],
        "care": [False, True, True, True],
        "found": [
            [182, 142, 186, 160],
            [177, 143, 182, 162],
            [189, 125, 235, 136],
            [126, 178, 133, 190],
            [113, 178, 124, 191],
            [172, 195, 184, 219],
            [186, 144, 191, 161],
            [200, 28, 265, 35],
        ],
        "icdar2013": (0.4857142857, 0.6, 0.5368421053, [(3, 5), (1, 0), (1, 1), (1, 6)]),
        "deteval": (0.4857142857, 0.6, 0.5368421053, [(3, 5), (1, 0), (1, 1), (1, 6)]),
    },
    {
        "truth": [[57, 72, 136, 92], [138, 72, 186, 92], [64, 148, 88, 166], [106, 29, 161, 58]],
        "care": [True, True, True, True],
        "found": [[60, 74, 186, 92], [62, 149, 90, 165], [71, 20, 161, 47], [153, 148, 173, 165]],
        "icdar2013": (0.5, 0.5, 0.5, [(0, 0), (2, 1)]),
        "deteval": (0.5, 0.75, 0.6, [(2, 1), (0, 0), (1, 0)]),
    },
    {
        "truth": [
            [50, 76, 128, 85],
            [18, 145, 28, 160],
            [184, 87, 238, 101],
            [240, 87, 266, 101],
            [62, 55, 127, 74],
        ],
        "care": [True, False, True, True, False],
        "found": [
            [90, 77, 126, 84],
            [52, 77, 89, 86],
            [50, 31, 128, 85],
            [183, 87, 267, 100],
            [120, 180, 195, 186],
            [16, 147, 30, 157],
        ],
        "icdar2013": (0.52, 0.6, 0.5571428571, [(2, 3), (0, 0), (0, 1)]),
        "deteval": (0.52, 0.9333333333, 0.6678899083, [(0, 0), (0, 1), (2, 3), (3, 3)]),
    },
    {
        "truth": [[79, 17, 96, 42], [98, 17, 107, 42]],
        "care": [True, True],
        "found": [[78, 17, 106, 40]],
        "icdar2013": (1.0, 0.5, 0.6666666667, [(0, 0)]),
        "deteval": (1.0, 1.0, 1.0, [(0, 0), (1, 0)]),
    },
    {
        "truth": [
            [24, 185, 64, 204],
            [163, 32, 209, 46],
            [211, 32, 235, 46],
            [38, 46, 117, 61],
            [186, 16, 252, 28],
            [254, 16, 290, 28],
        ],
        "care": [True, True, True, True, True, True],
        "found": [
            [38, 186, 51, 204],
            [39, 45, 79, 60],
            [162, 32, 236, 46],
            [25, 186, 37, 206],
            [52, 185, 66, 204],
            [118, 134, 129, 158],
            [77, 45, 118, 61],
            [184, 17, 291, 29],
        ],
        "icdar2013": (
            0.75,
            0.6,
            0.6666666667,
            [(1, 2), (4, 7), (0, 0), (0, 3), (0, 4), (3, 1), (3, 6)],
        ),
        "deteval": (
            0.75,
            0.9333333333,
            0.8316831683,
            [(0, 0), (0, 3), (0, 4), (3, 1), (3, 6), (1, 2), (2, 2), (4, 7), (5, 7)],
        ),
    },
    {
        "truth": [[87, 181, 127, 200], [1, 51, 10, 67], [12, 51, 16, 67]],
        "care": [True, True, True],
        "found": [[87, 181, 107, 199], [1, 52, 17, 69], [189, 171, 201, 194], [106, 180, 127, 201]],
        "icdar2013": (0.65, 0.6, 0.624, [(1, 1), (0, 0), (0, 3)]),
        "deteval": (0.65, 0.9333333333, 0.7663157895, [(0, 0), (0, 3), (1, 1), (2, 1)]),
    },
]


def rect(left, top, right, bottom):
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)


def rects(rows):
    return np.stack([rect(*row) for row in rows]) if len(rows) else np.zeros((0, 4, 2))


def reference_iou(truth, care, found):
    """The protocol as the specification states it, one shapely pair at a time."""
    sound = [shapely.Polygon(p) for p in truth], [shapely.Polygon(p) for p in found]
    g_ok = [i for i, p in enumerate(sound[0]) if p.is_valid and p.is_simple]
    d_ok = [i for i, p in enumerate(sound[1]) if p.is_valid and p.is_simple]
    shared = {(g, d): sound[0][g].intersection(sound[1][d]).area for g in g_ok for d in d_ok}
    ignored = {d for g, d in shared if not care[g] and shared[g, d] / sound[1][d].area > 0.5}
    pairs = []
    for g, d in shared:
        free = all(g != a and d != b for a, b in pairs)
        union = sound[0][g].union(sound[1][d]).area
        if free and care[g] and d not in ignored and shared[g, d] / union > 0.5:
            pairs.append((g, d))
    return pairs, sum(bool(care[g]) for g in g_ok), len(d_ok) - len(ignored)


@st.composite
def convex_quad(draw, scale):
    """Four points on an ellipse, in order, moved and turned."""
    gap = draw(st.tuples(*[st.floats(0.2, 1.5)] * 4))
    angles = np.cumsum(gap) / sum(gap) * 2 * np.pi
    radius = np.array([draw(st.floats(0.05, 1)), draw(st.floats(0.05, 1))])
    turn = draw(st.floats(0, 2 * np.pi))
    points = np.stack([np.cos(angles), np.sin(angles)], 1) * radius
    turned = points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    middle = np.array(draw(st.tuples(st.floats(-1, 1), st.floats(-1, 1))))
    quad = (turned + middle) * scale
    return quad[::-1] if draw(st.booleans()) else quad


def shapely_area(a, b):
    return shapely.area(shapely.intersection(shapely.polygons(a), shapely.polygons(b)))


class TestGeometry:
    @given(st.data(), st.sampled_from([1e-3, 1.0, 300.0, 1e6]))
    def test_intersections_are_shapelys(self, data, scale):
        a = np.stack([data.draw(convex_quad(scale)) for _ in range(3)])
        b = np.stack([data.draw(convex_quad(scale)) for _ in range(3)])
        clear = convex_quads(a) & convex_quads(b)
        a, b = a[clear], b[clear]
        least = np.minimum(abs(signed_areas(a)), abs(signed_areas(b)))
        got, expected = intersection_areas(a, b), shapely_area(a, b)
        assert (abs(got - expected) <= 1e-9 * least).all()
        assert (abs(intersection_areas(a, a) - abs(signed_areas(a))) <= 1e-9 * least).all()

    @given(hnp.arrays(np.int64, (8, 2), elements=st.integers(0, 6)))
    def test_intersections_on_a_coarse_grid(self, points):
        """Shared corners and edges, touching and contained quads come up all the time here."""
        a, b = points[None, :4].astype(np.float64), points[None, 4:].astype(np.float64)
        if convex_quads(a)[0] and convex_quads(b)[0]:
            assert intersection_areas(a, b) == pytest.approx(shapely_area(a, b), abs=1e-12)

    @pytest.mark.parametrize("shift", [0.0, 1e6])
    @pytest.mark.parametrize(
        ("other", "area"),
        [
            (rect(0, 0, 10, 4), 40),
            (rect(2, 1, 5, 3), 6),
            (rect(-5, -5, 50, 50), 40),
            (rect(10, 0, 20, 4), 0),
            (rect(5, 0, 15, 4), 20),
            (rect(0, 4, 10, 8), 0),
            (rect(20, 20, 30, 30), 0),
            (np.array([(5.0, -3), (10, 2), (5, 7), (0, 2)]), 32),
        ],
    )
    def test_known_intersections(self, other, area, shift):
        a = rect(0, 0, 10, 4)[None] + shift
        for b in (other, other[::-1], np.roll(other, 1, axis=0)):
            assert intersection_areas(a, b[None] + shift) == pytest.approx([area], abs=1e-9)

    def test_nothing_overlaps_nothing(self):
        assert intersection_areas(np.zeros((0, 4, 2)), np.zeros((0, 4, 2))).shape == (0,)

    @given(hnp.arrays(np.float64, (4, 2), elements=st.floats(-50, 50)))
    @example(np.zeros((4, 2)))
    @example(np.array([(0, 0), (3, 3), (3, 0), (0, 3.0)]))
    @example(np.array([(0, 0), (9, 0), (3, 3), (0, 9.0)]))
    def test_convex_quads_are_valid_and_convex(self, quad):
        if convex_quads(quad[None])[0]:
            shape = shapely.Polygon(quad)
            assert shape.is_valid
            assert shape.convex_hull.area == pytest.approx(shape.area)

    def test_faults(self):
        quads = [
            rect(0, 0, 9, 4),
            rect(0, 0, 9, 4)[::-1],
            rect(0, 0, 9, 4)[[0, 2, 1, 3]],
            rect(5, 5, 5, 5),
            rect(0, 5, 9, 5),
            np.array([(0.1, 0.1), (0.3, 0.3), (0.7, 0.7), (0.2, 0.2)]),
            np.array([(0, 0), (9, 0), (3, 3), (0, 9.0)]),
            np.array([(0, 0), (9, 0), (9, 0), (0, 9.0)]),
        ]
        expected = [None, "anticlockwise", "self-crossing", *["zero area"] * 3, None, None]
        assert quad_faults(quads) == expected
        assert quad_faults(np.zeros((0, 4, 2))) == []

    def test_outlines_of_all_kinds(self):
        bow = rect(0, 0, 4, 4)[[0, 2, 1, 3]]
        dart = np.array([(0, 0), (9, 0), (3, 3), (0, 9.0)])
        ring = np.array([(0, 0), (4, 0), (6, 2), (4, 4), (0, 4.0)])
        shapes = outlines([rect(1, 2, 4, 6), bow, dart, ring])
        assert shapes.valid.tolist() == [True, False, True, True]
        assert shapes.convex.tolist() == [True, False, False, False]
        assert shapes.areas[[0, 2, 3]].tolist() == [12, 27, 20]
        assert shapes.boxes[3].tolist() == [0, 0, 6, 4]
        square = outlines([rect(0, 0, 4, 4)])
        zeros = np.zeros(3, np.intp)
        areas = overlaps(shapes, np.array([0, 2, 3]), square, zeros)
        expected = [
            shapely.Polygon(p).intersection(shapely.box(0, 0, 4, 4)).area
            for p in (rect(1, 2, 4, 6), dart, ring)
        ]
        assert areas == pytest.approx(expected)

    @pytest.mark.parametrize(
        ("polygons", "message"),
        [
            ([[[0, 0], [1, 1]]], "shape"),
            ([[0, 1, 2, 3, 4, 5, 6, 7]], "shape"),
            ([rect(0, 0, 1, 1), [[0, 0], [1, 1], [np.nan, 0]]], "polygon 1 .* finite"),
            ([rect(0, 0, 1, 1), rect(0, 0, np.inf, 1)], "polygon 1 .* finite"),
        ],
    )
    def test_bad_polygons_are_named(self, polygons, message):
        with pytest.raises(ValueError, match=message):
            outlines(polygons)

    @given(
        hnp.arrays(np.int64, (7, 4), elements=st.integers(0, 9)),
        hnp.arrays(np.int64, (9, 4), elements=st.integers(0, 9)),
        st.lists(st.integers(0, 2), min_size=7, max_size=7),
        st.lists(st.integers(0, 2), min_size=9, max_size=9),
        st.sampled_from([1, 5, 1000]),
    )
    def test_box_pairs(self, first, second, one, two, block):
        one, two = np.sort(one), np.sort(two)
        expected = [
            (i, j)
            for i, a in enumerate(first)
            for j, b in enumerate(second)
            if one[i] == two[j] and (a[:2] < b[2:]).all() and (b[:2] < a[2:]).all()
        ]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ocrcore.geometry._PAIRS_AT_ONCE", block)
            got = box_pairs(first, one, second, two)
        assert list(zip(*(index.tolist() for index in got), strict=True)) == expected


class TestIou:
    @pytest.mark.parametrize("case", range(12))
    def test_golden(self, golden, case):
        truth, ignore = golden[f"ev{case}_gt"], golden[f"ev{case}_ig"]
        result = match(truth, ~ignore, golden[f"ev{case}_det"])
        assert [
            result.truth_care,
            result.found_care,
            len(result.pairs),
            result.precision,
            result.recall,
            result.hmean,
        ] == golden[f"ev{case}_res"].tolist()

    def test_iou_of_a_half_is_no_match(self):
        truth = [rect(0, 0, 10, 10)]
        assert match(truth, [True], [rect(0, 0, 10, 5)]).pairs == ()
        assert match(truth, [True], [rect(0, 0, 10, 5.001)]).pairs == ((0, 0),)
        assert match(truth, [True], [rect(0, 0, 10, 5)], iou=0.4).pairs == ((0, 0),)

    def test_a_half_on_dont_care_still_counts(self):
        dull = [rect(0, 0, 10, 10)]
        assert match(dull, [False], [rect(5, 0, 15, 10)]).found_care == 1
        result = match(dull, [False], [rect(5.1, 0, 15, 10), rect(5, 0, 14.9, 10)])
        assert (result.found_care, result.ignored) == (1, (1,))
        assert match(dull, [False], [rect(5, 0, 15, 10)], ignore=0.4).found_care == 0

    def test_dont_care_parts_do_not_add_up(self):
        dull = [rect(0, 0, 4, 10), rect(6, 0, 10, 10)]
        assert match(dull, [False, False], [rect(0, 0, 10, 10)]).found_care == 1

    def test_invalid_polygons_count_nowhere(self):
        bow = rect(0, 0, 10, 10)[[0, 2, 1, 3]]
        good = rect(20, 0, 30, 10)
        result = match([bow, good], [True, True], [good, bow, rect(5, 5, 5, 5)])
        assert (result.truth_care, result.found_care, result.pairs) == (1, 1, ((1, 0),))
        assert (result.invalid_truth, result.invalid_found) == ((0,), (1, 2))

    def test_the_first_pair_wins_not_the_best(self):
        truth = [rect(0, 0, 10, 10), rect(0, 0, 10, 11)]
        found = [rect(0, 0, 10, 11), rect(0, 0, 10, 10)]
        assert match(truth, [True, True], found).pairs == ((0, 0), (1, 1))

    def test_direction_of_the_corners_does_not_matter(self):
        quad = rect(0, 0, 10, 10)
        assert match([quad[::-1]], [True], [quad]).pairs == ((0, 0),)

    @given(st.data())
    def test_against_the_specification(self, data):
        def polygons(size):
            step = data.draw(st.sampled_from([1.0, 0.5, 0.1]))
            out = []
            for _ in range(size):
                left, top, width, height = data.draw(st.tuples(*[st.integers(1, 9)] * 4))
                polygon = rect(left, top, left + width, top + height) * step
                noise = hnp.arrays(np.float64, (4, 2), elements=st.floats(-0.5, 0.5))
                kind = data.draw(st.integers(0, 4))
                if kind == 1:
                    polygon = polygon + data.draw(noise)
                elif kind == 2:
                    polygon = polygon[[0, 2, 1, 3]]
                elif kind == 3:
                    polygon = np.insert(polygon, 2, polygon[1:3].mean(0) + step, axis=0)
                elif kind == 4 and out:
                    polygon = out[-1]
                out.append(polygon)
            return out

        truth, found = (
            polygons(data.draw(st.integers(0, 5))),
            polygons(data.draw(st.integers(0, 5))),
        )
        care = [data.draw(st.booleans()) for _ in truth]
        result = match(truth, care, found)
        pairs, truth_care, found_care = reference_iou(truth, care, found)
        assert list(result.pairs) == pairs
        assert (result.truth_care, result.found_care) == (truth_care, found_care)


class TestDetEval:
    @pytest.mark.parametrize("protocol", ["icdar2013", "deteval"])
    @pytest.mark.parametrize("case", FROZEN)
    def test_frozen(self, case, protocol):
        truth, found = rects(case["truth"]), rects(case["found"])
        result = evaluate([truth], [case["care"]], [found], protocol=protocol)
        *scores, pairs = case[protocol]
        assert [result.precision, result.recall, result.hmean] == pytest.approx(scores, abs=1e-9)
        assert list(result.images[0].pairs) == pairs

    def test_a_word_in_two_parts(self):
        truth, found = [rect(0, 0, 99, 19)], [rect(0, 0, 49, 19), rect(50, 0, 99, 19)]
        for protocol in ("icdar2013", "deteval"):
            result = match(truth, [True], found, protocol=protocol)
            assert result.pairs == ((0, 0), (0, 1))
            assert (result.recall, result.precision) == (0.8, 0.8)
        assert match(truth, [True], found).pairs == ()

    def test_two_words_in_one_box(self):
        truth, found = [rect(0, 0, 44, 19), rect(50, 0, 99, 19)], [rect(0, 0, 99, 19)]
        result = match(truth, [True, True], found, protocol="deteval")
        assert result.pairs == ((0, 0), (1, 0))
        assert (result.recall, result.precision) == (1, 1)

    def test_pixels_are_inclusive(self):
        """A box of one pixel has the area 1."""
        for protocol in ("icdar2013", "deteval"):
            result = match([rect(3, 3, 3, 3)], [True], [rect(3, 3, 3, 3)], protocol=protocol)
            assert result.hmean == 1

    def test_thresholds(self):
        truth, found = [rect(0, 0, 99, 9)], [rect(0, 0, 69, 9)]
        assert match(truth, [True], found, protocol="icdar2013").pairs == ()
        assert match(truth, [True], found, protocol="icdar2013", recall=0.7).pairs == ((0, 0),)

    def test_tilted_words_count_by_their_bounding_boxes(self):
        diamond = np.array([(50, 0), (99, 20), (50, 40), (0, 20.0)])
        result = match([diamond], [True], [rect(0, 0, 99, 40)], protocol="deteval")
        assert result.hmean == 1


class TestEvaluation:
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    @pytest.mark.parametrize(
        ("truth", "care", "found", "expected"),
        [
            ([], [], [], (1, 1, 1)),
            ([], [], [(0, 0, 9, 9)], (0, 1, 0)),
            ([(0, 0, 9, 9)], [True], [], (0, 0, 0)),
            ([(0, 0, 9, 9)], [False], [], (1, 1, 1)),
            ([(0, 0, 9, 9)], [False], [(0, 0, 9, 9)], (1, 1, 1)),
            ([(0, 0, 9, 9)], [False], [(50, 50, 60, 60)], (0, 1, 0)),
            ([(0, 0, 9, 9)], [True], [(0, 0, 9, 9)], (1, 1, 1)),
        ],
    )
    def test_empty_cases(self, protocol, truth, care, found, expected):
        result = match(rects(truth), care, rects(found), protocol=protocol)
        assert (result.precision, result.recall, result.hmean) == expected

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_many_pictures_are_as_each_alone(self, protocol):
        rng = np.random.default_rng(0)
        truth, care, found = [], [], []
        for size in (3, 0, 5, 2):
            middle = rng.uniform(0, 100, (size, 2))
            truth.append(rects(np.concatenate([middle, middle + rng.uniform(5, 40, (size, 2))], 1)))
            found.append((truth[-1] + rng.normal(0, 2, truth[-1].shape))[: size - 1 or None])
            care.append(rng.random(size) < 0.7)
        whole = evaluate(truth, care, found, protocol=protocol)
        alone = [match(*parts, protocol=protocol) for parts in zip(truth, care, found, strict=True)]
        assert list(whole.images) == alone
        total = sum(i.recall_sum for i in alone), sum(i.precision_sum for i in alone)
        assert whole.recall == total[0] / sum(i.truth_care for i in alone)
        assert whole.precision == total[1] / sum(i.found_care for i in alone)

    def test_nothing_at_all(self):
        assert evaluate([], [], []).hmean == 0

    def test_pages(self):
        quad, outline = rect(0, 0, 10, 5), [(0, 0), (5, -1), (10, 0), (10, 5), (0, 5)]
        words = [
            Word(quad, "a"),
            Word(quad + 20, "b", care=False),
            Word(quad + 40, polygon=outline),
        ]
        truth = [Page(99, 99, words, path="x/img_1.jpg"), Page(9, 9)]
        found = [Page(99, 99, [Word(quad + 20), Word(quad)], path="y/img_1.png"), Page(9, 9)]
        result = evaluate_pages(truth, found)
        assert result.images[0].pairs == ((0, 1),)
        assert result.images[0].ignored == (0,)
        assert result.images[0].name == "x/img_1.jpg"
        assert (result.precision, result.recall) == (1, 0.5)
        assert result.images[1].hmean == 1

    def test_json(self):
        result = evaluate([[rect(0, 0, 9, 9)]], [[True]], [[rect(0, 0, 9, 9)]], names=["é.jpg"])
        value = json.loads(result.to_json())
        assert value["protocol"] == "iou"
        assert value["hmean"] == value["images"][0]["hmean"] == 1
        assert value["images"][0]["pairs"] == [[0, 0]]
        assert value["images"][0]["name"] == "é.jpg"

    def test_mistakes_are_named(self):
        quad = [rect(0, 0, 9, 9)]
        with pytest.raises(ValueError, match=r"'voc'.*iou, icdar2013, deteval"):
            evaluate([quad], [[True]], [quad], protocol="voc")
        with pytest.raises(ValueError, match="2 images of true words"):
            evaluate([quad, quad], [[True]], [quad])
        with pytest.raises(ValueError, match=r"image a\.jpg: 1 true words but 2"):
            evaluate([quad], [[True, True]], [quad], names=["a.jpg"])
        with pytest.raises(ValueError, match=r"a\.jpg .* b\.jpg"):
            evaluate_pages([Page(9, 9, path="a.jpg")], [Page(9, 9, path="b.jpg")])
        with pytest.raises(TypeError):
            evaluate([quad], [[True]], [quad], recall=0.5)


def some_evaluation(seed, pictures=60, chance=0.7):
    rng = np.random.default_rng(seed)
    truth = [rects([(30 * i, 0, 30 * i + 20, 9) for i in range(5)]) for _ in range(pictures)]
    found = [quads[rng.random(5) < chance] for quads in truth]
    return evaluate(truth, [[True] * 5] * pictures, found)


class TestBootstrap:
    def test_against_drawing_pictures_one_set_at_a_time(self):
        evaluation = some_evaluation(0)
        images, rng = evaluation.images, np.random.default_rng(1)
        hmeans = []
        for _ in range(2000):
            drawn = tuple(images[i] for i in rng.integers(0, len(images), len(images)))
            hmeans.append(type(evaluation)("iou", drawn).hmean)
        low, high = np.quantile(hmeans, [0.025, 0.975])
        interval = bootstrap_hmean(evaluation)
        assert interval.value == evaluation.hmean
        assert (interval.low, interval.high) == pytest.approx((low, high), abs=3e-3)
        assert interval.low < interval.value < interval.high

    def test_seed_and_level(self):
        evaluation = some_evaluation(0)
        few = {"samples": 5}
        assert bootstrap_hmean(evaluation, seed=3, **few) == bootstrap_hmean(
            evaluation, seed=3, **few
        )
        assert bootstrap_hmean(evaluation, seed=3, **few) != bootstrap_hmean(
            evaluation, seed=4, **few
        )
        wide, narrow = bootstrap_hmean(evaluation), bootstrap_hmean(evaluation, level=0.5)
        assert wide.low < narrow.low < narrow.high < wide.high

    def test_pairs_of_evaluations(self):
        worse, better = some_evaluation(0, chance=0.5), some_evaluation(0, chance=0.9)
        difference = paired_bootstrap(worse, better)
        assert difference.value == pytest.approx(better.hmean - worse.hmean)
        assert 0 < difference.low < difference.value < difference.high
        same = paired_bootstrap(worse, worse)
        assert (same.value, same.low, same.high) == (0, 0, 0)

    def test_pictures_without_words(self):
        nothing = evaluate([[]], [[]], [[]])
        assert bootstrap_hmean(nothing).high == 0

    def test_mistakes_are_named(self):
        a, b = some_evaluation(0), some_evaluation(0, pictures=20)
        with pytest.raises(ValueError, match=r"60 images .* 20"):
            paired_bootstrap(a, b)
        quad = [rect(0, 0, 9, 9)]
        other = evaluate([quad] * 60, [[True]] * 60, [quad] * 60, protocol="deteval")
        with pytest.raises(ValueError, match="iou and of deteval"):
            paired_bootstrap(a, other)
        with pytest.raises(ValueError, match="0 images"):
            bootstrap_hmean(evaluate([], [], []))
        with pytest.raises(ValueError, match="level"):
            bootstrap_hmean(a, level=1)


@pytest.mark.parametrize(
    ("key", "folder"), [("icdar2015_det_dev", "icdar2015/det_dev"), ("icdar2003", "icdar2003")]
)
def test_the_originals_scores_of_real_photos(key, folder):
    """The original's boxes, scored by the original."""
    peer = SHARED / "golden" / "peer_boxes.json"
    root = SHARED / "datasets" / folder
    if not peer.exists() or not root.is_dir():
        pytest.skip("the real photos are not here")
    recorded = json.loads(peer.read_text())[key]
    pages = read_icdar_folder(root / "images", root / "gt")
    for thresholds, scores in recorded["scores"].items():
        found = [recorded["images"][Path(page.path).stem][thresholds] for page in pages]
        result = evaluate([page.quads for page in pages], [page.care for page in pages], found)
        for name in ("precision", "recall", "hmean"):
            assert getattr(result, name) == pytest.approx(scores[name], abs=5.1e-6)
