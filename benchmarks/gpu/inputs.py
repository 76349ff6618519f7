"""Input throughput: loaders with many processes, and complete training on word boxes."""

from __future__ import annotations

import importlib.util
import itertools
import json
import statistics
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def rate(source: Any, *, rows: int, seconds: float, threads: int, workers: int) -> dict[str, Any]:
    """Measure a loader: seconds to the first batch, then rows per second.

    Batches that were prefetched while waiting for the first one are taken next, and not counted.
    """
    from ocrcore.data.prefetch import iterate

    begun = time.perf_counter()
    ahead = 2 * max(workers, threads)
    with closing(iterate(source, 0, threads=threads, workers=workers)) as batches:
        next(batches)
        first = time.perf_counter() - begun
        for _ in itertools.islice(batches, ahead if seconds > 1 else 0):
            pass
        begun = time.perf_counter()
        count, spent = 0, 0.0
        while spent < seconds:
            next(batches)
            count += 1
            spent = time.perf_counter() - begun
    return {
        "threads": threads,
        "processes": workers,
        "first_batch_s": round(first, 2),
        "rows": count * rows,
        "rows_per_s": count * rows / spent,
    }


def crop_source(folder: Path, kind: str, *, rows: int, crops: int) -> Any:
    """Open the recognizer's 32x100 batches: synthetic words, or an LMDB written here first."""
    from crnnjax.input_pipeline import make_batches

    train: dict[str, Any] = {"kind": "words"}
    if kind == "lmdb":
        train = {"kind": "lmdb", "path": str(folder / "lmdb"), "augment": "light"}
        if not (folder / "lmdb").exists():
            _write_lmdb(folder / "lmdb", crops)
    data = {"charset": "en36", "mode": "fixed", "train": {"set": train}, "cache": str(folder)}
    return make_batches({"batch_size": rows, "data": data}, seed=0, rows=slice(0, rows))


def _write_lmdb(path: Path, crops: int) -> None:
    from ocrcore.images import encode_image
    from ocrcore.synth.words import WordConfig, WordRenderer
    from ocrcore.synth.write import LmdbWriter

    drawn = [WordRenderer(WordConfig(height=31), seed=1)[i] for i in range(min(crops, 500))]
    files = [(encode_image(crop.image), crop.text) for crop in drawn]
    with closing(LmdbWriter(path)) as writer:
        for index in range(crops):  # few images, repeated: the reader cannot tell
            writer.add(index, *files[index % len(files)])
        writer.commit()


def page_source(folder: Path, kind: str, *, rows: int, size: int) -> Any:
    """Open the detector's batches: scenes rendered on the fly, or pictures read from files."""
    from craftjax.input_pipeline import make_batches

    train: dict[str, Any] = {"kind": "pages", "preset": "scene"}
    if kind == "read":
        from input_pipeline import write_set

        path = folder / "synthtext"
        if not path.exists():
            path.mkdir(parents=True)
            write_set(path, 100)
        train = {"kind": "synthtext", "path": str(path)}
    data = {"size": size, "train": {"set": train}, "cache": str(folder)}
    return make_batches({"batch_size": rows, "data": data}, seed=0, rows=slice(0, rows))


def write_pages(folder: Path, *, count: int, height: int, width: int, workers: int) -> None:
    """Write synthetic scenes with word boxes in ICDAR 2015's format."""
    from ocrcore.synth.job import Job
    from ocrcore.synth.make import make_set

    changes = (("height", str(height)), ("width", str(width)), ("words", "(3, 6)"))
    small = (("font_size", "(11, 40)"),)
    job = Job("scene", "icdar", count, changes=changes + small)
    make_set(job, folder, workers=workers)


def weak_supervision(
    folder: Path, *, toy: bool, steps: int, cores: int, dtype: str
) -> dict[str, Any]:
    """Run real steps of `configs/ic15.py` through `craftjax.training`, labeling included.

    The pages are synthetic and the weights random: neither changes the cost of a step or a label,
    and no real data is available there. So the guards against useless labels are off.

    Returns:
        Rates, and the estimated time of the recipe's 25,000 steps with its arithmetic.
    """
    import craftjax

    pages = 12 if toy else 100
    begun = time.perf_counter()
    root = folder / "photos"
    shape = (160, 160) if toy else (720, 1280)
    write_pages(root, count=pages, height=shape[0], width=shape[1], workers=0 if toy else cores)
    drawn = time.perf_counter() - begun
    config = _config("ic15")
    whole, batch = config.steps, config.batch_size
    config.name, config.steps, config.init_weights = "gpu_weak", steps, ""
    config.model.dtype, config.model.freeze_norm = dtype, True  # as in the real run
    guard = config.pseudo.guard
    guard.confidence, guard.mass, guard.equal, guard.hmean = 0.0, 0.0, 1.0, 0.0
    config.data.root = str(root)
    config.data.threads = config.pseudo.threads = cores
    config.eval.every, config.eval.keep_scores = 10 * steps, False
    config.checkpoint.every = 10 * steps
    config.detector.canvas_size, config.detector.mag_ratio = (64 if toy else 768), 1.0
    config.log_every, config.overlays = (1 if toy else 5), 1
    if toy:
        config.model.width, config.data.size, config.pseudo.height = 0.125, 64, 32
        config.data.train.words.holdout = 0.17
    begun = time.perf_counter()
    _compile_ahead(config, most=2 if toy else None)
    compiled = time.perf_counter() - begun
    begun = time.perf_counter()
    craftjax.train(config, folder / "run")
    seconds = time.perf_counter() - begun
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    log = [json.loads(line) for line in lines]
    laps = [line["images_per_s"] for line in log if "images_per_s" in line]
    waits = [line["data_wait"] for line in log if "data_wait" in line]
    rounds = [line for line in log if "labels/seconds" in line]
    settled = laps[len(laps) // 5 :]
    step_s = batch / statistics.harmonic_mean(settled)
    later = rounds[1:] or rounds  # the first one compiles
    label_s = statistics.median(line["labels/seconds"] for line in later)
    made = statistics.median(line["labels/made"] for line in later)
    labeled = statistics.median(line["labels/pages"] for line in later)
    per_page = label_s / labeled
    total = whole * (step_s + batch * per_page)
    return {
        "pages_drawn_s": round(drawn, 2),
        "compiled_ahead_s": round(compiled, 2),
        "whole_call_s": round(seconds, 2),
        "steps": steps,
        "batch": batch,
        "step_s": step_s,
        "step_s_median": batch / statistics.median(settled),
        "data_wait": statistics.median(waits),
        "label_rounds": len(rounds),
        "label_round_first_s": rounds[0]["labels/seconds"],
        "label_round_s": label_s,
        "words_a_round": made,
        "words_per_s": made / label_s,
        "words_per_page": made / labeled,
        "extrapolated_min": total / 60,
        "arithmetic": (
            f"{whole} steps x ({step_s:.4f} s per step + {batch} pages x {per_page:.5f} s to label "
            f"a page) = {total:.0f} s; a pass labels each of its pages once, so a step needs the "
            f"labels of {batch} pages; evaluation and start are not included"
        ),
        "weights": "random: the teacher's speed does not depend on them; its character splits may",
    }


def _compile_ahead(config: Any, *, most: int | None) -> None:
    """Compile the run's programs into the cache, so that compilation is not measured."""
    import jax
    import numpy as np

    from craftjax.models import init_variables
    from craftjax.resize import round_up
    from craftjax.training import make_loss, make_model, make_train_step
    from craftjax.weak.labeling import Labeler
    from craftjax.weak.options import SupervisionOptions
    from ocrcore.layers import always
    from ocrcore.runtime.mesh import make_mesh, put_batch
    from ocrcore.runtime.tuning import tune_process
    from ocrcore.training.optimizer_options import OptimizerOptions
    from ocrcore.training.optimizers import make_optimizer
    from ocrcore.training.state import create_state

    tune_process()
    model, mesh = make_model(config.model), make_mesh()
    labels = SupervisionOptions.from_config(config.pseudo).labels
    labeler = Labeler(model, mesh=mesh, options=labels)
    variables = init_variables(model)
    options = OptimizerOptions.from_config(config.optimizer)
    optimizer, _ = make_optimizer(options, steps=config.steps)
    loss = make_loss(config.loss)
    step = make_train_step(
        model.clone(frozen=always),
        optimizer,
        mesh=mesh,
        loss=loss,
        options=options,
        ema_decay=config.ema,
    )
    state = create_state(variables, optimizer, mesh=mesh)
    size, rows = config.data.size, config.batch_size
    maps = np.zeros((rows, size // 2, size // 2), np.float32)
    batch = {"image": np.zeros((rows, size, size, 3), np.uint8), "region": maps}
    placed = put_batch({**batch, "affinity": maps, "confidence": maps}, mesh)
    teacher = {name: variables[name] for name in ("params", "batch_stats")}

    def label(width: int) -> None:
        shape = (labeler.rows(width), round_up(labels.height), width, 3)
        images = jax.ShapeDtypeStruct(shape, np.uint8)
        labeler._apply.lower(teacher, images).compile()

    step.lower(state, placed).compile()
    for width in labeler._widths[:most]:
        label(width)


def _config(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


def top_kernels(folder: Path, run: Callable[[], object], *, steps: int) -> list[dict[str, Any]]:
    """Profile a function and return the device's kernels, the longest first.

    Without a GPU these are XLA's operations on the host.

    Args:
        folder: where the profile is written.
        run: runs the steps and waits for them.
        steps: number of steps in `run`, to divide by.
    """
    import jax
    from jax.profiler import ProfileData

    run()
    with jax.profiler.trace(str(folder)):
        run()
    (path,) = folder.rglob("*.xplane.pb")
    totals: dict[str, list[float]] = {}
    operations: dict[str, str] = {}
    planes = list(ProfileData.from_file(str(path)).planes)
    devices = [plane for plane in planes if plane.name.startswith("/device:GPU")]
    for plane in devices or planes:
        lines = list(plane.lines)
        streams = [line for line in lines if line.name.startswith("Stream")]
        for line in streams or lines:
            for event in line.events:
                stats = dict(event.stats)
                if not devices and "hlo_op" not in stats:
                    continue
                total = totals.setdefault(event.name, [0.0, 0.0])
                total[0] += event.duration_ns / 1e6
                total[1] += 1
                operations[event.name] = str(stats.get("hlo_op", ""))
    whole = sum(ms for ms, _ in totals.values())
    return [
        {
            "ms_a_step": ms / steps,
            "share": ms / whole,
            "calls_a_step": count / steps,
            "kernel": name,
            "operation": operations[name],
        }
        for name, (ms, count) in sorted(totals.items(), key=lambda item: -item[1][0])
    ]
