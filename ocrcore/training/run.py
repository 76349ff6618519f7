"""A training run: where it starts, what it holds open and what it remembers."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ocrcore.data.fingerprint import comparable, note_data
from ocrcore.files import write_json, write_text
from ocrcore.progress import said
from ocrcore.runtime import hosts
from ocrcore.runtime.mesh import SAME_DATA, describe_devices, gather_json, is_main, require_same
from ocrcore.training.checkpoints import RunCheckpoints, Start, choose_start
from ocrcore.training.damage import CheckpointError
from ocrcore.training.early_stopping import FEW_WORDS, EarlyStopping
from ocrcore.training.full_disk import check_space, disk_errors
from ocrcore.training.lock import run_lock
from ocrcore.training.metrics import Entry, MetricsWriter, Progress
from ocrcore.training.optimizers import Schedule
from ocrcore.training.run_folder import RunFolder, RunFolderError
from ocrcore.training.signals import StopSignal
from ocrcore.training.state import TrainState, create_state

Tree = Any
Log = Callable[[str], object]


@dataclass
class RunMemory:
    """What a run remembers besides its state; saved in its checkpoints as JSON.

    Attributes:
        config: the experiment when it was last saved.
        stopping: from `EarlyStopping.state`.
        fine_tuning: whether a detector started from weights that cover its whole network.
        thresholds: a detector's thresholds at its best evaluation, if evaluations tune them.
        pseudo: a detector's pseudo labels (`craftjax.weak.supervision.LabelMemory`).
        charset: digest of a recognizer's charset.
        probe: a recognizer's accuracy on `config.eval.probe` at its first evaluation.
        start_score: score of the start weights, if they were evaluated.
    """

    config: dict[str, Any] = field(default_factory=dict)
    stopping: dict[str, Any] = field(default_factory=dict)
    fine_tuning: bool = False
    thresholds: dict[str, float] = field(default_factory=dict)
    pseudo: dict[str, Any] = field(default_factory=dict)
    charset: str = ""
    probe: float | None = None
    start_score: float | None = None


Begin = Callable[[Start, RunMemory], Tree]
"""Returns the variables to start from; for a new run, also fills in its memory.
A resumed run passes its memory; then any variables of the same shapes will do."""


@dataclass
class Run:
    """An open run; see `open_run`.

    Attributes:
        config: the experiment.
        folder: the run directory.
        mesh: from `ocrcore.runtime.mesh.make_mesh`.
        start: where the state was taken from.
        memory: what its checkpoints save besides the state.
        checkpoints: its checkpoints.
        stopper: counts evaluations without improvement.
        stop: catches requests to stop.
        schedule: the learning rate schedule, for the log.
        writer: writes the metrics.
        progress: measures the speed.
        log: called with each human-readable message.
        state: the state after `step` updates; a step donates the previous state's buffers.
        step: number of updates so far.
        pause: number of updates after which this start stops, as if by a signal; None: never.
        stopped: whether a signal or the pause has stopped it.
        entries: metrics since the last log line.
        compiled: batch shapes for which the step was compiled.
    """

    config: ConfigDict
    folder: RunFolder
    mesh: Mesh
    start: Start
    memory: RunMemory
    checkpoints: RunCheckpoints
    stopper: EarlyStopping
    stop: StopSignal
    schedule: Schedule
    writer: MetricsWriter
    progress: Progress
    log: Log
    state: TrainState
    step: int
    pause: int | None = None
    stopped: bool = False
    entries: list[Entry] = field(default_factory=list)
    compiled: set[Any] = field(default_factory=set)

    @property
    def unfinished(self) -> bool:
        """Whether there are steps left to take."""
        return not self.stopped and self.step < self.config.steps and not self.stopper.should_stop

    def announce(self, *lines: str) -> None:
        """Write `config.json`, and log the devices, the start, and lines about the network."""
        if is_main():
            save_config(self.config, self.folder, self.log)
        done = f"{self.step} of {self.config.steps} steps done"
        self.log(
            f"{self.config.name}: {describe_devices(self.mesh)}; results in {self.folder.path}"
        )
        self.log(f"start: {self.start.kind} {self.start.source or ''}, {done}")
        if not self.unfinished and not self.stopped:
            self.log("run already finished; pass another --workdir to start a new one")
        for line in lines:
            self.log(line)
        if self.stopper.few:
            self.log(
                f"evaluations use only {self.stopper.words:,} words, fewer than {FEW_WORDS}: the "
                "start weights are replaced only by scores that are better by more than chance, "
                "and config.eval.patience has no effect. Evaluate on more words if you can"
            )

    def note_data(self, sets: Mapping[str, Iterable[Path]]) -> None:
        """Record fingerprints of the data, and log what changed if the run is resumed.

        Args:
            sets: as for `ocrcore.data.fingerprint.note_data`.

        Raises:
            HostsError: other hosts have other files.
        """
        if jax.process_count() > 1 and self.unfinished:
            facts = {"config.data.train": comparable(sets)}
            require_same(facts, remedy=f"(Sizes in bytes, and checksums.) {SAME_DATA}")
        if is_main() and self.unfinished:
            resumed = self.start.kind == "resume"
            note_data(self.folder.data, sets, self.log if resumed else None)

    def conclude(self, measured_on: str, *, averages: bool = False) -> None:
        """Log which step is kept, its score and that of the start weights.

        Args:
            measured_on: the data of the evaluations, for the log.
            averages: whether an average with the start weights will be kept instead.
        """
        metric, kept, start = self.checkpoints.metric, self.stopper, self.memory.start_score
        if self.stopper.should_stop:
            self.log(
                f"stopped early at step {self.step}: {kept.since} evaluations without improvement "
                "(config.eval.patience)"
            )
        if averages or kept.best is None or kept.best_step is None:
            return
        if kept.best_step == 0:
            chance = " by more than chance" * kept.few
            self.log(
                f"not better than the start weights{chance}, which are kept ({metric} "
                f"{kept.best:.4f} on {measured_on}); the weights of the last step are in "
                f"{self.checkpoints.folder / str(self.step)}"
            )
        elif kept.few:
            self.log(
                f"kept: step {kept.best_step}, the latest whose {metric} is not below the best "
                f"({kept.best:.4f}) by more than chance; on {measured_on}"
            )
        else:
            before = "" if start is None else f", start weights {start:.4f}"
            self.log(
                f"kept: step {kept.best_step}, {metric} {kept.best:.4f}{before}; on {measured_on}"
            )

    def save(self, scores: Mapping[str, float] | None = None) -> None:
        """Save the state, or only the scores if the state is already saved."""
        self.memory.config = json.loads(as_json(self.config))
        self.memory.stopping = self.stopper.state()
        memory = asdict(self.memory)  # a copy: it is written in the background
        if scores is not None and self.stopper.few:
            scores = {**scores, "kept": float(self.stopper.best_step == self.step)}
        if scores is not None and self.step in self.checkpoints.steps:
            self.checkpoints.add_evaluation(self.step, run=memory, metrics=scores)
        else:
            needed = sum(leaf.nbytes for leaf in jax.tree.leaves(self.state))
            check_space(self.checkpoints.folder, needed)
            self.checkpoints.save(self.step, self.state, run=memory, metrics=scores)


@contextmanager
def open_run(
    config: ConfigDict,
    workdir: str | Path,
    begin: Begin,
    *,
    optimizer: optax.GradientTransformation,
    schedule: Schedule,
    mesh: Mesh,
    metric: str = "hmean",
    log: Log | None = None,
    pause: int | None = None,
) -> Iterator[Run]:
    """Open a run: a new one, or an existing one at its last checkpoint.

    From here on, SIGTERM, SIGINT and SIGHUP stop the run after a step. On several hosts all must
    open it with the same folder.

    Args:
        config: uses `steps`, `batch_size`, `ema`, `init_from`, `init_weights`, `checkpoint.keep`,
            `eval.patience` and `tensorboard`.
        workdir: the run directory; created if missing.
        begin: returns the variables to start from.
        optimizer: from `ocrcore.training.optimizers.make_optimizer`.
        schedule: from the same function.
        mesh: from `ocrcore.runtime.mesh.make_mesh`.
        metric: the evaluation metric that decides which step is best, and when to stop early.
        log: called with each human-readable message; None prints in the main process.
        pause: number of updates after which this start stops, as if by a signal.

    Yields:
        The run; `run.state` is on the devices.

    Raises:
        RunLockError: another process trains in the folder.
        CheckpointError: a checkpoint does not fit, all are damaged, or `config.init_from` is not a
            run.
        MetricsError: `metrics.jsonl` is damaged.
        RunFolderError: other hosts do not see the folder.
        OSError: the disk is full, or cannot be written.
    """
    folder, log = RunFolder(Path(workdir)), log or make_log()
    with (
        disk_errors(folder.path),
        run_lock(folder.path, log=log) if is_main() else nullcontext(),
        _shared_by_all(folder),
        RunCheckpoints(
            folder.checkpoints, keep=config.checkpoint.keep, metric=metric, log=log
        ) as checkpoints,
        StopSignal(mesh) as stop,
    ):
        start = choose_start(
            checkpoints, init_from=config.init_from or None, weights=config.init_weights or None
        )
        resumed = start.kind == "resume"
        memory = _remembered(checkpoints) if resumed else RunMemory()
        state = create_state(begin(start, memory), optimizer, mesh=mesh, ema=config.ema > 0)
        if resumed:
            state, _ = checkpoints.restore(state)
        step = int(state.step)
        stopper = EarlyStopping(config.eval.patience)
        if memory.stopping:
            stopper.restore(memory.stopping)
            _forget_lost_best(stopper, memory, checkpoints, log)
        progress = Progress(
            steps=config.steps, first=step, batch_size=config.batch_size, devices=mesh.size
        )
        writer = MetricsWriter(folder.path, restored_step=step, tensorboard=config.tensorboard)
        with closing(writer):
            yield Run(
                config=config,
                folder=folder,
                mesh=mesh,
                start=start,
                memory=memory,
                checkpoints=checkpoints,
                stopper=stopper,
                stop=stop,
                schedule=schedule,
                writer=writer,
                progress=progress,
                log=log,
                state=state,
                step=step,
                pause=pause,
                stopped=pause is not None and step >= pause,
            )


@contextmanager
def _shared_by_all(folder: RunFolder, *, patience: float = 60.0) -> Iterator[None]:
    """Sees to it that all hosts have the same folder, and learn it before others where one fails.

    Args:
        folder: of the run.
        patience: seconds that a file may take to be seen on other hosts; NFS looks once a minute.
    """
    if jax.process_count() > 1:
        names = [name for (name,) in gather_json([platform.node()])]
        if is_main():
            write_json(folder.hosts, {"hosts": names, "started": time.time()})
        expected = gather_json(folder.hosts.read_text("utf-8") if is_main() else "")[0]
        seen = gather_json(_appears(folder.hosts, expected, patience))
        if not all(seen):
            blind = [name for name, sees in zip(names, seen, strict=True) if not sees]
            raise RunFolderError(
                f"{folder.hosts}, which {names[0]} has written, is not seen on {', '.join(blind)} "
                f"within {patience:g} s: --workdir must be a folder that all hosts share"
            )
    try:
        yield
    except BaseException as error:
        # Now: leaving the folder in order may wait for those who have ended.
        hosts.leave(error)
        raise


def _appears(path: Path, text: str, patience: float) -> bool:
    """Whether a file has a text, or gets it in time."""
    until = time.monotonic() + patience
    while True:
        with suppress(OSError, ValueError):
            if path.read_text("utf-8") == text:
                return True
        if time.monotonic() > until:
            return False
        time.sleep(0.2)


def make_log() -> Log:
    """Return a log that prints each line at once in the main process, and nothing in others.

    Failed prints are ignored: a run continues if its terminal was closed or `tee` has ended. Its
    metrics are in `metrics.jsonl`.
    """

    def log(line: object) -> None:
        with suppress(OSError):
            print(line, flush=True)
        said()

    return log if is_main() else lambda line: None


def _remembered(checkpoints: RunCheckpoints) -> RunMemory:
    step = checkpoints.steps[-1]
    try:
        return RunMemory(**checkpoints.memory(step))
    except TypeError as error:
        raise CheckpointError(
            f"{checkpoints.folder / str(step)}: saved by another version of this program "
            f"({error}); resume with the version that saved it, or start a new run from it with "
            "config.init_from and another --workdir"
        ) from error


def _forget_lost_best(
    stopper: EarlyStopping, memory: RunMemory, checkpoints: RunCheckpoints, log: Log
) -> None:
    """Replace a lost or damaged best checkpoint by the best of those that exist."""
    if stopper.best_step is None or stopper.best_step in checkpoints.steps:
        return
    best, score = checkpoints.best_step, checkpoints.best_score
    log(
        f"the best checkpoint, of step {stopper.best_step}, is lost; "
        + (
            f"the best one is now that of step {best}"
            if best is not None
            else "no other was evaluated"
        )
    )
    stopper.best_step, stopper.best = best, score
    if best is not None:
        memory.thresholds = RunMemory(**checkpoints.memory(best)).thresholds


def as_json(config: ConfigDict) -> str:
    """Return the experiment, including changes from the command line, as JSON."""
    text: str = config.to_json_best_effort(indent=1)
    return text + "\n"


def save_config(config: ConfigDict, folder: RunFolder, log: Log = print) -> None:
    """Write `config.json`, and log the fields that changed since the run's earlier start."""
    path = folder.config
    if path.is_file():
        old, new = _flat(_read_config(path)), _flat(json.loads(as_json(config)))
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                log(f"config.{name} was {old.get(name)!r} before, now {new.get(name)!r}")
    write_text(path, as_json(config))


def _read_config(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise RunFolderError(
            f"{path}: damaged, expected JSON: {error}. It only records the config of the last "
            "start: remove it and run the same command again"
        ) from error


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    dot = "." * bool(prefix)
    return {k: v for name, sub in tree.items() for k, v in _flat(sub, prefix + dot + name).items()}
