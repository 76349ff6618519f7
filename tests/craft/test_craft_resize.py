from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from craftjax.resize import fit_page, plan_shapes, resize_page
from craftjax.tiles import plan_tiles, score_tiles

shapes = st.tuples(st.integers(1, 60), st.integers(1, 60)).map(lambda s: (32 * s[0], 32 * s[1]))


@pytest.mark.parametrize("case", range(3))
def test_equals_the_original(golden, case):
    canvas, mag, ratio, height, width, padded_height, padded_width = golden[f"rs{case}"]
    image = golden["rs_img"]
    fit = fit_page(*image.shape[:2], canvas_size=int(canvas), mag_ratio=float(mag))
    assert fit.ratio == pytest.approx(float(ratio))
    assert (fit.height // 2, fit.width // 2) == (height, width)
    assert fit.padded == (padded_height, padded_width)
    out = resize_page(image, fit)
    assert out.astype(np.float64).sum() == pytest.approx(float(golden[f"rs{case}_sum"]), rel=2e-5)


def test_padding_is_black_and_below_right():
    image = np.full((10, 20, 3), 255, np.uint8)
    fit = fit_page(10, 20, canvas_size=100, mag_ratio=2)
    out = resize_page(image, fit, (64, 96))
    assert out.shape == (64, 96, 3)
    assert out[:20, :40].min() == 255
    assert out[20:].max() == out[:, 40:].max() == 0


def test_a_thin_page_keeps_a_pixel():
    fit = fit_page(1, 5000, canvas_size=100, mag_ratio=1)
    assert (fit.height, fit.width) == (1, 100)


def test_a_few_shapes_need_no_padding():
    wanted = [(64, 96), (96, 64), (64, 96)]
    assert plan_shapes(wanted) == wanted


@given(st.lists(shapes, max_size=40), st.lists(shapes, max_size=12), st.integers(1, 12))
def test_plans_hold_every_page_in_few_shapes(wanted, known, most):
    plan = plan_shapes(wanted, known=known, most=most)
    assert len(plan) == len(wanted)
    for (height, width), (h, w) in zip(plan, wanted, strict=True):
        assert height >= h
        assert width >= w
    assert len(set(plan) | set(known)) <= max(most, len(set(known)) + 1)
    assert plan_shapes(wanted, known=[*known, *plan], most=most) == [
        min(
            (o for o in [*known, *plan] if o[0] >= s[0] and o[1] >= s[1]),
            key=lambda o: (o[0] * o[1], o),
        )
        for s in wanted
    ]


def test_a_folder_of_all_sizes_needs_twelve_programs():
    rng = np.random.default_rng(0)
    wanted = [(int(h) * 32, int(w) * 32) for h, w in rng.integers(1, 81, (1000, 2))]
    plan = plan_shapes(wanted)
    assert len(set(plan)) == 12
    grown = sum(h * w for h, w in plan) / sum(h * w for h, w in wanted)
    assert grown < 1.7


@given(shapes, st.integers(0, 40).map(lambda m: 4 * m), st.integers(1, 30))
def test_tiles_cover_the_input_once(shape, margin, parts):
    max_area = max(shape[0] * shape[1] // parts, (2 * margin + 64) ** 2)  # the least is rounded up
    tiling = plan_tiles(shape, max_area=max_area, margin=margin)
    assert tiling.shape[0] * tiling.shape[1] <= max_area
    for origins, tile, size in zip((tiling.tops, tiling.lefts), tiling.shape, shape, strict=True):
        assert origins[0] == 0
        assert origins[-1] + tile == size
        assert all(origin % 32 == 0 for origin in origins)
        overlaps = [a + tile - b for a, b in pairwise(origins)]
        assert all(overlap >= 2 * margin for overlap in overlaps)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    image = np.stack([rows % 251, columns % 251, rows // 251 + 8 * (columns // 251)], 2)
    image = image.astype(np.uint8)
    out = score_tiles(image, tiling, lambda tile: tile[::2, ::2].astype(np.float32))
    np.testing.assert_array_equal(out, image[::2, ::2])


def test_tiles_must_be_larger_than_their_margins():
    with pytest.raises(ValueError, match="too small"):
        plan_tiles((640, 640), max_area=100 * 100, margin=64)
