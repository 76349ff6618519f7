from dataclasses import fields

import cv2
import numpy as np
import pytest

from crnnjax.augment import PRESETS, AugmentOptions, augment

CHANGES = [one.name for one in fields(AugmentOptions) if one.name.startswith("p_")]


def crop(height=32, width=100, text="Text"):
    image = np.full((height, width), 200, np.uint8)
    place = (4, int(height * 0.75))
    cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, height / 32, 40, 2, cv2.LINE_AA)
    return image


def changed(options, seed=0, image=None):
    return augment(np.random.default_rng(seed), crop() if image is None else image, options)


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_switched_by_its_own_probability(name):
    image = crop()
    out = changed(AugmentOptions(**{name: 1.0}), image=image)
    assert out.shape == image.shape and out.dtype == np.uint8
    assert not np.array_equal(out, image)
    share = np.mean(
        [
            not np.array_equal(changed(AugmentOptions(**{name: 0.5}), seed, image), image)
            for seed in range(60)
        ]
    )
    assert 0.25 < share < 0.75


def test_nothing_happens_unless_asked_for():
    image = crop()
    assert changed(AugmentOptions(), image=image) is image
    assert PRESETS["none"] == AugmentOptions()


@pytest.mark.parametrize("size", [(32, 1), (32, 2), (32, 8), (64, 700)])
def test_crops_of_any_size_keep_it(size):
    options = AugmentOptions(**dict.fromkeys(CHANGES, 1.0))
    for seed in range(5):
        assert changed(options, seed, np.full(size, 90, np.uint8)).shape == size


def test_a_crop_depends_on_the_state_of_the_generator_alone():
    for seed in range(10):
        one, two = (changed(PRESETS["strong"], seed) for _ in range(2))
        assert np.array_equal(one, two)
    assert len({changed(PRESETS["strong"], seed).tobytes() for seed in range(10)}) > 7


def test_one_change_leaves_the_draws_of_the_others():
    """So that experiments with and without one are comparable crop by crop."""
    blurred = changed(AugmentOptions(p_blur=1.0), 3)
    both = changed(AugmentOptions(p_invert=1.0, p_blur=1.0), 3)
    assert np.abs(both.astype(int) + blurred - 255).max() <= 1


def test_ink_stays_in_sight():
    """No view cuts the text: ink that touched nothing before touches the border never."""
    image = np.full((32, 120), 220, np.uint8)
    image[8:24, 10:110] = 30
    options = AugmentOptions(p_perspective=1.0, p_shear=1.0, p_rotation=1.0)
    for seed in range(40):
        out = changed(options, seed, image)
        border = np.concatenate([out[0], out[-1], out[:, 0], out[:, -1]])
        assert border.min() > 180
        assert 0.4 < (out < 125).mean() / (image < 125).mean() < 1.2


def test_a_negative_is_one():
    assert np.array_equal(changed(AugmentOptions(p_invert=1.0)), 255 - crop())


def test_contrast_keeps_the_mean_where_nothing_is_clipped():
    image = np.tile(np.array([100, 150], np.uint8), (32, 40))
    out = changed(AugmentOptions(p_contrast=1.0, gain=(0.5, 0.5), brightness=0), image=image)
    assert np.unique(out).tolist() in ([112, 137], [113, 138], [113, 137])


def test_noise_has_the_deviation_that_is_asked_for():
    flat = np.full((64, 512), 128, np.uint8)
    out = changed(AugmentOptions(p_noise=1.0, noise=(10, 10)), image=flat).astype(float)
    assert abs(out.std() - 10) < 0.5 and abs(out.mean() - 128) < 0.5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"p_blur": 1.5}, "p_blur is 1.5, expected 0 to 1"),
        ({"p_jpeg": -0.1}, "p_jpeg"),
        ({"blur": (0.2, 0.1)}, r"blur is \(0.2, 0.1\), expected \(low, high\)"),
        ({"noise": 3}, "noise is 3"),
        ({"gain": (0, 1)}, "gain"),
        ({"rotation": 50}, "rotation is 50, expected 0 to 45"),
    ],
)
def test_options_that_cannot_be(values, message):
    with pytest.raises(ValueError, match=message):
        AugmentOptions(**values)
