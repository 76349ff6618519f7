from __future__ import annotations

import builtins
import csv
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ocrcore.progress import describe_seconds, format_seconds
from ocrcore.training.metrics import (
    Deferred,
    Entry,
    MetricsError,
    MetricsWriter,
    NonFiniteError,
    Progress,
    check_finite,
    mean,
)


def rows(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    with (folder / "metrics.csv").open(newline="") as file:
        return [json.loads(line) for line in lines], list(csv.reader(file))


class OnDevice:
    """Stands for an array whose computation may not have ended: says when it is fetched."""

    def __init__(self, value, fetched):
        self.value, self.fetched = value, fetched

    def __array__(self, dtype=None, copy=None):
        self.fetched.append(self.value)
        return np.asarray(self.value, dtype)


def test_metrics_are_fetched_a_step_late():
    fetched: list[float] = []
    deferred = Deferred()
    for step in (1, 2, 3):
        deferred.push(step, {"loss": (OnDevice(float(step), fetched), 1.0)})
    assert fetched == []
    assert deferred.take() == [
        Entry(1, {"loss": (1.0, 1.0)}),
        Entry(2, {"loss": (2.0, 1.0)}),
    ]
    assert fetched == [1.0, 2.0]
    assert deferred.take() == []
    assert [entry.step for entry in deferred.flush()] == [3]
    assert deferred.flush() == []


def test_metrics_of_a_compiled_step():
    deferred = Deferred()
    step = jax.jit(lambda x: {"loss": (jnp.sum(x), jnp.float32(x.size))})
    for number in range(3):
        deferred.push(number, step(np.full(4, number, np.float32)))
    assert mean(deferred.flush()) == {"loss": 1.0}


def test_means_are_sums_over_counts():
    entries = [
        Entry(1, {"loss": (10.0, 1.0), "words": (0.0, 0.0)}, ()),
        Entry(2, {"loss": (2.0, 3.0), "words": (0.0, 0.0)}, ()),
    ]
    assert mean(entries) == {"loss": 3.0}
    assert mean([]) == {}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_first_step_that_is_not_finite_is_named(bad):
    good = Entry(6, {"loss": (1.0, 2.0), "l2": (1.0, 2.0)}, ("a.jpg",))
    check_finite([good], last_checkpoint=None)
    entries = [
        good,
        Entry(7, {"loss": (bad, 2.0), "l2": (1.0, 2.0)}, ("b.jpg", "c.jpg")),
        Entry(8, {"loss": (bad, 2.0), "l2": (bad, 2.0)}, ("d.jpg",)),
    ]
    message = (
        rf"step 7: loss {bad}. The batch: b.jpg, c.jpg. Last good checkpoint: run/checkpoints/5"
    )
    with pytest.raises(NonFiniteError, match=message) as caught:
        check_finite(entries, last_checkpoint="run/checkpoints/5")
    assert (caught.value.step, caught.value.names) == (7, ("b.jpg", "c.jpg"))
    assert isinstance(caught.value, FloatingPointError)


def test_columns_may_grow(tmp_path):
    writer = MetricsWriter(tmp_path)
    writer.write(1, {"train/loss": 0.5})
    writer.write(2, {"train/loss": 0.25, "eval/hmean": 0.75})
    writer.write(3, {"train/loss": math.nan})
    writer.close()
    objects, table = rows(tmp_path)
    assert objects == [
        {"step": 1, "train/loss": 0.5},
        {"step": 2, "train/loss": 0.25, "eval/hmean": 0.75},
        {"step": 3, "train/loss": None},
    ]
    assert table == [
        ["step", "train/loss", "eval/hmean"],
        ["1", "0.5", ""],
        ["2", "0.25", "0.75"],
        ["3", "", ""],
    ]


def test_a_resumed_run_cuts_what_came_after_its_checkpoint(tmp_path):
    writer = MetricsWriter(tmp_path)
    for step in range(1, 6):
        writer.write(step, {"loss": float(step)} | ({"late": 1.0} if step > 3 else {}))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')  # killed while writing
    writer = MetricsWriter(tmp_path, restored_step=3)
    assert rows(tmp_path)[1][0] == ["step", "loss"]
    writer.write(4, {"loss": -4.0})
    objects, table = rows(tmp_path)
    assert [(row["step"], row["loss"]) for row in objects] == [(1, 1), (2, 2), (3, 3), (4, -4)]
    assert [row[0] for row in table] == ["step", "1", "2", "3", "4"]
    MetricsWriter(tmp_path)
    assert rows(tmp_path) == ([], [["step"]])


@pytest.mark.parametrize("line", ["{]", "3", '{"loss": 1}', '{"step": "x"}'])
def test_a_line_that_is_no_metrics_is_named(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n' + line + "\n")
    with pytest.raises(MetricsError, match=r"metrics.jsonl:2: .* is not a line of metrics"):
        MetricsWriter(tmp_path, restored_step=5)


def test_tensorboard_is_an_extra(tmp_path, monkeypatch):
    real = builtins.__import__

    def absent(name, *args, **kwargs):
        if name == "tensorboardX":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(MetricsError, match=r"pip install 'ocrjax\[tensorboard\]'"):
        MetricsWriter(tmp_path, tensorboard=True)


def test_tensorboard_gets_numbers_and_pictures(tmp_path):
    pytest.importorskip("tensorboardX")
    writer = MetricsWriter(tmp_path, tensorboard=True)
    writer.write(1, {"train/loss": 0.5})
    writer.write_images(1, {"overlay": np.zeros((4, 5, 3), np.uint8)})
    writer.close()
    (file,) = (tmp_path / "tensorboard").iterdir()
    content = file.read_bytes()
    assert b"train/loss" in content
    assert b"overlay" in content
    plain = MetricsWriter(tmp_path / "plain")
    plain.write_images(1, {"overlay": np.zeros((4, 5, 3), np.uint8)})
    plain.close()
    assert not (tmp_path / "plain" / "tensorboard").exists()


def test_progress_by_a_made_up_clock():
    now = [100.0]
    progress = Progress(steps=50, first=10, batch_size=8, devices=4, clock=lambda: now[0])
    for _ in range(10):
        with progress.waiting():
            now[0] += 0.25
        now[0] += 0.75
    with progress.paused():
        now[0] += 1000
    with progress.waiting(), progress.paused():  # labels are made where a batch is waited for
        now[0] += 1000
    lap = progress.lap(20)
    assert lap == {
        "images_per_s": 8.0,
        "images_per_s_per_device": 2.0,
        "data_wait": 0.25,
        "seconds_left": 30.0,
    }
    line = progress.line(20, {"loss": 0.12345, "region": 1e-5}, rate=1e-4, lap=lap)
    assert line == (
        "step 20/50  loss 0.1235 region 1e-05  lr 0.0001  8 images/s (2 a device)  "
        "data 25%  left 0:30"
    )
    now[0] += 5
    assert progress.lap(30)["images_per_s"] == 16.0
    assert math.isnan(progress.lap(30)["seconds_left"])
    assert [format_seconds(s) for s in (0, 61, 3723.4, math.nan)] == [
        "0:00",
        "1:01",
        "1:02:03",
        "?",
    ]


def test_one_estimate_after_the_first_steps():
    now = [100.0]
    progress = Progress(steps=5000, batch_size=8, devices=1, clock=lambda: now[0])
    said = []
    for step in range(1, 8):
        with progress.paused():
            now[0] += 1000  # a program is compiled, pages are evaluated
        now[0] += 2.3
        said.append(progress.estimate(step))
    text = "4,996 steps at 2.3 s a step: about 3.2 hours"
    assert said == [None, None, None, text, None, None, None]
    assert [describe_seconds(x) for x in (3, 119, 121, 7100, 7300, 1e6)] == [
        "about 3 seconds",
        "about 119 seconds",
        "about 2.0 minutes",
        "about 118 minutes",
        "about 2.0 hours",
        "about 278 hours",
    ]


def test_deferred_metrics_wait_for_as_many_steps_as_asked() -> None:
    deferred = Deferred()
    taken = []
    for step in range(6):
        deferred.push(step, {"loss": (float(step), 1.0)})
        taken += [entry.step for entry in deferred.take(lag=4)]
    assert taken == [0, 1]
    assert [entry.step for entry in deferred.flush()] == [2, 3, 4, 5]
