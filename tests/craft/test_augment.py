import colorsys
import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from craftjax.augment import (
    CROPS,
    AugmentOptions,
    compress,
    draw_colors,
    draw_quality,
    draw_transform,
    mean_color,
    move,
    recolor,
    warp,
)

PLAIN = AugmentOptions(brightness=0, contrast=0, saturation=0, hue=0)


def rng(seed=0):
    return np.random.default_rng(seed)


def changed(**options):
    return AugmentOptions(**{"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0, **options})


def box(x, y, width, height):
    return np.array([[(x, y), (x + width, y), (x + width, y + height), (x, y + height)]], float)


def source_box(matrix, out):
    """Left, top, right, bottom of a crop without rotation, in the picture."""
    corners = move([(0, 0), (out[1], out[0])], np.linalg.inv(matrix))
    return [*corners.min(0), *corners.max(0)]


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("rotation", [0, 20])
@pytest.mark.parametrize("flip", [0, 1])
def test_picture_and_quads_move_together(crop, rotation, flip):
    """A dot drawn at each place is found where the homography says, within a pixel."""
    options = changed(crop=crop, rotation=rotation, flip=flip, scale=(0.7, 1.4))
    random = rng([CROPS.index(crop), rotation, flip])
    found = 0
    for _ in range(12):
        size = tuple(random.integers(200, 900, 2).tolist())
        out = (256, 320)
        centers = random.uniform(20, np.array(size[::-1]) - 20, (12, 2))
        words = [box(x - 8, y - 10, 16, 20) for x, y in centers]
        matrix = draw_transform(random, size, out, options, words)
        stretch = math.sqrt(abs(np.linalg.det(matrix[:2, :2])))
        for x, y in centers:
            place = move([x, y], matrix)
            image = np.zeros((*size, 3), np.uint8)
            radius = max(2.0, 1.5 / stretch)
            # OpenCV counts from the center of the first pixel; 4 fractional bits.
            center = np.rint((np.array([x, y]) - 0.5) * 16).astype(int).tolist()
            cv2.circle(image, center, round(radius * 16), (255, 255, 255), -1, cv2.LINE_AA, 4)
            reach = radius * stretch * 1.5 + 3
            if (place < reach).any() or (place > np.array(out[::-1]) - reach).any():
                continue
            moved = warp(image, matrix, out)[:, :, 0].astype(float)
            ys, xs = np.mgrid[: out[0], : out[1]] + 0.5
            middle = np.array([(xs * moved).sum(), (ys * moved).sum()]) / moved.sum()
            assert np.abs(middle - place).max() < 0.5, (crop, size, place, middle)
            found += 1
    assert found > 10


def test_a_crop_along_the_axes_shows_what_a_general_one_shows():
    image = cv2.GaussianBlur(rng().integers(0, 256, (300, 400, 3), np.uint8), (0, 0), 3)
    for target in ((256, 256), (64, 64), (40, 50)):
        for flip in (0, 1):
            options = changed(crop="random_resize_crop", area=(0.5, 0.9), flip=flip)
            matrix = draw_transform(rng(3), (300, 400), target, options)
            turned = matrix.copy()
            turned[0, 1] = 1e-7  # is taken for a rotation
            straight, general = warp(image, matrix, target), warp(image, turned, target)
            inner = np.s_[2:-2, 2:-2]
            difference = straight[inner].astype(float) - general[inner]
            assert np.abs(difference).mean() < 2, (target, flip)


def test_thin_lines_do_not_vanish_when_a_picture_shrinks():
    image = np.zeros((1200, 1200, 3), np.uint8)
    image[:, ::12] = 255
    for rotation in (0.0, 15.0):
        options = changed(crop="whole", rotation=rotation)
        matrix = draw_transform(rng(1), (1200, 1200), (192, 192), options)
        small = warp(image, matrix, (192, 192))[60:130, 60:130].astype(float)
        # One column of twelve is white; where it is on average must not matter.
        assert abs(small.mean() - 255 / 12) < 1.5
        assert small.max() < 90


@pytest.mark.parametrize("size", [(300, 400), (400, 300), (256, 256)])
def test_the_square_of_the_synthetic_crop(size):
    side = min(size)
    starts = set()
    for seed in range(40):
        matrix = draw_transform(rng(seed), size, (128, 128), PLAIN)
        left, top, right, bottom = source_box(matrix, (128, 128))
        assert right - left == pytest.approx(side) and bottom - top == pytest.approx(side)
        assert min(left, top) > -1e-6 and right <= size[1] + 1e-6 and bottom <= size[0] + 1e-6
        starts.add((round(left), round(top)))
    assert (len(starts) > 15) == (size[0] != size[1])


def test_area_and_aspect_of_the_resized_crop():
    options = changed(crop="random_resize_crop")
    size, shares, aspects = (600, 900), [], []
    for seed in range(300):
        matrix = draw_transform(rng(seed), size, (96, 96), options)
        left, top, right, bottom = source_box(matrix, (96, 96))
        assert min(left, top) > -1e-6 and right <= 900 + 1e-6 and bottom <= 600 + 1e-6
        shares.append((right - left) * (bottom - top) / (600 * 900))
        aspects.append((right - left) / (bottom - top))
    assert 0.029 < min(shares) < 0.05 and 0.37 < max(shares) < 0.402
    assert 0.21 < np.mean(shares) < 0.23 + 0.01  # uniform: the mean is .215
    assert 0.745 < min(aspects) < 0.78 and 1.27 < max(aspects) < 1.34
    assert abs(np.mean(np.log(aspects)) - (math.log(0.75) + math.log(1.33)) / 2) < 0.02


def test_the_threshold_of_the_resized_crop_takes_the_middle():
    options = changed(crop="random_resize_crop", crop_share=0)
    matrix = draw_transform(rng(), (300, 500), (96, 96), options)
    assert source_box(matrix, (96, 96)) == pytest.approx([100, 0, 400, 300])


def test_a_page_too_narrow_for_the_area_gets_the_widest_aspect():
    options = changed(crop="random_resize_crop", area=(0.9, 1.0))
    matrix = draw_transform(rng(), (100, 1000), (96, 96), options)
    left, top, right, bottom = source_box(matrix, (96, 96))
    assert (left, top, right, bottom) == pytest.approx((434, 0, 567, 100))


def test_a_crop_without_resizing_keeps_the_scale():
    options = changed(crop="random_crop")
    matrix = draw_transform(rng(), (300, 400), (128, 160), options)
    assert np.allclose(matrix[:2, :2], np.eye(2))
    matrix = draw_transform(rng(), (100, 100), (128, 160), options)  # smaller: in the middle
    assert np.allclose(matrix, [[1, 0, 30], [0, 1, 14], [0, 0, 1]])
    factors = [
        draw_transform(rng(seed), (500, 500), (128, 128), changed(crop="random_crop", scale=(1, 4)))
        for seed in range(60)
    ]
    values = [matrix[0, 0] for matrix in factors]
    assert 1 <= min(values) < 1.2 and 3.3 < max(values) <= 4


def test_the_whole_picture_keeps_its_aspect():
    matrix = draw_transform(rng(), (100, 400), (256, 256), changed(crop="whole"))
    assert move([(0, 0), (400, 100)], matrix) == pytest.approx(np.array([(0, 96), (256, 160)]))


def test_word_crops_hold_a_word_at_the_wanted_height():
    options = changed(crop="words", text_height=(20, 60))
    words = [
        np.concatenate([box(x + 12 * i, y, 12, 16) for i in range(5)])
        for x, y in ((100, 100), (700, 300), (400, 800))
    ]
    chosen, heights, cut = set(), [], 0
    for seed in range(60):
        matrix = draw_transform(rng(seed), (1000, 1000), (256, 256), options, words)
        heights.append(16 * matrix[1, 1])
        moved = [move(word, matrix) for word in words]
        inside = [(word > -0.6 * matrix[0, 0]).all() and (word < 256.6).all() for word in moved]
        if 60 * matrix[0, 0] < 250:
            assert any(inside), seed
        chosen |= {index for index, one in enumerate(inside) if one}
        left, top, right, bottom = source_box(matrix, (256, 256))
        assert left >= -1 and top >= -1 and right <= 1001 and bottom <= 1001
        cut += sum(
            bool(((w > 0) & (w < 256)).all(-1).any()) and not one
            for w, one in zip(moved, inside, strict=True)
        )
    assert chosen == {0, 1, 2}
    assert 18 < min(heights) < 24 and 50 < max(heights) < 62
    assert cut <= 3
    # Without a word that has characters it is the square.
    matrix = draw_transform(rng(), (200, 300), (64, 64), options, [np.zeros((0, 4, 2))])
    left, _, right, _ = source_box(matrix, (64, 64))
    assert right - left == pytest.approx(200)


def test_rotation_stays_in_its_range_and_flipping_is_off():
    angles = []
    for seed in range(200):
        matrix = draw_transform(rng(seed), (300, 300), (96, 96), changed(rotation=20))
        assert np.linalg.det(matrix[:2, :2]) > 0  # never mirrored
        angles.append(math.degrees(math.atan2(matrix[0, 1], matrix[0, 0])))
    assert -20 <= min(angles) < -17 and 17 < max(angles) <= 20
    mirrored = [
        np.linalg.det(draw_transform(rng(seed), (300, 300), (96, 96), changed(flip=0.5))[:2, :2])
        < 0
        for seed in range(200)
    ]
    assert 70 < sum(mirrored) < 130


def test_what_lies_beside_the_picture_is_black():
    image = np.full((100, 100, 3), 200, np.uint8)
    out = warp(
        image, draw_transform(rng(), (100, 100), (200, 100), changed(crop="whole")), (200, 100)
    )
    assert (out[:49] == 0).all() and (out[151:] == 0).all() and (out[51:149] == 200).all()


def color_of(pixel, **options):
    """All the colors that a pixel becomes, for many draws."""
    image = np.full((8, 8, 3), pixel, np.uint8)
    base = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}
    chosen = AugmentOptions(**{**base, **options})
    return np.array(
        [
            recolor(image, draw_colors(rng(seed), mean_color(image), chosen))[0, 0]
            for seed in range(200)
        ],
        float,
    )


def test_each_change_of_color():
    luminance = np.array([0.299, 0.587, 0.114])
    bright = color_of((100, 50, 150), brightness=0.2)
    assert bright[:, 0].min() < 83 and bright[:, 0].max() > 117
    assert (np.abs(bright - bright[:, :1] * [1, 0.5, 1.5]) <= 1.3).all()
    # A picture of one gray is its own mean.
    assert (color_of((90, 90, 90), contrast=0.9, saturation=0.9, hue=0.5) == 90).all()
    pale = color_of((100, 50, 150), saturation=0.5)
    assert (np.abs(pale @ luminance - np.array([100, 50, 150]) @ luminance) < 1).all()
    spread = np.ptp(pale, axis=1)
    assert spread.min() < 55 and spread.max() > 145
    turned = color_of((100, 50, 150), hue=0.2)
    assert (np.abs(turned @ luminance - np.array([100, 50, 150]) @ luminance) < 1.5).all()
    hues = [colorsys.rgb_to_hsv(*(pixel / 255))[0] - 0.75 for pixel in turned]
    assert -0.3 < min(hues) < -0.1 and 0.1 < max(hues) < 0.3
    assert (color_of((100, 50, 150)) == (100, 50, 150)).all()


def test_contrast_is_about_the_mean_luminance():
    image = np.zeros((16, 16, 3), np.uint8)
    image[:8], image[8:] = 100, 200
    colors = draw_colors(rng(2), (150, 150, 150), changed(contrast=0.5))
    out = recolor(image, colors).astype(float)
    assert out.mean() == pytest.approx(150, abs=1)
    assert np.ptp(out) != pytest.approx(100, abs=5)


@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 500),
    width=st.integers(1, 500),
    crop=st.sampled_from(CROPS),
    rotation=st.floats(0, 180),
)
def test_any_picture_gives_a_crop(seed, height, width, crop, rotation):
    options = changed(crop=crop, rotation=rotation, flip=0.5, scale=(0.5, 2))
    words = [box(width / 2, height / 2, 5, 5), box(-50, 2 * height, 0, 0)]
    matrix = draw_transform(rng(seed), (height, width), (64, 96), options, words)
    assert np.isfinite(matrix).all() and abs(np.linalg.det(matrix)) > 1e-9
    out = warp(np.full((height, width, 3), 77, np.uint8), matrix, (64, 96))
    assert out.shape == (64, 96, 3) and out.dtype == np.uint8 and out.max() <= 77


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": "random_crop_with_bbox"}, "crop is 'random_crop_with_bbox', expected one of"),
        ({"area": (0.4, 0.03)}, r"area is \(0.4, 0.03\), expected \(low, high\)"),
        ({"scale": (0, 1)}, "scale is"),
        ({"flip": 1.5}, "flip is 1.5, expected 0 to 1"),
        ({"hue": 0.6}, "hue is 0.6, expected 0 to 0.5"),
        ({"rotation": -1}, "rotation is -1"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        AugmentOptions(**options)


def test_what_a_crop_shows_is_compressed_as_the_whole_picture_would_be():
    random = rng(3)
    low = random.integers(0, 256, (13, 17, 3), dtype=np.uint8)
    image = cv2.resize(low, (269, 203), interpolation=cv2.INTER_CUBIC)
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 40])
    whole = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(whole.astype(int) - image).max() > 10
    before, out = image.copy(), (64, 96)
    for scale in (0.2, 1.5, 2.0):
        options = changed(crop="random_crop", scale=(scale, scale), rotation=20)
        for _ in range(6):
            matrix = draw_transform(random, image.shape[:2], out, options)
            found = compress(image, 40, matrix, out)
            np.testing.assert_array_equal(warp(found, matrix, out), warp(whole, matrix, out))
    np.testing.assert_array_equal(image, before)
    beside = np.array([[1, 0, 500], [0, 1, 0], [0, 0, 1.0]])
    np.testing.assert_array_equal(compress(image, 40, beside, out), image)


def test_how_many_are_compressed_and_how_much():
    assert draw_quality(rng(), changed()) is None
    options = changed(p_jpeg=0.5, jpeg_quality=(40, 90))
    random = rng()
    drawn = [draw_quality(random, options) for _ in range(400)]
    found = [one for one in drawn if one is not None]
    assert 160 < len(found) < 240
    assert 40 <= min(found) < 45 and 85 < max(found) <= 90
    for bad in ({"p_jpeg": 1.5}, {"jpeg_quality": (0, 50)}, {"jpeg_quality": (50, 101)}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            changed(**bad)
