"""Averaging with the start weights: which share is kept, and what a run leaves of it."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from trees import assert_same

from ocrcore.evaluation.statistics import paired_wilson
from ocrcore.options import OptionsError
from ocrcore.runtime.mesh import make_mesh
from ocrcore.training.averaging import average_run, choose_share, describe, keep_start
from ocrcore.training.checkpoints import load_variables
from ocrcore.training.optimizer_options import OptimizerOptions
from ocrcore.training.optimizers import make_optimizer
from ocrcore.training.run import open_run
from ocrcore.training.run_options import AverageOptions
from ocrcore.weights.averaging import average_variables, load_flat, save_flat

START = {
    "params": {
        "a": {"kernel": np.array([0.1, 0.7, -3e8], np.float32)},
        "b": np.ones(2, np.float32),
    },
    "batch_stats": {"mean": np.zeros(2, np.float32)},
}


def words(right, count=400):
    return np.arange(count) < right


def test_paired_interval():
    before = words(40, 100)
    same = paired_wilson(before, before)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    # Of 20 words that changed 15 became right.
    after = before.copy()
    after[:5], after[50:65] = False, True
    gain = paired_wilson(before, after)
    assert gain.value == pytest.approx(0.1)
    assert gain.low == pytest.approx(0.2 * (2 * 0.5313 - 1), abs=1e-4)  # Wilson's of 15 of 20
    assert gain.high == pytest.approx(0.2 * (2 * 0.8881 - 1), abs=1e-4)
    back = paired_wilson(after, before)
    assert (back.value, back.low) == pytest.approx((-gain.value, -gain.high))
    # A few words that all became right are no proof.
    assert paired_wilson(words(0, 3), words(3, 3)).low < 0
    with pytest.raises(ValueError, match="3 words before and 2 after"):
        paired_wilson(words(0, 3), words(0, 2))


def test_the_best_share_is_kept_only_if_it_is_better_by_more_than_chance():
    chosen, tried = choose_share({0.0: words(300), 0.5: words(330), 1.0: words(320)})
    assert (chosen.share, chosen.score) == (0.5, 0.825)
    assert [one.share for one in tried] == [0, 0.5, 1]
    assert choose_share({0.0: words(300), 0.5: words(330), 1.0: words(330)})[0].share == 0.5
    # As many won as in the first case, and nearly as many lost.
    other = words(330)
    other[:28] = False
    kept, tried = choose_share({0.0: words(300), 0.5: other, 1.0: words(290)})
    assert kept.share == 0 and tried[1].score > tried[0].score
    line = describe(kept, tried, step=9, metric="accuracy", measured_on="400 crops of mine")
    assert line.startswith("average: the start weights are kept (accuracy 0.7500): no share of the")
    assert "The best, 0.5, has 0.7550, difference +0.0050 (-0." in line
    for worse in ({0.0: words(300), 1.0: words(250)}, {0.0: words(1, 1), 1.0: words(1, 1)}):
        assert choose_share(worse)[0].share == 0


def test_averages_of_trees(tmp_path):
    trained = {
        "params": {
            "a": {"kernel": np.array([0.3, 9, 1], np.float32)},
            "b": np.zeros(2, np.float32),
        },
        "batch_stats": {"mean": np.full(2, 4, np.float32)},
    }
    assert_same(average_variables(START, trained, 0.0), START)
    assert_same(average_variables(START, trained, 1.0), trained)
    found = average_variables(START, trained, 0.25)
    np.testing.assert_array_equal(found["batch_stats"]["mean"], np.float32([1, 1]))
    assert found["params"]["b"].dtype == np.float32
    save_flat(tmp_path / "tree.safetensors", {**START, "none": {}})
    assert_same(load_flat(tmp_path / "tree.safetensors"), START)


def test_shares_that_cannot_be():
    assert AverageOptions(shares=(0.25, 1.0)).shares
    for shares in ((0.0, 0.5), (0.5, 0.5), (0.5, 1.5), (float("nan"),)):
        with pytest.raises(OptionsError, match=r"^shares is .*, expected rising shares"):
            AverageOptions(shares=shares)


def test_of_a_run(tmp_path):
    """Killed while it averages, a run does it again; going on, it forgets what it kept."""
    said = []
    config = ConfigDict(
        {"steps": 2, "batch_size": 4, "ema": 0.9, "init_from": "", "init_weights": ""}
        | {"tensorboard": False, "name": "toy", "log_every": 1}
        | {"eval": {"every": 1, "patience": 0}, "checkpoint": {"every": 1, "keep": 1}}
    )
    optimizer, schedule = make_optimizer(OptimizerOptions(), steps=2)

    def opened():
        return open_run(
            config,
            tmp_path,
            lambda start, memory: START,
            optimizer=optimizer,
            schedule=schedule,
            mesh=make_mesh(),
            metric="accuracy",
            log=said.append,
        )

    def finish(run, read, probe=None):
        average_run(run, (0.5, 1.0), read, metric="accuracy", measured_on="400 crops", probe=probe)

    def read(variables):
        # The nearer to an average of .5 and .5, the better.
        return words(int(400 - 200 * abs(variables["params"]["b"][0] - 2)))

    with opened() as run:
        keep_start(run, lambda: jax.device_get(run.state.variables))
        for step in (1, 2):
            ema = {"params": {**START["params"], "b": np.full(2, step + 1.0, np.float32)}}
            run.state = run.state.replace(step=np.int32(step), ema={**START, **ema})
            run.step = step
            run.stopper.update(step, 0.7 + step / 10)
            run.save({"accuracy": 0.7 + step / 10})
        run.checkpoints.wait()
        trained = load_variables(tmp_path)
        assert trained["params"]["b"][0] == 3
        with pytest.raises(KeyboardInterrupt):
            finish(run, lambda variables: (_ for _ in ()).throw(KeyboardInterrupt))
        assert_same(load_variables(tmp_path), trained)
    for _ in range(2):  # both times the same
        with opened() as run:
            assert not run.unfinished
            keep_start(run, lambda: pytest.fail("it was kept"))
            finish(run, read, probe=lambda v: words(400 if v["params"]["b"][0] == 1 else 390))
        assert_same(load_variables(tmp_path), average_variables(START, trained, 0.5))
        report = json.loads((tmp_path / "average.json").read_text(encoding="utf-8"))
        assert (report["share"], report["step"], report["words"]) == (0.5, 2, 400)
        assert [one["share"] for one in report["tried"]] == [0, 0.5, 1]
        assert [one["score"] for one in report["tried"]] == [0.5, 1, 0.5]
        assert report["probe"]["kept"] == 0.975 and report["probe"]["gain"]["low"] < -0.02
        assert said[-2].startswith("average: kept 0.5 of the weights of step 2 and 0.5 of the")
        assert said[-1].startswith("probe for forgetting: start weights 1.0000, kept 0.9750")
    with opened() as run:
        finish(run, lambda variables: words(300))
    assert_same(load_variables(tmp_path), START)
    assert said[-1].startswith("average: the start weights are kept (accuracy 0.7500): no share")
    config.steps = 3
    with opened() as run:
        keep_start(run, lambda: pytest.fail("it was kept"))
        assert_same(load_variables(tmp_path), trained)
        assert not (tmp_path / "average.json").exists()
