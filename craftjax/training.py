"""Trains the detector: `train_and_evaluate`, and the parts that it is made of.

What any network needs for training is in `ocrcore.runtime`; here is what is the detector's own: its
step, what it starts from and how it is evaluated. What is left in the run's folder at the end is in
`craftjax.report`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
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

from craftjax import losses
from craftjax.audit import audit_sources
from craftjax.convert import from_state_dict, is_vgg16_bn, with_vgg16_bn
from craftjax.detector import Detector
from craftjax.evaluate import read_truth, sweep
from craftjax.input_pipeline import BatchSource, make_batches
from craftjax.models import CRAFT, count_parameters, init_variables, width_of
from craftjax.options import DetectorOptions
from craftjax.report import describe_truth, draw_pages, write_results
from craftjax.weak.supervision import SupervisionOptions, WeakSupervision
from ocrcore.data.batches import Batch
from ocrcore.data.prefetch import iterate
from ocrcore.options import from_section
from ocrcore.pages import Page, Sample
from ocrcore.runtime.cache import enable_compile_cache
from ocrcore.runtime.mesh import describe_devices, host_rows, is_main, make_mesh
from ocrcore.training import loop as training
from ocrcore.training.checkpoints import RunCheckpoints, Start, load_variables
from ocrcore.training.loop import Log, Step, make_step, progress_of, run_steps, save_config
from ocrcore.training.metrics import MetricsWriter
from ocrcore.training.optimizers import OptimizerOptions, make_optimizer
from ocrcore.training.signals import StopSignal
from ocrcore.training.state import TrainState
from ocrcore.training.stopping import EarlyStopping
from ocrcore.weights.named import find_weights
from ocrcore.weights.pth import load_weights

Tree = Any
Loss = Callable[..., tuple[jax.Array, losses.Metrics]]

# With fewer images than this in a batch, its statistics are worse than those that a trained network
# brings along.
_FEW_IMAGES = 8
_SHOWN = ("loss", "positive_loss", "negative_loss")  # in the log's lines


class TrainError(ValueError):
    """A config that cannot be trained; the message names the field."""


@dataclass(frozen=True, slots=True)
class LossOptions:
    """The section `config.loss`: which of `craftjax.losses`, and its options."""

    version: int
    neg_rto: float
    n_min_neg: int
    count_masked: bool = True


def make_loss(section: Mapping[str, Any]) -> Loss:
    """The loss of `config.loss`: `version` 2 or 3, and the options of `craftjax.losses`.

    Raises:
        TrainError: another version.
        OptionsError: a field that is missing, unknown or has a bad value.
    """
    options = asdict(from_section(LossOptions, section, "config.loss"))
    version = options.pop("version")
    known = {2: losses.loss_v2, 3: losses.loss_v3}
    if version not in known:
        raise TrainError(f"config.loss.version is {version!r}, expected 2 or 3")
    return partial(known[version], **options)


def make_model(section: Mapping[str, Any]) -> CRAFT:
    """The network of `config.model`; `freeze_norm` and `norm_per_device` are the step's to heed.

    Raises:
        TrainError: a field that is not known.
    """
    known = ("width", "dtype", "remat", "freeze_norm", "norm_per_device")
    for name in section:
        if name not in known:
            raise TrainError(f"config.model.{name} is not known, expected {', '.join(known)}")
    return CRAFT(section["width"], jnp.dtype(section["dtype"]), section["remat"])


def make_train_step(
    model: CRAFT,
    optimizer: optax.GradientTransformation,
    *,
    mesh: Mesh,
    loss: Loss,
    options: OptimizerOptions,
    ema_decay: float = 0.999,
    freeze_norm: bool = False,
    norm_groups: int = 1,
) -> Step:
    """Compiles a step of training for a mesh; the state that goes in is used up.

    Args:
        model: the network.
        optimizer: of `options`.
        mesh: of `ocrcore.runtime.mesh.make_mesh`.
        loss: of `make_loss`.
        options: of the optimizer, for what is frozen and in how many parts a batch is taken. The
            running statistics of frozen layers go on following the data, as in the original.
        ema_decay: of the moving average, where the state has one.
        freeze_norm: normalize by the running statistics and keep them.
        norm_groups: in how many groups of consecutive rows BatchNorm takes its statistics: 1 for
            those of the whole batch, the number of devices for those of each device. The step
            raises `TrainError` where the rows of a part do not divide.

    Returns:
        `(state, batch) -> (state, metrics)`. The batch holds `image` `(B, H, W, 3)` uint8 and
        `region`, `affinity` and `confidence` `(B, H // 2, W // 2)` float32; metrics are (sum,
        count) pairs: those of the loss, `loss` and `grad_norm`.
    """

    def forward(params: Tree, stats: Tree, images: jax.Array) -> tuple[jax.Array, Tree]:
        variables = {"params": params, "batch_stats": stats}
        if freeze_norm:
            return model.apply(variables, images, train=False)[0], stats

        def apply(images: jax.Array) -> tuple[jax.Array, Tree]:
            (scores, _), new = model.apply(variables, images, train=True, mutable=["batch_stats"])
            return scores, new["batch_stats"]

        if norm_groups == 1:
            return apply(images)
        if images.shape[0] % norm_groups:
            raise TrainError(
                f"config.model.norm_per_device needs rows of each of {norm_groups} devices in each "
                f"part of a batch, but config.optimizer.accumulate of {options.accumulate} makes "
                f"parts of {images.shape[0]} rows; it must divide config.batch_size / {norm_groups}"
            )
        groups = images.reshape(norm_groups, -1, *images.shape[1:])
        scores, new = jax.vmap(apply)(groups)
        return scores.reshape(-1, *scores.shape[2:]), jax.tree.map(lambda x: jnp.mean(x, 0), new)

    def loss_of(params: Tree, stats: Tree, part: Tree) -> tuple[jax.Array, tuple[Tree, Tree]]:
        scores, stats = forward(params, stats, part["image"])
        value, metrics = loss(
            part["region"], part["affinity"], scores[..., 0], scores[..., 1], part["confidence"]
        )
        rows = part["image"].shape[0]
        return value, (stats, {"loss": (value * rows, jnp.float32(rows)), **metrics})

    return make_step(loss_of, optimizer, mesh=mesh, options=options, ema_decay=ema_decay)


def start_state(
    config: ConfigDict,
    *,
    model: CRAFT,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    checkpoints: RunCheckpoints,
) -> tuple[TrainState, Start, dict[str, Any]]:
    """The state that a run begins with; what it is taken from is `choose_start`'s to say.

    Weights may also be torchvision's VGG16-BN of ImageNet, which gives the encoder; the rest is
    random.

    Args:
        config: its `seed`, `ema`, `init_from` and `init_weights`.
        model: the network.
        optimizer: of the run.
        mesh: of `ocrcore.runtime.mesh.make_mesh`.
        checkpoints: of the run.

    Returns:
        The state, what it was taken from, and what the run keeps beside it: `fine_tuning`, whether
        all of the network had been trained before, and what the checkpoint holds.

    Raises:
        TrainError: the weights are of a network of another width.
        CheckpointError: a checkpoint does not fit, or `config.init_from` is no run.
    """
    trained = False

    def load(start: Start) -> Tree:
        nonlocal trained
        variables, trained = start_weights(config, model=model, start=start)
        return variables

    state, start, run = training.start_state(
        config,
        fresh=lambda: init_variables(model, seed=config.seed),
        load=load,
        optimizer=optimizer,
        mesh=mesh,
        checkpoints=checkpoints,
    )
    return state, start, run or {"fine_tuning": trained}


def start_weights(
    config: ConfigDict, *, model: CRAFT, start: Start | None = None
) -> tuple[Tree, bool]:
    """The variables that a run begins with, before its own checkpoints.

    Args:
        config: its `seed`, `init_from` and `init_weights`.
        model: the network.
        start: of the kind `run` or `weights`; None takes what the config says.

    Returns:
        The variables, and whether all of the network had been trained before.

    Raises:
        TrainError: the weights are of a network of another width.
    """
    if start is None:
        source = config.init_from or config.init_weights
        start = Start("run" if config.init_from else "weights" if source else "random", source)
    variables, trained = init_variables(model, seed=config.seed), start.kind != "random"
    if start.kind == "run" and start.source:
        variables = load_variables(start.source)
    elif start.kind == "weights" and start.source:
        path = find_weights(start.source)
        state_dict = {} if path.is_dir() else load_weights(path)
        if is_vgg16_bn(state_dict):
            variables, trained = with_vgg16_bn(variables, state_dict), False
        else:
            variables = from_state_dict(state_dict) if state_dict else load_variables(path)
    if (width := width_of(variables)) != model.width:
        raise TrainError(
            f"config.model.width is {config.model.width}, but {start.source} is of width {width:g}"
        )
    return variables, trained


def freezes_norm(config: ConfigDict, *, fine_tuning: bool, devices: int) -> bool:
    """Whether BatchNorm keeps its running statistics.

    As `config.model.freeze_norm` says; where that is None, when a trained network sees fewer than 8
    images at a time.
    """
    if config.model.freeze_norm is not None:
        return bool(config.model.freeze_norm)
    parts = config.optimizer.get("accumulate", 1) * (devices if config.model.norm_per_device else 1)
    return fine_tuning and config.batch_size // parts < _FEW_IMAGES


def train_and_evaluate(config: ConfigDict, workdir: str | Path) -> dict[str, float] | None:
    """Trains, evaluates on the way, and leaves the results in a folder.

    A run goes on where its last checkpoint is; on several hosts all call this with the same folder.

    Args:
        config: an experiment, as those of `configs/`.
        workdir: takes `config.json`, `checkpoints/`, `metrics.jsonl` and, at the end, what
            `craftjax.report.write_results` writes.

    Returns:
        The scores of the best weights (on the main process, else nothing); None where the run was
        stopped by a signal.

    Raises:
        NonFiniteError: the loss is NaN or infinite; names the step, the batch and the last
            checkpoint.
        ValueError: (its subclasses) something of the config, the data or the weights cannot be.
    """
    enable_compile_cache()
    workdir, log = Path(workdir), partial(print, flush=True) if is_main() else lambda *_: None
    mesh = make_mesh()
    rows = host_rows(config.batch_size, mesh)
    model = make_model(config.model)
    detection = from_section(DetectorOptions, config.detector, "config.detector")
    options = OptimizerOptions.from_config(config.optimizer)
    optimizer, schedule = make_optimizer(options, steps=config.steps)
    truth, test = _truth(config) if is_main() else ([], [])
    grid = _grid(config)
    stopper = EarlyStopping(config.eval.patience)
    with (
        RunCheckpoints(workdir / "checkpoints", keep=config.checkpoint.keep) as checkpoints,
        closing(make_batches(config, seed=config.seed, rows=rows, workdir=workdir)) as source,
        StopSignal(mesh) as stop,
        ExitStack() as stack,
    ):
        state, start, run = start_state(
            config, model=model, optimizer=optimizer, mesh=mesh, checkpoints=checkpoints
        )
        first = int(state.step)
        stopper.restore(run.get("stopping", stopper.state()))
        freeze_norm = freezes_norm(config, fine_tuning=run["fine_tuning"], devices=mesh.size)
        train_step = make_train_step(
            model,
            optimizer,
            mesh=mesh,
            loss=make_loss(config.loss),
            options=options,
            ema_decay=config.ema,
            freeze_norm=freeze_norm,
            norm_groups=mesh.size if config.model.norm_per_device else 1,
        )
        if is_main():
            save_config(config, workdir, log)
        log(f"{config.name}: {describe_devices(mesh)}; results in {workdir}")
        log(
            f"network: width {config.model.width:g}, {count_parameters(state.variables):,} "
            f"parameters, {config.model.dtype}, BatchNorm {'frozen' if freeze_norm else 'trained'}"
        )
        log(f"start: {start.kind} {start.source or ''}, {first} of {config.steps} steps done")
        if first >= config.steps or stopper.should_stop:
            log("the run has ended, so that nothing is trained; another --workdir begins anew")
        log(source.describe())
        log(f"evaluation: {describe_truth(truth)}")
        log(f"test: {describe_truth(test)}")
        weak = _supervision(
            config,
            workdir,
            source,
            model=model,
            run=run,
            checkpoints=checkpoints,
            log=log,
            first=first,
        )
        writer = MetricsWriter(workdir, restored_step=first, tensorboard=config.tensorboard)
        stack.callback(writer.close)
        detector = Detector(jax.device_get(state.eval_variables), options=detection)

        def evaluate(step: int, state: TrainState) -> dict[str, float]:
            scores = evaluate_state(
                state, detector, truth, protocol=config.eval.protocol, grid=grid
            )
            best = max(scores["hmean"], stopper.best or 0)
            if scores["hmean"] >= best:  # of equal ones the last is kept
                run["thresholds"] = {name: scores[name] for name in grid}
            if weak is not None:
                weak.evaluated(step, scores["hmean"], best=best)
            if config.tensorboard and is_main():
                current = detector.with_variables(jax.device_get(state.eval_variables))
                pictures = draw_pages(current, truth[: config.overlays])
                writer.write_images(step, {f"page_{i}": x for i, x in enumerate(pictures)})
            return scores

        progress = progress_of(config, first=first, mesh=mesh)
        if weak is not None:
            weak.log, weak.paused = writer.write, progress.paused
        ended = run_steps(
            config,
            state,
            step_of=train_step,
            batches=stack.enter_context(closing(_batches(config, source, first, weak))),
            source=source,
            evaluate=evaluate,
            run=run,
            stopper=stopper,
            schedule=schedule,
            mesh=mesh,
            checkpoints=checkpoints,
            stop=stop,
            writer=writer,
            before=weak.follow if weak is not None else lambda state: None,
            save_after=weak.labels_after if weak is not None else lambda step: False,
            progress=progress,
            measure_start=weak is not None,
            shown=_SHOWN,
            log=log,
        )
        log(source.log.summary())
        if ended is None:
            return None
    thresholds = run.get("thresholds", {})
    results: dict[str, float] = {}
    if is_main():
        results = write_results(config, workdir, test, log, thresholds=thresholds)
    if jax.process_count() > 1:  # a host that left early would end the run of the others
        multihost_utils.sync_global_devices("craftjax results")
    return results


def _supervision(
    config: ConfigDict,
    workdir: Path,
    source: BatchSource,
    *,
    model: CRAFT,
    run: dict[str, Any],
    checkpoints: RunCheckpoints,
    first: int,
    log: Log,
) -> WeakSupervision | None:
    """What makes pseudo labels, where the config has a section for it."""
    if "pseudo" not in config:
        return None
    options = SupervisionOptions.from_config(config.pseudo)
    if options.teacher == "ema" and not config.ema:
        raise TrainError("config.pseudo.teacher is 'ema', but config.ema is 0: there is no average")
    if source.options.format != "raw":
        log(
            "labels are not looked over, because they are packed: --mode=audit looks at those that "
            "were packed"
        )
    elif is_main():
        audit_sources(source.options.train, log)
    return WeakSupervision(
        options,
        source=source,
        model=model,
        folder=workdir / "pseudo",
        start=lambda: start_weights(config, model=model)[0],
        start_name=str(config.init_from or config.init_weights),
        first=first,
        steps=config.steps,
        run=run,
        checkpoints=checkpoints,
        log=log,
    )


def _truth(config: ConfigDict) -> list[Sequence[Page | Sample]]:
    """The pages of `config.eval.pages` and of `config.test`.

    Those of the test are read now, too: their faults should not show after the last step only.
    """
    found = []
    for field, section in (("config.eval.pages", config.eval.pages), ("config.test", config.test)):
        found.append(read_truth(section))
        if not found[-1]:
            raise TrainError(f"{field} has no labeled pictures: {dict(section)}")
    return found


def _grid(config: ConfigDict) -> dict[str, Sequence[float]]:
    """The thresholds that each evaluation tries; none where it takes those of the config."""
    if not config.eval.get("sweep", False):
        return {}
    if "sweep" not in config:
        raise TrainError("config.eval.sweep is True, but config.sweep has no thresholds to try")
    return {name: tuple(config.sweep[name]) for name in ("text_threshold", "low_text")}


def _batches(
    config: ConfigDict, source: BatchSource, first: int, weak: WeakSupervision | None
) -> Generator[Batch, None, None]:
    threads, workers = config.data.threads, config.data.workers
    if weak is not None:
        return weak.batches(first, threads=threads, workers=workers)
    return iterate(source, first, threads=threads, workers=workers)


def evaluate_state(
    state: TrainState,
    detector: Detector,
    truth: Sequence[Page | Sample],
    *,
    protocol: str = "iou",
    grid: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, float]:
    """Scores the moving average (or, without one, the network) on labeled pages.

    Training moves the height of the scores' peaks, so that at fixed thresholds a better network may
    look worse than the one that it began as.

    Args:
        state: of the run.
        detector: of the same network, whose programs and thresholds are used.
        truth: the pages.
        protocol: one of `ocrcore.evaluation.matching.PROTOCOLS`.
        grid: values of `text_threshold` and `low_text` to try in every combination, in place of the
            detector's. The network sees each page once all the same.

    Returns:
        `precision`, `recall` and `hmean`, with a grid the best ones and the thresholds that gave
        them: on several hosts computed by one and the same on all.
    """
    options, grid = detector.options, grid or {}
    names = ("precision", "recall", "hmean", *grid)
    scores = np.zeros(len(names))
    if is_main():
        point, *_ = sweep(
            detector.with_variables(jax.device_get(state.eval_variables)),
            truth,
            options=options,
            text_thresholds=grid.get("text_threshold", (options.text_threshold,)),
            link_thresholds=(options.link_threshold,),
            low_texts=grid.get("low_text", (options.low_text,)),
            protocol=protocol,
        )
        found = point.to_dict()
        scores = np.array([found[name] for name in names])
    if jax.process_count() > 1:
        scores = np.asarray(multihost_utils.broadcast_one_to_all(scores))
    return dict(zip(names, scores.tolist(), strict=True))
