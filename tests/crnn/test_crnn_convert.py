"""State dicts of dtrb and EasyOCR, there and back."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from crnnjax.convert import ConversionError, from_state_dict, to_state_dict
from crnnjax.models import CRNN, init_variables
from ocrcore.weights.pth import load_weights, save_weights

NARROW = {"channels": 16, "hidden": 8}


@pytest.mark.parametrize(
    "options",
    [
        {"features": "vgg"},
        {"features": "resnet"},
        {"features": "rcnn", "sequence": "none"},
        {"features": "vgg", "transform": "affine"},
    ],
)
def test_there_and_back(tmp_path, options):
    model = CRNN(7, **{**NARROW, **options})
    variables = init_variables(model, seed=1)
    variables["batch_stats"] = jax.tree.map(lambda x: x + 0.5, variables["batch_stats"])
    state = to_state_dict(variables)
    assert all(name.startswith("module.") for name in state)
    back, found = from_state_dict(state)
    jax.tree.map(np.testing.assert_array_equal, back, variables)
    assert CRNN(**found) == CRNN(7, **{**NARROW, **options}) or found["sequence"] == "none"
    save_weights(tmp_path / "net.pth", state)
    again, _ = from_state_dict(load_weights(tmp_path / "net.pth"))
    jax.tree.map(np.testing.assert_array_equal, again, variables)


def test_names_are_the_originals():
    variables = init_variables(CRNN(7, **NARROW))
    state = to_state_dict(variables, prefix="")
    assert len(state) == 5 * 2 + 2 + 2 * 5 + 2 * (8 + 2) + 2
    assert list(state)[:2] == [
        "FeatureExtraction.ConvNet.0.bias",
        "FeatureExtraction.ConvNet.0.weight",
    ]
    rnn = variables["params"]["SequenceModeling"]["rnn1"]
    for name, array in {
        "SequenceModeling.1.rnn.weight_ih_l0": rnn["input_kernel"][0].T,
        "SequenceModeling.1.rnn.weight_hh_l0_reverse": rnn["hidden_kernel"][1].T,
        "SequenceModeling.1.rnn.bias_hh_l0_reverse": rnn["hidden_bias"][1],
        "FeatureExtraction.ConvNet.15.running_var": np.ones(16),
        "Prediction.weight": variables["params"]["Prediction"]["kernel"].T,
    }.items():
        np.testing.assert_array_equal(state[name], array)
    assert state["FeatureExtraction.ConvNet.12.num_batches_tracked"].dtype == np.int64
    resnet = to_state_dict(init_variables(CRNN(7, "resnet", **NARROW)), prefix="")
    for name in ("conv0_1.weight", "layer2.1.bn2.bias", "layer3.0.downsample.1.running_mean"):
        assert f"FeatureExtraction.ConvNet.{name}" in resnet
    rcnn = to_state_dict(init_variables(CRNN(7, "rcnn", **NARROW)), prefix="")
    for name in ("3.wgf_u.weight", "5.BN_x_init.weight", "7.GRCL.4.BN_Gx.running_var", "10.bias"):
        assert f"FeatureExtraction.ConvNet.{name}" in rcnn


def test_wrong_state_dicts_are_explained():
    state = to_state_dict(init_variables(CRNN(7, **NARROW)), prefix="")
    del state["SequenceModeling.0.rnn.bias_ih_l0_reverse"]
    state["FeatureExtraction.ConvNet.3.weight"] = np.zeros((4, 2, 5, 5), np.float32)
    state["FeatureExtraction.ConvNet.0.bias"] = np.zeros(2, np.int64)
    state["extra"] = np.zeros(1, np.float32)
    with pytest.raises(ConversionError) as caught:
        from_state_dict(state)
    for part in (
        "1 missing: SequenceModeling.0.rnn.bias_ih_l0_reverse",
        "1 unexpected: extra",
        "FeatureExtraction.ConvNet.3.weight (4, 2, 5, 5) instead of (4, 2, 3, 3)",
        "FeatureExtraction.ConvNet.0.bias of type int64 instead of float",
    ):
        assert part in str(caught.value)
    state = to_state_dict(init_variables(CRNN(7, **NARROW)))
    state["module.FeatureExtraction.ConvNet.0.weight"] = np.zeros((2, 3, 3, 3), np.float32)
    with pytest.raises(ConversionError, match="images with 3 channels"):
        from_state_dict(state)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("FeatureExtraction.ConvNet.18.weight", ()),
        ("FeatureExtraction.ConvNet.18.weight", (3, 16, 2, 2)),
        ("SequenceModeling.0.linear.weight", ()),
        ("Prediction.weight", (3,)),
    ],
)
def test_shapes_by_which_nothing_can_be_told(name, shape):
    state = to_state_dict(init_variables(CRNN(7, **NARROW)), prefix="")
    state[name] = np.zeros(shape, np.float32)
    with pytest.raises(ConversionError, match="not all of them, or with other shapes"):
        from_state_dict(state)


@pytest.mark.parametrize(
    ("names", "guess"),
    [
        (("module.Prediction.attention_cell.i2h.weight",), "by attention"),
        (("Transformation.LocalizationNetwork.conv.0.weight",), "TPS"),
        (("basenet.slice1.0.weight", "conv_cls.0.weight"), "the detector"),
        (("cnn.conv0.weight", "rnn.0.rnn.weight_ih_l0"), "another project"),
        (("FeatureExtraction.ConvNet.0.weight",), "some of the layers"),
        (("a.b",), "begins with a.b"),
        ((), "empty"),
    ],
)
def test_guesses_what_a_file_is(names, guess):
    with pytest.raises(ConversionError, match=guess):
        from_state_dict({name: np.zeros(3, np.float32) for name in names})
