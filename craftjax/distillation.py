"""Distillation: a student network learns a teacher's score maps.

It needs no labels: the teacher scores the crops, either once before training or at each step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from craftjax.config import DistillOptions
from craftjax.detector import fingerprint_of, read_variables
from craftjax.input_pipeline import InputOptions, make_batches
from craftjax.models import Network, make_network, options_of
from craftjax.taught_crops import has_crop, same_facts, write_crop
from ocrcore.data.fingerprint import comparable
from ocrcore.data.mixing import SourceError
from ocrcore.progress import Progress
from ocrcore.runtime.mesh import (
    batch_sharding,
    is_main,
    make_mesh,
    meet,
    put_batch,
    replicated,
)
from ocrcore.training.loop import Step

_ROWS = 16  # crops that a GPU scores at a time

Tree = Any
Maps = dict[str, jax.Array]


def make_teacher(options: DistillOptions, *, mesh: Mesh) -> Callable[[jax.Array], Maps]:
    """Load the teacher.

    Args:
        options: the weights and the dtype of the computation.
        mesh: a mesh of `ocrcore.runtime.mesh.make_mesh`.

    Returns:
        A function from images `(B, H, W, 3)` uint8, sharded over the mesh, to `region`, `affinity`
        and `confidence`, `(B, H // 2, W // 2)` float32: the teacher's scores, clipped to [0, 1],
        and ones.

    Raises:
        ValueError: (subclasses) as for `craftjax.detector.Detector.from_weights`.
    """
    variables = read_variables(options.teacher)
    model = make_network(**options_of(variables), dtype=jnp.dtype(options.dtype))
    known = {name: variables[name] for name in ("params", "batch_stats")}
    placed = jax.device_put(known, replicated(mesh))
    teach = jax.jit(
        partial(_maps, model),
        in_shardings=(replicated(mesh), batch_sharding(mesh)),
        out_shardings=batch_sharding(mesh),
    )
    return lambda images: teach(placed, images)


def taught(step: Step, teacher: Callable[[jax.Array], Maps]) -> Step:
    """Return a train step on the teacher's maps, which replace the labels of the batch."""
    return lambda state, batch: step(state, {**batch, **teacher(batch["image"])})


def scored_inputs(
    config: ConfigDict,
    options: DistillOptions,
    workdir: Path,
    *,
    sources: Mapping[str, Sequence[Any]] | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """Score the training crops with the teacher, once before training.

    The main process scores them on its own devices; existing crops are kept.

    Args:
        config: config of the experiment, including the data to draw crops from.
        options: options of `config.distill`.
        workdir: run directory; holds the crops if `options.cache` names no folder.
        sources: the samples of each data set of kind "python", by name. Of these only the numbers
            of samples tell whether existing crops are of the same data.

    Returns:
        The config for `craftjax.input_pipeline.make_batches`, with the crops as its only data set;
        and lines to log at the start of the run.

    Raises:
        SourceError: the folder holds crops of other settings or of another teacher, `crop_size` is
            too small, or `sources` do not match the config.
        ValueError: (subclasses) data or weights cannot be used.
    """
    size = InputOptions.from_config(config).size
    needed = max(size) / min(options.scale[0], 1.0)
    if round(needed) > options.crop_size:
        raise SourceError(
            f"config.distill.crop_size is {options.crop_size}, expected at least {needed:.0f}: "
            f"config.data.size is {max(size)}, config.distill.scale begins at {options.scale[0]}"
        )
    folder = Path(options.cache or workdir / "taught")
    lines: list[str] = []
    if is_main():
        lines = _score_crops(config.to_dict(), options, folder, sources or {})
    meet("crops of the teacher")
    train = {
        "crops": {
            **{"kind": "maps", "path": str(folder), "stop": options.crops},
            "augment": {"scale": options.scale},
        }
    }
    return {**config, "data": {**config.data, "train": train}}, lines


def _score_crops(
    config: dict[str, Any],
    options: DistillOptions,
    folder: Path,
    sources: Mapping[str, Sequence[Any]],
) -> list[str]:
    mesh = make_mesh(jax.local_devices())
    rows = mesh.size * (1 if jax.default_backend() == "cpu" else _ROWS)
    config |= {"batch_size": rows, "data": {**config["data"], "size": options.crop_size}}
    seed, inputs = config["seed"], InputOptions.from_config(config)
    weights = fingerprint_of(read_variables(options.teacher), options.dtype)
    facts = {
        **{"size": options.crop_size, "seed": seed, "rows": rows},
        **{"teacher": options.teacher, "weights": weights},
        "data": {name: one.content(seed) for name, one in inputs.train.items()},
        "augment": {name: asdict(one.augment) for name, one in inputs.train.items()},
        "ratios": {name: one.ratio for name, one in inputs.train.items()},
    }
    for name, samples in sources.items():
        facts["data"][name]["samples"] = len(samples)
    folder.mkdir(parents=True, exist_ok=True)
    with closing(make_batches(config, seed=seed, rows=slice(0, rows), sources=sources)) as source:
        same_facts(folder, {**facts, "files": comparable(source.mix.places())})
        steps = {number // rows for number in range(options.crops) if not has_crop(folder, number)}
        if not steps:
            return [f"labels: {options.teacher} has scored {options.crops:,} crops, in {folder}"]
        teacher, task = make_teacher(options, mesh=mesh), f"{options.teacher} scores crops"
        with Progress(task, unit="crop", total=options.crops) as progress:
            for step in sorted(steps):
                images = source[step]["image"]
                maps = jax.device_get(teacher(put_batch({"image": images}, mesh)["image"]))
                for row, image in enumerate(images):
                    scores = np.stack([maps["region"][row], maps["affinity"][row]], -1)
                    write_crop(folder, step * rows + row, image, scores)
                progress.update(min((step + 1) * rows, options.crops))
        return [f"labels: the scores of {options.teacher}, of crops of", source.describe()]


def _maps(model: Network, variables: Tree, images: jax.Array) -> Maps:
    scores = jnp.clip(model.apply(variables, images)[0], 0.0, 1.0)
    return {
        "region": scores[..., 0],
        "affinity": scores[..., 1],
        "confidence": jnp.ones(scores.shape[:3], jnp.float32),
    }
