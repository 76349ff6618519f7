"""PP-OCRv6's small recognizer: network, folding, import, charset."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest

from crnnjax.charset import Charset, named
from crnnjax.convert import ConversionError, from_state_dict, to_state_dict
from crnnjax.crop_index import width_needed
from crnnjax.models import CRNN, init_variables, options_of
from crnnjax.ppocr import load_ppocr
from crnnjax.recognizer import Recognizer, RecognizerError, load_recognizer
from crnnjax.time_steps import time_steps
from ocrcore.lcnet import convolve_on_cpu, depthwise_on_cpu, fold_batch_norm
from ocrcore.weights.named import WeightsNotFoundError, find_weights

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "ppocr_golden.npz")
SMALL = CRNN(12, "lcnetv4", 64, 32, "lightsvtr")
# Without jit each operation of each size is compiled by itself, which takes three times as long.
apply_small = jax.jit(SMALL.apply)


def weights() -> Path:
    try:
        return find_weights("ppocrv6_small")
    except WeightsNotFoundError:
        pytest.skip("the weights are not on this machine")


@pytest.fixture(scope="module")
def variables():
    """Of the small network, with norms that are not the identity."""
    rng = np.random.default_rng(0)

    def shaken(leaf):
        noise = 0.2 * rng.standard_normal(leaf.shape).astype(np.float32)
        return np.abs(leaf + noise) + 0.1 if leaf.ndim == 1 else 0.5 * leaf

    return jax.tree.map(shaken, init_variables(SMALL))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).integers(0, 256, (3, 48, 100, 1), np.uint8)


def test_a_padded_picture_is_read_as_if_it_were_alone(variables, images):
    widths = np.array([100, 61, 40], np.int32)
    padded = apply_small(variables, images, widths)
    for row, width in enumerate(widths.tolist()):
        alone = apply_small(variables, images[row : row + 1, :, :width])[0]
        assert len(alone) == time_steps(width, features="lcnetv4")
        scale = np.abs(alone).max()
        np.testing.assert_allclose(padded[row, : len(alone)], alone, atol=1e-5 * scale)


def test_time_steps_and_the_widths_that_they_need():
    for steps in range(1, 40):
        width = width_needed(steps, features="lcnetv4")
        assert time_steps(width, features="lcnetv4") == steps
        assert width == 8 or time_steps(width - 1, features="lcnetv4") < steps


def test_folding_batch_norm_changes_no_result(variables, images):
    folded = fold_batch_norm(variables)
    assert options_of(folded) == {**options_of(variables), "batch_norm": False}
    before = apply_small(variables, images)
    after = jax.jit(CRNN(**options_of(folded)).apply)(folded, images)
    np.testing.assert_allclose(after, before, atol=2e-5 * np.abs(before).max())


@pytest.mark.parametrize("fold", [False, True])
def test_state_dicts_go_both_ways(variables, fold):
    chosen = fold_batch_norm(variables) if fold else variables
    back, options = from_state_dict(to_state_dict(chosen))
    assert options == options_of(chosen)
    same = jax.tree.map(np.array_equal, back["params"], dict(chosen["params"]))
    assert all(jax.tree.leaves(same))
    lacking = to_state_dict(chosen, prefix="")
    del lacking["FeatureExtraction.block3_expand.weight"]
    with pytest.raises(ConversionError, match="block3_expand"):
        from_state_dict(lacking)


@pytest.mark.parametrize("by_channel", [True, False])
@pytest.mark.parametrize(
    ("stride", "size", "padding"),
    [
        ((1, 1), (3, 3), ((1, 1), (1, 1))),
        ((2, 1), (3, 3), ((1, 1), (1, 1))),
        ((2, 2), (3, 3), ((1, 1), (1, 1))),
        ((1, 1), (2, 2), ((0, 1), (0, 1))),
        ((1, 1), (1, 7), ((0, 0), (3, 3))),
    ],
)
@pytest.mark.parametrize("shape", [(7, 9), (8, 10)])
def test_convolutions_on_cpus_and_their_gradients_are_those_of_xla(
    stride, size, padding, shape, by_channel
):
    rng = np.random.default_rng(2)
    x = rng.standard_normal((2, *shape, 5)).astype(np.float32)
    kernel = rng.standard_normal((*size, *((5,) if by_channel else (5, 4)))).astype(np.float32)

    def ours(x, kernel):
        return (depthwise_on_cpu if by_channel else convolve_on_cpu)(x, kernel, stride, padding)

    def wanted(x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel[:, :, None] if by_channel else kernel,
            stride,
            padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=5 if by_channel else 1,
        )

    (expected, back), (found, ours_back) = jax.vjp(wanted, x, kernel), jax.vjp(ours, x, kernel)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    gradient = rng.standard_normal(expected.shape).astype(np.float32)
    for one, other in zip(ours_back(gradient), back(gradient), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("sequence", ["lightsvtr", "bilstm", "none"])
def test_variables_tell_what_they_were_made_with(sequence):
    model = CRNN(9, "lcnetv4", 64, 16, sequence)
    found = options_of(jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 48, 64, 1))))
    assert found == {
        "num_classes": 9,
        "features": "lcnetv4",
        "channels": 64,
        "hidden": 120 if sequence == "none" else 16,
        "sequence": sequence,
        "transform": "none",
        "batch_norm": True,
    }


def test_networks_that_cannot_be_are_refused(images):
    for model, words in (
        (CRNN(5, sequence="lightsvtr"), "expected lcnetv4 with sequence"),
        (CRNN(5, batch_norm=False), "expected lcnetv4"),
        (CRNN(5, "lcnetv4", 64, 30, "lightsvtr"), "multiple of 8"),
    ):
        with pytest.raises(ValueError, match=words):
            jax.eval_shape(model.init, jax.random.key(0), images)


def test_the_published_file_reads_as_onnxruntime_does():
    loaded = load_recognizer(weights())
    assert (loaded.height, loaded.charset.num_classes) == (48, 18710)
    apply = jax.jit(CRNN(**options_of(loaded.variables)).apply)
    for index in range(2):
        found = apply(loaded.variables, GOLDEN[f"image{index}"][None, ..., None])[0]
        np.testing.assert_allclose(found[:, :96], GOLDEN[f"logits{index}"], atol=1e-3)
        assert np.array_equal(found.argmax(-1), GOLDEN[f"best{index}"])


def test_classes_are_cut_by_character(tmp_path):
    path = weights()
    recognizer = Recognizer.from_weights(path, charset="en95")
    crops = [GOLDEN[f"image{index}"] for index in range(2)]
    placed = recognizer.recognize_placed(crops)
    assert [one.reading.text for one in placed] == ["Golden 42", "ocr"]
    # "ocr" stands in columns 7 to 24, 26 to 43 and 45 to 57 of the picture.
    spans = placed[1].spans * crops[1].shape[1]
    np.testing.assert_allclose(spans, [(7, 25), (25, 44), (44, 57)], atol=4)
    full, _ = load_ppocr(path)
    cut = load_recognizer(path, charset=Charset("two", ("ß", "7"))).variables["params"]
    old = full["params"]["Prediction"]["kernel"]
    assert cut["Prediction"]["kernel"].shape == (120, 3)
    assert np.array_equal(cut["Prediction"]["kernel"][:, 0], old[:, 0])
    with pytest.raises(RecognizerError, match="cannot read 1 characters of charset 'x': 'Ж'"):
        load_recognizer(path, charset=Charset("x", ("a", "Ж")))
    assert named("en95").missing("a Z~") == set()


def exported(path, *, classes=6, character=None, change=None):
    """An ONNX file with weights in the order of the published one."""
    onnx = pytest.importorskip("onnx")
    from onnx import helper, numpy_helper

    model = CRNN(classes, "lcnetv4", 384, 120, "lightsvtr", batch_norm=False)
    made = init_variables(model)
    state = to_state_dict(made, prefix="")
    arrays = []

    def add(name, *parts):
        arrays.extend(state[f"{name}.{part}"] for part in parts)

    features = "FeatureExtraction."
    for name in ("stem1", "stem2a", "stem2b", "stem3", "stem4"):
        add(features + name, "weight", "bias")
        if name == "stem1":  # a third of each of three equal channels
            arrays[0] = np.repeat(arrays[0] / 3, 3, axis=1)
    for index in range(13):
        excite = index in (0, 4, 6, 8, 11)
        parts = ("depthwise", *(("squeeze", "excite") if excite else ()), "expand", "project")
        for part in parts:
            add(f"{features}block{index}_{part}", "weight", "bias")
    sequence = "SequenceModeling."
    for name in ("skip", "reduce", "local"):
        add(sequence + name, "weight")
        bias = state[f"{sequence}{name}.bias"]
        # Norms that do nothing but add the bias.
        arrays += [np.ones_like(bias), bias, np.zeros_like(bias), np.full_like(bias, 1 - 1e-5)]
    for index in range(2):
        for name in ("norm1", "qkv", "out", "norm2", "mlp1", "mlp2"):
            add(f"{sequence}block{index}.{name}", "weight", "bias")
            if not name.startswith("norm"):
                arrays[-2] = arrays[-2].T
    add(sequence + "norm", "weight", "bias")
    add("Prediction", "weight", "bias")
    arrays[-2] = arrays[-2].T
    if change:
        change(arrays)
    tensors = [
        numpy_helper.from_array(np.ascontiguousarray(a), f"w{i}") for i, a in enumerate(arrays)
    ]
    nodes = [helper.make_node("Identity", [tensor.name], [f"y{tensor.name}"]) for tensor in tensors]
    graph = helper.make_graph(nodes, "g", [], [], initializer=tensors)
    file = helper.make_model(graph)
    if character is not None:
        helper.set_model_props(file, {"character": character})
    path.write_bytes(file.SerializeToString())
    assert onnx
    return made


def test_every_layer_of_a_file_finds_its_place(tmp_path):
    path = tmp_path / "rec.onnx"
    made = exported(path, character="a\nb\nc\nd")
    found, charset = load_ppocr(path)
    assert charset.characters == ("a", "b", "c", "d", " ")
    flat = jax.tree_util.tree_leaves_with_path(made["params"])
    back = dict(jax.tree_util.tree_leaves_with_path(found["params"]))
    assert len(flat) == len(back)
    for name, value in flat:
        np.testing.assert_allclose(back[name], value, atol=1e-6, err_msg=str(name))


@pytest.mark.parametrize(
    ("change", "character", "words"),
    [
        (None, None, "it has no metadata 'character'"),
        (None, "a\nb\nc\nd\ne", "Prediction"),
        (lambda a: a.pop(3), "a\nb\nc\nd", "expected FeatureExtraction/stem2a"),
        (lambda a: a.append(a[0]), "a\nb\nc\nd", "is left over"),
    ],
)
def test_other_files_are_refused_with_the_first_difference(tmp_path, change, character, words):
    path = tmp_path / "rec.onnx"
    exported(path, character=character, change=change)
    with pytest.raises(ConversionError, match=words):
        load_ppocr(path)
