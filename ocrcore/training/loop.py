"""Training as such: a step made of a loss, where a run starts, and the loop over the steps.

What a network's trainer adds is its loss, its data, its weights' forms and its evaluation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ocrcore.files import write_text
from ocrcore.runtime.mesh import put_batch
from ocrcore.training.checkpoints import RunCheckpoints, Start, choose_start
from ocrcore.training.metrics import (
    Deferred,
    Entry,
    MetricsWriter,
    NonFiniteError,
    Progress,
    check_finite,
    mean,
)
from ocrcore.training.optimizers import Schedule, select
from ocrcore.training.options import OptimizerOptions
from ocrcore.training.signals import StopSignal
from ocrcore.training.state import (
    TrainState,
    accumulate_gradients,
    apply_gradients,
    compile_step,
    create_state,
)
from ocrcore.training.stopping import EarlyStopping, every

Tree = Any
Step = Callable[[TrainState, Tree], tuple[TrainState, Tree]]
LossOf = Callable[[Tree, Tree, Tree], tuple[jax.Array, tuple[Tree, Tree]]]
Log = Callable[[str], object]

# Steps that may be under way while the host goes on; more would only fill the memory with batches.
_AHEAD = 2


class NamedBatches(Protocol):
    """A source of batches that knows what it made them of."""

    def batch_names(self, step: int) -> Sequence[str]:
        """The samples of this host's rows of a batch."""


def make_step(
    loss_of: LossOf,
    optimizer: optax.GradientTransformation,
    *,
    mesh: Mesh,
    options: OptimizerOptions,
    ema_decay: float = 0.999,
) -> Step:
    """Compiles a step of training for a mesh, for each shape of batch as it comes.

    Args:
        loss_of: `(params, batch_stats, batch) -> (loss, (batch_stats, metrics))`, a mean over the
            batch's rows; metrics are (sum, count) pairs.
        optimizer: of `options`.
        mesh: of `ocrcore.runtime.mesh.make_mesh`.
        options: of the optimizer, for what is frozen and in how many parts a batch is taken.
        ema_decay: of the moving average, where the state has one.

    Returns:
        `(state, batch) -> (state, metrics)`; the state that goes in is used up. Metrics are those
        of the loss, and `grad_norm`.
    """

    def of_trained(params: Tree, stats: Tree, part: Tree) -> tuple[jax.Array, tuple[Tree, Tree]]:
        # The backward pass ends where nothing below is trained.
        frozen = select(params, options.freeze)
        params = jax.tree.map(lambda no, x: lax.stop_gradient(x) if no else x, frozen, params)
        return loss_of(params, stats, part)

    def step(state: TrainState, batch: Tree) -> tuple[TrainState, Tree]:
        def gradients(stats: Tree, part: Tree, index: jax.Array) -> tuple[Tree, Tree, Tree]:
            found, (stats, metrics) = jax.grad(of_trained, has_aux=True)(state.params, stats, part)
            return found, stats, metrics

        found, stats, metrics = accumulate_gradients(
            gradients, state.batch_stats, batch, count=options.accumulate
        )
        norm = jnp.sqrt(sum(jnp.vdot(x, x) for x in jax.tree.leaves(found)))
        metrics = {**metrics, "grad_norm": (norm, jnp.float32(1))}
        state = apply_gradients(
            state, found, optimizer=optimizer, batch_stats=stats, ema_decay=ema_decay
        )
        return state, metrics

    return compile_step(step, mesh)


def start_state(
    config: ConfigDict,
    *,
    fresh: Callable[[], Tree],
    load: Callable[[Start], Tree],
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    checkpoints: RunCheckpoints,
) -> tuple[TrainState, Start, dict[str, Any]]:
    """The state that a run begins with; what it is taken from is `choose_start`'s to say.

    Args:
        config: its `ema`, `init_from` and `init_weights`.
        fresh: makes random variables.
        load: makes variables of a start of the kind `run` or `weights`.
        optimizer: of the run.
        mesh: of `ocrcore.runtime.mesh.make_mesh`.
        checkpoints: of the run.

    Returns:
        The state, what it was taken from, and what the run keeps beside it, which is empty at the
        start.

    Raises:
        CheckpointError: a checkpoint does not fit, or `config.init_from` is no run.
    """
    start = choose_start(
        checkpoints, init_from=config.init_from or None, weights=config.init_weights or None
    )
    variables = load(start) if start.kind in ("run", "weights") else fresh()
    state = create_state(variables, optimizer, mesh=mesh, ema=config.ema > 0)
    if start.kind == "resume":
        state, run = checkpoints.restore(state)
        return state, start, run
    return state, start, {}


def run_steps(
    config: ConfigDict,
    state: TrainState,
    *,
    step_of: Step,
    batches: Iterator[Tree],
    source: NamedBatches,
    evaluate: Callable[[int, TrainState], Mapping[str, float]],
    run: dict[str, Any],
    stopper: EarlyStopping,
    schedule: Schedule,
    mesh: Mesh,
    checkpoints: RunCheckpoints,
    stop: StopSignal,
    writer: MetricsWriter,
    before: Callable[[TrainState], object] = lambda state: None,
    save_after: Callable[[int], bool] = lambda step: False,
    progress: Progress | None = None,
    measure_start: bool = False,
    shown: Sequence[str] = ("loss",),
    log: Log = print,
) -> TrainState | None:
    """Takes the steps that are left of a run: logs, evaluates, saves, and stops when asked to.

    Args:
        config: its `steps`, `batch_size`, `log_every`, `eval.every` and `checkpoint.every`.
        state: to begin with; used up. One that was saved when it was due for an evaluation, but not
            evaluated for want of time, is evaluated first.
        step_of: of `make_step`.
        batches: those from the state's step on, this host's rows.
        source: names the samples of a batch that is not finite.
        evaluate: `(step, state) -> scores`, the same on all hosts; `checkpoints.metric` is among
            them, and decides what is best and when to stop early.
        run: what checkpoints keep beside the state; `stopping` and `config` are added.
        stopper: counts evaluations without a better score.
        schedule: of the learning rate, for the log.
        mesh: of `ocrcore.runtime.mesh.make_mesh`.
        checkpoints: of the run.
        stop: entered.
        writer: of the metrics.
        before: gets the state before a batch is asked for, for batches that depend on it.
        save_after: whether a step is saved in any case: before work that takes long.
        progress: of this run, where other work is to be left out of its speed, too.
        measure_start: evaluate and save the state before the first step of the run, too, so that
            what it began with is a checkpoint among others.
        shown: metrics in the lines for people.
        log: called with each human-readable message.

    Returns:
        The state at the end, or None where a signal stopped the run.

    Raises:
        NonFiniteError: the loss is NaN or infinite; names the step, the batch and the last
            checkpoint.
    """
    first = int(state.step)
    deferred, entries = Deferred(), list[Entry]()
    progress = progress or progress_of(config, first=first, mesh=mesh)
    compiled = set[Any]()

    def finish(step: int, evaluating: bool) -> None:
        scores = None
        if evaluating:
            with progress.paused():
                scores = evaluate(step, state)
            better = stopper.update(step, scores[checkpoints.metric])
            writer.write(step, {f"eval/{name}": value for name, value in scores.items()})
            text = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
            log(f"step {step}: {text}{'  (best so far)' if better else ''}")
        run.update(stopping=stopper.state(), config=json.loads(as_json(config)))
        if scores is not None and step in checkpoints.steps:
            checkpoints.score(step, run=run, metrics=scores)
        else:
            checkpoints.save(step, state, run=run, metrics=scores)

    def evaluated_after(step: int) -> bool:
        return step >= config.steps or every(step, config.eval.every)

    if measure_start and not first and stopper.best is None:
        finish(0, True)
    elif first and evaluated_after(first) and not checkpoints.scored(first):
        finish(first, True)  # a request to stop has left no time for it
    # On CPU, programs that wait for other processes take the threads that others need to go on.
    one_by_one = jax.process_count() > 1 and jax.default_backend() == "cpu"
    for step in range(first + 1, config.steps + 1):
        if stopper.should_stop:
            break
        before(state)
        with progress.waiting():
            batch = next(batches)
        shapes = tuple(np.shape(leaf) for leaf in jax.tree.leaves(batch))
        with nullcontext() if shapes in compiled else progress.paused():
            state, metrics = step_of(state, put_batch(batch, mesh))
        compiled.add(shapes)
        if one_by_one:
            jax.block_until_ready(metrics)
        deferred.push(step, metrics)
        stopping = stop.reached(step)
        last = stopping or step == config.steps
        # A request to stop leaves little time: the next start makes up for the evaluation.
        evaluating = not stopping and evaluated_after(step)
        saving = last or evaluating or every(step, config.checkpoint.every) or save_after(step)
        new = deferred.flush() if saving else deferred.take(lag=_AHEAD)
        check_entries(new, source, checkpoints)
        lap = None
        for entry in new:
            entries.append(entry)
            if every(entry.step, config.log_every) or (entry.step == step and last):
                means, lap = mean(entries), lap or progress.lap(new[-1].step)
                rate = float(schedule(entry.step - 1))
                line = {name: means[name] for name in shown if name in means}
                log(progress.line(entry.step, line, rate=rate, lap=lap))
                writer.write(entry.step, {**means, "learning_rate": rate, **lap})
                entries = []
        if saving:
            finish(step, evaluating)
        if stopping:
            log(f"stopped after step {step}, which is saved; the same command goes on from it")
            return None
    return state


def progress_of(config: ConfigDict, *, first: int, mesh: Mesh) -> Progress:
    """The clock of a run that begins with a step."""
    return Progress(
        steps=config.steps, first=first, batch_size=config.batch_size, devices=mesh.size
    )


def check_entries(
    entries: Sequence[Entry], source: NamedBatches, checkpoints: RunCheckpoints
) -> None:
    """Stops the run where a metric is not finite; only then the batch's names are worked out.

    Raises:
        NonFiniteError: names the step, the batch and the last checkpoint.
    """
    steps = checkpoints.steps
    last = checkpoints.folder / str(steps[-1]) if steps else None
    try:
        check_finite(entries, last_checkpoint=last)
    except NonFiniteError as error:
        (entry,) = (entry for entry in entries if entry.step == error.step)
        names = tuple(source.batch_names(entry.step - 1))
        check_finite([entry._replace(names=names)], last_checkpoint=last)


def as_json(config: ConfigDict) -> str:
    """The experiment as it is, with what the command line changed."""
    text: str = config.to_json_best_effort(indent=1)
    return text + "\n"


def save_config(config: ConfigDict, workdir: Path, log: Log = print) -> None:
    """Writes `config.json`; says what is not as an earlier start of the run had it."""
    path = workdir / "config.json"
    if path.is_file():
        old, new = (_flat(json.loads(text)) for text in (path.read_text("utf-8"), as_json(config)))
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                log(f"config.{name} was {old.get(name)!r} before, now {new.get(name)!r}")
    write_text(path, as_json(config))


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    dot = "." * bool(prefix)
    return {k: v for name, sub in tree.items() for k, v in _flat(sub, prefix + dot + name).items()}
