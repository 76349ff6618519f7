"""Orbax checkpoints: plain trees of arrays, and the checkpoints of a training run.

A checkpoint of a run is a folder named after its step, with `variables` (parameters and running
statistics), `ema` (their moving average, if enabled), `optimizer` (its state and the step), `run`
(JSON: `ocrcore.training.run.RunMemory`) and, if it was evaluated, `metrics`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import serialization
from orbax.checkpoint import checkpoint_managers

from ocrcore.files import write_text
from ocrcore.runtime.mesh import is_main, meet
from ocrcore.training.checksums import files_changing, find_damage, write_checksums
from ocrcore.training.damage import (
    ARRAYS,
    CheckpointError,
    find_fault,
    is_checkpoint,
    numbered,
    read_tree,
    set_aside_damaged,
)
from ocrcore.training.run_folder import RunFolder
from ocrcore.weights.averaging import load_flat

if TYPE_CHECKING:  # only for the type: importing optax is slow, and detectors load weights here
    from ocrcore.training.state import TrainState


_MEETING = "ocrjax checkpoints"
_MEMORY, _METRICS = "run/metadata", "metrics/metrics"  # Orbax's paths of JSON items


def save_variables(folder: str | Path, variables: Mapping[str, Any]) -> None:
    """Write a network's variables as an Orbax checkpoint, atomically.

    Raises:
        CheckpointError: the folder exists; nothing is overwritten.
    """
    folder = Path(folder).resolve()
    if folder.exists():
        raise CheckpointError(f"{folder}: exists; remove it or name a new folder")
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder, dict(variables))
    write_checksums(folder)


def load_variables(folder: str | Path) -> dict[str, Any]:
    """Load a network's variables as NumPy arrays, whatever devices they were saved from.

    Args:
        folder: output of `save_variables`, a checkpoint of a run, a folder of checkpoints, or a run
            directory (with `checkpoints` in it). Among several checkpoints, the best by the run's
            metric is loaded, otherwise the last; damaged ones are skipped with a message on stderr.
            Within a checkpoint, the moving average is loaded if there is one. If the run averaged
            with its start weights (`ocrcore.training.averaging`), the kept average is loaded.

    Raises:
        CheckpointError: the folder is missing, holds no Orbax checkpoint or a damaged one.
        TorchFileError: the kept average is damaged.
    """
    folder = Path(folder).resolve()
    if RunFolder(folder).kept.is_file():
        return load_flat(RunFolder(folder).kept)
    if RunFolder(folder).checkpoints.is_dir():
        folder = RunFolder(folder).checkpoints
    steps = numbered(folder)
    if any(is_checkpoint(folder / str(step)) for step in steps):
        folder = _best_whole(folder, steps)
    elif not is_checkpoint(folder):
        raise CheckpointError(
            f"{folder}: not an Orbax checkpoint (no _CHECKPOINT_METADATA in it)"
            f"{_weights_in(folder)}"
        )
    elif (fault := find_fault(folder)) is not None:
        raise CheckpointError(f"{folder} is damaged: {fault}. Use another checkpoint, or a copy")
    for item in ("ema", "variables"):
        if (folder / item).is_dir() and not (folder / "_METADATA").is_file():
            folder /= item
            break
    return read_tree(folder)


def _weights_in(folder: Path) -> str:
    """Return which files one may have meant by a folder, such as that of `ocrjax fit`."""
    found = sorted({*folder.glob("*.pth"), *folder.glob("weights/**/*.pth")})[:4]
    return f"; name one of its weights: {', '.join(map(str, found))}" if found else ""


def _best_whole(folder: Path, steps: list[int]) -> Path:
    """Return the best checkpoint that is not damaged."""
    faults: dict[int, str] = {}

    def rank(step: int) -> tuple[float, int]:
        if find_damage(folder / str(step), only=(_METRICS,)) is None:
            try:
                return _read_rank(folder / str(step), step)
            except (ValueError, TypeError, KeyError):
                pass
        return np.inf, step  # its score is unknown; it may have been the best, so it comes first

    for step in sorted(steps, key=rank, reverse=True):
        fault = find_fault(folder / str(step))
        if fault is None:
            for bad, reason in faults.items():
                print(
                    f"{folder / str(bad)} is damaged: {reason}; step {step} is used instead",
                    file=sys.stderr,
                    flush=True,
                )
            return folder / str(step)
        faults[step] = fault
    raise CheckpointError(
        f"{folder}: all checkpoints are damaged: "
        + "; ".join(f"{step}: {fault}" for step, fault in sorted(faults.items()))
    )


def _read_score(step: Path) -> float:
    try:
        return _score(json.loads((step / _METRICS).read_text()))
    except FileNotFoundError:
        return -np.inf


def _read_rank(folder: Path, step: int) -> tuple[float, int]:
    try:
        return _rank(json.loads((folder / _METRICS).read_text()))
    except FileNotFoundError:
        return -np.inf, step


def _rank(metrics: Mapping[str, float | None]) -> tuple[float, int]:
    """Orders checkpoints: the best is the first with the highest score, as in `EarlyStopping`.

    Without evaluations, the last checkpoint is best. Scores on few words do not order checkpoints:
    the last one that `EarlyStopping` kept is best.
    """
    step = int(metrics["step"] or 0)
    if (kept := metrics.get("kept")) is not None:
        return kept - 2, step
    score = _score(metrics)
    return (score, step if score == -np.inf else -step)


def _score(metrics: Mapping[str, float | None]) -> float:
    (score,) = (value for name, value in metrics.items() if name not in ("step", "kept"))
    return -np.inf if score is None else float(score)


class Start(NamedTuple):
    """The source of a run's initial state.

    Attributes:
        kind: `resume`, `run`, `weights` or `random`.
        source: the folder or file, for the log; None for random.
    """

    kind: str
    source: Path | None


def choose_start(
    checkpoints: RunCheckpoints,
    *,
    init_from: str | Path | None = None,
    weights: str | Path | None = None,
) -> Start:
    """Apply the restore order; the first match wins.

    1. `resume`: this run's own last finished checkpoint, with optimizer, step and data position.
    2. The choice of `initial_start`.

    Raises:
        CheckpointError: `init_from` is needed and is not a folder.
    """
    if checkpoints.last:
        return Start("resume", checkpoints.last)
    return initial_start(init_from=init_from, weights=weights)


def initial_start(
    *, init_from: str | Path | None = None, weights: str | Path | None = None
) -> Start:
    """Choose what a run without checkpoints starts from; the first match wins.

    1. `run`: variables of another run's best checkpoint, with a fresh optimizer from step 0.
    2. `weights`: variables from a weights file (or a name of one).
    3. `random`: fresh variables.

    Raises:
        CheckpointError: `init_from` is not a folder.
    """
    if init_from:
        if not Path(init_from).is_dir():
            raise CheckpointError(f"config.init_from: {init_from} is not a folder of a run")
        return Start("run", Path(init_from))
    if weights:
        return Start("weights", Path(weights))
    return Start("random", None)


class RunCheckpoints:
    """The checkpoints of one run: written in the background, atomic, restored bit for bit.

    A run on several hosts needs a folder that all of them see; all must make the same calls.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        keep: int = 3,
        metric: str = "hmean",
        log: Callable[[str], object] = print,
    ) -> None:
        """Open or create the folder.

        Leftovers of an interrupted save are removed; damaged checkpoints are set aside, see
        `ocrcore.training.damage.set_aside_damaged`.

        Args:
            folder: folder of the checkpoints, usually `checkpoints` in the run directory.
            keep: number of latest checkpoints to keep, in addition to the best one.
            metric: the metric that decides which checkpoint is best; higher is better.
            log: called with a message about each damaged checkpoint, in the main process.

        Raises:
            CheckpointError: there are checkpoints, but all are damaged.
        """
        if keep < 1:
            raise CheckpointError(f"config.checkpoint.keep is {keep}, expected 1 or more")
        self.folder = Path(folder).resolve()
        self.metric = metric
        self._saving = 0
        self.folder.mkdir(parents=True, exist_ok=True)
        if is_main():
            set_aside_damaged(self.folder, keep=keep, log=log)
        meet(_MEETING)  # other processes read the folder only after this
        policies = checkpoint_managers
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                best_fn=_rank,
                preservation_policy=policies.AnyPreservationPolicy(
                    [
                        policies.LatestN(keep),
                        policies.BestN(get_metric_fn=_rank, n=1),
                    ]
                ),
                cleanup_tmp_directories=True,
                async_options=ocp.AsyncOptions(post_finalization_callback=self._write_checksums),
            ),
        )

    def _write_checksums(self) -> None:
        """Write checksums; runs in a background thread, before the final rename."""
        folder = self.folder / str(self._saving)
        part = folder.with_name(f"{folder.name}.orbax-checkpoint-tmp")
        write_checksums(part if part.is_dir() else folder)

    @property
    def steps(self) -> list[int]:
        """Steps that can be restored, in order."""
        return sorted(self._manager.all_steps())

    @property
    def last(self) -> Path | None:
        """The last checkpoint; None if there is none."""
        return self.folder / str(self.steps[-1]) if self.steps else None

    @property
    def best_step(self) -> int | None:
        """The step with the best metric; None before any was evaluated."""
        step: int | None = self._manager.best_step()
        if step is None or _read_score(self.folder / str(step)) == -np.inf:
            return None
        return step

    @property
    def best_score(self) -> float | None:
        """The score of the best step; None before any was evaluated."""
        step = self.best_step
        if step is None:
            return None
        metrics = json.loads((self.folder / str(step) / _METRICS).read_text())
        score: float | None = metrics.get(self.metric)
        return score

    def save(
        self,
        step: int,
        state: TrainState,
        *,
        run: Mapping[str, Any],
        metrics: Mapping[str, float] | None = None,
    ) -> bool:
        """Start writing a checkpoint; return once the arrays are copied, so training can go on.

        Args:
            step: number of updates so far.
            state: the state to save.
            run: further values to save, as JSON (tuples are restored as lists): the config, the
                position in the data, metrics so far.
            metrics: metrics of this step's evaluation. If its scores are on too few words to choose
                by, `kept` among them says whether the step is kept, 1 or 0.

        Returns:
            False if that step is already saved.

        Raises:
            CheckpointError: the metrics lack the one that decides.
        """
        if step in self._manager.all_steps():
            return False
        if metrics is not None and self.metric not in metrics:
            raise CheckpointError(
                f"config.checkpoint.metric is {self.metric!r}, but the evaluation only returns "
                f"{', '.join(metrics)}"
            )
        items = {
            name: ocp.args.StandardSave(tree)
            for name, tree in _items(state).items()
            if tree is not None
        }
        self.wait()
        self._saving = step
        return bool(
            self._manager.save(
                step,
                args=ocp.args.Composite(run=ocp.args.JsonSave(dict(run)), **items),
                metrics=self._metrics_item(step, metrics),
            )
        )

    def _metrics_item(
        self, step: int, metrics: Mapping[str, float] | None
    ) -> dict[str, float | None]:
        score = None if metrics is None else float(metrics[self.metric])
        kept = {"kept": metrics["kept"]} if metrics and "kept" in metrics else {}
        return {self.metric: score, "step": step, **kept}

    def has_evaluation(self, step: int) -> bool:
        """Return whether a checkpoint was saved with an evaluation."""
        self.wait()
        return _read_score(self.folder / str(step)) != -np.inf

    def add_evaluation(
        self, step: int, *, run: Mapping[str, Any], metrics: Mapping[str, float]
    ) -> None:
        """Add an evaluation to a checkpoint that was already saved.

        Args:
            step: step of the checkpoint; its arrays do not change.
            run: as for `save`; replaces the saved value.
            metrics: metrics of the evaluation.
        """
        self.wait()
        if is_main():
            folder = self.folder / str(step)
            with files_changing(folder, (_MEMORY, _METRICS)):
                write_text(folder / _MEMORY, json.dumps(dict(run)))
                # The score last: if it is missing, the evaluation is repeated.
                write_text(folder / _METRICS, json.dumps(self._metrics_item(step, metrics)))
        meet(_MEETING)
        self._manager.reload()

    def memory(self, step: int) -> dict[str, Any]:
        """Return the `run` value that was passed to `save` or `add_evaluation`."""
        self.wait()
        path = self.folder / str(step) / _MEMORY
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def restore(
        self, state: TrainState, *, step: int | None = None
    ) -> tuple[TrainState, dict[str, Any]]:
        """Restore a checkpoint bit for bit, on any number of devices.

        Args:
            state: a state of the same network and optimizer; gives structure and sharding.
            step: defaults to the last step.

        Returns:
            The state, and the `run` value that was passed to `save`.

        Raises:
            CheckpointError: there is no such step, or it is from another network or optimizer.
        """
        self.wait()
        step = self.steps[-1] if step is None and self.steps else step
        if step not in self.steps:
            raise CheckpointError(f"{self.folder}: no checkpoint of step {step}; has {self.steps}")
        wanted = {name: tree for name, tree in _items(state).items() if tree is not None}
        self._check(step, wanted)
        target = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), wanted
        )
        items = {name: ocp.args.StandardRestore(tree) for name, tree in target.items()}
        found = self._manager.restore(step, args=ocp.args.Composite(**items))
        dicts = {
            "step": found["optimizer"]["step"],
            "opt_state": found["optimizer"]["opt_state"],
            **found["variables"],
            "ema": found["ema"] if "ema" in wanted else None,
        }
        return serialization.from_state_dict(state, dicts), self.memory(step)

    def _check(self, step: int, wanted: Mapping[str, Any]) -> None:
        """Compare shapes before Orbax does, whose messages name neither the file nor the cause."""
        folder = self.folder / str(step)
        there = {name for name in ARRAYS if (folder / name).is_dir()}
        if there != set(wanted):
            raise CheckpointError(
                f"{folder} holds {', '.join(sorted(there))}, but this run needs "
                f"{', '.join(sorted(wanted))}: set config.ema as before"
            )
        handler = ocp.StandardCheckpointHandler()
        trees = {name: dict(handler.metadata(folder / name).tree) for name in wanted}
        handler.close()
        old, new = _shapes(trees), _shapes(wanted)
        lines = [
            f"{name}: {old.get(name, 'absent')} in the checkpoint, {new.get(name, 'absent')} now"
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name)
        ]
        if lines:
            more = f" and {len(lines) - 5} more" if len(lines) > 5 else ""
            raise CheckpointError(
                f"{folder} is from another network or optimizer: {'; '.join(lines[:5])}{more}. "
                "Go back to the run's config or choose another --workdir"
            )

    def wait(self) -> None:
        """Wait until all pending writes are finished."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for pending writes, then closes the folder."""
        self._manager.close()

    def __enter__(self) -> RunCheckpoints:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _items(state: TrainState) -> dict[str, Any]:
    """Return the parts of a checkpoint as plain dicts, independent of optax's classes."""
    tree = serialization.to_state_dict(state)
    return {
        "variables": {"params": tree["params"], "batch_stats": tree["batch_stats"]},
        "ema": tree["ema"],
        "optimizer": {"step": tree["step"], "opt_state": tree["opt_state"]},
    }


def _shapes(tree: Any) -> dict[str, str]:
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: hasattr(x, "shape"))
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in leaves
        if hasattr(leaf, "shape")
    }
