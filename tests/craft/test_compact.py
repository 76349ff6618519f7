"""The compact detector: its published start, its conversions, and one step of training."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest

from craftjax.convert import ConversionError, from_state_dict, to_state_dict
from craftjax.detector import Detector, read_variables
from craftjax.lcnet import LCNetCRAFT
from craftjax.models import count_parameters, init_variables, make_network, options_of
from craftjax.ppocr import load_ppocr_detector
from ocrcore.weights.named import WeightsNotFoundError, find_weights
from ocrcore.weights.pth import load_weights, save_weights


@pytest.fixture(scope="module")
def published() -> Path:
    try:
        return find_weights("ppocrv6_det_small")
    except WeightsNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def variables():
    return init_variables(LCNetCRAFT())


def test_size(variables):
    assert count_parameters(variables) == 2_453_858
    assert options_of(variables) == {"features": "lcnetv4", "width": 1.0}


def test_scores_have_half_the_size_of_any_picture(variables):
    apply = jax.jit(LCNetCRAFT().apply)  # without jit each operation is compiled by itself
    image = np.random.default_rng(0).integers(0, 256, (1, 45, 70, 3), np.uint8)
    scores, features = apply(variables, image)
    assert scores.shape == (1, 22, 35, 2)
    assert features.shape == (1, 22, 35, 24)
    # As if mid-gray had been laid beside it.
    whole = np.pad(
        image.astype(np.float32), ((0, 0), (0, 19), (0, 26), (0, 0)), constant_values=127.5
    )
    np.testing.assert_allclose(apply(variables, whole)[0][:, :22, :35], scores, atol=1e-5)


def test_weights_come_back_from_every_file(variables, tmp_path):
    for name in ("w.pth", "w.safetensors"):
        save_weights(tmp_path / name, to_state_dict(variables))
        assert "lateral32.weight" in load_weights(tmp_path / name)
        back = read_variables(tmp_path / name)
        assert jax.tree.structure(back) == jax.tree.structure(variables)
        for one, other in zip(jax.tree.leaves(back), jax.tree.leaves(variables), strict=True):
            np.testing.assert_array_equal(one, other)
    state = to_state_dict(variables)
    del state["scores.bias"]
    with pytest.raises(ConversionError, match=r"1 missing: scores\.bias"):
        from_state_dict(state)


def test_features_are_those_of_the_published_file(published):
    """Up to the last layer, whose place the two maps take."""
    onnx, ort = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    model = onnx.load_model_from_string(published.read_bytes())
    same = {
        node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Identity"
    }
    name = [node for node in model.graph.node if node.op_type == "ConvTranspose"][1].input[0]
    while name in same:
        name = same[name]
    model.graph.output.append(onnx.helper.make_tensor_value_info(name, 1, None))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).integers(0, 256, (1, 96, 64, 3), np.uint8)
    bgr = (image[..., ::-1].transpose(0, 3, 1, 2) / 127.5 - 1).astype(np.float32)
    (known,) = session.run([name], {session.get_inputs()[0].name: bgr})
    scores, features = jax.jit(LCNetCRAFT().apply)(load_ppocr_detector(published), image)
    np.testing.assert_allclose(features, known.transpose(0, 2, 3, 1), atol=2e-5)
    assert np.abs(scores).max() < 1


def test_what_only_starts_a_training_is_not_read_with(published):
    with pytest.raises(ConversionError, match=r"config\.init_weights=ppocrv6_det_small"):
        Detector.from_weights("ppocrv6_det_small")


def test_another_onnx_file_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    weight = onnx.numpy_helper.from_array(np.zeros((24, 3, 5, 5), np.float32), "w")
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    info = [helper.make_tensor_value_info(name, 1, None) for name in "xy"]
    graph = helper.make_graph([node], "g", info[:1], info[1:], [weight])
    path = tmp_path / "other.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(ConversionError, match=r"other\.onnx: not PP-OCRv6's small detector: w has"):
        load_ppocr_detector(path)


def test_networks_by_name():
    assert isinstance(make_network("lcnetv4"), LCNetCRAFT)
    assert make_network(width=0.5).width == 0.5
