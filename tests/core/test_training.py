"""A toy run through `ocrcore.runtime`: devices, processes, saving and signals change nothing."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
import toy_training as toy
from ml_collections import ConfigDict
from trees import assert_same, copies

from ocrcore.runtime.mesh import make_mesh, put_batch
from ocrcore.training.checkpoints import (
    RunCheckpoints,
    choose_start,
    load_variables,
    save_variables,
)
from ocrcore.training.damage import CheckpointError
from ocrcore.training.lock import RunLockError, run_lock
from ocrcore.training.loop import evaluate_start, run_steps
from ocrcore.training.metrics import NonFiniteError
from ocrcore.training.optimizer_options import OptimizerOptions
from ocrcore.training.optimizers import make_optimizer
from ocrcore.training.run import open_run
from ocrcore.training.run_folder import RunFolderError
from ocrcore.training.signals import StopSignal
from ocrcore.training.state import create_state, update_ema


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(jax.devices()[:4])


@pytest.fixture(scope="module")
def compiled(mesh):
    """The step of the toy, compiled once, and a maker of fresh states."""
    _, step = toy.make_step(mesh)
    optimizer, _ = toy.make_optimizer(toy.OPTIONS, steps=100)
    return (lambda: create_state(toy.variables(), optimizer, mesh=mesh)), step


def run(state, step, mesh, steps):
    for number in steps:
        state, metrics = step(state, put_batch(toy.batch(number), mesh))
    return state, metrics


def logged(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_four_devices_equal_one(mesh, compiled):
    assert mesh.size == 4
    make, step = compiled
    many, metrics = run(make(), step, mesh, range(1, 6))
    single = make_mesh(jax.devices()[:1])
    one, expected = run(*toy.make_step(single), single, range(1, 6))
    assert metrics["loss"][1] == toy.ROWS
    np.testing.assert_allclose(*(m["loss"][0] for m in (metrics, expected)), rtol=1e-5)
    for a, b in zip(copies(many), copies(one), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_a_step_learns_and_frozen_parts_stay(mesh, compiled):
    make, step = compiled
    before = make()
    losses = []
    state = make()
    for number in range(1, 31):
        state, metrics = step(state, put_batch(toy.batch(number), mesh))
        losses.append(float(metrics["loss"][0]))
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    assert int(state.step) == 30
    assert_same(copies(state.params["frozen"]), copies(before.params["frozen"]))
    assert not np.array_equal(state.params["first"]["bias"], before.params["first"]["bias"])


def test_accumulated_gradients_equal_those_of_the_whole_batch(mesh):
    # Without clipping or the centring of the toy they would be equal exactly; the centring is by
    # part, so parts that repeat the same rows are compared.
    options = OptimizerOptions(name="sgd", learning_rate=0.1)
    accumulated = OptimizerOptions(name="sgd", learning_rate=0.1, accumulate=2)
    whole = {k: np.repeat(v[: toy.ROWS // 2], 2, axis=0) for k, v in toy.batch(1).items()}
    out = []
    for chosen in (options, accumulated):
        state, step = toy.make_step(mesh, chosen)
        state, metrics = step(state, put_batch(whole, mesh))
        out.append((copies(state.params), float(metrics["loss"][0]), metrics["loss"][1]))
    assert out[0][2] == out[1][2] == toy.ROWS
    np.testing.assert_allclose(out[0][1], out[1][1], rtol=1e-6)
    for a, b in zip(out[0][0], out[1][0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_accumulation_needs_a_divisor(mesh):
    state, step = toy.make_step(mesh, OptimizerOptions(accumulate=3))
    with pytest.raises(ValueError, match=r"accumulate is 3, expected a divisor of .* 16 rows"):
        step(state, put_batch(toy.batch(1), mesh))


def test_the_steps_move_nothing_between_host_and_devices(mesh, compiled):
    make, step = compiled
    state, _ = run(make(), step, mesh, [1])
    with jax.transfer_guard("disallow"):
        state, _ = run(state, step, mesh, [2, 3])
    assert int(state.step) == 3


def test_the_state_shares_no_buffer_with_its_source(mesh, compiled):
    _, step = compiled
    optimizer, _ = toy.make_optimizer(toy.OPTIONS, steps=100)
    source = create_state(toy.variables(), optimizer, mesh=mesh).variables
    state = create_state(source, optimizer, mesh=mesh)
    step(state, put_batch(toy.batch(1), mesh))
    assert all(not leaf.is_deleted() for leaf in jax.tree.leaves(source))
    assert jax.tree.leaves(state.params)[0].is_deleted()


def test_average_by_hand():
    ema, values = 1.0, [3.0, -2.0, 5.0]
    got = np.float32(1.0)
    for step, value in enumerate(values, 1):
        kept = min(0.5, step / (step + 9))
        ema = kept * ema + (1 - kept) * value
        got = update_ema(got, np.float32(value), step=np.int32(step), decay=0.5)
    np.testing.assert_allclose(got, ema, rtol=1e-6)
    plain = update_ema(np.float32(1), np.float32(3), step=np.int32(1), decay=0.5, warmup=False)
    assert plain == 2


def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path, mesh, compiled):
    make, step = compiled
    straight = toy.train(tmp_path / "straight", 8, mesh, (make(), step))
    toy.train(tmp_path / "broken", 4, mesh, (make(), step))
    resumed = toy.train(tmp_path / "broken", 8, mesh, (make(), step))
    assert_same(copies(resumed), copies(straight))
    rows = [logged(tmp_path / name) for name in ("straight", "broken")]
    assert rows[0][-1] == rows[1][-1]
    assert [row["step"] for row in rows[1]] == [3, 4, 6, 8]


def follow(
    workdir,
    mesh,
    compiled,
    scores,
    *,
    steps,
    stop_at=0,
    words=300,
    log=lambda line: None,
    data=None,
):
    """A run with evaluations, of given scores; the step at which it ended, None if stopped."""
    config = ConfigDict(
        {
            **{"name": "toy", "steps": steps, "batch_size": toy.ROWS, "log_every": 1},
            **{"eval": {"every": 2, "patience": 2}, "checkpoint": {"every": 3, "keep": 9}},
            **{"ema": 0.9, "init_from": "", "init_weights": "", "tensorboard": False},
        }
    )
    optimizer, schedule = make_optimizer(toy.OPTIONS, steps=100)

    def batches(first):
        for step in range(first + 1, steps + 1):
            if step == stop_at:
                signal.raise_signal(signal.SIGTERM)
            yield toy.batch(step)

    def evaluate(run):
        return {"hmean": scores[run.step]}

    with open_run(
        config,
        workdir,
        lambda start, memory: toy.variables(),
        optimizer=optimizer,
        schedule=schedule,
        mesh=mesh,
        log=log,
    ) as run:
        run.note_data({"toy": [data]} if data else {})
        run.stopper.words = words
        run.announce()
        evaluate_start(run, evaluate, measure=words < 300)
        run_steps(run, compiled[1], batches(run.step), evaluate, names=lambda step: [f"of {step}"])
        if not run.stopped:
            run.conclude("2 pages")
        return None if run.stopped else run.step


@pytest.mark.parametrize(
    ("scores", "best"),
    [({0: 0.6, 2: 0.7, 4: 0.8, 5: 0.7}, 0), ({0: 0.0, 2: 0.9, 4: 0.8, 5: 0.0}, 4)],
)
def test_few_words_keep_what_was_there(tmp_path, mesh, compiled, scores, best):
    """The checkpoints, the weights and the log agree, also where the run was stopped."""
    said = []
    more = {"steps": 5, "words": 6, "log": said.append}
    assert follow(tmp_path, mesh, compiled, scores, stop_at=4, **more) is None
    assert follow(tmp_path, mesh, compiled, scores, **more) == 5
    with RunCheckpoints(tmp_path / "checkpoints", keep=9) as checkpoints:
        assert (checkpoints.best_step, checkpoints.best_score) == (best, scores[best])
        assert [checkpoints.has_evaluation(step) for step in (0, 2, 4, 5)] == [True] * 4
        expected, _ = checkpoints.restore(compiled[0](), step=best)
    assert_same(load_variables(tmp_path), copies(expected.eval_variables))
    assert not any("best so far" in line for line in said)
    assert (
        "evaluations use only 6 words, fewer than 300: the start weights are replaced only"
        in said[2]
    )
    if best:
        assert said[-1] == (
            "kept: step 4, the latest whose hmean is not below the best (0.9000) by more than "
            "chance; on 2 pages"
        )
    else:
        assert said[-1] == (
            "not better than the start weights by more than chance, which are kept (hmean 0.6000 "
            f"on 2 pages); the weights of the last step are in {tmp_path}/checkpoints/5"
        )
    assert [row["step"] for row in logged(tmp_path) if "eval/hmean" in row] == [0, 2, 4, 5]


@pytest.mark.parametrize(
    ("steps", "stops", "scores"),
    [
        (5, (5,), {2: 0.5, 4: 0.1, 5: 0.9}),  # at the last step
        (7, (2, 4, 5), {2: 0.9, 4: 0.1, 6: 0.9, 7: 0.1}),  # patience ends it after step 6
    ],
)
def test_a_stop_delays_an_evaluation(tmp_path, mesh, compiled, steps, stops, scores):
    """A run that is stopped at steps that are due for one equals a run that is not."""
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    last = follow(straight, mesh, compiled, scores, steps=steps)
    for stop_at in stops:
        assert follow(broken, mesh, compiled, scores, steps=steps, stop_at=stop_at) is None
    assert follow(broken, mesh, compiled, scores, steps=steps) == last == min(steps, 6)
    kept = []
    for workdir in (straight, broken):
        with RunCheckpoints(workdir / "checkpoints", keep=9) as checkpoints:
            scored = [step for step in checkpoints.steps if checkpoints.has_evaluation(step)]
            _, run = checkpoints.restore(compiled[0]())
            best = checkpoints.best_step
        for step in scored:
            file = workdir / "checkpoints" / str(step) / "metrics" / "metrics"
            assert json.loads(file.read_text()) == {"hmean": scores[step], "step": step}
        names = ("step", "loss", "learning_rate", "eval/hmean")
        rows = [[row.get(name) for name in names] for row in logged(workdir)]
        kept.append((scored, best, run, rows))
    assert kept[0] == kept[1]
    # Nothing is evaluated twice.
    assert follow(broken, mesh, compiled, {}, steps=steps) == last


def last_state(workdir, compiled):
    with RunCheckpoints(workdir / "checkpoints", keep=9) as checkpoints:
        return copies(checkpoints.restore(compiled[0]())[0]), checkpoints.best_step


def test_a_run_goes_on_from_the_newest_whole_checkpoint(tmp_path, mesh, compiled):
    """State, memory and metrics are of the same step, and the run ends as any other."""
    scores = {2: 0.5, 4: 0.9, 6: 0.7, 7: 0.8}
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    follow(straight, mesh, compiled, scores, steps=7)
    assert follow(broken, mesh, compiled, scores, steps=7, stop_at=6) is None
    path = broken / "checkpoints" / "6" / "optimizer" / "manifest.ocdbt"
    path.write_bytes(path.read_bytes()[:-9])
    said = []
    assert follow(broken, mesh, compiled, scores, steps=7, log=said.append) == 7
    assert "6 is damaged: optimizer/manifest.ocdbt has " in said[0]
    assert said[0].endswith("renamed to 6.damaged; the run continues from step 4")
    rows = [
        [(row["step"], row.get("loss"), row.get("eval/hmean")) for row in logged(run)]
        for run in (straight, broken)
    ]
    assert rows[0] == rows[1]
    assert_same(*(last_state(run, compiled)[0] for run in (straight, broken)))


def test_a_lost_best_checkpoint_is_forgotten(tmp_path, mesh, compiled):
    follow(tmp_path, mesh, compiled, {2: 0.5, 4: 0.9, 5: 0.1}, steps=5)
    path = tmp_path / "checkpoints" / "4" / "metrics" / "metrics"
    path.write_bytes(path.read_bytes().replace(b"9", b"0"))
    said = []
    assert follow(tmp_path, mesh, compiled, {6: 0.6}, steps=6, log=said.append) == 6
    assert "4 is damaged: metrics/metrics was altered: its checksum is " in said[0]
    assert said[1] == (
        "the best checkpoint, of step 4, is lost; the best one is now that of step 2"
    )
    assert said[-2].endswith("step 6: hmean 0.6000  (best so far)")
    assert last_state(tmp_path, compiled)[1] == 6


def test_a_state_that_is_not_finite_is_not_saved(tmp_path, mesh, compiled):
    """The loss of a step is that of the weights before it."""
    make, step = compiled

    def explodes(state, batch):
        state, metrics = step(state, batch)
        if int(state.step) == 4:
            state = state.replace(ema=jax.tree.map(lambda leaf: leaf * np.inf, state.ema))
        return state, metrics

    expected = (
        rf"step 4: NaN or infinite after the update: ema/.* and 4 more arrays\. The batch: of 3\. "
        rf"Last good checkpoint: {tmp_path}/checkpoints/3\. Try a lower"
    )
    with pytest.raises(NonFiniteError, match=expected):
        follow(tmp_path, mesh, (make, explodes), {2: 0.5}, steps=6)
    with RunCheckpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.steps == [2, 3]


def test_a_run_says_what_changed_of_its_data(tmp_path, mesh, compiled):
    data, said, scores = tmp_path / "labels.txt", [], {2: 0.5}
    for text, stop_at in (("a", 2), ("b", 3), ("b", 4)):
        data.write_text(text)
        said.append([])
        options = {"steps": 9, "stop_at": stop_at, "log": said[-1].append, "data": data}
        assert follow(tmp_path / "run", mesh, compiled, scores, **options) is None
    warned = [[line for line in lines if "WARNING" in line] for lines in said]
    assert [len(lines) for lines in warned] == [0, 1, 0]
    assert "config.data.train.toy changed" in warned[1][0]
    assert "labels.txt was changed" in warned[1][0]


def test_a_damaged_config_is_named(tmp_path, mesh, compiled):
    follow(tmp_path, mesh, compiled, {}, steps=9, stop_at=1)
    for text in (b'{"steps": ', b"\xff", b"[" * 100_000):
        (tmp_path / "config.json").write_bytes(text)
        with pytest.raises(RunFolderError, match=r"config.json: damaged, expected JSON: .* remove"):
            follow(tmp_path, mesh, compiled, {}, steps=9, stop_at=1)
    (tmp_path / "config.json").unlink()
    assert follow(tmp_path, mesh, compiled, {2: 0.5}, steps=9, stop_at=2) is None


def test_a_full_disk_at_ten_moments(tmp_path, mesh, compiled, monkeypatch):
    """The run ends with the system's error, and the same command ends it as any other."""
    scores, left = {2: 0.5, 4: 0.9}, [0]

    def full(kind):
        def write(path, *arguments, **options):
            if tmp_path in path.parents and (kind is not opened or {"a", "w"} & {*str(arguments)}):
                left[0] -= 1
                if not left[0]:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return kind(path, *arguments, **options)

        return write

    opened = Path.open
    for name in ("open", "write_bytes", "replace"):
        monkeypatch.setattr(Path, name, full(getattr(Path, name)))
    straight = tmp_path / "straight"
    follow(straight, mesh, compiled, scores, steps=4)
    total = -left[0]
    assert total > 20
    for number in range(10):
        left[0], workdir = 1 + number * total // 10, tmp_path / str(number)
        with pytest.raises(OSError, match="No space left"):
            follow(workdir, mesh, compiled, scores, steps=4)
        left[0] = 0
        follow(workdir, mesh, compiled, scores, steps=4)
        names = ("step", "loss", "eval/hmean")
        rows = [
            [[row.get(name) for name in names] for row in logged(run)]
            for run in (straight, workdir)
        ]
        assert rows[0] == rows[1]
        assert last_state(workdir, compiled)[1] == 4
        assert not list(workdir.glob("**/*.part"))


def test_lines_that_two_processes_wrote_become_one(tmp_path, mesh, compiled):
    follow(tmp_path, mesh, compiled, {2: 0.5, 3: 0.6}, steps=3)
    before = logged(tmp_path)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "metrics.jsonl").write_text("".join(lines + lines[:4]))
    follow(tmp_path, mesh, compiled, {}, steps=3)
    assert logged(tmp_path) == before


def test_the_folder_of_a_run_is_for_one_process(tmp_path, mesh, compiled, monkeypatch):
    monkeypatch.setattr("ocrcore.training.run.run_lock", partial(run_lock, patience=0))
    follow(tmp_path, mesh, compiled, {2: 0.5, 3: 0.6}, steps=3)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    with (
        run_lock(tmp_path),
        pytest.raises(RunLockError, match=f"{tmp_path} is in use by process {os.getpid()} on "),
    ):
        follow(tmp_path, mesh, compiled, {}, steps=9)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    assert not (tmp_path / "run.lock").exists()


def test_the_memory_of_another_version_is_refused(tmp_path, mesh, compiled):
    with RunCheckpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(1, compiled[0](), run={"position": 1})
    with pytest.raises(
        CheckpointError, match=r"saved by another version of this program .*'position'"
    ):
        follow(tmp_path, mesh, compiled, {}, steps=3)


def test_a_save_in_the_background_is_not_touched_by_the_next_steps(tmp_path, mesh, compiled):
    make, step = compiled
    state, _ = run(make(), step, mesh, [1, 2])
    expected = copies(state)
    with RunCheckpoints(tmp_path) as checkpoints:
        assert checkpoints.save(2, state, run={})
        run(state, step, mesh, range(3, 12))
        restored, _ = checkpoints.restore(make())
    assert_same(copies(restored), expected)


def test_restored_on_another_number_of_devices(tmp_path, mesh, compiled):
    make, step = compiled
    state, _ = run(make(), step, mesh, [1])
    single = make_mesh(jax.devices()[:1])
    optimizer, _ = toy.make_optimizer(toy.OPTIONS, steps=100)
    with RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state, run={"seed": 3, "config": {"a": [1, 2]}})
        other = create_state(toy.variables(), optimizer, mesh=single)
        restored, kept = checkpoints.restore(other)
    assert kept == {"seed": 3, "config": {"a": [1, 2]}}
    assert all(leaf.sharding.mesh.size == 1 for leaf in jax.tree.leaves(restored))
    assert_same(copies(restored), copies(state))


def test_a_network_without_running_statistics(tmp_path, mesh):
    optimizer, _ = toy.make_optimizer(OptimizerOptions(), steps=1)
    params = {"params": toy.variables()["params"]}
    state = create_state(params, optimizer, mesh=mesh, ema=False)
    assert state.ema is None
    with RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.save(0, state, run={})
        restored, _ = checkpoints.restore(state)
    assert restored.variables.keys() == {"params", "batch_stats"}
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    assert_same(copies(restored), copies(state))
    assert_same(copies(load_variables(tmp_path)["params"]), copies(params))


def test_the_last_ones_and_the_best_stay(tmp_path, mesh, compiled):
    make, step = compiled
    state = make()
    scores = {1: 0.2, 2: 0.9, 3: 0.5, 4: None, 5: 0.3, 6: None}
    kept = {}
    with RunCheckpoints(tmp_path / "checkpoints", keep=2) as checkpoints:
        assert checkpoints.best_step is None
        for number, score in scores.items():
            state, _ = run(state, step, mesh, [number])
            kept[number] = copies(state.eval_variables)
            metrics = None if score is None else {"hmean": score, "recall": 1.0}
            checkpoints.save(number, state, run={}, metrics=metrics)
        checkpoints.wait()
        assert checkpoints.steps == [2, 5, 6]
        assert not checkpoints.save(6, state, run={})
        with pytest.raises(CheckpointError, match=r"config.checkpoint.metric is 'hmean'.*recall"):
            checkpoints.save(7, state, run={}, metrics={"recall": 1.0})
    # A new process knows it from the disk, and goes on in the same way. Equal is not better.
    with RunCheckpoints(tmp_path / "checkpoints", keep=2) as checkpoints:
        assert (checkpoints.steps, checkpoints.best_step) == ([2, 5, 6], 2)
        checkpoints.save(7, state, run={}, metrics={"hmean": 0.9})
        checkpoints.wait()
        assert checkpoints.steps == [2, 6, 7]
        # The best one's average, for a detector.
        for folder in ("", "checkpoints", "checkpoints/2"):
            assert_same(copies(load_variables(tmp_path / folder)), kept[2])
        assert_same(copies(load_variables(tmp_path / "checkpoints/6")), kept[6])


def test_what_an_interrupted_save_left_is_not_taken(tmp_path, mesh, compiled):
    make, _ = compiled
    with RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.save(3, make(), run={})
    (tmp_path / "9.orbax-checkpoint-tmp" / "variables").mkdir(parents=True)
    (tmp_path / "8" / "variables").mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("mine")
    with RunCheckpoints(tmp_path) as checkpoints:
        assert checkpoints.steps == [3]
        assert checkpoints.save(8, make(), run={})
    assert {path.name for path in tmp_path.iterdir()} == {"3", "8", "8.damaged", "notes.txt"}
    # The same happens to the new one.
    (tmp_path / "8" / "_CHECKPOINT_METADATA").unlink()
    with RunCheckpoints(tmp_path) as checkpoints:
        assert checkpoints.steps == [3]
    assert (tmp_path / "8.damaged1" / "variables").is_dir()


def test_a_checkpoint_of_something_else_is_refused(tmp_path, mesh, compiled):
    make, _ = compiled
    state = make()
    with RunCheckpoints(tmp_path) as checkpoints:
        with pytest.raises(CheckpointError, match="no checkpoint of step None"):
            checkpoints.restore(state)
        checkpoints.save(1, state, run={})
        wider = state.params | {"second": {"kernel": np.zeros((9, 1)), "bias": np.zeros(1)}}
        with pytest.raises(CheckpointError, match=r"params/second/kernel: float32\[8, 1\] in the"):
            checkpoints.restore(state.replace(params=wider))
        with pytest.raises(CheckpointError, match=r"set config.ema as before"):
            checkpoints.restore(state.replace(ema=None))
        sgd, _ = toy.make_optimizer(OptimizerOptions(name="sgd", momentum=0.9), steps=1)
        with pytest.raises(CheckpointError, match=r"opt_state/0/trace/first/bias: absent in"):
            checkpoints.restore(create_state(toy.variables(), sgd, mesh=mesh))
        with pytest.raises(CheckpointError, match=r"no checkpoint of step 5; has \[1\]"):
            checkpoints.restore(state, step=5)
    with pytest.raises(CheckpointError, match="keep is 0"):
        RunCheckpoints(tmp_path, keep=0)


def test_restore_order(tmp_path, mesh, compiled):
    make, _ = compiled
    other = tmp_path / "other"
    other.mkdir()
    with RunCheckpoints(tmp_path / "own") as checkpoints:
        assert choose_start(checkpoints) == ("random", None)
        assert choose_start(checkpoints, weights="craft_mlt_25k")[0] == "weights"
        assert choose_start(checkpoints, init_from=other, weights="x.pth") == ("run", other)
        with pytest.raises(CheckpointError, match=r"config.init_from: .*nowhere is not a folder"):
            choose_start(checkpoints, init_from=tmp_path / "nowhere")
        checkpoints.save(2, make(), run={})
        checkpoints.wait()
        found = choose_start(checkpoints, init_from=other, weights="x.pth")
        assert found == ("resume", tmp_path / "own" / "2")


def test_plain_variables_stay_what_they_were(tmp_path):
    variables = toy.variables()
    save_variables(tmp_path / "plain", variables)
    assert_same(copies(load_variables(tmp_path / "plain")), copies(variables))
    with pytest.raises(CheckpointError, match=r"not an Orbax checkpoint .*in it\)$"):
        load_variables(tmp_path)
    for name in ("detector.pth", "recognizer/weights.pth"):  # as in a folder of `ocrjax fit`
        (tmp_path / "weights" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "weights" / name).touch()
    with pytest.raises(
        CheckpointError, match=r"name one .*detector\.pth, .*recognizer/weights\.pth"
    ):
        load_variables(tmp_path)


def test_signals_set_a_flag_and_old_handlers_return(mesh):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    for number in (signal.SIGTERM, signal.SIGINT):
        with StopSignal(mesh) as stop:
            assert not stop.reached(1)
            signal.raise_signal(number)
            assert stop.reached(2)
            signal.raise_signal(signal.SIGTERM)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(process, processes, port, workdir, steps, *, devices, sleep=0.0):
    root = Path(__file__).parents[2]
    flags = f"--xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, toy.__file__]
        + [str(a) for a in (process, processes, port, workdir, steps, sleep)],
        env=os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*processes):
    try:
        outputs = [process.communicate(timeout=100) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *out) for process, out in zip(processes, outputs, strict=True)]


def wait_for(process, line):
    while (got := process.stdout.readline()) != line:
        assert got, process.stderr.read()


def test_two_processes_equal_one_and_stop_together(tmp_path, mesh, compiled):
    """Over gloo, two devices each; the second one alone gets SIGTERM."""
    port = free_port()
    both = [start(i, 2, port, tmp_path, 1000, devices=2, sleep=0.02) for i in (0, 1)]
    wait_for(both[1], "step 4\n")
    both[1].send_signal(signal.SIGTERM)
    results = finish(*both)
    assert [code for code, _, _ in results] == [0, 0], [err[-2000:] for _, _, err in results]
    with RunCheckpoints(tmp_path / "checkpoints") as checkpoints:
        last = checkpoints.steps[-1]
    assert 4 < last < 1000
    sums = (tmp_path / "checkpoints" / str(last) / "checksums.json").read_text()
    assert "process_0" in sums and "process_1" in sums  # written when both had written their parts
    make, step = compiled
    expected, _ = run(make(), step, mesh, range(1, last + 1))
    with np.load(tmp_path / "final.npz") as file:
        got = list(file.values())
    assert got[0] == last
    for a, b in zip(got, copies(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_terminated_and_killed_runs_lose_nothing(tmp_path, mesh, compiled):
    """SIGTERM saves the step it is at; SIGKILL falls back to the last checkpoint."""
    process = start(0, 1, free_port(), tmp_path, 1000, devices=4, sleep=0.02)
    wait_for(process, "step 4\n")
    process.send_signal(signal.SIGTERM)
    ((code, out, err),) = finish(process)
    assert code == 0, err
    with RunCheckpoints(tmp_path / "checkpoints") as checkpoints:
        terminated = checkpoints.steps[-1]
    done = [int(line.split()[1]) for line in out.splitlines()]
    # Without a line: `wait_for` may have read some ahead.
    assert terminated == max(done) + 1 if done else terminated > 4

    process = start(0, 1, free_port(), tmp_path, 1000, devices=4, sleep=0.02)
    wait_for(process, f"step {terminated + 5}\n")
    process.kill()
    finish(process)

    make, step = compiled
    last = terminated + 8
    resumed = toy.train(tmp_path, last, mesh, (make(), step))
    expected, _ = run(make(), step, mesh, range(1, last + 1))
    assert_same(copies(resumed), copies(expected))
    steps = [row["step"] for row in logged(tmp_path)]
    assert steps == sorted(set(steps))
    assert steps[-1] == last
