"""Damaged checkpoints of both networks: noticed, named, and the newest whole one is taken."""

from __future__ import annotations

import os
import random
import shutil

import jax
import numpy as np
import pytest
import tiny_detector
import tiny_recognizer
from trees import assert_same, copies

import craftjax.models
import craftjax.training
import crnnjax.models
import crnnjax.training
from ocrcore.files import write_text
from ocrcore.runtime.mesh import make_mesh
from ocrcore.training.checkpoints import RunCheckpoints, load_variables, save_variables
from ocrcore.training.checksums import NAME, has_checksums
from ocrcore.training.damage import CheckpointError, find_fault, set_aside_damaged
from ocrcore.training.optimizer_options import OptimizerOptions
from ocrcore.training.optimizers import make_optimizer
from ocrcore.training.state import create_state

SCORES = {10: 0.5, 20: 0.9, 30: 0.7}


def detector():
    config = tiny_detector.get_config()
    model = craftjax.training.make_model(config.model)
    return config, craftjax.models.init_variables(model)


def recognizer():
    config = tiny_recognizer.get_config()
    model = crnnjax.training.make_model(config.model, num_classes=37)
    return config, crnnjax.models.init_variables(model)


@pytest.fixture(scope="module", params=[detector, recognizer])
def run(request, tmp_path_factory):
    """Three checkpoints of a network, the second one being the best, and its state."""
    config, variables = request.param()
    options = OptimizerOptions.from_config(config.optimizer)
    optimizer, _ = make_optimizer(options, steps=9)
    state = create_state(variables, optimizer, mesh=make_mesh(jax.devices()[:1]))
    folder = tmp_path_factory.mktemp(request.param.__name__) / "checkpoints"
    with RunCheckpoints(folder) as checkpoints:
        for step, score in SCORES.items():
            now = state.replace(step=state.step + step)
            checkpoints.save(step, now, run={"at": step}, metrics={"hmean": score})
    return folder, state


def copy_of(run, tmp_path):
    """Hard links: what is damaged is written to a file of its own."""
    folder = tmp_path / "checkpoints"
    shutil.rmtree(tmp_path, ignore_errors=True)
    shutil.copytree(run[0], folder, copy_function=os.link)
    return folder


def damage(path, how, chance):
    """Flips 16 bytes, cuts the file off, deletes it, or lets it grow."""
    data = bytearray(path.read_bytes())
    path.unlink()
    if how == "flip":
        start = chance.randrange(max(len(data) - 16, 1))
        data[start : start + 16] = bytes(255 - byte for byte in data[start : start + 16])
    elif how == "cut":
        del data[chance.randrange(len(data)) :]
    elif how == "grow":
        data += b"\0"
    if how != "delete":
        path.write_bytes(data)


def files_of(step):
    """All that a checkpoint consists of but Orbax's notes that it is finished, largest first."""
    found = [path for path in step.rglob("*") if path.is_file()]
    found = [path for path in found if path.name != "commit_success.txt" and path.name != NAME]
    return sorted(found, key=lambda path: -path.stat().st_size)


def test_thirty_damaged_checkpoints(run, tmp_path):
    chance = random.Random(0)
    names = [path.relative_to(run[0] / "30") for path in files_of(run[0] / "30")]
    cases = [(name, how) for name in names for how in ("flip", "cut", "delete", "grow")]
    # Each of the large files with the weights, and some of the others.
    chosen = [(name, how) for name, how in cases[:24] if how != "grow"]
    chosen += chance.sample([case for case in cases if case not in chosen], 18)
    assert len(chosen) >= 30
    folder = copy_of(run, tmp_path / "case")
    for number, (name, how) in enumerate(chosen):
        whole = (folder / "30" / name).read_bytes()
        damage(folder / "30" / name, how, chance)
        said = []
        set_aside_damaged(folder, keep=3, log=said.append)
        assert {path.name for path in folder.iterdir()} == {"10", "20", "30.damaged"}, (name, how)
        (line,) = said
        assert f"{folder / '30'} is damaged: {name} " in line, (name, how)
        assert line.endswith("renamed to 30.damaged; the run continues from step 20")
        if number % 10 == 0:
            with RunCheckpoints(folder) as checkpoints:
                assert (checkpoints.steps, checkpoints.best_step) == ([10, 20], 20)
                assert checkpoints.best_score == 0.9
                assert checkpoints.memory(20) == {"at": 20}
        (folder / "30.damaged").rename(folder / "30")
        (folder / "30" / name).write_bytes(whole)


def test_a_damaged_checkpoint_is_replaced_and_goes_in_time(run, tmp_path):
    folder, state = copy_of(run, tmp_path / "run"), run[1]
    damage(files_of(folder / "30")[0], "flip", random.Random(1))
    with RunCheckpoints(folder, keep=2, log=lambda line: None) as checkpoints:
        restored, kept = checkpoints.restore(state)
        assert kept == {"at": 20} and int(restored.step) == 20
        assert_same(restored.params, state.params)
        for step in (30, 40):
            assert checkpoints.save(step, state, run={"at": step})
    assert sorted(path.name for path in folder.iterdir()) == ["20", "30", "30.damaged", "40"]
    with RunCheckpoints(folder, keep=2) as checkpoints:
        checkpoints.save(50, state, run={"at": 50})
    with RunCheckpoints(folder, keep=2) as checkpoints:
        assert checkpoints.steps == [20, 40, 50]
    assert sorted(path.name for path in folder.iterdir()) == ["20", "40", "50"]


def test_what_an_interrupted_deletion_left_is_removed(run, tmp_path, capsys):
    folder = copy_of(run, tmp_path / "run")
    for name in ("_CHECKPOINT_METADATA", "variables"):
        left = folder / "10" / name
        shutil.rmtree(left) if left.is_dir() else left.unlink()
        with RunCheckpoints(folder, keep=2) as checkpoints:
            assert checkpoints.steps == [20, 30]
        assert {path.name for path in folder.iterdir()} == {"20", "30"}
        shutil.copytree(run[0] / "10", folder / "10")
    assert capsys.readouterr().out == ""


def test_no_whole_checkpoint_is_an_error_and_nothing_is_touched(run, tmp_path):
    folder = copy_of(run, tmp_path / "run")
    for step in SCORES:
        damage(files_of(folder / str(step))[0], "cut", random.Random(step))
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"are damaged: 10: .* bytes, but .*; 20: "):
            RunCheckpoints(folder)
        with pytest.raises(CheckpointError, match="all checkpoints are damaged"):
            load_variables(folder.parent)
    assert {path.name for path in folder.iterdir()} == {"10", "20", "30"}


def test_weights_are_taken_from_whole_checkpoints_only(run, tmp_path, capsys):
    for item, how in (("ema", "flip"), ("optimizer", "cut"), ("metrics", "flip")):
        folder = copy_of(run, tmp_path / "run")
        path = next(path for path in files_of(folder / "20") if item in path.parts)
        damage(path, how, random.Random(2))
        assert_same(load_variables(folder.parent), run[1].eval_variables)
        name = path.relative_to(folder / "20")
        said = capsys.readouterr().err
        assert said.startswith(f"{folder / '20'} is damaged: {name} ")
        assert said.endswith("; step 30 is used instead\n")
        with pytest.raises(CheckpointError, match=f"20 is damaged: {name} .* Use another"):
            load_variables(folder / "20")


def test_the_best_checkpoint_without_its_metadata(run, tmp_path, capsys):
    folder = copy_of(run, tmp_path / "run")
    (folder / "20" / "_CHECKPOINT_METADATA").unlink()
    load_variables(folder)
    assert "20 is damaged: _CHECKPOINT_METADATA is missing; step 30" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of Orbax
def test_checkpoints_of_earlier_versions_are_read_instead(run, tmp_path):
    """They have no checksums."""
    chance = random.Random(3)
    folder = copy_of(run, tmp_path / "run")
    for step in SCORES:
        (folder / str(step) / NAME).unlink()
        assert find_fault(folder / str(step)) is None
    damage(folder / "30" / "variables" / "manifest.ocdbt", "cut", chance)
    (folder / "20" / "optimizer" / "_METADATA").unlink()
    said = []
    with RunCheckpoints(folder, log=said.append) as checkpoints:
        assert checkpoints.steps == [10]
        restored, _ = checkpoints.restore(run[1])
    assert_same(copies(restored.params), copies(run[1].params))
    assert "20 is damaged: optimizer cannot be read (" in said[0]
    assert "30 is damaged: variables cannot be read (" in said[1]


def test_not_a_number_is_no_good_checkpoint(run, tmp_path):
    params = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), run[1].params)
    with RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.save(1, run[1].replace(params=params), run={})
    (tmp_path / "1" / NAME).unlink()
    assert "variables contains NaN or infinite values, in params/" in find_fault(tmp_path / "1")


def test_a_late_evaluation_changes_the_checksums(run, tmp_path):
    with RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.save(1, run[1], run={"at": 1})
        assert checkpoints.best_score is None
        checkpoints.add_evaluation(1, run={"at": 2}, metrics={"hmean": 0.5, "kept": 1.0})
        assert checkpoints.best_score == 0.5
        assert has_checksums(tmp_path / "1") and find_fault(tmp_path / "1") is None
    before = {name: (tmp_path / "1" / name).read_bytes() for name in ("run/metadata", NAME)}
    damage(tmp_path / "1" / "run" / "metadata", "grow", random.Random(0))
    assert find_fault(tmp_path / "1").startswith("run/metadata has 10 bytes, but 9 were written")
    assert before["run/metadata"] == b'{"at": 2}'


@pytest.mark.parametrize("calls", range(4))
def test_killed_while_an_evaluation_is_noted(run, tmp_path, monkeypatch, calls):
    """Whatever is written last, the checkpoint is whole."""
    left = [calls]

    def write(path, text):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        write_text(path, text)

    with RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.save(1, run[1], run={"at": 1})
        checkpoints.wait()
        for module in ("checkpoints", "checksums"):
            monkeypatch.setattr(f"ocrcore.training.{module}.write_text", write)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.add_evaluation(1, run={"at": 2}, metrics={"hmean": 0.5})
        monkeypatch.undo()
    with RunCheckpoints(tmp_path) as checkpoints:
        assert checkpoints.steps == [1]
        assert checkpoints.has_evaluation(1) == (calls == 3)


def test_plain_variables(run, tmp_path):
    save_variables(tmp_path / "plain", run[1].variables)
    assert_same(load_variables(tmp_path / "plain"), run[1].variables)
    damage(files_of(tmp_path / "plain")[0], "flip", random.Random(4))
    with pytest.raises(CheckpointError, match=r"plain is damaged: .* was altered: its checksum"):
        load_variables(tmp_path / "plain")
