"""`ocrjax convert`: both networks, in every form, with what belongs to them."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

from craftjax import convert as craft
from craftjax.detector import Detector
from craftjax.models import CRAFT
from craftjax.models import init_variables as craft_variables
from craftjax.options import DetectorOptions, operating_point_path, save_operating_point
from crnnjax import convert as crnn
from crnnjax.charset import Charset, named
from crnnjax.models import CRNN
from crnnjax.models import init_variables as crnn_variables
from crnnjax.recognizer import Recognizer
from ocrcore.training.checkpoints import load_variables, save_variables
from ocrcore.weights.named import WeightsNotFoundError, find_weights
from ocrcore.weights.pth import load_pth, load_weights, save_weights
from ocrjax.cli.main import _parse, _run
from ocrjax.weights import load_network, network_of

CROP = np.random.default_rng(0).integers(0, 256, (32, 80, 3), np.uint8)


def run(command, *argv):
    return _run(_parse(["ocrjax", command, *map(str, argv)]))


@pytest.fixture(scope="module")
def detector():
    return craft_variables(CRAFT(width=0.125), seed=3)


@pytest.fixture(scope="module")
def recognizer():
    return crnn_variables(CRNN(37, channels=16, hidden=8), seed=3)


def leave_run(folder, variables, height=32):
    """What a recognizer's run leaves."""
    save_weights(folder / "weights.pth", crnn.to_state_dict(variables))
    named("en36").save(folder / "charset.json")
    config = {"data": {"height": height, "more": 1}, "recognizer": {"resize": "fixed", "width": 80}}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("kind", ["detector", "recognizer"])
def test_all_forms_both_ways(kind, request, tmp_path, capsys):
    variables = request.getfixturevalue(kind)
    to_state_dict = craft.to_state_dict if kind == "detector" else crnn.to_state_dict
    save_weights(tmp_path / "a.pth", to_state_dict(variables))
    state = load_weights(tmp_path / "a.pth")
    forms = [tmp_path / "a.pth"]
    names = ("b.safetensors", "c", "d.pth", "e", "f.safetensors", "g.pth")
    for form in (tmp_path / kind / str(k) / name for k, name in enumerate(names)):
        assert run("convert", forms[-1], form) == 0
        assert f"{form}: a {kind}, {len(state)} entries from {forms[-1]}" in capsys.readouterr().out
        forms.append(form)
        network, _, found, found_state = load_network(form)
        assert network == kind
        jax.tree.map(np.testing.assert_array_equal, found, {**variables})
        assert found_state.keys() == state.keys()
        for name, array in state.items():
            np.testing.assert_array_equal(found_state[name], array)
            assert found_state[name].dtype == array.dtype
    assert load_pth(forms[-1]).keys() == load_pth(forms[0]).keys()  # those that EasyOCR expects


def test_what_belongs_to_a_recognizer_goes_with_it(recognizer, tmp_path, capsys):
    leave_run(tmp_path / "run", recognizer)
    wanted = Recognizer.from_weights(tmp_path / "run" / "weights.pth")
    targets = [tmp_path / "x" / "mine.safetensors", tmp_path / "orbax", tmp_path / "y" / "last.pth"]
    source = tmp_path / "run" / "weights.pth"
    for target in targets:
        assert run("convert", source, target) == 0
        out = capsys.readouterr().out
        assert "charset.json" in out and "config.json" in out
        found = Recognizer.from_weights(target)
        assert (found.charset, found.height, found.options) == (
            wanted.charset,
            wanted.height,
            wanted.options,
        )
        assert found.recognize(CROP) == wanted.recognize(CROP)
        source = target
    # Beside weights that say the same nothing is written.
    assert run("convert", source, tmp_path / "run" / "again.safetensors") == 0
    assert "written" not in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data"]["more"] == 1


def test_another_networks_files_are_not_taken_for_its_own(recognizer, tmp_path, capsys):
    leave_run(tmp_path / "run", recognizer)
    source, target = tmp_path / "run" / "weights.pth", tmp_path / "other" / "mine.pth"
    named("en94").save(tmp_path / "other" / "charset.json")
    assert run("convert", source, target) == 2
    error = capsys.readouterr().err
    assert f"{tmp_path / 'other' / 'charset.json'}: already exists, with other characters" in error
    named("en36").save(tmp_path / "other" / "charset.json")
    (tmp_path / "other" / "config.json").write_text("{}")
    assert run("convert", source, target) == 2
    error = capsys.readouterr().err
    assert (
        f"{tmp_path / 'other' / 'config.json'}: already exists and belongs to another network"
        in error
    )
    assert not target.exists()


def test_a_recognizer_without_a_charset(recognizer, tmp_path, capsys):
    save_weights(tmp_path / "a.pth", crnn.to_state_dict(recognizer))
    assert run("convert", tmp_path / "a.pth", tmp_path / "b.safetensors") == 0
    assert not (tmp_path / "charset.json").exists() and not (tmp_path / "config.json").exists()


def test_a_named_recognizer(tmp_path):
    try:
        find_weights("english_g2")
    except WeightsNotFoundError:
        pytest.skip("the weights extra is not installed")
    assert run("convert", "english_g2", tmp_path / "mine.safetensors") == 0
    assert Charset.load(tmp_path / "charset.json") == named("english_g2")
    ours, theirs = map(Recognizer.from_weights, (tmp_path / "mine.safetensors", "english_g2"))
    assert (ours.height, ours.options) == (theirs.height, theirs.options)
    assert ours.recognize(CROP) == theirs.recognize(CROP)


def test_thresholds_go_with_a_detector(detector, tmp_path):
    save_weights(tmp_path / "a.pth", craft.to_state_dict(detector))
    tuned = DetectorOptions(text_threshold=0.3, canvas_size=320)
    save_operating_point(operating_point_path(tmp_path / "a.pth"), tuned, measured={})
    for target in (tmp_path / "b.safetensors", tmp_path / "c"):
        assert run("convert", tmp_path / "a.pth", target) == 0
        assert Detector.from_weights(target).options == tuned


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"features.0.weight": np.zeros(3, np.float32)}, "VGG16-BN"),
        (
            {"last_conv.0.weight": np.zeros(3, np.float32), "aspp1.0.weight": np.zeros(3)},
            "link refiner",
        ),
        (
            {"FeatureExtraction.ConvNet.0.weight": 0, "Prediction.attention_cell.rnn.bias": 0},
            "attention",
        ),
        ({"cnn.0.weight": np.zeros(3), "rnn.0.weight": np.zeros(3)}, "CRNN of another project"),
        ({"basenet.slice1.0.weight": np.zeros(3, np.float32)}, "some of CRAFT's layers"),
        ({"stem.weight": np.zeros(3, np.float32)}, "it begins with stem.weight"),
    ],
)
def test_other_networks_are_refused_by_name(state, message, tmp_path, capsys):
    save_weights(tmp_path / "a.pth", {k: np.asarray(v) for k, v in state.items()})
    assert run("convert", tmp_path / "a.pth", tmp_path / "b") == 2
    error = capsys.readouterr().err
    assert f"{tmp_path}/a.pth: " in error and message in error
    assert "expected a detector (CRAFT) or a recognizer" in error
    assert not (tmp_path / "b").exists()


def test_a_checkpoint_of_another_network_is_refused(tmp_path, capsys):
    save_variables(tmp_path / "net", {"params": {"stem": {"kernel": np.zeros(2)}}})
    assert run("convert", tmp_path / "net", tmp_path / "b.pth") == 2
    assert "of another network than a detector (CRAFT) or a recognizer" in capsys.readouterr().err


def test_networks_by_their_layers(detector, recognizer):
    assert network_of(detector["params"]) == network_of(craft.to_state_dict(detector)) == "detector"
    assert network_of(recognizer["params"]) == "recognizer"
    assert network_of(["stem", "head.weight"]) is None


def test_the_average_of_recognizers_can_be_read_with(recognizer, tmp_path, capsys):
    """One from a file, the other from a checkpoint."""
    leave_run(tmp_path / "run", recognizer)
    other = crnn_variables(CRNN(37, channels=16, hidden=8), seed=4)
    save_variables(tmp_path / "other", other)
    out = tmp_path / "mean" / "mean.pth"
    assert run("average", tmp_path / "run" / "weights.pth", tmp_path / "other", "--out", out) == 0
    assert "thresholds" not in capsys.readouterr().out
    assert Recognizer.from_weights(out).options.width == 80
    mean = load_network(out).variables["params"]["Prediction"]["bias"]
    pair = [one["params"]["Prediction"]["bias"] for one in (recognizer, other)]
    np.testing.assert_allclose(mean, (pair[0] + pair[1]) / 2, atol=1e-6)


def test_the_average_of_detectors_names_the_next_step(detector, tmp_path, capsys):
    save_weights(tmp_path / "a.pth", craft.to_state_dict(detector))
    save_variables(tmp_path / "b", craft_variables(CRAFT(width=0.125), seed=4))
    out = tmp_path / "mean.pth"
    assert run("average", tmp_path / "a.pth", tmp_path / "b", "--out", out) == 0
    assert f"--mode=sweep --weights={out}" in capsys.readouterr().out
    assert load_variables(tmp_path / "b").keys() == load_network(out).variables.keys()


@pytest.mark.parametrize("kind", ["detector", "recognizer"])
def test_half_the_space(kind, request, tmp_path, capsys):
    variables = request.getfixturevalue(kind)
    to_state_dict = craft.to_state_dict if kind == "detector" else crnn.to_state_dict
    state = to_state_dict(variables)
    save_weights(tmp_path / "a.pth", state)
    assert run("convert", tmp_path / "a.pth", tmp_path / "b.safetensors", "--float16") == 0
    floats = [
        array for array in load_weights(tmp_path / "b.safetensors").values() if array.size > 1
    ]
    assert floats and {array.dtype for array in floats} == {np.dtype(np.float16)}
    loaded = load_network(tmp_path / "b.safetensors")
    for value, half in zip(
        jax.tree.leaves(variables), jax.tree.leaves(loaded.variables), strict=True
    ):
        assert half.dtype == np.float32
        np.testing.assert_allclose(half, np.asarray(value), rtol=1e-3, atol=1e-6)

    assert run("convert", tmp_path / "a.pth", tmp_path / "c", "--float16") == 2
    assert "--float16" in capsys.readouterr().err and not (tmp_path / "c").exists()
    name = next(name for name, array in state.items() if array.size > 1)
    save_weights(tmp_path / "d.pth", {**state, name: np.full_like(state[name], 1e5)})
    assert run("convert", tmp_path / "d.pth", tmp_path / "e.safetensors", "--float16") == 2
    assert "too large for float16" in capsys.readouterr().err
