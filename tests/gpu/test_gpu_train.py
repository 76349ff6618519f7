"""The GPU kit's trainings, rehearsed in small: all that a run leaves, whole or cut short."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from craftjax.detector import Detector
from crnnjax.recognizer import read_weights
from ocrcore.images import read_image
from ocrcore.weights.pth import load_weights

SCRIPTS = Path(__file__).parents[2] / "benchmarks" / "gpu"
sys.path.insert(0, str(SCRIPTS))
jobs, train = (importlib.import_module(name) for name in ("jobs", "train"))
sys.path.remove(str(SCRIPTS))


def rehearse(out, job, *arguments):
    train.main(["--job", job, "--toy", "--out", str(out), *arguments])
    log = json.loads((out / "train.json").read_text())
    assert "watcher" not in log, log["watcher"]
    assert "error" not in log["accuracy"], log["accuracy"]
    assert log["weights"]["step"] == log["training"]["step"]
    assert read_image(out / "curves.png").ndim == 3
    lines = (out / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == log["training"]["step"]
    names = {path.name for path in out.iterdir()} - {"charset.json"}
    assert names == {"train.json", "metrics.jsonl", "curves.png", "weights.safetensors"}
    joined = out / "joined.pth"
    train.main(["--job", job, "--join", str(out / "weights.safetensors"), "--out", str(joined)])
    return log, joined


def test_words_with_another_number_of_updates(tmp_path, monkeypatch):
    """That many would not fit: the run stops early, and ends by the schedule of a shorter one."""
    monkeypatch.setattr(train, "_RESTART_S", 1e6)  # after which there is time for one update
    monkeypatch.setattr(train, "_LOOK_S", 0.2)
    log, joined = rehearse(tmp_path, "words", "--set", "steps=1_000_000", "--probe", "0")
    training = log["training"]
    assert training["finished"] and training["starts"] == 2
    assert training["step"] == training["of"] == log["config"]["steps"] < 100_000
    assert log["steps"]["started_again"] <= training["of"]
    assert log["config"]["optimizer"]["warmup"] < training["of"]
    assert set(log["accuracy"]["sets"]) == {"iiit5k", "rec_train"}
    assert log["accuracy"]["all"]["count"] == 12
    _, _, charset = read_weights(tmp_path / "weights.safetensors")
    assert charset is not None and read_weights(joined)[1]["params"]


def test_scenes_to_the_end(tmp_path):
    log, joined = rehearse(tmp_path, "scene", "--steps", "6")
    assert log["training"]["finished"] and log["training"]["starts"] == 1
    assert log["training"]["test"].keys() == {"precision", "recall", "hmean"}
    assert "stopped" not in log
    own = log["accuracy"]["the config's thresholds"]
    assert own["text_threshold"] == log["config"]["detector"]["text_threshold"]
    assert own["images"] == 2 and len(own["hmean_95"]) == 2
    image = np.zeros((64, 64, 3), np.uint8)
    assert len(Detector.from_weights(joined).detect([image])) == 1


def test_words_alone_until_the_time_is_over(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "_LOOK_S", 0.2)
    budget = str(jobs.JOBS["weak"].reserve_s + 1)
    log, _ = rehearse(tmp_path, "weak", "--steps", "3000", "--budget", budget)
    assert not log["training"]["finished"] and log["stopped"]["why"] == "the time is over"
    assert 0 < log["training"]["step"] < log["training"]["of"] == 3000
    assert log["training"]["labels"][0]["labels/words"] > 0
    assert log["config"]["init_weights"].endswith("start.safetensors")


def test_weights_in_several_files(tmp_path):
    rng = np.random.default_rng(0)
    state = {f"layer{i}.weight": rng.normal(size=(40, 10)).astype(np.float32) for i in range(5)}
    state["norm.running_var"] = np.full(3, 1e5, np.float32)
    names = train.write_weights(tmp_path, state, largest=2000)
    assert list(names) == [f"weights-{n}of3.safetensors" for n in (1, 2, 3)]
    (tmp_path / "train.json").write_text(json.dumps({"weights": {"md5": names}}))
    files = [tmp_path / name for name in names]
    train.join_weights(files, tmp_path / "whole.safetensors")
    found = load_weights(tmp_path / "whole.safetensors")
    assert found.keys() == state.keys()
    for name, value in state.items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="expected all of weights-1of3"):
        train.join_weights(files[:2], tmp_path / "part.safetensors")
    files[0].write_bytes(files[0].read_bytes()[:-2] + b"\0\0")
    with pytest.raises(ValueError, match=r"weights-1of3\.safetensors: does not match"):
        train.join_weights(files, tmp_path / "mixed.safetensors")
    with pytest.raises(ValueError, match="need 5 files; at most 4"):
        train.write_weights(tmp_path, state, largest=900)


def test_weights_that_float16_cannot_hold():
    with pytest.raises(ValueError, match=r"^conv: a weight is not finite in float16"):
        jobs.as_half({"conv": np.full((2, 2), 1e5, np.float32)})
