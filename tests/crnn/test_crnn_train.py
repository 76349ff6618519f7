"""Training a tiny recognizer: the parts, and all of it through the command that a user runs."""

from __future__ import annotations

import json
import runpy
import signal
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny_recognizer
from processes import finish, launch, wait_for
from trees import assert_close, assert_same, copies

import crnnjax
from crnnjax import training
from crnnjax.charset import Charset, named
from crnnjax.charset_transfer import map_classes
from crnnjax.check import check_run
from crnnjax.convert import from_state_dict, to_state_dict
from crnnjax.evaluate import read_set
from crnnjax.input_pipeline import InputOptions, make_batches
from crnnjax.models import init_variables, shapes_of
from crnnjax.report import check_crops, make_recognizer, open_sets
from crnnjax.training import TrainError, begin, make_model, make_train_step, train
from ocrcore.data.mixing import SourceError
from ocrcore.data.readers.crops import Crop
from ocrcore.images import read_image, write_image
from ocrcore.options import OptionsError
from ocrcore.pages import LabelError
from ocrcore.runtime.mesh import make_mesh, put_batch
from ocrcore.training.checkpoints import RunCheckpoints, load_variables
from ocrcore.training.metrics import NonFiniteError
from ocrcore.training.optimizer_options import OptimizerOptions
from ocrcore.training.optimizers import make_optimizer
from ocrcore.training.run import open_run
from ocrcore.training.state import create_state
from ocrcore.weights.pth import load_weights, save_weights

ROOT = Path(__file__).parents[2]
command = partial(launch, "crnnjax.main", tiny_recognizer.__file__)


@cache
def batches():
    return make_batches(tiny_recognizer.get_config(), seed=0, rows=slice(0, 4))


@cache
def model_of(freeze=()):
    frozen = OptimizerOptions(freeze=freeze).is_frozen
    return make_model(tiny_recognizer.get_config().model, num_classes=37, frozen=frozen)


@cache
def mesh_of(devices):
    return make_mesh(jax.devices()[:devices])


@cache
def step_of(devices=4, freeze=()):
    """A compiled step and a maker of states for it."""
    config = tiny_recognizer.get_config()
    options = OptimizerOptions.from_config({**config.optimizer, "freeze": freeze})
    optimizer, _ = make_optimizer(options, steps=config.steps)
    mesh = mesh_of(devices)
    step = make_train_step(model_of(freeze), optimizer, mesh=mesh, options=options, ema_decay=0.9)
    return step, partial(create_state, optimizer=optimizer, mesh=mesh)


def run(steps, devices=4):
    step, make = step_of(devices)
    state = make(init_variables(model_of()))
    metrics = []
    for number in steps:
        state, new = step(state, put_batch(batches()[number], mesh_of(devices)))
        metrics.append({name: float(total / n) for name, (total, n) in new.items()})
    return state, metrics


def test_four_devices_equal_one():
    steps = [step for step in range(6) if batches().width(step) == 96]
    (many, losses), (one, expected) = run(steps[:3]), run(steps[:3], devices=1)
    assert len(jax.tree.leaves(many.params)[0].sharding.device_set) == 4
    assert losses[0] == pytest.approx(expected[0], rel=1e-4)
    for a, b in zip(losses, expected, strict=True):
        assert a == pytest.approx(b, rel=5e-3)
    for part in ("params", "batch_stats", "ema"):
        assert_close(getattr(many, part), getattr(one, part), rtol=1e-2, atol=1e-4)


def test_a_batch_is_learned():
    step, make = step_of()
    state = make(init_variables(model_of()))
    batch = batches()[0]
    # One label that cannot be: it counts as such, and not in the loss.
    batch["label"][3], batch["length"][3] = 1, 6
    batch["width"][3] = 24
    losses = []
    for _ in range(25):
        state, metrics = step(state, put_batch(batch, mesh_of(4)))
        losses.append(float(metrics["loss"][0] / metrics["loss"][1]))
        assert [float(x) for x in metrics["infeasible"]] == [1, 4]
    assert losses[-1] < 0.5 * losses[0]


def test_frozen_parts_do_not_move():
    before = init_variables(model_of())
    step, make = step_of(freeze=("FeatureExtraction", "SequenceModeling/rnn0"))
    state, _ = step(make(before), put_batch(batches()[0], mesh_of(4)))
    assert_same(state.batch_stats, before["batch_stats"])
    assert_same(state.params["FeatureExtraction"], before["params"]["FeatureExtraction"])
    for part, layer in (("SequenceModeling", "rnn0"), ("SequenceModeling", "rnn1")):
        pair = state.params[part][layer], before["params"][part][layer]
        moved = any((a != b).any() for a, b in zip(*map(copies, pair), strict=True))
        assert moved == (layer == "rnn1")


def test_freezing_all_norms():
    section = {**tiny_recognizer.get_config().model, "freeze_norm": True}
    model = make_model(section, num_classes=5, frozen=lambda path: path.startswith("Prediction"))
    assert model.frozen("FeatureExtraction/bn12/scale")


def test_another_charset_takes_rows_by_character():
    old, new = Charset("old", tuple("abcXé")), Charset("new", tuple("Xb!a"))
    model = make_model(tiny_recognizer.get_config().model, num_classes=6)
    variables = init_variables(model)
    rng = np.random.default_rng(0)
    head = {"kernel": rng.normal(size=(8, 6)), "bias": rng.normal(size=6)}
    variables["params"]["Prediction"] = head
    mapped = map_classes(variables, old=old, new=new)
    assert (mapped.kept, mapped.new, mapped.lost) == (("X", "b", "a"), ("!",), ("c", "é"))
    assert "1 are new: '!', 2 are dropped: 'cé'" in mapped.describe()
    got = mapped.variables["params"]["Prediction"]
    for place, source in ((0, 0), (1, 4), (2, 2), (4, 1)):
        np.testing.assert_array_equal(
            got["kernel"][:, place], head["kernel"][:, source].astype(np.float32)
        )
        assert got["bias"][place] == np.float32(head["bias"][source])
    mean = head["kernel"][:, 1:].mean(1)
    assert 0 < np.abs(got["kernel"][:, 3] - mean).max() < 0.1
    assert variables["params"]["Prediction"] is head
    # A network that does not tell cases apart begins both with the same row.
    lower = map_classes(
        variables, old=Charset("low", tuple("abcde"), True), new=Charset("both", tuple("aA"))
    )
    kernel = lower.variables["params"]["Prediction"]["kernel"]
    np.testing.assert_array_equal(kernel[:, 1], kernel[:, 2])
    with pytest.raises(ValueError, match="the network has 6 classes, but charset 'new' makes 5"):
        map_classes(variables, old=new, new=old)


def start(tmp_path, charset=None, **changes):
    config = tiny_recognizer.get_config()
    config.update(changes)
    config.eval.metric = "accuracy"
    said = []
    with opened(config, tmp_path, charset or named("en36"), devices=1, log=said.append) as run:
        if run.start.kind == "random":
            run.step = 3
            run.save({"accuracy": 0.5})
        return run.state, run.start, run.memory, said


def opened(config, workdir, charset, devices, log=print):
    """A run as training opens it."""
    options = OptimizerOptions.from_config(config.optimizer)
    optimizer, schedule = make_optimizer(options, steps=config.steps)
    model = make_model(config.model, num_classes=charset.num_classes)
    return open_run(
        config,
        workdir,
        partial(begin, config, model, charset, log=log),
        optimizer=optimizer,
        schedule=schedule,
        mesh=mesh_of(devices),
        metric=config.eval.metric,
        log=log,
    )


def test_starts(tmp_path):
    variables = init_variables(model_of(), seed=7)
    weights = str(tmp_path / "net.pth")
    save_weights(weights, to_state_dict(variables))
    state, start_, memory, said = start(tmp_path / "a", init_weights=weights)
    assert (start_.kind, memory.charset) == ("weights", named("en36").digest)
    assert len(said) == 1 and "net.pth has no charset.json next to it: assuming 'en36'" in said[0]
    assert_same(state.params, variables["params"])
    # Another charset: by name, by the file that a run leaves, or not known at all.
    digits = Charset("digits", tuple("0123456789"))
    with pytest.raises(TrainError, match=r"has 37 classes and no charset\.json next to it"):
        start(tmp_path / "b", charset=digits, init_weights=weights)
    state, *_, said = start(
        tmp_path / "c", charset=digits, init_weights=weights, init_charset="en36"
    )
    assert said[0].startswith("charset en36 becomes digits: 10 characters keep their output rows")
    np.testing.assert_array_equal(
        state.params["Prediction"]["kernel"], variables["params"]["Prediction"]["kernel"][:, :11]
    )
    with pytest.raises(TrainError, match="its charset 'english_g2' makes 97"):
        start(tmp_path / "d", init_weights=weights, init_charset="english_g2")
    with pytest.raises(TrainError, match=r"config\.model\.channels is 24, but .*net\.pth has 16"):
        start(tmp_path / "e", init_weights=weights, model={"channels": 24})

    folder = tmp_path / "run"
    state, start_, *_ = start(folder, seed=7)
    assert start_.kind == "random"
    assert_same(state.params, variables["params"])
    named("en36").save(folder / "charset.json")
    state, start_, _, said = start(tmp_path / "f", charset=digits, init_from=str(folder), seed=1)
    assert (start_.kind, len(said), int(state.step)) == ("run", 1, 0)
    with pytest.raises(TrainError, match=r"'digits' .* was trained with another one"):
        start(folder, charset=digits)
    (folder / "charset.json").unlink()
    with pytest.raises(TrainError, match="was trained with another one"):
        start(folder, charset=Charset("turned", named("en36").characters[::-1]))


@pytest.mark.parametrize("name", ["synth", "rec_train", "easyocr"])
def test_weight_decay_of_the_configs_suits_any_network(name):
    config = runpy.run_path(str(ROOT / "configs" / f"crnn_{name}.py"))["get_config"]()
    optimizer, _ = make_optimizer(
        OptimizerOptions.from_config(config.optimizer), steps=config.steps
    )
    config.model.update(channels=16, hidden=8)
    for sequence in ("bilstm", "none"):
        config.model.sequence = sequence
        model = make_model(config.model, num_classes=5)
        jax.eval_shape(optimizer.init, shapes_of(model)["params"])


def test_a_batch_that_is_not_finite_stops_the_run(tmp_path, monkeypatch):
    poisoned = init_variables(model_of())
    poisoned["params"]["Prediction"]["bias"][5] = np.nan
    monkeypatch.setattr(training, "init_variables", lambda *a, **k: poisoned)
    config = tiny_recognizer.get_config()
    with pytest.raises(
        NonFiniteError, match=r"step 1: .*loss nan.* a word of words.*checkpoint: none"
    ):
        train(config, tmp_path)


def test_sets_to_measure_on(tmp_path):
    config = tiny_recognizer.get_config()
    (tmp_path / "labels.tsv").write_text("a.png\tone\nb.png\ttwo\nc.png\tthree\n")
    options = InputOptions.from_config(config)
    section = {
        "real": {"kind": "tsv", "path": str(tmp_path / "labels.tsv"), "start": 1},
        "made": {"kind": "words", "count": 2, "text": {"charset": "aeinst"}},
    }
    sets = open_sets(section, field="config.test", options=options)
    assert [crop.text for crop in sets["real"]] == ["two", "three"]
    made = sets["made"]
    assert made[0].image().shape[0] == 32
    assert set(made[0].text + made[1].text) <= set("aeinst")
    # As in training, nothing that the charset cannot write: no blanks between words.
    many = {
        "many": {"kind": "words", "count": 40, "text": {"sources": {"lines": 1.0, "words": 1.0}}}
    }
    for crop in open_sets(many, field="config.test", options=options)["many"]:
        assert not options.rules.charset.missing(crop.text)
    for bad, message in (
        ({"kind": "words"}, r"config\.test\.x\.count is missing"),
        ({"kind": "tsv"}, r"config\.test\.x\.path is missing"),
        ({"kind": "pdf", "path": "."}, r"config\.test\.x\.kind is 'pdf', expected words or one of"),
        ({"kind": "words", "count": 1, "n": 1}, r"config\.test\.x\.n: expected one of count"),
        ({**section["real"], "start": 3}, r"no crop from start=3 to stop=None: there are 3"),
    ):
        with pytest.raises(SourceError, match=message):
            open_sets({"x": bad}, field="config.test", options=options)


def test_fields_that_are_not_known():
    with pytest.raises(OptionsError, match=r"config\.model\.chanels .* did you mean channels"):
        make_model({"chanels": 16}, num_classes=5)
    config = tiny_recognizer.get_config().unlock()
    config.recognizer.rezise = "bucket"
    variables = init_variables(model_of())
    with pytest.raises(OptionsError, match=r"config\.recognizer\.rezise .* did you mean resize"):
        make_recognizer(config, variables, named("en36"))


def test_what_a_run_ends_with_is_opened_before_it_begins(tmp_path):
    config = tiny_recognizer.get_config()
    config.test = {"lost": {"kind": "tsv", "path": str(tmp_path / "lost.tsv")}}
    with pytest.raises(LabelError, match=r"lost\.tsv"):
        train(config, tmp_path / "run")
    with config.unlocked():
        config.test = {}
    with pytest.raises(SourceError, match=r"config\.test is empty"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_nothing_to_judge_by_is_an_error_before_training(tmp_path):
    image = np.zeros((16, 32, 3), np.uint8)
    write_image(tmp_path / "a.png", image)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    lines = ["a.png\tслово", "a.png\tдом", "broken.png\tword"]
    (tmp_path / "labels.tsv").write_text("\n".join(lines), encoding="utf-8")
    config = tiny_recognizer.get_config()
    with config.unlocked():
        config.eval.sets = {"mine": {"kind": "tsv", "path": str(tmp_path / "labels.tsv")}}
    with pytest.raises(SourceError, match=r"config\.eval\.sets\.mine: none of 3 crops") as error:
        train(config, tmp_path / "run")
    assert "2 have characters outside the charset en36, the first: " in str(error.value)
    assert "a.png: 'слово'; 1 cannot be read, the first: " in str(error.value)
    assert "broken.png: " in str(error.value) and "another config.data.charset" in str(error.value)
    assert not (tmp_path / "run").exists()
    # One word that can be read right is enough.
    crops = [
        Crop(str(tmp_path / name), text) for name, text in [("broken.png", "x"), ("a.png", "WORD")]
    ]
    check_crops(crops, "mine", named("en36"))
    with pytest.raises(SourceError, match="1 have no text"):
        check_crops([replace(crops[1], text="")], "mine", named("en36"))


def test_fine_tuning_measures_what_is_forgotten(tmp_path):
    save_weights(tmp_path / "net.pth", to_state_dict(init_variables(model_of())))
    config = tiny_recognizer.get_config()
    config.steps = 2
    config.init_weights = str(tmp_path / "net.pth")
    config.eval.probe = dict(config.eval.sets)
    config.data.workers = 1
    config.average.shares = (0.5, 1.0)
    crnnjax.train(config, tmp_path / "run")  # as a user calls it from Python
    rows = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    found = [
        (row["step"], row["eval/probe"], row["eval/forgotten"])
        for row in rows
        if "eval/probe" in row
    ]
    assert found == [(0, 0, 0), (2, 0, 0)]
    # Nothing was read right before or after: the start weights are kept, and exported.
    average = json.loads((tmp_path / "run" / "average.json").read_text(encoding="utf-8"))
    assert (average["share"], average["words"], average["probe"]["kept"]) == (0, 4, 0)
    assert [one["share"] for one in average["tried"]] == [0, 0.5, 1]
    assert_same(load_weights(tmp_path / "run" / "weights.pth"), load_weights(tmp_path / "net.pth"))
    # A check before it tells of the same weights, and begins with them.
    said = []
    checked = check_run(config, seconds=0.0, log=said.append)
    (loss,) = (row["loss"] for row in rows if row["step"] == 1 and "loss" in row)
    assert checked["loss"][0] == pytest.approx(loss, rel=1e-4)
    assert checked["start"][0] > 0 and checked["start"][1] == 0
    assert any(line.startswith(f"start weights {tmp_path / 'net.pth'}: loss ") for line in said)


def test_check(tmp_path):
    config = tiny_recognizer.get_config()
    said = []
    found = check_run(config, tmp_path, seconds=1.0, log=said.append)
    assert found["loss"][1] < found["loss"][0]
    assert found["loader"] > 0 and found["step"] > 0
    assert 0 <= found["read"] <= 1
    assert "endless words" in said[0]
    assert any(line.startswith("loader: ") for line in said)
    assert "overfitting 4 words" in "".join(said)
    assert found["start"] is None and "start weights" not in "".join(said)


def test_stopped_and_killed_runs_equal_an_uninterrupted_one(tmp_path):
    """From the command line: SIGTERM, SIGKILL, the end; then what the run has left."""
    broken = tmp_path / "broken"
    process = command(broken)
    wait_for(process, "step 1/8")
    process.send_signal(signal.SIGTERM)
    code, out, err = finish(process)
    assert code == 0, err
    (line,) = (line for line in out.splitlines() if line.startswith("stopped after step"))
    stopped = int(line.split()[3].rstrip(","))
    with RunCheckpoints(broken / "checkpoints", metric="one_minus_ned") as checkpoints:
        assert checkpoints.steps[-1] == stopped < 8
    process = command(broken)
    wait_for(process, f"step {stopped + 1}/8")
    process.kill()
    finish(process)
    code, out, err = finish(command(broken))
    assert code == 0, err
    assert "Traceback" not in err
    assert "start: resume" in out

    straight = tmp_path / "straight"
    config = tiny_recognizer.get_config()
    train(config, straight)
    states = []
    for workdir in (straight, broken):
        with opened(config, workdir, named("en36"), devices=4) as run:
            assert run.memory.config["steps"] == 8
            states.append(run.state)
    assert int(states[0].step) == 8
    assert_same(*states)
    rows = [
        [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
        for workdir in (straight, broken)
    ]
    same = ("step", "loss", "grad_norm", "infeasible", "learning_rate", "eval/one_minus_ned")
    assert [[row.get(name) for name in same] for row in rows[0]] == [
        [row.get(name) for name in same] for row in rows[1]
    ]
    assert [row["step"] for row in rows[1]] == [1, 2, 3, 4, 4, 5, 6, 7, 8, 8]

    # The results: weights with their charset, scores, pictures.
    variables, _ = from_state_dict(load_weights(broken / "weights.pth"))
    assert_same(variables, load_variables(broken))
    charset = Charset.load(broken / "charset.json")
    assert charset == named("en36")
    result = json.loads((broken / "recognition.json").read_text())
    options = InputOptions.from_config(config)
    (crops,) = open_sets(config.test, field="config.test", options=options).values()
    again = read_set(make_recognizer(config, variables, charset), crops).scores
    assert again.one_minus_ned().value == pytest.approx(result["all"]["one_minus_ned"]["value"])
    assert len(read_image(broken / "curves.png"))
    assert len(read_image(broken / "synthetic_worst.png"))

    weights = str(straight / "weights.pth")
    mine = tmp_path / "mine.tsv"
    for index in (0, 1):
        (tmp_path / f"{index}.png").write_bytes(crops[index].data)
    mine.write_text(f"0.png\t{crops[0].text}\n1.png\t{crops[1].text}\n")
    given = (f"--weights={weights}", f"--crops={mine}")
    code, out, err = finish(command(broken, "--mode=evaluate", *given))
    assert code == 0, err
    assert json.loads((broken / "recognition.json").read_text()) == result
    (other,) = broken.glob("evaluate-*/mine/recognition.json")
    found = json.loads(other.read_text())
    assert (found["weights"], found["all"]["count"]) == (weights, 2)


def test_what_cannot_be_is_said(tmp_path):
    code, _, err = finish(command(tmp_path, "--config.modell.channels=1"))
    assert code == 1
    assert err.startswith("crnnjax.main: ")
    assert "did you mean config.model.channels?" in err
    config = tiny_recognizer.get_config()
    config.eval.metric = "loss"
    with pytest.raises(OptionsError, match=r"config\.eval\.metric is 'loss', expected one of acc"):
        train(config, tmp_path)
    config.eval.metric, config.average.shares = "accuracy", (0.5,)
    with pytest.raises(TrainError, match=r"shares is \(0\.5,\), but the run starts from random"):
        train(config, tmp_path)


def test_a_metric_that_cannot_tell_readings_apart(tmp_path):
    config = tiny_recognizer.get_config()
    Charset("greek", tuple("αβγδ")).save(tmp_path / "greek.json")
    config.data.charset = str(tmp_path / "greek.json")
    config.eval.metric = "alnum_accuracy"
    with pytest.raises(TrainError, match="compares only 0-9 and a-z, but the charset has none"):
        train(config, tmp_path / "run")
