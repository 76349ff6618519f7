"""Sanity check of a run before training: labels, loader, train step, and overfitting a batch.

A network that cannot overfit a single batch will not learn anything: this reveals wrong labels, a
charset in another order or a learning rate that is far too high within half a minute.
"""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from crnnjax.charset import Charset
from crnnjax.config import check
from crnnjax.decoding import greedy
from crnnjax.drawing import draw_batches
from crnnjax.input_pipeline import make_batches
from crnnjax.losses import ctc_loss
from crnnjax.models import CRNN, time_steps
from crnnjax.report import describe_sets, open_measured
from crnnjax.training import begin, make_model, make_train_step
from ocrcore.data.mixing import SourceError
from ocrcore.data.prefetch import iterate
from ocrcore.data.readers.skipped_files import broken_pictures
from ocrcore.images import write_image
from ocrcore.progress import Progress, shown
from ocrcore.runtime.mesh import host_rows, make_mesh, put_batch
from ocrcore.training.checkpoints import initial_start
from ocrcore.training.optimizer_options import OptimizerOptions
from ocrcore.training.optimizers import make_optimizer
from ocrcore.training.run import RunMemory
from ocrcore.training.run_folder import RunFolder
from ocrcore.training.state import create_state

_BATCHES = 6  # batches to time the loader
_TIMED = 3  # steps to time the train step
_WORDS = 16  # words to overfit
_SHOWN = 5  # most broken crops to name


def check_run(
    config: ConfigDict,
    workdir: str | Path | None = None,
    *,
    seconds: float = 30.0,
    log: Callable[[str], object] = print,
) -> dict[str, Any]:
    """Report how much of the data is used, the speed of the run, and whether it overfits a batch.

    The network overfits sixteen words of the first batch from the start weights of a new run, with
    the run's optimizer at its highest learning rate, in training mode. If the start weights are
    random, frozen parts are trained as well, because random frozen parts are useless. Otherwise the
    accuracy of the start weights on the first training batch is reported first. Speeds are those of
    a run after `ocrcore.runtime.tuning.tune_process(one_arena=True)`, which the command calls.

    Args:
        config: an experiment, as in `configs/`.
        workdir: folder for the list of left-out data and a drawing of the first batches; None
            writes neither.
        seconds: time for overfitting, compilation not included.
        log: called with each human-readable message.

    Returns:
        `loader` and `step` in crops per second; `loss` before and after overfitting; `read`, the
        share of the words that are read correctly at the end; `steps`; `start`, if the start
        weights are not random, their loss and accuracy on the first batch.

    Raises:
        ValueError: (subclasses) an invalid config, data or weights.
    """
    check(config)
    if workdir is not None:
        RunFolder(Path(workdir)).check_place()
    mesh = make_mesh()
    rows = host_rows(config.batch_size, mesh)
    start = initial_start(init_from=config.init_from or None, weights=config.init_weights or None)
    known = start.kind != "random"
    constant = {"schedule": "constant", "warmup": 0, "final": 0.0, "gamma": 1.0, "decay_every": 0}
    section = {**config.optimizer, **constant}
    if not known:
        section["freeze"] = ()
    options = OptimizerOptions.from_config(section)
    optimizer, _ = make_optimizer(options, steps=config.steps)
    with closing(make_batches(config, seed=config.seed, rows=rows, workdir=workdir)) as source:
        source.options.check_reading(config.recognizer)
        log(source.describe())
        if any(unicodedata.bidirectional(c) in ("R", "AL") for c in source.charset.characters):
            log(
                "WARNING: the charset has letters that are written right to left. Labels are used "
                "as they are, in logical order (the first letter first). CTC reads columns from "
                "left to right, where the last letter comes first, and will not learn them: "
                "convert labels to visual order (get_display of the package python-bidi), and "
                "readings back (docs/recognizer_data.md)"
            )
        names = ("evaluation", "probe", "test")
        for name, sets in zip(names, open_measured(config, source.options), strict=True):
            log(f"{name}: {describe_sets(sets)}")
        if workdir is not None:
            path = Path(workdir) / "batches.png"
            write_image(path, draw_batches(source, range(4)))
            log(f"{path}: drawing of the first batches; look at it")
        _decode_all(source, float(config.data.max_dropped), log)
        loader = _loader_rate(source, config)
        batch = source[0]
        classes = source.charset.num_classes
        model = make_model(config.model, num_classes=classes, frozen=options.is_frozen)
        # If this is the same program as the run's own step, it is then in the compile cache.
        step = make_train_step(model, optimizer, mesh=mesh, options=options, ema_decay=config.ema)
        variables = begin(config, model, source.charset, start, RunMemory(), log)
        read = partial(_read, model, source.charset)
        begun = None
        if known:
            loss, texts, truth = read(variables, put_batch(batch, mesh), train=False)
            begun = (loss, _equal(texts, truth))
            log(
                f"start weights {start.source}: loss {loss:.3g} on the {len(truth)} crops of the "
                f"first batch, {begun[1]:.0%} read correctly, such as {texts[:3]} for {truth[:3]}"
            )
        state = create_state(variables, optimizer, mesh=mesh, ema=config.ema > 0)
        placed, times = put_batch(batch, mesh), []
        for _ in shown(range(1 + _TIMED), "compiling and timing the step", unit="step"):
            tick = time.perf_counter()
            state, metrics = step(state, placed)
            jax.block_until_ready(metrics)
            times.append(time.perf_counter() - tick)
        rate = config.batch_size / float(np.median(times[1:]))  # the first step compiles

        few = -(-min(_WORDS, config.batch_size) // mesh.size) * mesh.size
        batch = {name: array[:few] for name, array in batch.items()}
        placed, losses = put_batch(batch, mesh), list[float]()
        state = create_state(variables, optimizer, mesh=mesh, ema=config.ema > 0)
        tick = time.perf_counter()
        with Progress(f"overfitting {few} words", unit="step") as progress:
            while len(losses) < 2 or (time.perf_counter() - tick < seconds and losses[-1] > 0.01):
                state, metrics = step(state, placed)
                losses.append(float(metrics["loss"][0] / metrics["loss"][1]))
                progress.update(len(losses))
                if len(losses) == 1:
                    tick = time.perf_counter()

        _, texts, truth = read(state.variables, placed, train=True)
    right = _equal(texts, truth)
    height, width = batch["image"].shape[1:3]
    log(
        f"loader: {loader:.4g} crops/s with config.data.threads={config.data.threads} and "
        f"workers={config.data.workers}; step: {rate:.4g} crops/s at {height}x{width}: "
        + (
            "the loader keeps up"
            if loader >= rate
            else f"the train step will wait for data {1 - loader / rate:.0%} of the time"
        )
    )
    if right >= 0.9:
        verdict = "it learns"
    elif losses[-1] < 0.5 * min(losses[: max(2, len(losses) // 4)]):
        verdict = "it is learning, but needs more time (--seconds)"
    else:
        verdict = "it does not learn: check the labels and config.optimizer.learning_rate"
    log(
        f"overfitting {len(truth)} words for {len(losses)} steps: loss {losses[0]:.3g} to "
        f"{losses[-1]:.3g}, {right:.0%} read correctly in the end, such as {texts[:3]} for "
        f"{truth[:3]}: {verdict}"
    )
    return {
        "loader": loader,
        "step": rate,
        "loss": (losses[0], losses[-1]),
        "read": right,
        "steps": len(losses),
        "start": begun,
    }


def _read(
    model: CRNN, charset: Charset, variables: Any, batch: Any, *, train: bool
) -> tuple[float, list[str], list[str]]:
    """Mean loss of a batch, its readings and its labels."""

    def run(variables: Any, batch: Any) -> Any:
        images, widths = batch["image"], batch["width"]
        logits, _ = model.apply(variables, images, widths, train=train, mutable=["batch_stats"])
        steps = time_steps(widths, features=model.features)
        _, metrics = ctc_loss(logits, steps, batch["label"], batch["length"])
        found = greedy(logits, steps)
        return metrics["loss"], found.indices, found.counts, batch["label"], batch["length"]

    loss, *arrays = jax.device_get(jax.jit(run)(variables, batch))
    rows = [
        [charset.decode(row[:n]) for row, n in zip(classes, counts, strict=True)]
        for classes, counts in (arrays[:2], arrays[2:])
    ]
    return float(loss[0] / loss[1]), rows[0], rows[1]


def _equal(texts: list[str], truth: list[str]) -> float:
    return float(np.mean([one == two for one, two in zip(texts, truth, strict=True)]))


def _decode_all(source: Any, most: float, log: Callable[[str], object]) -> None:
    """Decode every crop that training may take, and name broken ones.

    Raises:
        SourceError: more crops are broken than training may drop.
    """
    for real in source.real_sets():
        numbers = real.filtered.kept.tolist()
        start = time.perf_counter()
        broken = broken_pictures(numbers, real.check, task=f"decoding the crops of {real.name}")
        first = "".join(f"\n  {error}" for _, error in broken[:_SHOWN])
        text = f"{len(broken):,} of {len(numbers):,} crops are broken images{first}"
        if len(broken) > most * len(numbers):
            raise SourceError(
                f"config.data.train.{real.name}: {text}\nmore than config.data.max_dropped, "
                f"{most:g}: repair them or remove their lines"
            )
        log(f"{real.name}: {text} (all were decoded in {time.perf_counter() - start:.1f} s)")


def _loader_rate(source: Any, config: ConfigDict) -> float:
    """Crops per second, after a first batch that starts threads and opens files."""
    batches = iterate(source, 0, threads=config.data.threads, workers=config.data.workers, ahead=0)
    with closing(batches):
        next(batches)
        begin = time.perf_counter()
        made = shown(range(_BATCHES), "measuring the loader", unit="batch")
        rows = sum(len(next(batches)["image"]) for _ in made)
        return rows / (time.perf_counter() - begin)
