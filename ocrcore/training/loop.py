"""The training loop: compiles a step from a loss, and runs the steps of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh

from ocrcore.progress import Progress
from ocrcore.runtime.mesh import put_batch
from ocrcore.training.checkpoints import RunCheckpoints
from ocrcore.training.damage import non_finite
from ocrcore.training.metrics import (
    Deferred,
    Entry,
    NonFiniteError,
    check_finite,
    mean,
    non_finite_error,
)
from ocrcore.training.optimizer_options import OptimizerOptions
from ocrcore.training.optimizers import select
from ocrcore.training.run import Run
from ocrcore.training.state import (
    TrainState,
    accumulate_gradients,
    apply_gradients,
    compile_step,
)

Tree = Any
Step = Callable[[TrainState, Tree], tuple[TrainState, Tree]]
LossOf = Callable[[Tree, Tree, Tree], tuple[jax.Array, tuple[Tree, Tree]]]
Evaluate = Callable[[Run], Mapping[str, float]]
Names = Callable[[int], Sequence[str]]

# Steps in flight while the host continues; more would only fill the memory with batches.
_AHEAD = 2


def every(step: int, interval: int | None) -> bool:
    """Return whether `step` is a multiple of `interval`; False for step 0 and interval 0."""
    return bool(interval and step > 0 and step % interval == 0)


def make_step(
    loss_of: LossOf,
    optimizer: optax.GradientTransformation,
    *,
    mesh: Mesh,
    options: OptimizerOptions,
    ema_decay: float = 0.999,
) -> Step:
    """Compile a train step for a mesh; it is compiled once for each batch shape.

    Args:
        loss_of: `(params, batch_stats, batch) -> (loss, (batch_stats, metrics))`; the loss is a
            mean over the batch's rows, metrics are (sum, count) pairs.
        optimizer: the optimizer made from `options`.
        mesh: from `ocrcore.runtime.mesh.make_mesh`.
        options: the optimizer options, for frozen parameters and gradient accumulation.
        ema_decay: decay of the moving average, if the state has one.

    Returns:
        `(state, batch) -> (state, metrics)`; the state is donated. Metrics are those of the loss
        and `grad_norm`.
    """

    def of_trained(params: Tree, stats: Tree, part: Tree) -> tuple[jax.Array, tuple[Tree, Tree]]:
        # Cuts off the backward pass below the lowest trained parameter.
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


def evaluate_start(run: Run, evaluate: Evaluate, *, measure: bool = False) -> None:
    """Evaluate and save the current state if that is due; call it before `run_steps`.

    A run that was asked to stop skips its due evaluation; this is made up for here.

    Args:
        run: the run, before the first step of this start.
        evaluate: as for `run_steps`.
        measure: also evaluate a new run before its first step, so that the start weights compete
            with later checkpoints.
    """
    if run.step == 0:
        due = measure and run.stopper.best is None
    else:
        due = _is_due(run) and not run.checkpoints.has_evaluation(run.step)
    if due:
        _evaluate_and_save(run, evaluate)
    run.progress.lap(run.step)  # excludes the time until here from the training speed


def run_steps(
    run: Run,
    step_of: Step,
    batches: Iterator[Tree],
    evaluate: Evaluate,
    *,
    names: Names,
    shown: Sequence[str] = ("loss",),
) -> None:
    """Run steps until the batches or the run end: logs, evaluates, saves, stops when asked to.

    Args:
        run: its `config` says when to log (`log_every`), evaluate (`eval.every`) and save
            (`checkpoint.every`).
        step_of: from `make_step`.
        batches: this host's rows of the batches from `run.step` on.
        evaluate: returns scores of `run.state`, including `run.checkpoints.metric`; the same on all
            hosts.
        names: returns the names of the samples in this host's rows of a batch, given its step,
            counted from 0.
        shown: metrics to show in the log lines.

    Raises:
        NonFiniteError: the loss, or the state after an update, is NaN or infinite; no checkpoint is
            made of it. Names the step, the batch and the last checkpoint.
    """
    config, deferred = run.config, Deferred()
    # On CPU, programs waiting for other processes block the threads that those need to go on.
    one_by_one = jax.process_count() > 1 and jax.default_backend() == "cpu"
    with Progress("training", unit="step", total=config.steps, bar=False) as alive:
        while run.unfinished:
            with run.progress.waiting():
                batch = next(batches, None)
            if batch is None:
                break
            shapes = tuple(np.shape(leaf) for leaf in jax.tree.leaves(batch))
            with nullcontext() if shapes in run.compiled else _compiling(run):
                run.state, metrics = step_of(run.state, put_batch(batch, run.mesh))
            run.compiled.add(shapes)
            run.step += 1
            if one_by_one:
                jax.block_until_ready(metrics)
            deferred.push(run.step, metrics)
            run.stopped = run.stop.reached(run.step) or run.step == run.pause
            last = run.stopped or run.step == config.steps
            # A request to stop leaves little time: `evaluate_start` makes up for the evaluation.
            evaluating = not run.stopped and _is_due(run)
            saving = last or evaluating or every(run.step, config.checkpoint.every)
            new = deferred.flush() if saving else deferred.take(lag=_AHEAD)
            _log_entries(run, new, names, shown, last=last)
            if saving:
                check_state(run, names)
            if new:
                alive.update(new[-1].step)
                if text := run.progress.estimate(new[-1].step):
                    more = "evaluations and pseudo labels" if run.memory.pseudo else "evaluations"
                    run.log(f"{text}, plus {more}")
            if evaluating:
                _evaluate_and_save(run, evaluate)
            elif saving:
                run.save()
    _log_entries(run, deferred.flush(), names, shown)
    check_state(run, names)  # the caller may save the state before the next call
    if run.stopped:
        run.log(f"stopped after step {run.step} (saved); the same command resumes the run")


@contextmanager
def _compiling(run: Run) -> Iterator[None]:
    """Wrap a step with a new batch shape, which compiles for seconds to minutes."""
    with run.progress.paused(), Progress("compiling the step"):
        yield


def _is_due(run: Run) -> bool:
    """Return whether an evaluation is due after the current step."""
    return run.step >= run.config.steps or every(run.step, run.config.eval.every)


def _evaluate_and_save(run: Run, evaluate: Evaluate) -> None:
    with run.progress.paused():
        scores = evaluate(run)
    score = scores[run.checkpoints.metric]
    better = run.stopper.update(run.step, score)
    if run.step == 0:
        run.memory.start_score = score
    run.writer.write(run.step, {f"eval/{name}": value for name, value in scores.items()})
    text = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
    best = "  (best so far)" if better and not run.stopper.few else ""
    run.log(f"step {run.step}: {text}{best}")
    run.save(scores)


def _log_entries(
    run: Run, new: Sequence[Entry], names: Names, shown: Sequence[str], *, last: bool = False
) -> None:
    """Check the metrics of steps, and log their means every `config.log_every` steps."""
    check_entries(new, names, run.checkpoints)
    lap = None
    for entry in new:
        run.entries.append(entry)
        if every(entry.step, run.config.log_every) or (last and entry.step == run.step):
            means, lap = mean(run.entries), lap or run.progress.lap(new[-1].step)
            rate = float(run.schedule(entry.step - 1))
            line = {name: means[name] for name in shown if name in means}
            run.log(run.progress.line(entry.step, line, rate=rate, lap=lap))
            run.writer.write(entry.step, {**means, "learning_rate": rate, **lap})
            run.entries.clear()


def check_entries(entries: Sequence[Entry], names: Names, checkpoints: RunCheckpoints) -> None:
    """Stop the run if a metric is not finite; names of the batch are only computed then.

    Raises:
        NonFiniteError: names the step, the batch and the last checkpoint.
    """
    last = checkpoints.last
    try:
        check_finite(entries, last_checkpoint=last)
    except NonFiniteError as error:
        (entry,) = (entry for entry in entries if entry.step == error.step)
        named = entry._replace(names=tuple(names(entry.step - 1)))
        check_finite([named], last_checkpoint=last)


def check_state(run: Run, names: Names) -> None:
    """Stop the run if its state is not finite: the loss would show it only one step later.

    Raises:
        NonFiniteError: names the step, the arrays, the batch and the last checkpoint.
    """
    if bad := non_finite(run.state):
        more = f" and {len(bad) - 3} more arrays" if len(bad) > 3 else ""
        raise non_finite_error(
            f"NaN or infinite after the update: {', '.join(bad[:3])}{more}",
            run.step,
            names(run.step - 1),
            last_checkpoint=run.checkpoints.last,
        )
