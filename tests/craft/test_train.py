"""Training a tiny detector: the parts, and all of it through the command that a user runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
from dataclasses import replace
from functools import cache, partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_detector
from ml_collections import ConfigDict
from processes import finish, launch, wait_for
from trees import assert_close, assert_same, copies

import craftjax
from craftjax import training
from craftjax.config import source
from craftjax.convert import ConversionError, from_state_dict, to_state_dict, with_vgg16_bn
from craftjax.detector import Detector, Scores, find_words
from craftjax.evaluate import evaluate_detector, read_truth
from craftjax.input_pipeline import make_batches
from craftjax.models import CRAFT, init_variables
from craftjax.options import DetectorOptions, load_operating_point, operating_point_path
from craftjax.ppocr import load_ppocr_detector
from craftjax.resize import fit_page
from craftjax.training import (
    TrainError,
    begin,
    freezes_norm,
    make_loss,
    make_model,
    make_train_step,
)
from ocrcore.data.mixing import SourceError
from ocrcore.images import read_image, write_image
from ocrcore.layers import always
from ocrcore.options import OptionsError
from ocrcore.pages import LabelError, Page, Sample
from ocrcore.runtime.mesh import make_mesh, put_batch
from ocrcore.training.checkpoints import RunCheckpoints, load_variables
from ocrcore.training.metrics import NonFiniteError
from ocrcore.training.optimizer_options import OptimizerOptions
from ocrcore.training.optimizers import make_optimizer
from ocrcore.training.run import open_run
from ocrcore.training.state import create_state
from ocrcore.weights.named import WeightsNotFoundError, find_weights
from ocrcore.weights.pth import load_weights, save_weights

MODEL = CRAFT(width=0.125)
command = partial(launch, "craftjax.main", tiny_detector.__file__)


@cache
def batches():
    return make_batches(tiny_detector.get_config(), seed=0, rows=slice(0, 4))


@cache
def mesh_of(devices):
    return make_mesh(jax.devices()[:devices])


@cache
def step_of(
    devices=4,
    freeze=(),
    remat=False,
    dtype=jnp.float32,
    accumulate=1,
    freeze_norm=False,
    norm_groups=1,
):
    """A compiled step and a maker of states for it."""
    config = tiny_detector.get_config()
    changes = {"freeze": freeze, "accumulate": accumulate}
    options = OptimizerOptions.from_config({**config.optimizer, **changes})
    optimizer, _ = make_optimizer(options, steps=config.steps)
    mesh = mesh_of(devices)
    step = make_train_step(
        CRAFT(0.125, dtype, remat, always if freeze_norm else options.is_frozen),
        optimizer,
        mesh=mesh,
        loss=make_loss(config.loss),
        options=options,
        ema_decay=0.9,
        norm_groups=norm_groups,
    )
    return step, partial(create_state, optimizer=optimizer, mesh=mesh)


def run(steps, devices=4, **more):
    step, make = step_of(devices, **more)
    state = make(init_variables(MODEL))
    metrics = []
    for number in range(steps):
        state, new = step(state, put_batch(batches()[number], mesh_of(devices)))
        metrics.append({name: float(total / n) for name, (total, n) in new.items()})
    return state, metrics


def test_four_devices_equal_one():
    (many, metrics), (one, expected) = run(2), run(2, devices=1)
    assert len(jax.tree.leaves(many.params)[0].sharding.device_set) == 4
    assert metrics[0] == pytest.approx(expected[0], rel=1e-5)
    assert metrics[1] == pytest.approx(expected[1], rel=1e-3)
    assert_close(many.params, one.params, rtol=1e-3, atol=1e-5)
    # Later Adam makes much of rounding in small gradients: the loss alone stays near.
    (_, metrics), (_, expected) = run(5), run(5, devices=1)
    losses = [[step["loss"] for step in steps] for steps in (metrics, expected)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert_close(many.batch_stats, one.batch_stats, rtol=1e-3, atol=1e-4)
    assert_close(many.ema, one.ema, rtol=1e-3, atol=1e-4)


def test_a_batch_is_learned():
    step, make = step_of()
    state, losses = make(init_variables(MODEL)), []
    for _ in range(25):
        state, metrics = step(state, put_batch(batches()[0], mesh_of(4)))
        losses.append(float(metrics["loss"][0] / metrics["loss"][1]))
    assert losses[-1] < 0.5 * losses[0]
    parts = [
        float(metrics[name][0] / metrics[name][1]) for name in ("positive_loss", "negative_loss")
    ]
    assert sum(parts) == pytest.approx(losses[-1], rel=1e-5)


@pytest.mark.parametrize(
    ("options", "still"),
    [
        ({}, ("slice1", "slice2")),
        ({"norm_groups": 4, "remat": True}, ("slice1", "slice2")),
        ({"freeze_norm": True}, ("slice1", "slice2", "slice3", "slice4")),
    ],
)
def test_frozen_parts_do_not_move(options, still):
    """Neither their parameters nor the statistics of their BatchNorm."""
    before = init_variables(MODEL)
    before["batch_stats"] = jax.tree.map(lambda x: x + 0.5, before["batch_stats"])
    step, make = step_of(freeze=("basenet/slice1", "basenet/slice2"), **options)
    state, _ = step(make(before), put_batch(batches()[0], mesh_of(4)))

    def moved(kind, name):
        after = getattr(state, kind)["basenet"][name]
        pairs = zip(copies(after), copies(before[kind]["basenet"][name]), strict=True)
        return any((a != b).any() for a, b in pairs)

    for name in ("slice1", "slice2", "slice3", "slice4"):
        assert moved("params", name) == (name not in ("slice1", "slice2"))
        assert moved("batch_stats", name) == (name not in still)


def test_frozen_norm_uses_its_statistics():
    """The first loss is that of a network that normalizes by its running statistics."""
    before = init_variables(MODEL)
    before["batch_stats"] = jax.tree.map(lambda x: x + 0.5, before["batch_stats"])
    losses = []
    for options in ({"freeze": ("*",)}, {"freeze_norm": True}, {}):
        step, make = step_of(**options)
        _, metrics = step(make(before), put_batch(batches()[0], mesh_of(4)))
        losses.append(float(metrics["loss"][0]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert losses[0] != pytest.approx(losses[2], rel=1e-3)


def test_norm_of_each_device_and_rematerialization():
    step, make = step_of(norm_groups=4, remat=True)
    batch = put_batch(batches()[0], mesh_of(4))
    state, _ = step(make(init_variables(MODEL)), batch)
    apply = jax.jit(partial(MODEL.apply, train=True, mutable=["batch_stats"]))
    alone = [
        apply(init_variables(MODEL), row[None])[1]["batch_stats"] for row in batches()[0]["image"]
    ]
    assert_close(
        state.batch_stats, jax.tree.map(lambda *x: jnp.mean(jnp.stack(x), 0), *alone), atol=1e-4
    )
    plain, make = step_of()
    other, _ = plain(make(init_variables(MODEL)), batch)
    first, last = (
        [
            np.asarray(tree["basenet"][name][norm][value])
            for tree in (state.batch_stats, other.batch_stats)
        ]
        for name, norm, value in (("slice1", "bn1", "mean"), ("slice4", "bn38", "var"))
    )
    np.testing.assert_allclose(*first, atol=1e-4)  # a mean of means is the mean
    assert np.abs(last[0] - last[1]).max() > 1e-3
    # Four times the same picture is normalized alike, and learned alike.
    batch = {name: np.repeat(rows[:1], 4, axis=0) for name, rows in batches()[0].items()}
    states = [
        chosen(make(init_variables(MODEL)), put_batch(batch, mesh_of(4)))[0]
        for chosen in (step, plain)
    ]
    assert_close(states[0].params, states[1].params, rtol=1e-4, atol=1e-6)


def test_parts_of_a_batch_have_rows_of_each_device():
    step, make = step_of(norm_groups=4, accumulate=4)
    batch = {name: np.repeat(rows, 2, axis=0) for name, rows in batches()[0].items()}
    with pytest.raises(TrainError, match=r"accumulate=4 makes parts of 2 rows; it must divide"):
        step(make(init_variables(MODEL)), put_batch(batch, mesh_of(4)))


def test_a_step_in_bfloat16():
    batch = put_batch(batches()[0], mesh_of(1))
    before = init_variables(MODEL)
    losses, states = [], []
    for dtype in (jnp.float32, jnp.bfloat16):
        step, make = step_of(1, dtype=dtype)
        state, metrics = step(make(before), batch)
        losses.append(float(metrics["loss"][0] / metrics["loss"][1]))
        states.append(state)
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert losses[1] != losses[0]
    moves = []
    for state in states:
        assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(state.params))
        pairs = zip(copies(state.params), copies(before["params"]), strict=True)
        moves.append(np.concatenate([(new - old).ravel() for new, old in pairs]))
    cosine = moves[0] @ moves[1] / np.linalg.norm(moves[0]) / np.linalg.norm(moves[1])
    assert cosine > 0.8  # .89 to .97 over five batches


def test_rematerialization_keeps_less():
    variables = init_variables(MODEL)
    images = jax.ShapeDtypeStruct((4, 64, 64, 3), np.uint8)

    def kept(model):
        """Bytes that wait for the backward pass."""

        def backward(params, images):
            def scores(params):
                return model.apply(
                    {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
                )[0][0]

            return jax.vjp(scores, params)[1]

        leaves = jax.tree.leaves(jax.eval_shape(backward, variables["params"], images))
        return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)

    for dtype in (jnp.float32, jnp.bfloat16):
        plain = kept(CRAFT(0.125, dtype))
        assert kept(CRAFT(0.125, dtype, remat=True)) < plain / 3


def test_fields_that_are_not_known(tmp_path):
    loss = {"version": 3, "neg_rto": 1.0, "n_min_neg": 5}
    with pytest.raises(OptionsError, match=r"config\.loss\.neg_ratio .* did you mean neg_rto"):
        make_loss({**loss, "neg_ratio": 1.0})
    config = tiny_detector.get_config().unlock()
    config.model.freeze_bn = True
    with pytest.raises(OptionsError, match=r"model\.freeze_bn is not known: .*freeze_norm"):
        make_model(config.model)
    del config.model.freeze_bn
    config.detector.text_treshold = 0.5
    with pytest.raises(OptionsError, match=r"detector\.text_treshold .* did you mean text_thresh"):
        training.train(config, tmp_path)


def test_when_norm_is_frozen():
    config = tiny_detector.get_config()
    assert freezes_norm(config, fine_tuning=True, devices=4)
    assert not freezes_norm(config, fine_tuning=False, devices=4)
    config.batch_size = 8
    assert not freezes_norm(config, fine_tuning=True, devices=4)
    config.model.norm_per_device = True
    assert freezes_norm(config, fine_tuning=True, devices=4)
    config.model.norm_per_device = False
    config.optimizer.accumulate = 2
    assert freezes_norm(config, fine_tuning=True, devices=4)
    config.model.freeze_norm = False
    assert not freezes_norm(config, fine_tuning=True, devices=4)


def start(tmp_path, **changes):
    config = tiny_detector.get_config()
    config.update(changes)
    return opened(config, tmp_path, devices=1)


def opened(config, workdir, devices):
    """What a run begins with: its state, where it is from, and its memory."""
    options = OptimizerOptions.from_config(config.optimizer)
    optimizer, schedule = make_optimizer(options, steps=config.steps)
    with open_run(
        config,
        workdir,
        partial(begin, config, make_model(config.model)),
        optimizer=optimizer,
        schedule=schedule,
        mesh=mesh_of(devices),
    ) as run:
        return run.state, run.start, run.memory


def test_starts(tmp_path):
    variables = init_variables(MODEL, seed=7)
    save_weights(tmp_path / "net.pth", to_state_dict(variables))
    state, start_, memory = start(tmp_path, init_weights=str(tmp_path / "net.pth"))
    assert (start_.kind, memory.fine_tuning) == ("weights", True)
    assert_same(state.params, variables["params"])
    assert_same(state.ema, {name: variables[name] for name in ("params", "batch_stats")})
    state, start_, memory = start(tmp_path, seed=7)
    assert (start_.kind, memory.fine_tuning) == ("random", False)
    assert_same(state.params, variables["params"])
    with RunCheckpoints(tmp_path / "other" / "checkpoints") as checkpoints:
        checkpoints.save(3, state, run={}, metrics={"hmean": 0.5})
    state, start_, memory = start(tmp_path, init_from=str(tmp_path / "other"), seed=1)
    assert (start_.kind, memory.fine_tuning, int(state.step)) == ("run", True, 0)
    assert_same(state.params, variables["params"])
    with pytest.raises(TrainError, match=r"config.model has .*0.25}, but .*net.pth has .*0.125}"):
        start(tmp_path, init_weights=str(tmp_path / "net.pth"), model={"width": 0.25})


def test_start_from_imagenet(tmp_path):
    """A made file of torchvision's form; its last block and classifier are not used."""
    whole = to_state_dict(init_variables(CRAFT(), seed=3))
    random = np.random.default_rng(0)
    vgg = {}
    for name, value in whole.items():
        if name.startswith(
            ("basenet.slice1", "basenet.slice2", "basenet.slice3", "basenet.slice4")
        ):
            new = random.random(value.shape, np.float32) if value.ndim == 1 else value
            vgg[name.replace(name[: len("basenet.slice1")], "features")] = new
    vgg["features.40.weight"] = np.zeros((512, 512, 3, 3), np.float32)
    vgg["classifier.6.bias"] = np.zeros(1000, np.float32)
    save_weights(tmp_path / "vgg16_bn.pth", vgg)
    state, start_, memory = start(
        tmp_path, init_weights=str(tmp_path / "vgg16_bn.pth"), model={"width": 1.0}, ema=0.0
    )
    assert (start_.kind, memory.fine_tuning, state.ema) == ("weights", False, None)
    got = to_state_dict(state.variables)
    fresh = to_state_dict(init_variables(CRAFT()))
    for name, value in got.items():
        *_, index, leaf = name.split(".")
        expected = vgg.get(f"features.{index}.{leaf}")
        if not name.startswith("basenet.slice") or name.startswith("basenet.slice5"):
            expected = fresh[name]
        np.testing.assert_array_equal(value, expected, err_msg=name)

    with pytest.raises(ConversionError, match=r"features\.3\.bias") as error:
        with_vgg16_bn(fresh_variables(), {k: v for k, v in vgg.items() if k != "features.3.bias"})
    assert "1 missing" in str(error.value)
    with pytest.raises(ConversionError, match="width 1 only"):
        with_vgg16_bn(init_variables(MODEL), vgg)


@cache
def fresh_variables():
    return init_variables(CRAFT())


def test_a_batch_that_is_not_finite_stops_the_run(tmp_path, monkeypatch):
    iterate = training.iterate

    def poisoned(source, start, **options):
        for step, batch in enumerate(iterate(source, start, **options), start + 1):
            if step == 5:
                batch["confidence"][1, 3, 3] = np.nan
            yield batch

    monkeypatch.setattr(training, "iterate", poisoned)
    config = tiny_detector.get_config()
    with pytest.raises(NonFiniteError) as error:
        training.train(config, tmp_path)
    message = str(error.value)
    assert message.startswith("step 5: ")
    for index in range(16, 20):
        assert f"page {index} of pages" in message
    assert f"Last good checkpoint: {tmp_path}/checkpoints/3" in message
    with RunCheckpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.steps == [3]
    assert all(np.isfinite(leaf).all() for leaf in copies(load_variables(tmp_path)))


def test_a_run_without_progress_ends_early(tmp_path, monkeypatch, capsys):
    def flat(*args, **more):
        source = make_batches(*args, **more)
        source.log.undrawn["flat"] += 7
        return source

    monkeypatch.setattr(training, "make_batches", flat)
    monkeypatch.setattr(training, "count_words", lambda truth: (300, 2))
    config = tiny_detector.get_config()
    config.steps = 1000
    config.eval.every = 1
    config.eval.patience = 2
    config.detector.text_threshold = config.detector.low_text = 1.0  # nothing is found
    scores = training.train(config, tmp_path)
    assert scores == {"precision": 0.0, "recall": 0.0, "hmean": 0.0}
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 1, 2, 2, 3, 3]
    assert [row["eval/hmean"] for row in rows[1::2]] == [0, 0, 0]
    out = capsys.readouterr().out
    # Started again it has nothing to do, and says what changed.
    config.ema = 0.8
    training.train(config, tmp_path)
    again = capsys.readouterr().out
    assert "config.ema was 0.9 before, now 0.8" in again
    ended = "run already finished; pass another --workdir to start a new one"
    assert ended in again and ended not in out
    assert "step 4" not in again
    assert "step 3/1000" in out
    assert "stopped early at step 3: 2 evaluations without improvement" in out
    assert "kept: step 1, hmean 0.0000; on 2 pages with " in out
    with RunCheckpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.best_step == 1  # the log and the files agree
    assert "no sample dropped; characters not drawn (counted at every use): flat: 7" in out


def test_the_test_pages_are_read_before_the_first_step(tmp_path):
    config = tiny_detector.get_config()
    (tmp_path / "gt").mkdir()
    (tmp_path / "images").mkdir()
    write_image(tmp_path / "images" / "a.png", np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "gt" / "a.txt").write_text("1,2,3")
    labels = {"root": str(tmp_path), "images": "images", "gt": "gt", "layout": "auto"}
    config.test = ConfigDict({"kind": "icdar", **labels, "dont_care": ()})
    with pytest.raises(LabelError, match=r"a\.txt:1"):
        training.train(config, tmp_path / "run")
    config.test.start = 1
    (tmp_path / "gt" / "a.txt").write_text("")
    with pytest.raises(TrainError, match=r"config\.test has no labeled images: .*'start': 1"):
        training.train(config, tmp_path / "run")
    config.test.start = 0
    config.test.dont_care = ("###",)
    (tmp_path / "gt" / "a.txt").write_text("0,0,4,0,4,4,0,4,###\n")
    with pytest.raises(ValueError, match=r"config\.test: 0 of 1 words on 1 pages count, so there"):
        training.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_training_on_samples_of_a_python_program(tmp_path):
    config = tiny_detector.get_config()
    config.steps = 2
    samples = read_truth(config.eval.pages)
    del config.data.train.pages
    config.data.train.mine = source("python")
    scores = craftjax.train(config, tmp_path, sources={"mine": samples})
    assert set(scores) == {"precision", "recall", "hmean"}
    assert (tmp_path / "weights.pth").is_file()
    with pytest.raises(SourceError, match="mine is a data set from Python, but none was given"):
        craftjax.train(config, tmp_path / "other")


def test_an_evaluation_runs_the_network_once_for_all_thresholds():
    maps = np.zeros((16, 32, 2), np.float32)
    maps[4:8, 4:20, 0] = 0.5
    scores = Scores(maps, fit_page(32, 64, canvas_size=64, mag_ratio=1.0), 32, 64)
    runs = []

    class Faint:
        options = DetectorOptions(text_threshold=0.7, low_text=0.4)

        def with_variables(self, variables):
            return self

        def score(self, images, *, options):
            runs.append(len(images))
            yield 0, scores

    (box,) = find_words(scores, DetectorOptions(text_threshold=0.4))
    truth = [Sample(np.zeros((32, 64, 3), np.uint8), Page(32, 64, (replace(box, text="a"),)))]
    state = SimpleNamespace(eval_variables={})
    fixed = training.evaluate_state(state, Faint(), truth)
    assert fixed == {"precision": 0, "recall": 0, "hmean": 0}
    faint = DetectorOptions(text_threshold=0.45)
    grid = {"text_threshold": (0.9, 0.8), "low_text": (0.6, 0.4)}
    tried = training.evaluate_state(state, Faint(), truth, options=faint, grid=grid)
    used = {"text_threshold": 0.45, "low_text": 0.4}
    assert tried == {"precision": 1, "recall": 1, "hmean": 1, **used}
    assert runs == [1, 1]


def test_the_thresholds_of_the_best_evaluation_stay_with_the_weights(tmp_path, monkeypatch):
    config = tiny_detector.get_config()
    config.steps, config.eval.every, config.eval.sweep = 2, 1, True
    config.data.workers = 1
    hmeans, used = [0.5, 0.4], []

    def evaluate_state(*args, options, grid, **more):
        used.append(options.text_threshold)
        hmean = hmeans[len(used) - 1]
        return {"precision": 0.5, "recall": 0.5, "hmean": hmean, **dict.fromkeys(grid, hmean / 10)}

    monkeypatch.setattr(training, "evaluate_state", evaluate_state)
    monkeypatch.setattr(training, "count_words", lambda truth: (300, 5))
    training.train(config, tmp_path)
    # Each evaluation begins with the thresholds of the best one before.
    assert used == [config.detector.text_threshold, 0.05]
    beside = operating_point_path(tmp_path / "weights.pth")
    point = load_operating_point(beside)
    assert (point.text_threshold, point.low_text) == (0.05, 0.05)
    assert json.loads(beside.read_text())["chosen"].startswith("chosen in training on ")
    config.sweep.low_text = ()
    with pytest.raises(TrainError, match=r"config\.sweep\.low_text is empty"):
        training.train(config, tmp_path)


def test_stopped_and_killed_runs_equal_an_uninterrupted_one(tmp_path):
    """From the command line: SIGTERM, SIGKILL, the end; then what the run has left."""
    broken = tmp_path / "broken"
    process = command(broken, "--config.data.workers=1")
    wait_for(process, "step 2/24")
    os.killpg(process.pid, signal.SIGTERM)  # as Slurm does: the worker gets it, too
    code, out, err = finish(process)
    assert code == 0, err
    (line,) = (line for line in out.splitlines() if line.startswith("stopped after step"))
    with RunCheckpoints(broken / "checkpoints") as checkpoints:
        stopped = checkpoints.steps[-1]
    assert line.split()[3] == str(stopped)
    assert 2 <= stopped <= 20
    assert f"step {stopped}/24" in out
    assert out.splitlines()[-1] == "no sample dropped"

    process = command(broken, "--config.data.workers=1")
    wait_for(process, f"step {stopped + 4}/24")
    process.kill()
    finish(process)
    code, out, err = finish(command(broken))
    assert code == 0, err
    assert "Traceback" not in err
    assert "start: resume" in out

    straight = tmp_path / "straight"
    config = tiny_detector.get_config()
    training.train(config, straight)
    config.steps += 1  # so that both states are read as they are
    states = []
    for workdir in (straight, broken):
        state, _, memory = opened(config, workdir, devices=4)
        assert memory.config["steps"] == 24
        states.append(state)
    assert int(states[0].step) == 24
    assert_same(*states)
    rows = [
        [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
        for workdir in (straight, broken)
    ]
    same = ("step", "loss", "grad_norm", "learning_rate", "eval/hmean")
    assert [[row.get(name) for name in same] for row in rows[0]] == [
        [row.get(name) for name in same] for row in rows[1]
    ]
    assert [row["step"] for row in rows[1]] == [*range(1, 25), 24]

    # The results: weights for EasyOCR, their thresholds, scores, pictures.
    variables = from_state_dict(load_weights(broken / "weights.pth"))
    assert_same(variables, states[1].ema)
    point = load_operating_point(operating_point_path(broken / "weights.pth"))
    assert point.text_threshold == config.detector.text_threshold
    result = json.loads((broken / "result.json").read_text())
    chosen = json.loads(operating_point_path(broken / "weights.pth").read_text())["chosen"]
    assert chosen == "config.detector"
    assert "fewer than 300: the start" in out and "kept: step 24, the latest whose hmean" in out
    again = evaluate_detector(Detector(variables), read_truth(config.test), options=point)
    assert again.evaluation.hmean == result["hmean"]
    assert read_image(broken / "overlays" / "page_000.png").shape[1] == 480
    assert len(read_image(broken / "loss.png"))
    assert json.loads((broken / "config.json").read_text())["optimizer"]["name"] == "sgd"
    assert not (broken / "dropped.jsonl").exists()
    shutil.rmtree(tmp_path)


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    """Over gloo, two devices each, as two hosts would be started."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    both = [
        command(
            tmp_path / "two",
            *("--config.steps=5", f"--coordinator=127.0.0.1:{port}", "--process_count=2"),
            f"--process_id={process}",
            devices=2,
        )
        for process in range(2)
    ]
    results = [finish(process) for process in both]
    assert [code for code, _, _ in results] == [0, 0], [err[-2000:] for _, _, err in results]
    assert "4 x cpu in 2 processes" in results[0][1]
    assert "step" not in results[1][1]
    config = tiny_detector.get_config()
    config.steps = 5
    training.train(config, tmp_path / "one")
    rows = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    losses = [[row["loss"] for row in some if "loss" in row] for some in rows]
    assert len(losses[0]) == 5
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert_close(
        *(load_variables(tmp_path / name) for name in ("one", "two")), rtol=1e-2, atol=1e-3
    )


def test_start_from_ppocr(tmp_path):
    try:
        path = find_weights("ppocrv6_det_small")
    except WeightsNotFoundError as error:
        pytest.skip(str(error))
    model = {"features": "lcnetv4", "width": 1.0}
    state, _, memory = start(tmp_path, init_weights="ppocrv6_det_small", model=model)
    assert not memory.fine_tuning  # its last layer is new
    assert_same(state.params, load_ppocr_detector(path, seed=0)["params"])
