"""Training of the recognizer: `train` and its parts.

The parts that all networks share are in `ocrcore.training`. This module has the recognizer's own:
the train step, the initialization and the evaluation. `crnnjax.report` writes the final results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from crnnjax.charset import Charset, named
from crnnjax.charset_transfer import map_classes
from crnnjax.config import ModelOptions, check
from crnnjax.evaluate import read_set, score_share
from crnnjax.input_pipeline import InputOptions, make_batches
from crnnjax.losses import ctc_loss
from crnnjax.metrics import TextScores, pooled
from crnnjax.models import CRNN, count_parameters, init_variables, options_of, time_steps
from crnnjax.recognizer import Recognizer, read_weights
from crnnjax.report import Sets, describe_sets, make_recognizer, open_measured, write_results
from ocrcore.data.prefetch import iterate
from ocrcore.layers import Frozen, always, never
from ocrcore.options import from_section
from ocrcore.runtime.mesh import SAME_DATA, host_rows, is_main, make_mesh, meet, require_same
from ocrcore.text import fold
from ocrcore.training.averaging import average_run, keep_start
from ocrcore.training.checkpoints import Start, initial_start
from ocrcore.training.loop import Step, evaluate_start, make_step, run_steps
from ocrcore.training.optimizer_options import OptimizerOptions
from ocrcore.training.optimizers import make_optimizer
from ocrcore.training.run import Log, Run, RunMemory, make_log, open_run
from ocrcore.training.run_folder import RunFolder
from ocrcore.training.run_options import AverageOptions
from ocrcore.training.state import TrainState

Tree = Any


class TrainError(ValueError):
    """Invalid training config; the message names the field."""


def make_model(section: Mapping[str, Any], *, num_classes: int, frozen: Frozen = never) -> CRNN:
    """Return the network of `config.model`.

    Args:
        section: fields of `CRNN`, and `freeze_norm`: whether all BatchNorm keeps its running
            statistics.
        num_classes: number of classes of the charset.
        frozen: tells which parameters are not trained.

    Raises:
        OptionsError: a field is unknown or invalid.
    """
    options = asdict(from_section(ModelOptions, section, "config.model"))
    if options.pop("freeze_norm"):
        frozen = always
    options["dtype"] = jnp.dtype(options["dtype"])
    return CRNN(num_classes, **options, frozen=frozen)


def make_train_step(
    model: CRNN,
    optimizer: optax.GradientTransformation,
    *,
    mesh: Mesh,
    options: OptimizerOptions,
    ema_decay: float = 0.999,
) -> Step:
    """Compile a train step for a mesh, one program for each batch width as it occurs.

    Args:
        model: the network; its frozen BatchNorm keeps its statistics.
        optimizer: the optimizer of `options`.
        mesh: a mesh of `ocrcore.runtime.mesh.make_mesh`.
        options: optimizer options: frozen parameters and gradient accumulation.
        ema_decay: decay of the EMA, if the state has one.

    Returns:
        `(state, batch) -> (state, metrics)`; the state is donated. The batch holds `image`
        `(B, H, W, 1)` uint8; `width` `(B,)` int32, the number of columns to read; `label`
        `(B, L)` int32 and `length` `(B,)` int32. Metrics are (sum, count) pairs: `loss`,
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


def _check_metric(metric: str, characters: Sequence[str]) -> None:
    """Reject a metric by which every reading is right, so that no step would beat the first."""
    if metric == "alnum_accuracy" and not any(map(fold, characters)):
        raise TrainError(
            "config.eval.metric is 'alnum_accuracy', which compares only 0-9 and a-z, but the "
            "charset has none of these: set it to 'accuracy' or 'one_minus_ned'"
        )


def begin(
    config: ConfigDict,
    model: CRNN,
    charset: Charset,
    start: Start,
    memory: RunMemory,
    log: Log = print,
) -> Tree:
    """Return the initial variables; note the digest of the charset in `memory`.

    Raises:
        TrainError: the weights are for another network, or their charset is not known; or the run
            was started with another charset.
    """
    if start.kind == "resume" and memory.charset != charset.digest:
        # Check here: a charset of another size changes shapes, which the checkpoint would refuse.
        folder = RunFolder.of(start.source or "").path
        raise TrainError(
            f"config.data.charset is {charset.name!r} ({charset.digest}), but {folder} was "
            f"trained with another one ({memory.charset}): use that charset, or start a new run "
            f"with --workdir=NEW and --config.init_from={folder}"
        )
    memory.charset = charset.digest
    if start.kind in ("resume", "random"):
        return init_variables(model, seed=config.seed)
    variables, old = _load_start(config, start, charset, log)
    _check_network(variables, model, start)
    if old.characters == charset.characters and old.num_classes == model.num_classes:
        return variables
    mapped = map_classes(variables, old=old, new=charset, seed=config.seed)
    log(f"charset {old.name} becomes {charset.name}: {mapped.describe()}")
    return mapped.variables


def _load_start(
    config: ConfigDict, start: Start, charset: Charset, log: Log
) -> tuple[Tree, Charset]:
    """The variables of a run or a weights file, and their charset."""
    _, variables, known = read_weights(start.source or "")
    classes = options_of(variables)["num_classes"]
    if config.init_charset:
        old = named(config.init_charset)
    elif known is not None:
        old = known
    elif classes == charset.num_classes:
        old = charset
        log(
            f"{start.source} has no charset.json next to it: assuming {charset.name!r}, which has "
            f"the same number of classes ({classes}); config.init_charset names another one"
        )
    else:
        raise TrainError(
            f"{start.source} has {classes} classes and no charset.json next to it: name the "
            "charset that it was trained with in config.init_charset"
        )
    if classes != old.num_classes:
        raise TrainError(
            f"{start.source} has {classes} classes, but its charset {old.name!r} makes "
            f"{old.num_classes}: config.init_charset must name the one that it was trained with"
        )
    return variables, old


def _check_network(variables: Tree, model: CRNN, start: Start) -> None:
    there = options_of(variables)
    for name in ("features", "channels", "sequence", "hidden", "transform", "batch_norm"):
        if name == "hidden" and model.sequence == "none":
            continue
        if there[name] != getattr(model, name):
            raise TrainError(
                f"config.model.{name} is {getattr(model, name)!r}, but {start.source} has "
                f"{there[name]!r}"
            )


def train(
    config: ConfigDict,
    workdir: str | Path,
    *,
    sources: Mapping[str, Sequence[Any]] | None = None,
    pause: int | None = None,
) -> dict[str, float] | None:
    """Train with evaluations, and write the results to the run directory.

    A run resumes from its last checkpoint. On several hosts, all call this with the same folder.
    This function does not change settings of the process. Call
    `ocrcore.runtime.tuning.tune_process(one_arena=True)` before it, as the command does, to keep
    compiled programs on disk and to run faster on CPUs.

    Args:
        config: an experiment, as in `configs/`.
        workdir: the run directory: `config.json`, `charset.json`, `checkpoints/`, `metrics.jsonl`
            and, at the end, the files of `crnnjax.report.write_results`; with `config.average` also
            `average.json` and `average/`.
        sources: the samples of each data set of kind "python", by name: see `make_batches`.
        pause: step at which the run stops, as if by a signal; a later call resumes it.

    Returns:
        The scores of the best weights (empty on other processes than the main one); None if the run
        was stopped by a signal or paused.

    Raises:
        NonFiniteError: the loss is NaN or infinite; the message names the step, the batch and the
            last checkpoint.
        ValueError: (subclasses) an invalid config, data or weights.
    """
    check(config)
    RunFolder(Path(workdir)).check_place(trains=True)
    mesh, log = make_mesh(), make_log()
    rows = host_rows(config.batch_size, mesh)
    options = OptimizerOptions.from_config(config.optimizer)
    optimizer, schedule = make_optimizer(options, steps=config.steps)
    metric, shares = config.eval.metric, _shares(config)
    inputs = InputOptions.from_config(config)
    inputs.check_reading(config.recognizer)
    _check_metric(metric, inputs.rules.charset.characters)
    sets, probe, test = open_measured(config, inputs)
    require_same(
        {
            field: {name: f"{len(crops):,} crops" for name, crops in some.items()}
            for field, some in (("config.eval.sets", sets), ("config.eval.probe", probe))
        },
        remedy=SAME_DATA,
    )
    words = sum(map(len, sets.values()))
    charset = inputs.rules.charset
    model = make_model(config.model, num_classes=charset.num_classes, frozen=options.is_frozen)
    begins = partial(begin, config, model, charset, log=log)
    with (
        closing(
            make_batches(config, seed=config.seed, rows=rows, workdir=workdir, sources=sources)
        ) as source,
        open_run(
            config,
            workdir,
            begins,
            optimizer=optimizer,
            schedule=schedule,
            mesh=mesh,
            metric=metric,
            log=log,
            pause=pause,
        ) as run,
    ):
        run.stopper.words = words
        if is_main():
            charset.save(run.folder.charset)
            if shares:
                keep_start(run, partial(_start_variables, config, model, charset, run))
        frozen = f", frozen: {' '.join(options.freeze)}" if options.freeze else ""
        run.announce(
            f"network: {model.features} {model.channels}, {model.sequence} {model.hidden}, "
            f"{count_parameters(run.state.variables):,} parameters, {config.model.dtype}{frozen}",
            source.describe(),
            f"evaluation: {describe_sets(sets)}; probe: {describe_sets(probe)}",
        )
        run.note_data(source.places())
        reader = make_recognizer(config, jax.device_get(run.state.eval_variables), charset)

        def evaluate(run: Run) -> dict[str, float]:
            scores = evaluate_state(run.state, reader, sets, probe)
            if "probe" in scores:
                if run.memory.probe is None:
                    run.memory.probe = scores["probe"]
                scores["forgotten"] = run.memory.probe - scores["probe"]
            return scores

        step_of = make_train_step(
            model, optimizer, mesh=mesh, options=options, ema_decay=config.ema
        )
        # Forgetting is measured relative to the start weights.
        evaluate_start(run, evaluate, measure=run.start.kind in ("run", "weights"))
        threads, workers = config.data.threads, config.data.workers
        with closing(iterate(source, run.step, threads=threads, workers=workers)) as batches:
            run_steps(run, step_of, batches, evaluate, names=source.batch_names)
        if run.stopped:
            return None
        log(source.log.summary())
        run.conclude(describe_sets(sets), averages=bool(shares))
        if shares and is_main():
            alnum = metric == "alnum_accuracy"
            average_run(
                run,
                shares,
                lambda found: _together(reader.with_variables(found), sets).right(alnum=alnum),
                metric="alnum_accuracy" if alnum else "accuracy",
                measured_on=describe_sets(sets),
                probe=(lambda found: _together(reader.with_variables(found), probe).right())
                if probe
                else None,
            )
    results: dict[str, float] = {}
    if is_main():
        results = write_results(config, workdir, charset=charset, sets=test, log=log)
    meet("crnnjax results")  # a host that exits early would end the run on the others
    return results


def _shares(config: ConfigDict) -> tuple[float, ...]:
    """The shares of averages with the start weights; empty for none."""
    shares = from_section(AverageOptions, config.average, "config.average").shares
    if shares and not (config.init_from or config.init_weights):
        raise TrainError(
            f"config.average.shares is {shares}, but the run starts from random weights: set "
            "config.init_weights or config.init_from, or leave shares empty"
        )
    return shares


def _start_variables(config: ConfigDict, model: CRNN, charset: Charset, run: Run) -> Tree:
    """The start weights of the run; read again if it was resumed."""
    if run.step == 0:
        return jax.device_get(run.state.variables)
    start = initial_start(init_from=config.init_from or None, weights=config.init_weights or None)
    return begin(config, model, charset, start, RunMemory(charset=charset.digest), run.log)


def evaluate_state(
    state: TrainState, reader: Recognizer, sets: Sets, probe: Sets
) -> dict[str, float]:
    """Evaluate the EMA (or, without one, the network) on labeled crops.

    Args:
        state: the state of the run.
        reader: a recognizer with the same network, whose programs and options are used.
        sets: the crops.
        probe: crops that only measure forgetting; may be empty.

    Returns:
        The `crnnjax.metrics.SCORES` of all words together, and `probe`, the accuracy on the probe,
        if there is one: the same on all hosts, each of which reads its share.
    """
    current = reader.with_variables(jax.device_get(state.eval_variables))
    scores = _shared(current, sets)
    found = {name: one.value for name, one in scores.intervals().items()}
    return found | ({"probe": _shared(current, probe).accuracy().value} if probe else {})


def _shared(reader: Recognizer, sets: Sets) -> TextScores:
    """Return the scores of all sets together; each process reads its share."""
    return pooled(score_share(reader, crops, name=name) for name, crops in sets.items())


def _together(reader: Recognizer, sets: Sets) -> TextScores:
    return pooled(read_set(reader, crops, name=name).scores for name, crops in sets.items())
