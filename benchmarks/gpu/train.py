"""Trains one network for some minutes, and leaves recent weights and results even if interrupted.

    python benchmarks/gpu/train.py --job weak --prepare .gpu/weak.tar --datasets DIR
    python benchmarks/gpu/train.py --job weak --data .gpu/weak.tar --out OUT [--budget 470]
    python benchmarks/gpu/train.py --job weak --join OUT/weights-*.safetensors --out weights.pth

The first call packs what the second one needs. The second trains a config of `configs/` with the
package's own `train`. After half a minute it knows its speed: if the number of steps that fit the
budget is far from the config's, it stops and resumes from its checkpoint with the number that fits,
so that the cosine schedule ends with the budget. About every minute, `--out` gets the newest
weights (float16 safetensors in files of less than 16 MiB), `metrics.jsonl`, `curves.png` and
`train.json`. The third call joins the weights into one float32 file.

`--toy` trains on synthetic data for seconds.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib
import json
import os
import shutil
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy; workers inherit it
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from jobs import JOBS, Job, as_half, load, pack, toy_settings, unpack, write_toy
from kit import Kit
from ml_collections import ConfigDict

from ocrcore.runtime.tuning import tune_process

LARGEST = 15 << 20  # maximum bytes per file of weights
FILES = 4  # maximum number of weight files
_LOOK_S = 2.0  # between two checks of the run directory
_RESTART_S = 45.0  # estimated cost of a restart: workers, compilation
# Re-plan the run unless (steps that fit the budget) / (planned steps) is in this range.
_KEPT = (0.9, 1.2)


class Training:
    """A training run in this thread, supervised by another thread.

    Args:
        job: what is trained.
        config: of the run.
        kit: records results; its budget covers everything.
        workdir: of the run.
        out: folder for weights, metrics and curves.
        adapt: whether the number of steps may be changed to what fits the budget.
        export_s: seconds from one export to the next.
        probe_s: seconds of training after which its speed is trusted.
    """

    def __init__(
        self,
        job: Job,
        config: ConfigDict,
        kit: Kit,
        *,
        workdir: Path,
        out: Path,
        adapt: bool,
        export_s: float = 50.0,
        probe_s: float = 25.0,
    ) -> None:
        self.job, self.config, self.kit = job, config, kit
        self.workdir, self.out, self.export_s, self.probe_s = workdir, out, export_s, probe_s
        self.until_s = kit.budget_s - job.reserve_s
        self._warmup = config.optimizer.warmup
        self._adapt, self._wanted = adapt, 0
        self._exported, self._export_at = -1, 0.0
        self._lap_at: float | None = None  # when the first metrics line of this start was written
        self._first = 0  # number of metrics lines of earlier starts
        self._asked = False

    def run(self) -> dict[str, Any]:
        """Train until all steps are done or the time is over."""
        plan(self.config, self.config.steps, job=self.job, warmup=self._warmup)
        starts, results = 0, None
        while True:
            starts += 1
            done, self._asked, self._wanted = threading.Event(), False, 0
            self._lap_at, self._first = None, len(self.metrics())
            watcher = threading.Thread(target=self._watch, args=(done,), daemon=True)
            with self._signals():
                watcher.start()
                try:
                    results = product(self.job).train(self.config, self.workdir)
                finally:
                    done.set()
                    watcher.join()
            if not self._wanted:
                break
            # It trained on after the estimate, perhaps beyond the wanted steps.
            steps = max(self._wanted, self.metrics()[-1]["step"] + 1)
            plan(self.config, steps, job=self.job, warmup=self._warmup)
        return {
            "finished": results is not None,
            "test": results,
            "starts": starts,
            **self.progress(),
        }

    def metrics(self) -> list[dict[str, Any]]:
        """Read the run's metrics so far."""
        path = self.workdir / "metrics.jsonl"
        if not path.is_file():
            return []
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def progress(self) -> dict[str, Any]:
        """Summarize the progress of the run and its scores."""
        rows = self.metrics()
        found: dict[str, Any] = {"of": self.config.steps}
        for name in ("step", "loss", "images_per_s", "data_wait"):
            found[name] = next((row[name] for row in reversed(rows) if name in row), None)
        laps = [row["images_per_s"] for row in rows if "images_per_s" in row]
        found["images_per_s_median"] = statistics.median(laps) if laps else None
        found["evaluations"] = [row for row in rows if any(k.startswith("eval/") for k in row)]
        found["labels"] = [row for row in rows if any(k.startswith("labels/") for k in row)]
        return found

    def export(self) -> dict[str, Any] | None:
        """Write metrics and curves, and the newest checkpoint's weights if not written yet."""
        from ocrcore.training.checkpoints import load_variables

        for name in ("metrics.jsonl", "charset.json"):
            if (self.workdir / name).is_file():
                shutil.copyfile(self.workdir / name, self.out / name)
        if any("loss" in row for row in self.metrics()):
            draw_curves(self.job, self.out)
        folder = newest(self.workdir)
        if folder is None or int(folder.name) == self._exported:
            return None
        variables = load_variables(folder)
        files = write_weights(self.out, to_state_dict(self.job, variables))
        self._exported = int(folder.name)
        return {"step": self._exported, "at_s": round(self.kit.spent(), 1), "md5": files}

    def _watch(self, done: threading.Event) -> None:
        while not done.wait(min(_LOOK_S, self.export_s)):
            try:
                self._look()
            except Exception as error:  # e.g. the checkpoint was just removed; try again
                self.kit.record("watcher", {"error": repr(error)})

    def _look(self) -> None:
        rows = [row for row in self.metrics()[self._first :] if "images_per_s" in row]
        if self.kit.spent() - self._export_at >= self.export_s and rows:
            self._export_at = self.kit.spent()
            weights = self.export()
            self.kit.record("progress", self.progress())
            if weights:
                self.kit.record("weights", weights)
        now = time.perf_counter()
        if rows and self._lap_at is None:
            self._lap_at = now
        if self.kit.spent() > self.until_s and rows:
            self._stop("the time is over")
        elif self._adapt and self._lap_at and now - self._lap_at > self.probe_s and len(rows) > 3:
            self._adapt = False
            # The first laps include the start of the workers and of concurrent processes.
            laps = [row["images_per_s"] for row in rows[len(rows) // 2 :]]
            rate = statistics.median(laps) / self.config.batch_size
            left = self.until_s - self.kit.spent() - self.job.evaluations * self.job.eval_s
            fit = {of: self._fitting(rows[-1]["step"], rate, s) for of, s in self._ways(left)}
            self.kit.record("steps", {"planned": self.config.steps, "a_second": rate, **fit})
            share = fit["as_it_runs"] / self.config.steps
            if not _KEPT[0] <= share <= _KEPT[1] and fit["started_again"] != self.config.steps:
                self._wanted = fit["started_again"]
                self._stop(f"{self._wanted} steps fit the budget, not {self.config.steps}")

    def _ways(self, left: float) -> Iterator[tuple[str, float]]:
        yield "as_it_runs", left
        yield "started_again", left - _RESTART_S

    def _fitting(self, step: int, rate: float, seconds: float) -> int:
        steps = step + round(rate * max(seconds, 0))
        return max(min(steps, self.job.max_steps), step + 1)

    def _stop(self, why: str) -> None:
        if not self._asked:
            self.kit.record("stopped", {"why": why, "at_s": round(self.kit.spent(), 1)})
        self._asked = True
        os.kill(os.getpid(), signal.SIGTERM)  # caught by the training loop

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Handles SIGTERM outside the training loop: ignored if sent by us, else exits."""

        def handle(number: int, frame: object) -> None:
            if not self._asked:
                raise SystemExit(128 + number)

        before = signal.signal(signal.SIGTERM, handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)


def plan(config: ConfigDict, steps: int, *, job: Job, warmup: int) -> None:
    """Set the steps of a run, and the intervals of evaluation and checkpoints to match."""
    config.steps = steps
    config.optimizer.warmup = min(warmup, steps // 10)
    config.eval.every = -(-steps // job.evaluations)
    config.checkpoint.every = max(steps // 10, 1)


def newest(workdir: Path) -> Path | None:
    """Return the last complete checkpoint of a run."""
    from ocrcore.training.damage import is_checkpoint

    folders = [path for path in (workdir / "checkpoints").glob("*") if path.name.isdigit()]
    finished = filter(is_checkpoint, folders)
    return max(finished, key=lambda path: int(path.name), default=None)


def product(job: Job) -> Any:
    """Import the job's package."""
    return importlib.import_module(job.package)


def to_state_dict(job: Job, variables: Any) -> dict[str, np.ndarray]:
    """Convert a network's weights to the published names."""
    if job.package == "crnnjax":
        from crnnjax.convert import to_state_dict as convert
    else:
        from craftjax.convert import to_state_dict as convert  # type: ignore[assignment]
    return convert(variables)


def draw_curves(job: Job, out: Path) -> None:
    """Draw `curves.png` from `metrics.jsonl`."""
    report = importlib.import_module(f"{job.package}.report")
    report.draw_curves(out / "curves.png", out / "metrics.jsonl")


def write_weights(out: Path, state: dict[str, np.ndarray], *, largest: int = LARGEST) -> Any:
    """Write weights as float16, in as many files as their size requires.

    Returns:
        The MD5 of each file, by name; it reveals mixed files of two exports.

    Raises:
        ValueError: More files than the maximum.
    """
    from ocrcore.weights.pth import save_safetensors

    parts: list[dict[str, np.ndarray]] = [{}]
    for name, value in as_half(state).items():
        size = sum(array.nbytes for array in parts[-1].values())
        if parts[-1] and size + value.nbytes > largest:
            parts.append({})
        parts[-1][name] = value
    if len(parts) > FILES:
        raise ValueError(f"the weights need {len(parts)} files; at most {FILES} can be returned")
    names = [f"weights-{n}of{len(parts)}.safetensors" for n in range(1, len(parts) + 1)]
    if len(parts) == 1:
        names = ["weights.safetensors"]
    with tempfile.TemporaryDirectory() as folder:
        # All are written elsewhere before the first old file is replaced.
        for name, part in zip(names, parts, strict=True):
            save_safetensors(Path(folder) / name, part)
        for name in names:
            shutil.copyfile(Path(folder) / name, out / name)
    return {name: hashlib.md5((out / name).read_bytes()).hexdigest() for name in names}


def join_weights(files: list[Path], target: Path) -> None:
    """Join the files of `write_weights` into one float32 file.

    Raises:
        ValueError: Files are missing, or do not match `train.json` beside them.
    """
    from ocrcore.weights.pth import load_weights, save_weights

    log = json.loads((files[0].parent / "train.json").read_text(encoding="utf-8"))
    wanted, state = log["weights"]["md5"], {}
    if sorted(wanted) != sorted(file.name for file in files):
        raise ValueError(f"{files[0].parent}: expected all of {', '.join(wanted)}")
    for file in files:
        if hashlib.md5(file.read_bytes()).hexdigest() != wanted[file.name]:
            raise ValueError(
                f"{file}: does not match train.json; the run was cut off between two files, and "
                "their weights do not belong together"
            )
        state |= load_weights(file)
    state = {k: v.astype(np.float32) if v.dtype.kind == "f" else v for k, v in state.items()}
    save_weights(target, state)


def judge(job: Job, config: ConfigDict, workdir: Path) -> dict[str, Any]:
    """Evaluate the newest checkpoint of a run on the packed samples, with 95 % intervals."""
    from ocrcore.training.checkpoints import load_variables

    folder = newest(workdir)
    if folder is None:
        raise FileNotFoundError(f"{workdir}: no checkpoint to evaluate")
    variables = load_variables(folder)
    if job.package == "crnnjax":
        from crnnjax.charset import Charset
        from crnnjax.evaluate import evaluate_recognizer
        from crnnjax.input_pipeline import InputOptions
        from crnnjax.report import make_recognizer, open_sets

        sets = open_sets(
            config.eval.sets, field="config.eval.sets", options=InputOptions.from_config(config)
        )
        reader = make_recognizer(config, variables, Charset.load(workdir / "charset.json"))
        report = evaluate_recognizer(reader, sets)
        return {name: report[name] for name in ("sets", "all")}

    from craftjax.detector import Detector
    from craftjax.evaluate import read_truth, sweep
    from craftjax.options import DetectorOptions
    from ocrcore.evaluation.statistics import bootstrap_hmean
    from ocrcore.options import from_section

    options = from_section(DetectorOptions, config.detector, "config.detector")
    own, grid = options, config.sweep
    points = sweep(
        Detector(variables, options=options),
        read_truth(config.eval.pages),
        options=options,
        text_thresholds=sorted({own.text_threshold, *grid.text_threshold}),
        link_thresholds=[own.link_threshold],
        low_texts=sorted({own.low_text, *grid.low_text}),
        protocol=config.eval.protocol,
    )
    fixed = {"text_threshold": own.text_threshold, "low_text": own.low_text}
    chosen = {"best thresholds, chosen on these pages": points[0]}
    for point in points:
        if fixed.items() <= point.thresholds.items():
            chosen["the config's thresholds"] = point
    out = {}
    for name, point in chosen.items():
        interval = bootstrap_hmean(point.evaluation)
        out[name] = {**point.to_dict(), "hmean_95": [interval.low, interval.high]}
    return out


def describe_machine() -> dict[str, Any]:
    """Describe the device and the software versions."""
    import jax

    found: dict[str, Any] = {
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "backend": jax.default_backend(),
        "cpus": os.cpu_count(),
    }
    for name in ("jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def configure(job: Job, data: Path, settings: list[str], *, toy: bool) -> ConfigDict:
    """Return the config of a job, with `KEY=VALUE` settings applied."""
    config = load(job.config)
    job.settings(config, data)
    if (start := data / "start.safetensors").is_file():
        config.init_weights = str(start)
    if toy:
        toy_settings(config)
    for setting in settings:
        key, _, value = setting.partition("=")
        try:
            parsed = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            parsed = value
        config.update_from_flattened_dict({key: parsed})
    return config


def main(argv: list[str] | None = None) -> None:
    """Pack the data, train, or join the weights."""
    began = time.perf_counter()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--job", choices=list(JOBS), required=True)
    parser.add_argument("--prepare", type=Path, metavar="TAR", help="pack the job's data, and exit")
    parser.add_argument("--datasets", type=Path, help="folder of the data sets, for --prepare")
    parser.add_argument("--init", help="initial weights to pack; 'none': random ones")
    parser.add_argument("--join", type=Path, nargs="+", help="files of weights to join as --out")
    parser.add_argument("--data", type=Path, nargs="+", metavar="TAR", help="archive of --prepare")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--workdir", type=Path, help="of the run; default: a temporary folder")
    parser.add_argument("--budget", type=float, default=470.0, help="seconds for everything")
    parser.add_argument(
        "--steps", type=int, help="number of steps, instead of fitting it to the budget"
    )
    parser.add_argument(
        "--probe", type=float, default=25.0, help="seconds of training before the steps are fitted"
    )
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="config settings")
    parser.add_argument("--toy", action="store_true")
    args = parser.parse_args(argv)
    job = JOBS[args.job]
    weights = {None: job.weights, "none": ""}.get(args.init, args.init)
    if args.prepare:
        pack(job, args.datasets, args.prepare, weights=weights, teacher=job.teacher)
        print(f"{args.prepare}: {args.prepare.stat().st_size:,} bytes")
    elif args.join:
        join_weights(args.join, args.out)
    else:
        train(job, args, began)


def train(job: Job, args: argparse.Namespace, began: float) -> None:
    """Run a job; the most valuable results come first."""
    args.out.mkdir(parents=True, exist_ok=True)
    kit = Kit(args.out / "train.json", budget_s=args.budget, start=began)
    tune_process(one_arena=job.package == "crnnjax")  # like the package's own command
    with tempfile.TemporaryDirectory() as scratch:
        folder, archives = Path(scratch), args.data
        if args.toy:
            archives = [folder / "toy.tar"]
            weights = write_toy(folder / "datasets")
            start, teacher = (str(weights) if name else "" for name in (job.weights, job.teacher))
            pack(job, folder / "datasets", archives[0], weights=start, teacher=teacher)
        for archive in archives:
            unpack(archive, folder / "data")
        config = configure(job, folder / "data", args.set, toy=args.toy)
        if args.steps:
            config.steps = args.steps
        config.steps = min(config.steps, job.max_steps)
        kit.record("machine", {"job": args.job, "budget_s": args.budget, **describe_machine()})
        workdir = args.workdir or folder / "run"
        training = Training(
            job,
            config,
            kit,
            workdir=workdir,
            out=args.out,
            adapt=not args.steps,
            export_s=2.0 if args.toy else 50.0,
            probe_s=args.probe,
        )
        kit.row("training", 30, training.run)
        # `reserve_s` was kept for these rows.
        weights_left = training.export()
        if weights_left:
            kit.record("weights", weights_left)
        kit.row("accuracy", 0, lambda: judge(job, config, workdir))
        kit.record("config", json.loads(config.to_json_best_effort()))
    if "error" in kit.results["training"]:
        raise SystemExit(f"the training failed: {kit.results['training']['error']}")


if __name__ == "__main__":
    main()
