"""Trains the detector: `train_and_evaluate`, and the parts that it is made of.

What any network needs for training is in `ocrjax.runtime`; here is what is the detector's own: its
step, what it starts from and how it is evaluated. What is left in the run's folder at the end is in
`craftjax.report`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from ml_collections import ConfigDict

from craftjax import losses
from craftjax.convert import from_state_dict, is_vgg16_bn, with_vgg16_bn
from craftjax.detector import Detector
from craftjax.evaluate import evaluate_detector, read_truth
from craftjax.input_pipeline import BatchSource, make_batches
from craftjax.models import CRAFT, count_parameters, init_variables, width_of
from craftjax.options import DetectorOptions
from craftjax.report import describe_truth, draw_pages, write_results
from ocrjax.ahead import iterate
from ocrjax.pages import Page, Sample
from ocrjax.runtime.cache import enable_compile_cache
from ocrjax.runtime.checkpoints import RunCheckpoints, Start, choose_start, load_variables
from ocrjax.runtime.mesh import describe_devices, host_rows, is_main, make_mesh, put_batch
from ocrjax.runtime.metrics import (
    Deferred,
    Entry,
    MetricsWriter,
    NonFiniteError,
    Progress,
    check_finite,
    mean,
)
from ocrjax.runtime.optimizers import OptimizerOptions, make_optimizer, select
from ocrjax.runtime.signals import StopSignal
from ocrjax.runtime.state import (
    TrainState,
    accumulate_gradients,
    apply_gradients,
    compile_step,
    create_state,
)
from ocrjax.runtime.stopping import EarlyStopping, every
from ocrjax.torch_io import load_weights
from ocrjax.weights import find_weights

Tree = Any
Loss = Callable[..., tuple[jax.Array, losses.Metrics]]
Step = Callable[[TrainState, Tree], tuple[TrainState, Tree]]

# With fewer images than this in a batch, its statistics are worse than those that a trained network
# brings along.
_FEW_IMAGES = 8
# Steps that may be under way while the host goes on; more would only fill the memory with batches.
_AHEAD = 2
_SHOWN = ("loss", "positive_loss", "negative_loss")  # in the log's lines


class TrainError(ValueError):
    """A config that cannot be trained; the message names the field."""


def make_loss(section: Mapping[str, Any]) -> Loss:
    """The loss of `config.loss`: `version` 2 or 3, and the options of `craftjax.losses`."""
    options = dict(section)
    version = options.pop("version")
    known = {2: losses.loss_v2, 3: losses.loss_v3}
    if version not in known:
        raise TrainError(f"config.loss.version is {version!r}, expected 2 or 3")
    return partial(known[version], **options)


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
        mesh: of `ocrjax.runtime.mesh.make_mesh`.
        loss: of `make_loss`.
        options: of the optimiser, for what is frozen and in how many parts a batch is taken. The
            running statistics of frozen layers go on following the data, as in the original.
        ema_decay: of the moving average, where the state has one.
        freeze_norm: normalise by the running statistics and keep them.
        norm_groups: in how many groups of consecutive rows BatchNorm takes its statistics: 1 for
            those of the whole batch, the number of devices for those of each device.

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
        groups = images.reshape(norm_groups, -1, *images.shape[1:])
        scores, new = jax.vmap(apply)(groups)
        return scores.reshape(-1, *scores.shape[2:]), jax.tree.map(lambda x: jnp.mean(x, 0), new)

    def loss_of(params: Tree, stats: Tree, part: Tree) -> tuple[jax.Array, tuple[Tree, Tree]]:
        # The backward pass ends where nothing below is trained.
        frozen = select(params, options.freeze)
        params = jax.tree.map(lambda no, x: lax.stop_gradient(x) if no else x, frozen, params)
        scores, stats = forward(params, stats, part["image"])
        value, metrics = loss(
            part["region"], part["affinity"], scores[..., 0], scores[..., 1], part["confidence"]
        )
        rows = part["image"].shape[0]
        return value, (stats, {"loss": (value * rows, jnp.float32(rows)), **metrics})

    def step(state: TrainState, batch: Tree) -> tuple[TrainState, Tree]:
        def gradients(stats: Tree, part: Tree, index: jax.Array) -> tuple[Tree, Tree, Tree]:
            found, (stats, metrics) = jax.grad(loss_of, has_aux=True)(state.params, stats, part)
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
        mesh: of `ocrjax.runtime.mesh.make_mesh`.
        checkpoints: of the run.

    Returns:
        The state, what it was taken from, and what the run keeps beside it: `fine_tuning`, whether
        all of the network had been trained before, and what the checkpoint holds.

    Raises:
        TrainError: the weights are of a network of another width.
        CheckpointError: a checkpoint does not fit, or `config.init_from` is no run.
    """
    start = choose_start(
        checkpoints, init_from=config.init_from or None, weights=config.init_weights or None
    )
    run: dict[str, Any] = {"fine_tuning": start.kind in ("run", "weights")}
    variables = init_variables(model, seed=config.seed)
    if start.kind == "run" and start.source:
        variables = load_variables(start.source)
    elif start.kind == "weights" and start.source:
        path = find_weights(start.source)
        state_dict = {} if path.is_dir() else load_weights(path)
        if is_vgg16_bn(state_dict):
            variables, run["fine_tuning"] = with_vgg16_bn(variables, state_dict), False
        else:
            variables = from_state_dict(state_dict) if state_dict else load_variables(path)
    if (width := width_of(variables)) != width_of(init_variables(model)):
        raise TrainError(
            f"config.model.width is {config.model.width}, but {start.source} is of width {width:g}"
        )
    state = create_state(variables, optimizer, mesh=mesh, ema=config.ema > 0)
    if start.kind == "resume":
        state, run = checkpoints.restore(state)
    return state, start, run


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
    workdir, say = Path(workdir), partial(print, flush=True) if is_main() else lambda *_: None
    mesh = make_mesh()
    rows = host_rows(config.batch_size, mesh)
    model = CRAFT(config.model.width, jnp.dtype(config.model.dtype), config.model.remat)
    options = OptimizerOptions.from_config(config.optimizer)
    optimizer, schedule = make_optimizer(options, steps=config.steps)
    truth = read_truth(config.eval.pages) if is_main() else []
    stopper = EarlyStopping(config.eval.patience)
    deferred, entries = Deferred(), list[Entry]()
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
            _save_config(config, workdir, say)
        say(f"{config.name}: {describe_devices(mesh)}; results in {workdir}")
        say(
            f"network: width {config.model.width:g}, {count_parameters(state.variables):,} "
            f"parameters, {config.model.dtype}, BatchNorm {'frozen' if freeze_norm else 'trained'}"
        )
        say(f"start: {start.kind} {start.source or ''}, {first} of {config.steps} steps done")
        say(source.describe())
        say(f"evaluation: {describe_truth(truth)}")
        detector = Detector(
            jax.device_get(state.eval_variables), options=DetectorOptions(**config.detector)
        )
        writer = MetricsWriter(workdir, restored_step=first, tensorboard=config.tensorboard)
        progress = Progress(
            steps=config.steps, first=first, batch_size=config.batch_size, devices=mesh.size
        )
        batches = stack.enter_context(
            closing(
                iterate(source, first, threads=config.data.threads, workers=config.data.workers)
            )
        )
        # On CPU, programs that wait for other processes take the threads that others need to go on.
        one_by_one = jax.process_count() > 1 and jax.default_backend() == "cpu"
        for step in range(first + 1, config.steps + 1):
            if stopper.should_stop:
                break
            with progress.waiting():
                batch = next(batches)
            with progress.paused() if step == first + 1 else nullcontext():  # it compiles
                state, metrics = train_step(state, put_batch(batch, mesh))
            if one_by_one:
                jax.block_until_ready(metrics)
            deferred.push(step, metrics)
            stopping = stop.reached(step)
            last = stopping or step == config.steps
            # A request to stop leaves little time: no evaluation then.
            evaluating = not stopping and (last or every(step, config.eval.every))
            saving = last or evaluating or every(step, config.checkpoint.every)
            new = deferred.flush() if saving else deferred.take(lag=_AHEAD)
            _check(new, source, checkpoints)
            lap = None
            for entry in new:
                entries.append(entry)
                if every(entry.step, config.log_every) or (entry.step == step and last):
                    means, lap = mean(entries), lap or progress.lap(new[-1].step)
                    rate = float(schedule(entry.step - 1))
                    shown = {name: means[name] for name in _SHOWN}
                    say(progress.line(entry.step, shown, rate=rate, lap=lap))
                    writer.write(entry.step, {**means, "learning_rate": rate, **lap})
                    entries = []
            scores = None
            if evaluating:
                with progress.paused():
                    scores = evaluate_state(state, detector, truth, protocol=config.eval.protocol)
                better = stopper.update(step, scores["hmean"])
                writer.write(step, {f"eval/{name}": value for name, value in scores.items()})
                if config.tensorboard and is_main():
                    current = detector.with_variables(jax.device_get(state.eval_variables))
                    pictures = draw_pages(current, truth[: config.overlays])
                    writer.write_images(step, {f"page_{i}": x for i, x in enumerate(pictures)})
                text = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
                say(f"step {step}: {text}{'  (best so far)' if better else ''}")
            if saving:
                run |= {"stopping": stopper.state(), "config": json.loads(as_json(config))}
                checkpoints.save(step, state, run=run, metrics=scores)
            if stopping:
                say(f"stopped after step {step}, which is saved; the same command goes on from it")
                writer.close()
                return None
        writer.close()
        say(source.log.summary())
    results = write_results(config, workdir, say) if is_main() else {}
    if jax.process_count() > 1:  # a host that left early would end the run of the others
        multihost_utils.sync_global_devices("craftjax results")
    return results


def evaluate_state(
    state: TrainState,
    detector: Detector,
    truth: Sequence[Page | Sample],
    *,
    protocol: str = "iou",
) -> dict[str, float]:
    """Scores the moving average (or, without one, the network) on labelled pages.

    Args:
        state: of the run.
        detector: of the same network, whose programs and thresholds are used.
        truth: the pages.
        protocol: one of `ocrjax.matching.PROTOCOLS`.

    Returns:
        `precision`, `recall` and `hmean`: on several hosts computed by one and the same on all.
    """
    scores = np.zeros(3)
    if is_main():
        current = detector.with_variables(jax.device_get(state.eval_variables))
        point = evaluate_detector(current, truth, options=detector.options, protocol=protocol)
        found = point.evaluation
        scores = np.array([found.precision, found.recall, found.hmean])
    if jax.process_count() > 1:
        scores = np.asarray(multihost_utils.broadcast_one_to_all(scores))
    return dict(zip(("precision", "recall", "hmean"), scores.tolist(), strict=True))


def as_json(config: ConfigDict) -> str:
    """The experiment as it is, with what the command line changed."""
    text: str = config.to_json_best_effort(indent=1)
    return text + "\n"


def _check(entries: Sequence[Entry], source: BatchSource, checkpoints: RunCheckpoints) -> None:
    """Stops the run where a metric is not finite; only then the batch's names are worked out."""
    steps = checkpoints.steps
    last = checkpoints.folder / str(steps[-1]) if steps else None
    try:
        check_finite(entries, last_checkpoint=last)
    except NonFiniteError as error:
        (entry,) = (entry for entry in entries if entry.step == error.step)
        names = tuple(source.batch_names(entry.step - 1))
        check_finite([entry._replace(names=names)], last_checkpoint=last)


def _save_config(config: ConfigDict, workdir: Path, say: Callable[[str], object]) -> None:
    """Writes `config.json`; says what is not as an earlier start of the run had it."""
    path = workdir / "config.json"
    if path.is_file():
        old, new = (_flat(json.loads(text)) for text in (path.read_text("utf-8"), as_json(config)))
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                say(f"config.{name} was {old.get(name)!r} before, now {new.get(name)!r}")
    workdir.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(as_json(config), encoding="utf-8")
    part.replace(path)


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    dot = "." * bool(prefix)
    return {k: v for name, sub in tree.items() for k, v in _flat(sub, prefix + dot + name).items()}
