from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from craftjax import models
from craftjax.convert import (
    STATE_ENTRIES,
    ConversionError,
    from_state_dict,
    to_state_dict,
)
from craftjax.models import CRAFT, count_parameters, init_variables, resize_bilinear
from ocrcore import layers

NARROW = 0.125


@cache
def golden_state() -> dict[str, np.ndarray]:
    """The weights behind the golden arrays: one random stream over the sorted names."""
    rng = np.random.RandomState(0)
    state = {}
    shapes = {name: value.shape for name, value in to_state_dict(init_variables(CRAFT())).items()}
    for name in sorted(shapes):
        shape = shapes[name]
        if name.endswith("num_batches_tracked"):
            continue
        if name.endswith("running_var"):
            value = rng.uniform(0.5, 1.5, shape)
        elif name.endswith(("running_mean", "bias")):
            value = rng.normal(0, 0.1, shape)
        elif len(shape) == 1:
            value = rng.uniform(0.5, 1.5, shape)
        else:
            value = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        state[name] = value.astype(np.float32)
    return state


@cache
def apply():
    return jax.jit(lambda variables, images: CRAFT().apply(variables, images))


def golden_images(height: int, width: int) -> np.ndarray:
    """The golden input, which was normalized, as RGB values."""
    images = np.random.RandomState(1).normal(size=(2, 3, height, width)).transpose(0, 2, 3, 1)
    return (images * (np.array(models.STD) * 255) + np.array(models.MEAN) * 255).astype(np.float32)


@pytest.mark.parametrize(("case", "size"), [("a", (64, 96)), ("b", (37, 70)), ("c", (128, 200))])
def test_equals_the_original(golden, case, size):
    scores, features = apply()(from_state_dict(golden_state()), golden_images(*size))
    expected = golden[f"model_{case}_y"]
    assert scores.dtype == jnp.float32
    np.testing.assert_allclose(scores, expected, atol=2e-5 * np.abs(expected).max(), rtol=0)
    expected = golden[f"model_{case}_feat"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(features, expected, atol=2e-5 * np.abs(expected).max(), rtol=0)


def test_batch_norm_trains_as_the_originals(golden):
    step = jax.jit(lambda v, x: CRAFT().apply(v, x, train=True, mutable=["batch_stats"]))
    (scores, _), updated = step(from_state_dict(golden_state()), golden_images(64, 96))
    expected = golden["model_train_y"]
    np.testing.assert_allclose(scores, expected, atol=1e-4 * np.abs(expected).max(), rtol=0)
    stats = updated["batch_stats"]["basenet"]["slice1"]["bn1"]
    np.testing.assert_allclose(stats["mean"], golden["model_train_rm_slice1_1"], atol=1e-6)
    np.testing.assert_allclose(stats["var"], golden["model_train_rv_slice1_1"], rtol=1e-5)


def test_size_of_the_original():
    variables = init_variables(CRAFT())
    assert count_parameters(variables) == 20_770_466
    assert len(to_state_dict(variables)) == STATE_ENTRIES == 154


def test_init_is_xavier_and_repeatable():
    one, two = (init_variables(CRAFT(width=NARROW), seed=3) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, one, two)
    kernel = one["params"]["basenet"]["slice5"]["conv1"]["kernel"]
    limit = np.sqrt(6 / ((kernel.shape[2] + kernel.shape[3]) * 9))
    assert 0.95 * limit < np.abs(kernel).max() <= limit
    assert not one["params"]["upconv1"]["conv0"]["bias"].any()
    other = init_variables(CRAFT(width=NARROW), seed=4)
    assert not np.array_equal(other["params"]["basenet"]["slice5"]["conv1"]["kernel"], kernel)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_uint8_and_float_images_score_alike(dtype):
    model = CRAFT(width=NARROW, dtype=dtype)
    variables = init_variables(model)
    images = np.random.default_rng(0).integers(0, 256, (1, 50, 33, 3), np.uint8)
    run = jax.jit(model.apply)
    scores, features = run(variables, images)
    assert scores.shape == (1, 25, 16, 2)
    assert features.shape == (1, 25, 16, 8)
    assert scores.dtype == features.dtype == jnp.float32
    again, _ = run(variables, images.astype(np.float32))
    np.testing.assert_array_equal(scores, again)
    if dtype == jnp.bfloat16:
        exact, _ = jax.jit(CRAFT(width=NARROW).apply)(variables, images)
        np.testing.assert_allclose(scores, exact, atol=0.05 * np.abs(exact).max())


@pytest.mark.parametrize("shape", [(64, 64, 3), (1, 64, 64, 1), (1, 15, 64, 3)])
def test_refuses_what_is_no_batch_of_images(shape):
    model = CRAFT(width=NARROW)
    with pytest.raises(ValueError, match="expected"):
        model.apply(init_variables(model), np.zeros(shape, np.uint8))


@pytest.mark.parametrize("size", [(6, 10), (7, 9), (12, 20), (3, 5)])
def test_resize_is_half_pixel_bilinear(size):
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
    expected = jax.image.resize(x, (2, *size, 4), "bilinear")
    np.testing.assert_allclose(resize_bilinear(x, *size), expected, atol=1e-6)


def test_pooling_drops_the_odd_row_and_column():
    x = np.random.default_rng(0).normal(size=(1, 5, 7, 2)).astype(np.float32)
    expected = x[:, :4, :6].reshape(1, 2, 2, 3, 2, 2).max((2, 4))
    np.testing.assert_array_equal(layers.max_pool(x), expected)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("shape", [(2, 80, 60), (1, 67, 50), (1, 3, 1600), (3, 1, 1)])
def test_gradient_of_kernels_is_that_of_xla(shape, dtype):
    rng = np.random.default_rng(0)
    x, to, kernel = (
        jnp.asarray(rng.normal(size=size), dtype)
        for size in ((*shape, 5), (*shape, 4), (3, 3, 5, 4))
    )
    found, expected = (
        jax.jit(lambda x, k, to, f=f: jax.vjp(f, x, k)[1](to))(x, kernel, to)
        for f in (layers.convolve, layers._convolve)
    )
    np.testing.assert_array_equal(found[0], expected[0])
    x, kernel, to = (value.astype(jnp.float32) for value in (x, kernel, to))
    (exact,) = jax.vjp(lambda kernel: layers._convolve(x, kernel), kernel)[1](to)
    assert found[1].dtype == dtype
    tolerance = 2e-6 if dtype == jnp.float32 else 8e-3
    np.testing.assert_allclose(
        jnp.float32(found[1]), exact, rtol=0, atol=tolerance * np.abs(exact).max()
    )


def test_gpus_get_the_plain_convolution(monkeypatch):
    x, kernel = jnp.zeros((1, 32, 32, 4)), jnp.zeros((3, 3, 4, 8))

    def program(f):
        return str(jax.make_jaxpr(jax.grad(lambda x, k: f(x, k).sum(), argnums=(0, 1)))(x, kernel))

    assert program(layers.convolve) != program(layers._convolve)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert program(layers.convolve) == program(layers._convolve)


def test_state_dict_round_trip():
    variables = init_variables(CRAFT(width=NARROW), seed=1)
    back = from_state_dict(to_state_dict(variables))
    jax.tree.map(np.testing.assert_array_equal, variables, back)
    kernel = variables["params"]["upconv1"]["conv3"]["kernel"]
    state = to_state_dict(variables)
    np.testing.assert_array_equal(state["upconv1.conv.3.weight"], kernel.transpose(3, 2, 0, 1))
    assert state["basenet.slice1.1.num_batches_tracked"].dtype == np.int64
    assert list(state)[:2] == ["basenet.slice1.0.bias", "basenet.slice1.0.weight"]


def test_wrong_state_dicts_are_explained():
    state = to_state_dict(init_variables(CRAFT(width=NARROW)))
    broken = {name: value for name, value in state.items() if "upconv4" not in name}
    broken["conv_cls.8.weight"] = np.zeros((3, 16, 1, 1), np.float32)
    broken["extra.weight"] = np.zeros(1, np.float32)
    with pytest.raises(ConversionError) as caught:
        from_state_dict(broken)
    message = str(caught.value)
    assert "12 missing: upconv4" in message
    assert "1 unexpected: extra.weight" in message
    assert "conv_cls.8.weight (3, 16, 1, 1) instead of (2, 8, 1, 1)" in message


@pytest.mark.parametrize(
    ("names", "guess"),
    [
        (("craft", "optimizer", "iter"), "EasyOCR trainer checkpoint"),
        (("module.basenet.slice1.0.weight",), "prefix 'module.'"),
        (("FeatureExtraction.ConvNet.0.weight", "Prediction.weight"), "recognizer"),
        (("last_conv.0.weight", "aspp1.0.weight"), "link refiner"),
        (("features.0.weight", "classifier.0.weight"), "VGG16-BN"),
        (("basenet.slice1.0.weight",), "some of CRAFT's layers"),
        (("a.b",), "begins with a.b"),
        ((), "empty"),
    ],
)
def test_guesses_what_a_file_is(names, guess):
    with pytest.raises(ConversionError, match=guess):
        from_state_dict({name: np.zeros(3, np.float32) for name in names})
