"""Training of the detector: `train` and its parts.

The parts that all networks share are in `ocrcore.training`. This module has the detector's own: the
train step, the initialization and the evaluation. `craftjax.report` writes the final results.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from craftjax import losses
from craftjax.audit import audit_sources
from craftjax.config import DistillOptions, LossOptions, ModelOptions, check
from craftjax.convert import from_state_dict, is_vgg16_bn, with_vgg16_bn
from craftjax.detector import Detector
from craftjax.distillation import make_teacher, scored_inputs, taught
from craftjax.evaluate import (
    check_words,
    choose_point,
    count_words,
    read_truth,
    sweep,
    with_used,
)
from craftjax.input_pipeline import BatchSource, make_batches
from craftjax.models import (
    Network,
    count_parameters,
    init_variables,
    make_network,
    options_of,
)
from craftjax.options import DetectorOptions, too_few
from craftjax.ppocr import load_ppocr_detector
from craftjax.report import describe_truth, draw_pages, write_results
from craftjax.weak.options import SupervisionOptions
from craftjax.weak.supervision import WeakSupervision
from ocrcore.config_sections import given
from ocrcore.data.prefetch import iterate
from ocrcore.layers import always
from ocrcore.options import from_section
from ocrcore.pages import Page, Sample
from ocrcore.progress import Progress
from ocrcore.runtime.mesh import (
    SAME_DATA,
    host_rows,
    is_main,
    make_mesh,
    meet,
    my_share,
    require_same,
)
from ocrcore.training.checkpoints import Start, initial_start, load_variables
from ocrcore.training.loop import Step, evaluate_start, make_step, run_steps
from ocrcore.training.optimizer_options import OptimizerOptions
from ocrcore.training.optimizers import make_optimizer
from ocrcore.training.run import Run, RunMemory, open_run
from ocrcore.training.run_folder import RunFolder
from ocrcore.training.state import TrainState
from ocrcore.weights.named import find_weights
from ocrcore.weights.pth import load_weights

Tree = Any
Loss = Callable[..., tuple[jax.Array, losses.Metrics]]

# With fewer images than this in a batch, batch statistics are worse than the running statistics of
# a pretrained network.
_FEW_IMAGES = 8
_SHOWN = ("loss", "positive_loss", "negative_loss")  # metrics in log lines


class TrainError(ValueError):
    """Invalid training config; the message names the field."""


def make_loss(section: Mapping[str, Any]) -> Loss:
    """Return the loss of `config.loss`: `version` 2 or 3, and the options of `craftjax.losses`.

    Raises:
        OptionsError: a field is missing, unknown or invalid.
    """
    options = asdict(from_section(LossOptions, section, "config.loss"))
    version = options.pop("version")
    return partial(losses.loss_v2 if version == 2 else losses.loss_v3, **options)


def make_model(section: Mapping[str, Any]) -> Network:
    """Return the network of `config.model` with nothing frozen; see `freezes_norm`.

    Raises:
        OptionsError: a field is unknown or invalid.
    """
    options = from_section(ModelOptions, section, "config.model")
    return make_network(
        options.features, options.width, dtype=jnp.dtype(options.dtype), remat=options.remat
    )


def make_train_step(
    model: Network,
    optimizer: optax.GradientTransformation,
    *,
    mesh: Mesh,
    loss: Loss,
    options: OptimizerOptions,
    ema_decay: float = 0.999,
    norm_groups: int = 1,
) -> Step:
    """Compile a train step for a mesh; the input state is donated.

    Args:
        model: the network; its frozen BatchNorm keeps its statistics.
        optimizer: the optimizer of `options`.
        mesh: a mesh of `ocrcore.runtime.mesh.make_mesh`.
        loss: a loss of `make_loss`.
        options: optimizer options: frozen parameters and gradient accumulation.
        ema_decay: decay of the EMA, if the state has one.
        norm_groups: number of groups of consecutive rows for BatchNorm statistics: 1 for those of
            the whole batch, the number of devices for statistics per device. The step raises
            `TrainError` if the rows of an accumulation part are not divisible by it.

    Returns:
        `(state, batch) -> (state, metrics)`. The batch holds `image` `(B, H, W, 3)` uint8 and
        `region`, `affinity` and `confidence` `(B, H // 2, W // 2)` float32; metrics are (sum,
        count) pairs: those of the loss, `loss` and `grad_norm`.
    """

    def forward(params: Tree, stats: Tree, images: jax.Array) -> tuple[jax.Array, Tree]:
        def apply(images: jax.Array) -> tuple[jax.Array, Tree]:
            variables = {"params": params, "batch_stats": stats}
            (scores, _), new = model.apply(variables, images, train=True, mutable=["batch_stats"])
            return scores, new["batch_stats"]

        def average(path: Any, old: jax.Array, new: jax.Array) -> jax.Array:
            # Keep frozen statistics exactly: the mean of equal numbers may differ in the last bit.
            layer = jax.tree_util.keystr(path[:-1], simple=True, separator="/")
            return old if model.frozen(f"{layer}/scale") else jnp.mean(new, 0)

        if norm_groups == 1:
            return apply(images)
        if images.shape[0] % norm_groups:
            raise TrainError(
                f"config.model.norm_per_device needs rows of all {norm_groups} devices in each "
                f"part of a batch, but config.optimizer.accumulate={options.accumulate} makes "
                f"parts of {images.shape[0]} rows; it must divide config.batch_size / {norm_groups}"
            )
        groups = images.reshape(norm_groups, -1, *images.shape[1:])
        scores, new = jax.vmap(apply)(groups)
        scores = scores.reshape(-1, *scores.shape[2:])
        return scores, jax.tree_util.tree_map_with_path(average, stats, new)

    def loss_of(params: Tree, stats: Tree, part: Tree) -> tuple[jax.Array, tuple[Tree, Tree]]:
        scores, stats = forward(params, stats, part["image"])
        value, metrics = loss(
            part["region"], part["affinity"], scores[..., 0], scores[..., 1], part["confidence"]
        )
        rows = part["image"].shape[0]
        return value, (stats, {"loss": (value * rows, jnp.float32(rows)), **metrics})

    return make_step(loss_of, optimizer, mesh=mesh, options=options, ema_decay=ema_decay)


def begin(config: ConfigDict, model: Network, start: Start, memory: RunMemory) -> Tree:
    """Return the initial variables; note in `memory` whether all of them are pretrained.

    Weights may also be torchvision's ImageNet VGG16-BN, which initializes the encoder; the rest is
    random then. PP-OCRv6's small detector initializes all but the last layer.

    Raises:
        TrainError: the weights are for another network.
    """
    variables, trained = init_variables(model, seed=config.seed), start.kind in ("run", "weights")
    if start.kind == "resume":
        return variables
    if start.kind == "run":
        variables = load_variables(start.source or "")
    elif start.kind == "weights":
        path = find_weights(start.source or "")
        published = path.suffix == ".onnx"
        state_dict = {} if path.is_dir() or published else load_weights(path)
        if published:
            variables, trained = load_ppocr_detector(path, seed=config.seed), False
        elif is_vgg16_bn(state_dict):
            variables, trained = with_vgg16_bn(variables, state_dict), False
        else:
            variables = from_state_dict(state_dict) if state_dict else load_variables(path)
    wanted = {"features": config.model.get("features", "vgg"), "width": config.model.width}
    if (found := options_of(variables)) != wanted:
        raise TrainError(f"config.model has {wanted}, but {start.source} has {found}")
    memory.fine_tuning = trained
    return variables


def freezes_norm(config: ConfigDict, *, fine_tuning: bool, devices: int) -> bool:
    """Return whether BatchNorm keeps its running statistics.

    This is `config.model.freeze_norm`; if that is None, they are kept if a pretrained network is
    trained on fewer than 8 images at a time.
    """
    if config.model.freeze_norm is not None:
        return bool(config.model.freeze_norm)
    parts = config.optimizer.get("accumulate", 1) * (devices if config.model.norm_per_device else 1)
    return fine_tuning and config.batch_size // parts < _FEW_IMAGES


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
    `ocrcore.runtime.tuning.tune_process()` before it, as the command does, to keep compiled
    programs on disk and to run faster on CPUs.

    Args:
        config: an experiment, as in `configs/`.
        workdir: the run directory: `config.json`, `checkpoints/`, `metrics.jsonl` and, at the end,
            the files of `craftjax.report.write_results`.
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
    if not config.data.train:
        raise TrainError("config.data.train has no data set, so there is nothing to train on")
    if config.get("distill") and config.get("pseudo"):
        raise TrainError(
            "config.distill and config.pseudo both provide labels: set one of them to None"
        )
    check(config)
    RunFolder(Path(workdir)).check_place(trains=True)
    mesh = make_mesh()
    rows = host_rows(config.batch_size, mesh)
    model, loss = make_model(config.model), make_loss(config.loss)
    detection = from_section(DetectorOptions, config.detector, "config.detector")
    options = OptimizerOptions.from_config(config.optimizer)
    optimizer, schedule = make_optimizer(options, steps=config.steps)
    truth, test = read_measured(config)
    require_same({"config.eval.pages": _digest(truth)}, remedy=SAME_DATA)
    words, pictures = count_words(truth)
    few = too_few(words, pictures)
    grid = {} if few else _grid(config)
    begins = partial(begin, config, model)
    distill, inputs, scored = None, config, list[str]()
    if config.get("distill"):
        distill = from_section(DistillOptions, config.distill, "config.distill")
    if distill and distill.crops:
        inputs, scored = scored_inputs(config, distill, Path(workdir), sources=sources)
        sources = None  # the crops are the only data set now
    with (
        closing(
            make_batches(inputs, seed=config.seed, rows=rows, workdir=workdir, sources=sources)
        ) as source,
        open_run(
            config,
            workdir,
            begins,
            optimizer=optimizer,
            schedule=schedule,
            mesh=mesh,
            pause=pause,
        ) as run,
    ):
        run.stopper.words = words
        freeze_norm = freezes_norm(config, fine_tuning=run.memory.fine_tuning, devices=mesh.size)
        step_of = make_train_step(
            model.clone(frozen=always if freeze_norm else options.is_frozen),
            optimizer,
            mesh=mesh,
            loss=loss,
            options=options,
            ema_decay=config.ema,
            norm_groups=mesh.size if config.model.norm_per_device and not freeze_norm else 1,
        )
        if distill and not distill.crops:
            step_of = taught(step_of, make_teacher(distill, mesh=mesh))
            run.log(f"labels: the scores of {distill.teacher}, for every crop")
        run.announce(
            _describe(config, run, freeze_norm=freeze_norm),
            *scored,
            source.describe(),
            f"evaluation: {describe_truth(truth)}",
            f"test: {describe_truth(test)}",
            *([f"thresholds: those of config.detector; {few}"] if few else []),
        )
        run.note_data(source.mix.places())
        supervision = _supervision(config, run, source, model)
        detector = Detector(jax.device_get(run.state.eval_variables), options=detection)

        def evaluate(run: Run) -> dict[str, float]:
            used = (
                replace(detection, **dict[str, Any](run.memory.thresholds)) if grid else detection
            )
            scores = evaluate_state(
                run.state,
                detector,
                truth,
                options=used,
                protocol=config.eval.protocol,
                grid=grid,
                log=run.log,
            )
            if better := run.stopper.is_better(scores["hmean"]):
                run.memory.thresholds = {name: scores[name] for name in grid}
            if supervision is not None:
                supervision.evaluated(scores["hmean"], best=None if better else run.stopper.best)
            if config.tensorboard and is_main():
                current = detector.with_variables(jax.device_get(run.state.eval_variables))
                pictures = draw_pages(current, truth[: config.overlays])
                run.writer.write_images(run.step, {f"page_{i}": x for i, x in enumerate(pictures)})
            return scores

        # Evaluate the start as well: pretrained weights are kept if training finds none better.
        measure = supervision is not None or run.memory.fine_tuning
        evaluate_start(run, evaluate, measure=measure)
        while run.unfinished:
            stop = None
            if supervision is not None:  # a period begins
                labels = supervision.refresh()
                source.use_labels(labels.path, only=labels.only, labels=labels.labels)
                stop = labels.stop
            threads, workers = config.data.threads, config.data.workers
            made = iterate(source, run.step, stop_step=stop, threads=threads, workers=workers)
            with closing(made) as batches:
                run_steps(run, step_of, batches, evaluate, names=source.batch_names, shown=_SHOWN)
        run.log(source.log.summary())
        if run.stopped:
            return None
        run.conclude(describe_truth(truth))
    results: dict[str, float] = {}
    if is_main():
        thresholds = run.memory.thresholds if grid else {}
        moved = any(getattr(detection, name) != value for name, value in thresholds.items())
        chosen = "config.detector" + (f"; {few}" if few and config.eval.sweep else "")
        if moved:
            chosen = f"chosen in training on {words:,} words of {pictures:,} images"
        results = write_results(
            config, workdir, test, run.log, thresholds=thresholds, chosen=chosen
        )
    meet("craftjax results")  # a host that exits early would end the run on the others
    return results


def _describe(config: ConfigDict, run: Run, *, freeze_norm: bool) -> str:
    frozen = config.optimizer.get("freeze", ())
    compact = config.model.get("features") == "lcnetv4"
    norm = "no BatchNorm" if compact else f"BatchNorm {'frozen' if freeze_norm else 'trained'}"
    return (
        f"network: {'lcnetv4' if compact else f'width {config.model.width:g}'}, "
        f"{count_parameters(run.state.variables):,} parameters, {config.model.dtype}, {norm}"
        f"{', frozen: ' if frozen else ''}{' '.join(frozen)}"
    )


def _supervision(
    config: ConfigDict, run: Run, source: BatchSource, model: Network
) -> WeakSupervision | None:
    """The weak supervision of the config's section `pseudo`, if there is one."""
    if not config.get("pseudo"):
        return None
    options = SupervisionOptions.from_config(config.pseudo)
    if options.teacher == "ema" and not config.ema:
        raise TrainError(
            "config.pseudo.teacher is 'ema', but config.ema is 0, so there is no EMA: set "
            "config.ema, or another teacher"
        )
    if source.options.format != "raw":
        run.log("packed labels are not audited; --mode=audit audits the original labels")
    elif is_main():
        audit_sources(source.options.train, run.log)

    def start_weights() -> Tree:
        start = initial_start(init_from=config.init_from, weights=config.init_weights)
        return begin(config, model, start, RunMemory())

    return WeakSupervision(options, run, source=source, model=model, start_weights=start_weights)


def read_measured(config: ConfigDict) -> list[Sequence[Page | Sample]]:
    """Read the pages of `config.eval.pages` and of `config.test`.

    The test pages are read before training, so that their faults do not stop the run at its end.

    Raises:
        TrainError: a section is missing or has no pages.
        ValueError: (subclasses) labels cannot be read, or no word counts.
    """
    found = []
    for field, section in (("config.eval.pages", config.eval.pages), ("config.test", config.test)):
        if not section:
            raise TrainError(f"{field} is missing: it names the images to evaluate on")
        found.append(read_truth(section))
        if not found[-1]:
            raise TrainError(f"{field} has no labeled images: {given(section)}")
        check_words(found[-1], field)
    return found


def _grid(config: ConfigDict) -> dict[str, Sequence[float]]:
    """The thresholds that each evaluation tries; empty if it only uses those of the config."""
    if not config.eval.sweep:
        return {}
    grid: dict[str, Sequence[float]] = {
        name: tuple(config.sweep[name]) for name in ("text_threshold", "low_text")
    }
    for name, values in grid.items():
        if not values:
            raise TrainError(
                f"config.eval.sweep is True, but config.sweep.{name} is empty: expected thresholds "
                "to try"
            )
    return grid


def evaluate_state(
    state: TrainState,
    detector: Detector,
    truth: Sequence[Page | Sample],
    *,
    options: DetectorOptions | None = None,
    protocol: str = "iou",
    grid: Mapping[str, Sequence[float]] | None = None,
    log: Callable[[str], object] = print,
) -> dict[str, float]:
    """Evaluate the EMA (or, without one, the network) on labeled pages.

    Training changes the level of the scores, so that at fixed thresholds a better network may look
    worse than its initialization.

    Args:
        state: the state of the run.
        detector: a detector with the same network, whose compiled programs are used.
        truth: the pages.
        options: scaling, and the thresholds in use; None: those of `detector`.
        protocol: one of `ocrcore.evaluation.matching.PROTOCOLS`.
        grid: values of `text_threshold` and `low_text` to try in every combination; the thresholds
            in use are kept unless others are significantly better (`choose_point`). There is still
            only one forward pass per page.
        log: called if other thresholds are better.

    Returns:
        `precision`, `recall` and `hmean`, with a grid also the thresholds: the same on all hosts,
        each of which evaluates its share of the pages.
    """
    options, grid = options or detector.options, grid or {}
    with Progress("evaluating", unit="page", total=len(my_share(truth))) as progress:
        points = sweep(
            detector.with_variables(jax.device_get(state.eval_variables)),
            truth,
            options=options,
            text_thresholds=with_used(grid.get("text_threshold", ()), options.text_threshold),
            link_thresholds=(options.link_threshold,),
            low_texts=with_used(grid.get("low_text", ()), options.low_text),
            protocol=protocol,
            report=progress.update,
            shared=True,
        )
    choice = choose_point(points, options)
    if choice.moved:
        log(f"thresholds: {choice.why}")
    found = choice.point.to_dict()
    return {name: found[name] for name in ("precision", "recall", "hmean", *grid)}


def _digest(truth: Sequence[Page | Sample]) -> dict[str, Any]:
    """Return a fingerprint of labeled pages, to compare hosts."""
    digest = 0
    for item in truth:
        page = item.page if isinstance(item, Sample) else item
        for word in page.words:
            digest = zlib.crc32(np.asarray(word.outline).tobytes(), digest)
        digest = zlib.crc32(page.care.tobytes(), digest)
    return {"pages": len(truth), "words": count_words(truth)[0], "digest of labels": digest}
