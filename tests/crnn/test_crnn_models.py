"""The recognizer's network: against the original's outputs, and what the original has not."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden.make_crnn_golden import images, random_state

from crnnjax.convert import from_state_dict, to_state_dict
from crnnjax.lstm import BiLSTM
from crnnjax.models import (
    CRNN,
    count_parameters,
    init_variables,
    options_of,
    sample_affine,
    shapes_of,
    time_steps,
)
from ocrcore.layers import convolve
from ocrcore.training.optimizers import OptimizerOptions

NARROW = {"channels": 32, "hidden": 16}


@cache
def golden_network(features):
    shapes = to_state_dict(init_variables(CRNN(11, features, **NARROW)), prefix="")
    return from_state_dict(random_state({name: array.shape for name, array in shapes.items()}))


@cache
def apply(**options):
    return jax.jit(CRNN(**options).apply)


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        ({"num_classes": 37}, 8_451_621),
        ({"num_classes": 97, "channels": 256}, 3_781_345),
        ({"num_classes": 168, "features": "resnet", "hidden": 512}, 53_804_680),
        ({"num_classes": 37, "features": "rcnn"}, 4_761_765),
        ({"num_classes": 37, "features": "resnet", "sequence": "none"}, 44_282_885),
    ],
)
def test_sizes_of_the_originals(arguments, count):
    shapes = shapes_of(CRNN(**arguments))
    assert count_parameters(shapes) == count
    assert options_of(shapes).items() >= arguments.items()


@pytest.mark.parametrize("features", ["vgg", "resnet", "rcnn"])
def test_the_height_of_keras_ocr(features):
    """31 rows are seen as 32, of which the last two are the same."""
    model = CRNN(5, features, channels=16, hidden=8)
    variables = init_variables(model)
    rng = np.random.default_rng(0)
    low = rng.integers(0, 256, (2, 31, 200, 1), np.uint8)
    logits = model.apply(variables, low)
    assert logits.shape == (2, time_steps(200, features=features), 5)
    full = np.concatenate([low, low[:, -1:]], axis=1)
    np.testing.assert_allclose(logits, model.apply(variables, full), atol=1e-3)
    assert not np.allclose(logits, model.apply(variables, low[:, 31 - np.arange(1, 32)]), atol=1e-2)


@pytest.mark.parametrize("features", ["vgg", "resnet"])
def test_equals_easyocr(crnn_golden, features):
    variables, options = golden_network(features)
    assert options == {
        "num_classes": 11,
        "features": features,
        **NARROW,
        "sequence": "bilstm",
        "transform": "none",
        "batch_norm": True,
    }
    logits = apply(**options)(variables, images())
    assert logits.dtype == jnp.float32
    expected = crnn_golden[f"{features}_logits"]
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())
    assert np.ptp(expected) > 0.1

    train = jax.jit(lambda v, x: CRNN(**options).apply(v, x, train=True, mutable=["batch_stats"]))
    logits, new = train(variables, images())
    expected = crnn_golden[f"{features}_train_logits"]
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())
    norm = {"vgg": ("bn12",), "resnet": ("layer2_0", "downsample_1")}[features]
    stats = new["batch_stats"]["FeatureExtraction"]
    for name in norm:
        stats = stats[name]
    np.testing.assert_allclose(stats["mean"], crnn_golden[f"{features}_running_mean"], atol=1e-5)
    np.testing.assert_allclose(stats["var"], crnn_golden[f"{features}_running_var"], rtol=1e-4)


@cache
def english():
    from ocrcore.weights.named import WeightsNotFoundError, find_weights
    from ocrcore.weights.pth import load_weights

    try:
        return from_state_dict(load_weights(find_weights("english_g2")))
    except WeightsNotFoundError:
        pytest.skip("the weights extra is not installed")


def test_equals_easyocr_with_its_weights(crnn_golden):
    """`english_g2` on a synthetic crop."""
    variables, options = english()
    assert count_parameters(variables) == 3_781_345
    logits = apply(**options)(variables, crnn_golden["english_crop"][None, :, :, None])
    expected = crnn_golden["english_logits"]
    np.testing.assert_allclose(logits, expected, atol=1e-3)
    assert np.abs(expected).max() > 10


@pytest.mark.slow
def test_equals_easyocr_on_real_crops():
    """In one process with torch: all of a batch's logits, on crops of street signs and shops."""
    import cv2

    from ocrcore.data.readers.crops import read_labels_tsv

    folder = Path(__file__).parents[3] / "shared" / "datasets" / "icdar2015" / "rec_train"
    if not folder.is_dir():
        pytest.skip("the real crops are not here")
    torch = pytest.importorskip("torch")
    pytest.importorskip("easyocr")
    from easyocr.model.vgg_model import Model

    variables, options = english()
    model = Model(1, 256, 256, 97)
    state = to_state_dict(variables, prefix="")
    model.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    model.eval()
    crops = [cv2.imread(crop.name, 0) for crop in read_labels_tsv(folder / "labels.tsv")[:64]]
    batch = np.stack([cv2.resize(crop, (192, 64)) for crop in crops])[..., None]
    normal = (batch.astype(np.float32) / 255 - 0.5) / 0.5
    with torch.no_grad():
        expected = model(torch.from_numpy(normal.transpose(0, 3, 1, 2).copy()), None).numpy()
    logits = apply(**options)(variables, batch)
    np.testing.assert_allclose(logits, expected, atol=1e-3)


@pytest.mark.parametrize("features", ["vgg", "resnet", "rcnn"])
def test_time_steps(features):
    model = CRNN(5, features, **NARROW)
    shapes = shapes_of(model)
    widths = [8, 31, 32, 33, 34, 35, 100, 600]
    for width in widths:
        image = jax.ShapeDtypeStruct((1, 64, width, 1), np.uint8)
        steps = time_steps(width, features=features)
        assert jax.eval_shape(model.apply, shapes, image).shape == (1, steps, 5)
    found = time_steps(np.array(widths), features=features)
    assert found.tolist() == [time_steps(width, features=features) for width in widths]
    assert time_steps(1, features=features) == 1
    assert (time_steps(100, features="vgg"), time_steps(600, features="resnet")) == (24, 151)


def test_padding_is_not_read_where_the_width_is_known():
    variables, options = golden_network("vgg")
    wide = np.full((2, 64, 160, 1), 255, np.uint8)
    wide[:, :, :96] = images()
    other = wide.copy()
    other[:, :, 144:] = 0  # farther than the convolutions see
    read = apply(**options)
    known = [read(variables, x, np.array([96, 96])) for x in (wide, other)]
    steps = time_steps(96, features="vgg")
    np.testing.assert_allclose(known[0][:, :steps], known[1][:, :steps], atol=1e-6)
    blind = [read(variables, x) for x in (wide, other)]
    assert np.abs(blind[0][:, :steps] - blind[1][:, :steps]).max() > 1e-4


def plain_lstm(params, x):
    """One sequence, both directions, step by step as torch describes it."""
    out = []
    for k, order in enumerate((range(len(x)), reversed(range(len(x))))):
        h = c = jnp.zeros(params["hidden_kernel"].shape[1])
        states = {}
        for t in order:
            gates = x[t] @ params["input_kernel"][k] + h @ params["hidden_kernel"][k]
            gates = gates + params["input_bias"][k] + params["hidden_bias"][k]
            i, f, g, o = jnp.split(gates, 4)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            states[t] = h
        out.append(jnp.stack([states[t] for t in range(len(x))]))
    return jnp.concatenate(out, -1)


@pytest.mark.parametrize("steps", [None, (5, 2, 4)])
def test_lstm_and_its_gradient(steps):
    rng = np.random.default_rng(0)
    layer = BiLSTM(3)
    x = rng.normal(size=(3, 5, 4)).astype(np.float32)
    shapes = jax.eval_shape(layer.init, jax.random.key(0), x)["params"]
    params = {k: rng.normal(size=v.shape).astype(np.float32) for k, v in shapes.items()}
    weight = rng.normal(size=(3, 5, 6)).astype(np.float32)
    lengths = steps or (5, 5, 5)

    def ours(params, x):
        out = layer.apply({"params": params}, x, None if steps is None else np.array(steps))
        return jnp.sum(out * weight), out

    def plain(params, x):
        rows = [plain_lstm(params, row[:n]) for row, n in zip(x, lengths, strict=True)]
        out = jnp.stack([jnp.pad(row, ((0, 5 - len(row)), (0, 0))) for row in rows])
        return jnp.sum(out * weight), out

    (_, got), gradients = jax.jit(jax.value_and_grad(ours, (0, 1), has_aux=True))(params, x)
    (_, want), expected = jax.jit(jax.value_and_grad(plain, (0, 1), has_aux=True))(params, x)
    np.testing.assert_allclose(got, want, atol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4), gradients, expected
    )


def test_bfloat16_is_close():
    variables, options = golden_network("vgg")
    exact = apply(**options)(variables, images())
    rough = apply(**options, dtype=jnp.bfloat16)(variables, images())
    assert rough.dtype == jnp.float32
    assert 0 < np.abs(rough - exact).max() < 0.1 * np.abs(exact).max()
    floats = apply(**options)(variables, images().astype(np.float32))
    np.testing.assert_array_equal(floats, exact)


def test_the_transformer_begins_with_the_identity():
    model = CRNN(11, transform="affine", **NARROW)
    variables = init_variables(model)
    straight, options = golden_network("vgg")
    for name in ("params", "batch_stats"):
        variables[name] = {**variables[name], **straight[name]}
    widths, padded = np.array([96, 50]), images()
    padded[1, :, 50:] = padded[1, :, 49:50]
    logits = jax.jit(model.apply)(variables, padded, widths)
    expected = apply(**options)(straight, padded, widths)
    np.testing.assert_allclose(logits, expected, atol=1e-3 * np.abs(expected).max())

    def loss(params):
        return jnp.sum(model.apply({**variables, "params": params}, images()) ** 2)

    gradients = jax.jit(jax.grad(loss))(variables["params"])["Transformation"]
    assert np.abs(gradients["bias"]).min() > 0
    assert np.abs(gradients["kernel"]).max() > 0
    assert options_of(variables)["transform"] == "affine"


def test_affine_sampling():
    x = np.random.default_rng(0).normal(size=(2, 6, 12, 1)).astype(np.float32)
    widths = np.array([12, 8])
    right = np.array([[1, 0, 0.5], [0, 1, 0]])  # a quarter of the true width
    turned = np.array([[-1, 0, 0], [0, -1, 0]])  # upside down
    out = np.asarray(sample_affine(x, jnp.asarray([right, turned]), widths))
    np.testing.assert_allclose(out[0, :, :9], x[0, :, 3:], atol=1e-5)
    np.testing.assert_allclose(out[0, :, 9:], np.repeat(x[0, :, 11:], 3, 1), atol=1e-5)
    np.testing.assert_allclose(out[1, :, :8], x[1, ::-1, 7::-1], atol=1e-5)


def test_frozen_norms_do_not_move():
    variables, options = golden_network("vgg")

    def stats(*freeze):
        model = CRNN(**options, frozen=OptimizerOptions(freeze=freeze).is_frozen)
        _, new = jax.jit(lambda x: model.apply(variables, x, train=True, mutable=["batch_stats"]))(
            images()
        )
        before = variables["batch_stats"]["FeatureExtraction"]
        after = new["batch_stats"]["FeatureExtraction"]
        return [
            all(np.array_equal(before[name][kind], after[name][kind]) for kind in ("mean", "var"))
            for name in ("bn12", "bn15")
        ]

    assert stats() == [False, False]
    assert stats("FeatureExtraction") == [True, True]
    assert stats("FeatureExtraction/bn12", "Prediction") == [True, False]


def test_init_is_he_normal_and_repeatable():
    model = CRNN(37, channels=128, hidden=64)
    one, two = (init_variables(model, seed=3) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, one, two)
    params = one["params"]
    for kernel, fan_in in (
        (params["FeatureExtraction"]["conv14"]["kernel"], 9 * 128),
        (params["SequenceModeling"]["rnn0"]["hidden_kernel"], 64),
        (params["SequenceModeling"]["linear0"]["kernel"], 128),
    ):
        assert kernel.std() == pytest.approx(np.sqrt(2 / fan_in), rel=0.05)
    assert not params["SequenceModeling"]["rnn1"]["input_bias"].any()
    assert (params["FeatureExtraction"]["bn12"]["scale"] == 1).all()
    other = init_variables(model, seed=4)["params"]["Prediction"]["kernel"]
    assert not np.array_equal(other, params["Prediction"]["kernel"])


@pytest.mark.parametrize("shape", [(64, 64, 1), (1, 64, 64, 3), (1, 30, 64, 1), (1, 32, 7, 1)])
def test_refuses_what_is_no_batch_of_crops(shape):
    with pytest.raises(ValueError, match=r"expected \(B, H, W, 1\) with H at least 31"):
        jax.eval_shape(CRNN(5).apply, {}, jax.ShapeDtypeStruct(shape, np.uint8))


@pytest.mark.parametrize(
    ("option", "value"), [("features", "vit"), ("sequence", "gru"), ("transform", "tps")]
)
def test_refuses_what_it_has_not(option, value):
    with pytest.raises(ValueError, match=rf"config\.model\.{option} is '{value}', expected one of"):
        shapes_of(CRNN(5, **{option: value}))


@pytest.mark.parametrize("shape", [(6, 8, 25, 3), (5, 32, 100, 2), (1, 4, 4, 2), (3, 6, 9, 1)])
def test_gradient_of_kernels(shape):
    """On CPUs it is computed in blocks; of many small pictures, and of one channel otherwise."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(np.float32)
    kernel = rng.normal(size=(3, 3, shape[-1], 4)).astype(np.float32)
    weight = rng.normal(size=(*shape[:3], 4)).astype(np.float32)

    def total(convolution):
        return lambda x, kernel: jnp.sum(convolution(x, kernel) * weight)

    def plain(x, kernel):
        names = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=names)

    got = jax.grad(total(convolve), (0, 1))(x, kernel)
    expected = jax.grad(total(plain), (0, 1))(x, kernel)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4 * np.abs(b).max())
