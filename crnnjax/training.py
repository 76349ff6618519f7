"""Trains the recognizer: `train_and_evaluate`, and the parts that it is made of.

What any network needs for training is in `ocrcore.runtime`; here is what is the recognizer's own:
its step, what it starts from and how it is evaluated. What is left in the run's folder at the end
is in `crnnjax.report`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from ml_collections import ConfigDict

from crnnjax.charset import Charset, named
from crnnjax.charset_transfer import map_classes
from crnnjax.evaluate import read_set
from crnnjax.input_pipeline import InputOptions, make_batches
from crnnjax.losses import ctc_loss
from crnnjax.metrics import SCORES, TextScores, pooled
from crnnjax.models import CRNN, count_parameters, init_variables, options_of, time_steps
from crnnjax.recognizer import Recognizer, read_weights
from crnnjax.report import Sets, describe_sets, make_recognizer, open_measured, write_results
from ocrcore.data.prefetch import iterate
from ocrcore.runtime.cache import enable_compile_cache
from ocrcore.runtime.memory import reuse_freed_memory
from ocrcore.runtime.mesh import describe_devices, host_rows, is_main, make_mesh
from ocrcore.training import loop as training
from ocrcore.training.checkpoints import RunCheckpoints, Start
from ocrcore.training.loop import Log, Step, make_step, run_steps, save_config
from ocrcore.training.metrics import MetricsWriter
from ocrcore.training.optimizers import make_optimizer
from ocrcore.training.options import OptimizerOptions
from ocrcore.training.signals import StopSignal
from ocrcore.training.state import TrainState
from ocrcore.training.stopping import EarlyStopping

Tree = Any

_RISING = SCORES[:3]  # the better the higher, as checkpoints want it


class TrainError(ValueError):
    """A config that cannot be trained; the message names the field."""


def make_model(section: Mapping[str, Any], *, num_classes: int, freeze: tuple[str, ...]) -> CRNN:
    """The network of `config.model`.

    Args:
        section: fields of `CRNN`, and `freeze_norm`, whether BatchNorm keeps its running statistics
            everywhere.
        num_classes: of the charset.
        freeze: patterns of parameters that are not trained.
    """
    options = dict(section)
    known = ("features", "channels", "hidden", "sequence", "transform", "dtype", "freeze_norm")
    for name in options:
        if name not in known:
            raise TrainError(f"config.model.{name} is not known, expected {', '.join(known)}")
    if options.pop("freeze_norm", False):
        freeze = (*freeze, "*")
    options["dtype"] = jnp.dtype(options.get("dtype", "float32"))
    return CRNN(num_classes, **options, freeze=freeze)


def make_train_step(
    model: CRNN,
    optimizer: optax.GradientTransformation,
    *,
    mesh: Mesh,
    options: OptimizerOptions,
    ema_decay: float = 0.999,
) -> Step:
    """Compiles a step of training for a mesh, one program for each width of batch as it comes.

    Args:
        model: the network; BatchNorm stands still where its `freeze` says.
        optimizer: of `options`.
        mesh: of `ocrcore.runtime.mesh.make_mesh`.
        options: of the optimizer, for what is frozen and in how many parts a batch is taken.
        ema_decay: of the moving average, where the state has one.

    Returns:
        `(state, batch) -> (state, metrics)`; the state that goes in is used up. The batch holds
        `image` `(B, H, W, 1)` uint8; `width` `(B,)` int32, how many of its columns are read;
        `label` `(B, L)` int32 and `length` `(B,)` int32. Metrics are (sum, count) pairs: `loss`,
        `infeasible` (`crnnjax.losses.ctc_loss`) and `grad_norm`.
    """

    def loss_of(params: Tree, stats: Tree, part: Tree) -> tuple[jax.Array, tuple[Tree, Tree]]:
        variables = {"params": params, "batch_stats": stats}
        widths = part["width"]
        logits, new = model.apply(
            variables, part["image"], widths, train=True, mutable=["batch_stats"]
        )
        steps = time_steps(widths, features=model.features)
        value, metrics = ctc_loss(logits, steps, part["label"], part["length"])
        return value, (new.get("batch_stats", stats), metrics)

    return make_step(loss_of, optimizer, mesh=mesh, options=options, ema_decay=ema_decay)


def start_state(
    config: ConfigDict,
    *,
    model: CRNN,
    charset: Charset,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    checkpoints: RunCheckpoints,
    log: Log = print,
) -> tuple[TrainState, Start, dict[str, Any]]:
    """The state that a run begins with; what it is taken from is `choose_start`'s to say.

    Args:
        config: its `seed`, `ema`, `init_from`, `init_weights` and `init_charset`.
        model: the network.
        charset: of the run.
        optimizer: of the run.
        mesh: of `ocrcore.runtime.mesh.make_mesh`.
        checkpoints: of the run.
        log: called with each human-readable message.

    Returns:
        The state, what it was taken from, and what the run keeps beside it: `charset`, its digest,
        and what the checkpoint holds.

    Raises:
        TrainError: the weights are of another network, or of a charset that is not known; the run
            began with another charset.
        CheckpointError: a checkpoint does not fit, or `config.init_from` is no run.
    """
    folder = checkpoints.folder.parent

    def same_charset(digest: str) -> None:
        if digest != charset.digest:
            raise TrainError(
                f"config.data.charset is {charset.name!r} ({charset.digest}), but {folder} was "
                f"trained with another one ({digest}): go back to it, or begin a run with "
                f"--workdir=NEW and --config.init_from={folder}"
            )

    # A charset of another size makes another network, which a checkpoint refuses for its shapes.
    if checkpoints.steps and (file := folder / "charset.json").is_file():
        same_charset(Charset.load(file).digest)

    def load(start: Start) -> Tree:
        variables, old = _load_start(config, start, charset, log)
        _check_network(variables, model, start)
        if old.characters == charset.characters and old.num_classes == model.num_classes:
            return variables
        mapped = map_classes(variables, old=old, new=charset, seed=config.seed)
        log(f"charset {old.name} becomes {charset.name}: {mapped.describe()}")
        return mapped.variables

    state, start, run = training.start_state(
        config,
        fresh=lambda: init_variables(model, seed=config.seed),
        load=load,
        optimizer=optimizer,
        mesh=mesh,
        checkpoints=checkpoints,
    )
    same_charset(run.setdefault("charset", charset.digest))
    return state, start, run


def _load_start(
    config: ConfigDict, start: Start, charset: Charset, log: Log
) -> tuple[Tree, Charset]:
    """The variables of a run or of a weights file, and the charset that they were trained with."""
    _, variables, known = read_weights(start.source or "")
    classes = options_of(variables)["num_classes"]
    if config.init_charset:
        old = named(config.init_charset)
    elif known is not None:
        old = known
    elif classes == charset.num_classes:
        old = charset
        log(
            f"{start.source} has no charset.json beside it: taken for {charset.name!r}, which has "
            f"as many classes ({classes}); config.init_charset names another one"
        )
    else:
        raise TrainError(
            f"{start.source} has {classes} classes and no charset.json beside it: name the charset "
            "that it was trained with in config.init_charset"
        )
    if classes != old.num_classes:
        raise TrainError(
            f"{start.source} has {classes} classes, but its charset {old.name!r} makes "
            f"{old.num_classes}: config.init_charset must name the one that it was trained with"
        )
    return variables, old


def _check_network(variables: Tree, model: CRNN, start: Start) -> None:
    there = options_of(variables)
    for name in ("features", "channels", "sequence", "hidden", "transform"):
        if name == "hidden" and model.sequence == "none":
            continue
        if there[name] != getattr(model, name):
            raise TrainError(
                f"config.model.{name} is {getattr(model, name)!r}, but {start.source} has "
                f"{there[name]!r}"
            )


def train_and_evaluate(config: ConfigDict, workdir: str | Path) -> dict[str, float] | None:
    """Trains, evaluates on the way, and leaves the results in a folder.

    A run goes on where its last checkpoint is; on several hosts all call this with the same folder.

    Args:
        config: an experiment, as those of `configs/`.
        workdir: takes `config.json`, `charset.json`, `checkpoints/`, `metrics.jsonl` and, at the
            end, what `crnnjax.report.write_results` writes.

    Returns:
        The scores of the best weights (on the main process, else nothing); None where the run was
        stopped by a signal.

    Raises:
        NonFiniteError: the loss is NaN or infinite; names the step, the batch and the last
            checkpoint.
        ValueError: (its subclasses) something of the config, the data or the weights cannot be.
    """
    enable_compile_cache()
    if jax.default_backend() == "cpu":
        reuse_freed_memory(one_arena=True)
    workdir, log = Path(workdir), partial(print, flush=True) if is_main() else lambda *_: None
    mesh = make_mesh()
    rows = host_rows(config.batch_size, mesh)
    options = OptimizerOptions.from_config(config.optimizer)
    optimizer, schedule = make_optimizer(options, steps=config.steps)
    if config.eval.metric not in _RISING:
        raise TrainError(
            f"config.eval.metric is {config.eval.metric!r}, expected one of {', '.join(_RISING)}"
        )
    inputs = InputOptions.from_config(config)
    inputs.check_reading(config.recognizer)
    sets, probe, test = open_measured(config, inputs) if is_main() else ({}, {}, {})
    stopper = EarlyStopping(config.eval.patience)
    with (
        RunCheckpoints(
            workdir / "checkpoints", keep=config.checkpoint.keep, metric=config.eval.metric
        ) as checkpoints,
        closing(make_batches(config, seed=config.seed, rows=rows, workdir=workdir)) as source,
        StopSignal(mesh) as stop,
        ExitStack() as stack,
    ):
        charset = source.charset
        model = make_model(config.model, num_classes=charset.num_classes, freeze=options.freeze)
        state, start, run = start_state(
            config,
            model=model,
            charset=charset,
            optimizer=optimizer,
            mesh=mesh,
            checkpoints=checkpoints,
            log=log,
        )
        first = int(state.step)
        stopper.restore(run.get("stopping", stopper.state()))
        if is_main():
            save_config(config, workdir, log)
            charset.save(workdir / "charset.json")
        frozen = f", frozen: {' '.join(options.freeze)}" if options.freeze else ""
        log(f"{config.name}: {describe_devices(mesh)}; results in {workdir}")
        log(
            f"network: {model.features} {model.channels}, {model.sequence} {model.hidden}, "
            f"{count_parameters(state.variables):,} parameters, {config.model.dtype}{frozen}"
        )
        log(f"start: {start.kind} {start.source or ''}, {first} of {config.steps} steps done")
        if first >= config.steps or stopper.should_stop:
            log("the run has ended, so that nothing is trained; another --workdir begins anew")
        log(source.describe())
        log(f"evaluation: {describe_sets(sets)}; probe: {describe_sets(probe)}")
        reader = make_recognizer(config, jax.device_get(state.eval_variables), charset)

        def evaluate(step: int, state: TrainState) -> dict[str, float]:
            scores = evaluate_state(state, reader, sets, probe, probing=bool(config.eval.probe))
            if "probe" in scores:
                scores["forgotten"] = run.setdefault("probe", scores["probe"]) - scores["probe"]
            return scores

        writer = MetricsWriter(workdir, restored_step=first, tensorboard=config.tensorboard)
        stack.callback(writer.close)
        batches = stack.enter_context(
            closing(
                iterate(source, first, threads=config.data.threads, workers=config.data.workers)
            )
        )
        finished = run_steps(
            config,
            state,
            step_of=make_train_step(
                model, optimizer, mesh=mesh, options=options, ema_decay=config.ema
            ),
            batches=batches,
            source=source,
            evaluate=evaluate,
            run=run,
            stopper=stopper,
            schedule=schedule,
            mesh=mesh,
            checkpoints=checkpoints,
            stop=stop,
            writer=writer,
            # What is forgotten is measured from what was known at the start.
            measure_start=start.kind in ("run", "weights"),
            log=log,
        )
        if finished is None:
            return None
        log(source.log.summary())
    results: dict[str, float] = {}
    if is_main():
        results = write_results(config, workdir, charset=charset, sets=test, log=log)
    if jax.process_count() > 1:  # a host that left early would end the run of the others
        multihost_utils.sync_global_devices("crnnjax results")
    return results


def evaluate_state(
    state: TrainState, reader: Recognizer, sets: Sets, probe: Sets, *, probing: bool
) -> dict[str, float]:
    """Scores the moving average (or, without one, the network) on labeled crops.

    Args:
        state: of the run.
        reader: of the same network, whose programs and options are used.
        sets: the crops; only the main process needs them.
        probe: crops that only tell how much is forgotten, likewise.
        probing: whether there are such, on all processes.

    Returns:
        The `crnnjax.metrics.SCORES` of all words together, and `probe`, the accuracy on the probe:
        on several hosts computed by one and the same on all.
    """
    names = (*SCORES, "probe") if probing else SCORES
    scores = np.zeros(len(names))
    if is_main():
        current = reader.with_variables(jax.device_get(state.eval_variables))
        found = list(_together(current, sets).intervals().values())
        if probing:
            found.append(_together(current, probe).accuracy())
        scores = np.array([one.value for one in found])
    if jax.process_count() > 1:
        scores = np.asarray(multihost_utils.broadcast_one_to_all(scores))
    return dict(zip(names, scores.tolist(), strict=True))


def _together(reader: Recognizer, sets: Sets) -> TextScores:
    return pooled(read_set(reader, crops, name=name).scores for name, crops in sets.items())
