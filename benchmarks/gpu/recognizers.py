"""Measures recognizers within minutes on one GPU, with several processes side by side.

    python benchmarks/gpu/recognizers.py --prepare .gpu/recognizers.tar --datasets DIR
    python benchmarks/gpu/recognizers.py --data .gpu/recognizers.tar --out OUT [--budget 330]

The first call packs what the second one needs. The second starts the `PROCESSES`, all on the same
GPU: fine-tuning of PP-OCRv6's small recognizer on words of web graphics, on blurred street words
and on other charsets; and training of its network and of a CRNN from scratch. A process that has
finished its own tasks takes over tasks of the data curve. A failed task is retried once, in a new
process.

`--out` gets `results.json`, rewritten after each task, and about every minute `rows.tar.xz`
(results word by word, metrics, logs) and the newest weights of the networks trained from scratch,
float16.

`--toy` runs all of it on synthetic data, in a minute.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

# Import nothing that imports jax: the workers that render words import this file.
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
HEIGHT = 64  # maximum of a packed crop; the networks use heights 48 and 32
FORGET = 1000  # words of IIIT5K to measure forgetting
WIDTHS = (96, 192, 384)  # of configs/finetune_recognizer.py
ENDS_S = 8.0  # all processes are ended this long before the end of the budget
LAST_STAGE = "optimizer.freeze=('FeatureExtraction/stem*','FeatureExtraction/block[0-9]_*')"
WIDE = (*range(1, 16), 28, 30)  # width/height ratios of the web graphics' words
_LOOK_S, _KEEP_S = 1.0, 45.0  # between two checks of the tasks, and between two archives
_LEAST_S = 15.0  # minimum left to begin a task; an interrupted one costs nothing
_RESTARTS = 3  # per process

# Less autotuning: matrix products use cuBLAS only. The processes share compiled programs and the
# choice of cuDNN's algorithms.
ENVIRONMENT = {
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
XLA_FLAGS = "--xla_gpu_enable_triton_gemm=false"


@dataclass(frozen=True)
class Task:
    """One task, which gives one result.

    Attributes:
        data: "borndigital" or "rec_train", or "charset".
        own: number of own crops; or the name of the charset.
        seed: of the run.
        wrong: fraction of wrong labels.
        set: `FIELD=VALUE` changes of the config.
    """

    data: str
    own: int | str
    seed: int = 0
    wrong: float = 0.0
    set: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the result."""
        if self.data == "charset":
            return f"charset-{self.own}"
        sys.path.insert(0, str(HERE.parent))
        try:
            from finetune_recognizer import title
        finally:
            sys.path.remove(str(HERE.parent))
        return title(argparse.Namespace(**vars(self), choose=""), int(self.own), self.seed)


def _curve() -> Iterator[Task]:
    long = ("steps=1000",)
    for seed in (0, 1, 2):
        for own in (3093, 1000, 300):
            yield Task("borndigital", own, seed, set=long)
        yield Task("borndigital", 3093, seed, wrong=0.1, set=long)


def _scene() -> Iterator[Task]:
    mine = (LAST_STAGE, "data.train.mine.ratio=3.0")
    for rate, steps in ((3e-4, 1000), (1e-4, 1000), (3e-4, 2000)):
        yield Task(
            "rec_train", 3168, set=(*mine, f"optimizer.learning_rate={rate}", f"steps={steps}")
        )


CURVE = tuple(_curve())
PROCESSES: dict[str, tuple[Task, ...]] = {
    "curve": CURVE,
    "scene": (*_scene(), *CURVE),
    "few": (
        *(Task("borndigital", own, seed) for seed in (0, 1, 2) for own in (100, 30, 10)),
        *CURVE,
    ),
    "lcnet_synth": (),
    "crnn_synth": (),
    "charsets": (*(Task("charset", c) for c in ("plates", "german", "russian", "greek")), *CURVE),
}
# Another network, which CPUs compile in seconds.
TOY_CHANGES = {
    **{"model.features": "vgg", "model.channels": 16, "model.hidden": 8},
    **{"model.sequence": "bilstm", "model.batch_norm": True, "data.widths": (96,)},
    **{"batch_size": 4, "data.window": 4, "optimizer.warmup": 1},
}
TOY = {
    "curve": (
        Task("borndigital", 6, set=("steps=4",)),
        Task("borndigital", 6, 1, 0.5, ("steps=4",)),
    ),
    "scene": (
        Task("rec_train", 6, set=("optimizer.freeze=('FeatureExtraction/conv?',)", "steps=4")),
    ),
    "few": (Task("borndigital", 3, set=("steps=2",)),),
    "lcnet_synth": (),
    "crnn_synth": (),
    "charsets": (Task("charset", "plates"),),
}


# What is packed.


def prepare(datasets: Path, folder: Path, *, start: str) -> None:
    """Pack all crops, gray and no higher than needed, and the initial weights.

    The published weights keep their precision; only their 18,709 rows of characters do not.
    """
    import numpy as np

    from crnnjax.convert import to_state_dict
    from crnnjax.recognizer import read_weights
    from ocrcore.weights.pth import save_safetensors

    benchmark = _benchmark("finetune_recognizer")
    _shrink(datasets / "iiit5k" / "labels_train.tsv", folder / "iiit5k")
    _shrink(datasets / "icdar2015" / "rec_train" / "labels.tsv", folder / "rec_train")
    web = datasets / "borndigital"
    with tempfile.TemporaryDirectory() as cut:
        _shrink(benchmark.cut_words(web, Path(cut)), folder / "borndigital" / "crops")
    # The names of the pictures tell which words are test words.
    for picture in sorted((web / "images").iterdir()):
        (folder / "borndigital" / "images").mkdir(parents=True, exist_ok=True)
        (folder / "borndigital" / "images" / picture.name).touch()
    _, variables, charset = read_weights(start)
    if charset is None:
        raise SystemExit(f"{start}: the charset of these weights is unknown")
    state = to_state_dict(variables)
    state = {k: v.astype(np.float16) if "Prediction.w" in k else v for k, v in state.items()}
    (folder / "start").mkdir()
    save_safetensors(folder / "start" / "weights.safetensors", state)
    charset.save(folder / "start" / "charset.json")


def _shrink(labels: Path, folder: Path) -> None:
    """Pack labeled crops, keeping their names."""
    import cv2

    from ocrcore.data.readers.crops import read_labels_tsv

    folder.mkdir(parents=True)
    lines = []
    for crop in read_labels_tsv(labels):
        image = cv2.imread(crop.name, cv2.IMREAD_GRAYSCALE)
        if image is None:
            raise SystemExit(f"{crop.name}: cannot be read as a picture")
        height, width = image.shape
        if height > HEIGHT:
            size = (max(1, round(width * HEIGHT / height)), HEIGHT)
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        name = f"{Path(crop.name).stem}.webp"
        packed = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 95])[1]
        (folder / name).write_bytes(packed.tobytes())
        lines.append(f"{name}\t{crop.text}\n")
    if len({line.partition("\t")[0] for line in lines}) < len(lines):
        raise SystemExit(f"{labels}: two crops have the same name")
    (folder / "labels.tsv").write_text("".join(lines), encoding="utf-8")


def _benchmark(name: str, *, lab: bool = False) -> Any:
    """Import a script of `benchmarks` as a module."""
    import importlib

    folder = str(HERE.parent / "lab" if lab else HERE.parent)
    sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(folder)


# What a process does.


class Steps:
    """Train steps of one network and optimizer, compiled for all batch widths."""

    def __init__(self, step: Any, widths: Sequence[int]) -> None:
        self._step, self._widths = step, widths
        self._programs: dict[int, Any] = {}

    def __call__(self, state: Any, batch: Any) -> Any:
        """Take a step."""
        import jax

        if not self._programs:

            def compiled(width: int) -> Any:
                image = batch["image"]
                shape = (*image.shape[:2], width, 1)
                other = jax.ShapeDtypeStruct(shape, image.dtype, sharding=image.sharding)
                return self._step.lower(state, {**batch, "image": other}).compile()

            began = time.perf_counter()
            self._programs = {width: compiled(width) for width in self._widths}
            print(f"steps of {self._widths}: {time.perf_counter() - began:.1f} s", flush=True)
        program = self._programs.get(batch["image"].shape[2], self._step)
        return program(state, batch)


def share_programs(ratios: Sequence[float], widths: Sequence[int], *, rows: int = 64) -> None:
    """Lets the runs of this process share compiled programs, and compiles them at once.

    The training command compiles for each run, from its cache, and reads crops with three batch
    sizes per width. The results are the same.

    Args:
        ratios: width/height ratios of the crops that will be read.
        widths: of training batches.
        rows: batch size for reading.
    """
    import numpy as np

    from crnnjax import recognizer, report, training

    def split(count: int, size: int) -> Iterator[tuple[int, int]]:
        for first in range(0, count, size):
            yield min(size, count - first), size

    recognizer._split = split
    recognizer._batch_size = lambda batch_size: rows
    readers: dict[Any, Any] = {}
    optimizers: dict[Any, Any] = {}
    steps: dict[Any, Steps] = {}
    new_reader, new_optimizer = report.make_recognizer, training.make_optimizer
    new_step = training.make_train_step

    def make_recognizer(config: Any, variables: Any, charset: Any) -> Any:
        height = config.data.height
        key = (charset.digest, height, str(config.model), str(config.recognizer))
        if key not in readers:
            readers[key] = new_reader(config, variables, charset)
            crops = [np.full((height, round(height * one)), 99, np.uint8) for one in ratios]
            began = time.perf_counter()
            try:
                for crop in crops:
                    readers[key].recognize([crop])
            except Exception:  # they are then compiled at first use
                traceback.print_exc()
            print(f"{len(crops)} readers: {time.perf_counter() - began:.1f} s", flush=True)
        return readers[key].with_variables(variables)

    def make_optimizer(options: Any, *, steps: int) -> Any:
        key = (repr(options), steps)
        if key not in optimizers:
            optimizers[key] = new_optimizer(options, steps=steps)
        return optimizers[key]

    def make_train_step(model: Any, optimizer: Any, **others: Any) -> Any:
        key = (model.num_classes, id(optimizer), others["ema_decay"])
        if key not in steps:
            steps[key] = Steps(new_step(model, optimizer, **others), widths)
        return steps[key]

    report.make_recognizer = training.make_recognizer = make_recognizer
    training.make_optimizer, training.make_train_step = make_optimizer, make_train_step


def claim(folder: Path, listed: Sequence[Task], process: str) -> Task | None:
    """Claims the next task that is unclaimed, or that failed once."""
    for suffix in ("", ".again"):
        for task in listed:
            failed = (folder / "errors" / f"{task.name}.json").is_file()
            if suffix and not failed:
                continue
            try:
                file = os.open(
                    folder / "claims" / (task.name + suffix), os.O_CREAT | os.O_EXCL | os.O_WRONLY
                )
            except FileExistsError:
                continue
            with os.fdopen(file, "w") as claimed:
                claimed.write(process)
            return task
    return None


def work(process: str, folder: Path, until: float, *, toy: bool) -> None:
    """Run tasks while there is time for one more."""
    order = {"few": WIDE[::-1], "curve": WIDE}.get(process, range(1, 9))
    ratios = [1.0 if heights == 1 else heights - 0.5 for heights in order]
    if toy:
        ratios = [2.0]
    share_programs(ratios, (96,) if toy else WIDTHS, rows=4 if toy else 64)
    from ocrcore.files import write_json
    from ocrcore.runtime.tuning import tune_process

    tune_process(one_arena=True)
    tools, listed = Tools(folder, toy=toy), (TOY if toy else PROCESSES)[process]
    while until - time.time() > _LEAST_S and (task := claim(folder, listed, process)) is not None:
        print(f"{task.name} begins, {until - time.time():.0f} s left", flush=True)
        began = time.time()
        try:
            write_json(folder / "rows" / f"{task.name}.json", tools.do(task))
        except (Exception, SystemExit) as error:
            told = {"error": repr(error), "traceback": traceback.format_exc()}
            write_json(folder / "errors" / f"{task.name}.json", told)
            raise  # the process may be in a broken state: end it
        print(f"{task.name}: {time.time() - began:.1f} s", flush=True)


class Tools:
    """Data sets of a process, and the predictions of the initial weights."""

    def __init__(self, folder: Path, *, toy: bool) -> None:
        self.folder, self.toy = folder, toy
        self.start = str(folder / "data" / "start" / "weights.safetensors")
        self._data: dict[str, Any] = {}
        self._starts: dict[str, Any] = {}

    def do(self, task: Task) -> dict[str, Any]:
        """Run a task and return its result."""
        return self._charset(task) if task.data == "charset" else self._finetune(task)

    def _open(self, data: str) -> tuple[Any, Any]:
        benchmark, packed = _benchmark("finetune_recognizer"), self.folder / "data"
        if not self._data:
            for name in ("borndigital", "rec_train"):
                self._data[name] = benchmark.open_data(name, packed / name, self.folder)
        groups, choose, test = self._data[data]
        if self.toy:  # toy data has fewer crops than a group
            groups = [[crop] for group in groups for crop in group]
        forget = benchmark.spread(
            benchmark.read_labels_tsv(packed / "iiit5k" / "labels.tsv"), FORGET
        )
        return (groups, choose, test), {"test": test or groups[0], "forget": forget}

    def _finetune(self, task: Task) -> dict[str, Any]:
        benchmark = _benchmark("finetune_recognizer")
        data, sets = self._open(task.data)
        # One charset for both data sets, so that they share programs.
        whole = [crop for groups, *_ in self._data.values() for group in groups for crop in group]
        out = self.folder / "runs" / task.data
        benchmark.write_charset(out / "charset.txt", whole)
        unnamed: dict[str, Any] = {"init_weights": self.start, "log_every": 50}
        unnamed |= {"eval.every": 500, "checkpoint.every": 500, "data.threads": 3}
        if self.toy:
            unnamed |= TOY_CHANGES | {"eval.probe.synthetic.count": 2, "eval.every": 2}
        args = argparse.Namespace(**vars(task), out=out, sets=sets, unnamed=unnamed)
        args.choose, args.recipe = "", benchmark.CONFIG

        def measured(reader: Any) -> Any:
            if task.data not in self._starts:
                self._starts[task.data] = benchmark.read(reader, sets)
            return self._starts[task.data]

        name = benchmark.title(args, task.own, task.seed)
        shutil.rmtree(out / name, ignore_errors=True)  # of a failed attempt
        benchmark.run(args, task.own, task.seed, data, measured)
        row: dict[str, Any] = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
        shutil.copyfile(out / name / "metrics.jsonl", self.folder / "rows" / f"{name}.jsonl")
        shutil.rmtree(out / name, ignore_errors=True)
        return row

    def _charset(self, task: Task) -> dict[str, Any]:
        benchmark = _benchmark("other_charsets", lab=True)
        steps = 2 if self.toy else 300
        out = self.folder / "runs" / "charsets"
        shutil.rmtree(out / f"{task.own}-{steps}", ignore_errors=True)
        args = argparse.Namespace(
            out=out, steps=steps, seed=task.seed, start=self.start, unfrozen=False
        )
        changes: dict[str, Any] = {"data.threads": 3}
        if self.toy:
            changes |= TOY_CHANGES | {"eval.sets.words.count": 2, "test.words.count": 2}
        return benchmark.run(str(task.own), args, changes)


def from_scratch(name: str, folder: Path, until: float, *, toy: bool) -> None:
    """Train a network from scratch with `train.py`."""
    sys.path.insert(0, str(HERE))
    import train
    from jobs import JOBS

    job = JOBS[name]
    config = train.load(name)
    job.settings(config, folder / "data")
    widths = list(config.data.widths)
    # Width buckets for reading crops, in heights: 1, 1.5, 2, 3, ...
    ratios = [2.0] if toy else [0.95, 1.45, 1.95, 2.9, 3.9, 5.8, 7.8]
    share_programs(ratios, (96,) if toy else widths, rows=4 if toy else 64)
    # All processes compile at first: measure the speed late, and plan a somewhat shorter run.
    train._KEPT = (0.75, 1.2)
    args = argparse.Namespace(
        job=name,
        data=[folder / "recognizers.tar"],
        out=folder / name,
        workdir=None,
        budget=until - time.time(),
        steps=6 if toy else None,
        set=[],
        probe=50.0,
        toy=toy,
    )
    train.train(job, args, time.perf_counter())


# The parent process.


class Launch:
    """The processes of one call, and the results so far.

    Args:
        out: folder for the results.
        folder: working folder of the call: `data`, `rows`, `errors`, `claims`, `logs`.
        until: `time.time()` at which everything must be over.
        names: of the processes.
        toy: use synthetic data.
    """

    def __init__(
        self, out: Path, folder: Path, until: float, names: Sequence[str], *, toy: bool
    ) -> None:
        self.out, self.folder, self.until, self.toy = out, folder, until, toy
        self.began = time.time()
        self.tasks = {one.name: one for name in names for one in (TOY if toy else PROCESSES)[name]}
        self.starts = dict.fromkeys(names, 0)
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.ends: list[str] = []
        self._rows: dict[str, Any] = {}
        for part in ("rows", "errors", "claims", "logs"):
            (folder / part).mkdir()

    def run(self) -> None:
        """Start all processes, and collects results until they are done or the time is over."""
        kept_at, known = time.time(), ""
        try:
            for name in self.starts:
                self.start(name)
            while self.running and time.time() < self.until - ENDS_S:
                time.sleep(_LOOK_S)
                self.look()
                if (now := json.dumps(self.results())) != known:
                    self.write(known := now)
                if time.time() - kept_at > _KEEP_S:
                    self.keep()
                    kept_at = time.time()
        finally:
            for name, process in self.running.items():
                self.ends.append(f"{name}: ended after {time.time() - self.began:.0f} s")
                _kill(process)
            self.keep()
            self.write(json.dumps(self.results()))

    def start(self, name: str) -> None:
        """Start a process in its own process group."""
        self.starts[name] += 1
        log = (self.folder / "logs" / f"{name}-{self.starts[name]}.txt").open("wb")
        flags = " ".join(filter(None, (os.environ.get("XLA_FLAGS"), XLA_FLAGS)))
        cache = {"JAX_COMPILATION_CACHE_DIR": str(self.folder.parent / "programs")}
        command = [sys.executable, __file__, "--process", name, "--folder", str(self.folder)]
        command += ["--until", str(self.until - ENDS_S - 1), *(["--toy"] if self.toy else [])]
        with log:
            self.running[name] = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**cache, **os.environ, **ENVIRONMENT, "XLA_FLAGS": flags},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def look(self) -> None:
        """Notes which processes have ended, and restarts those that failed."""
        for name, process in list(self.running.items()):
            if process.poll() is None:
                continue
            _kill(process)  # end its remaining children
            del self.running[name]
            self.ends.append(
                f"{name}: exit code {process.returncode} after {time.time() - self.began:.0f} s"
            )
            if not process.returncode:
                continue
            for file in (self.folder / "claims").glob("*"):
                task = file.name.removesuffix(".again")
                done = [self.folder / part / f"{task}.json" for part in ("rows", "errors")]
                if file.read_text() == name and not any(path.is_file() for path in done):
                    done[1].write_text(json.dumps({"error": f"exit code {process.returncode}"}))
            if self.starts[name] <= _RESTARTS and self.until - time.time() > 4 * _LEAST_S:
                self.start(name)

    def results(self) -> dict[str, Any]:
        """Collects all results so far."""
        for path in sorted((self.folder / "rows").glob("*.json")):
            if path.stem not in self._rows:
                try:
                    row = json.loads(path.read_text(encoding="utf-8"))
                    self._rows[path.stem] = row if "case" in row else summary(row)
                except Exception as error:  # the archive has the file itself
                    self._rows[path.stem] = {"error": repr(error)}
        found: dict[str, Any] = {"ends": self.ends, "starts": self.starts, "rows": self._rows}
        errors = sorted((self.folder / "errors").glob("*.json"))
        found["errors"] = {path.stem: json.loads(path.read_text()) for path in errors}
        found["left"] = [name for name in self.tasks if name not in self._rows]
        for path in sorted(self.folder.glob("*/train.json")):
            told = json.loads(path.read_text(encoding="utf-8"))
            told.pop("config", None)
            found[path.parent.name] = told
        return found

    def write(self, results: str) -> None:
        """Rewrites `results.json`."""
        told = {"seconds": round(time.time() - self.began, 1), **json.loads(results)}
        part = self.out / "results.json.part"
        part.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        part.replace(self.out / "results.json")

    def keep(self) -> None:
        """Write the archive of small files, and the newest weights."""
        part = self.out / "rows.tar.xz.part"
        with tarfile.open(part, "w:xz", preset=1) as tar:
            for pattern in ("rows/*", "errors/*", "logs/*", "*_synth/*.json", "*_synth/*.jsonl"):
                for path in sorted(self.folder.glob(pattern)):
                    if path.stat().st_size < 4 << 20:
                        tar.add(path, path.relative_to(self.folder).as_posix())
        part.replace(self.out / "rows.tar.xz")
        for path in self.folder.glob("*_synth/weights.safetensors"):
            part = self.out / f"{path.parent.name}.part"
            shutil.copyfile(path, part)
            part.replace(part.with_suffix(".safetensors"))


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kills a process started here, with all its children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def summary(row: Mapping[str, Any]) -> dict[str, Any]:
    """Summarize a fine-tuning result without its words: scores, and paired differences."""
    import numpy as np

    from ocrcore.evaluation.statistics import paired_wilson

    told = {k: v for k, v in row.items() if k not in ("start", "kept", "trained")}
    for name, scores in row["start"].items():
        for score, words in scores.items():
            before, found = np.array(words, np.bool_), {"words": len(words)}
            for what in ("start", "kept", "trained"):
                right = np.array(row[what][name][score], np.bool_)
                found[what] = round(float(right.mean()), 4)
                if what != "start":
                    gain = paired_wilson(before, right)
                    found[f"{what}_gain"] = [round(x, 4) for x in (gain.value, gain.low, gain.high)]
            told[f"{name} {score}"] = found
    return told


def launch(args: argparse.Namespace, until: float) -> None:
    """Unpacks the data and runs the processes."""
    import numpy as np

    sys.path.insert(0, str(HERE))
    from jobs import unpack

    from ocrcore.weights.pth import load_weights, save_safetensors

    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch) / "call"
        folder.mkdir()
        archive = folder / "recognizers.tar"
        if args.toy:
            write_toy(Path(scratch) / "datasets", archive)
        else:
            shutil.copyfile(args.data, archive)
        unpack(archive, folder / "data")
        start = folder / "data" / "start" / "weights.safetensors"
        whole = {k: np.asarray(v, np.float32) for k, v in load_weights(start).items()}
        save_safetensors(start, whole)
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        Launch(args.out, folder, until, args.only, toy=args.toy).run()


def pack_all(datasets: Path, archive: Path, *, start: str) -> None:
    """Pack everything into the archive."""
    sys.path.insert(0, str(HERE))
    from jobs import JOBS, pack

    job = replace(JOBS["lcnet_synth"], prepare=partial(prepare, start=start))
    pack(job, datasets, archive, weights="", teacher="")


def write_toy(datasets: Path, archive: Path) -> None:
    """Pack synthetic samples and small random weights."""
    sys.path.insert(0, str(HERE))
    from jobs import write_toy as write_samples

    from crnnjax.charset import named
    from crnnjax.convert import to_state_dict
    from crnnjax.models import CRNN, init_variables
    from ocrcore.weights.pth import save_weights

    write_samples(datasets)
    charset = named("en94")
    model = CRNN(charset.num_classes, "vgg", 16, 8)
    start = datasets / "start" / "weights.safetensors"
    start.parent.mkdir()
    save_weights(start, to_state_dict(init_variables(model, seed=0)))
    charset.save(start.parent / "charset.json")
    pack_all(datasets, archive, start=str(start))


def end_at(until: float) -> None:
    """Exits this process at a given time, whatever it is doing; its children end with it."""
    timer = threading.Timer(max(until - time.time(), 0), os._exit, (9,))
    timer.daemon = True
    timer.start()


def main(argv: Sequence[str] | None = None) -> None:
    """Pack the data, start the processes, or run as one of them."""
    began = time.time()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--prepare", type=Path, metavar="TAR", help="pack the data, and exit")
    parser.add_argument("--datasets", type=Path, help="folder of the data sets, for --prepare")
    parser.add_argument("--start", default="ppocrv6_small", help="weights to pack")
    parser.add_argument("--data", type=Path, metavar="TAR", help="archive written by --prepare")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--budget", type=float, default=330.0, help="seconds for everything")
    parser.add_argument("--only", nargs="+", choices=list(PROCESSES), default=list(PROCESSES))
    parser.add_argument("--toy", action="store_true")
    for internal in ("process", "folder", "until"):
        parser.add_argument(f"--{internal}", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.prepare:
        pack_all(args.datasets, args.prepare, start=args.start)
        print(f"{args.prepare}: {args.prepare.stat().st_size:,} bytes")
    elif args.process:
        folder, until = Path(args.folder), float(args.until)
        end_at(until + ENDS_S)
        do: Callable[..., None] = work
        if args.process.endswith("_synth"):
            do = from_scratch
        do(args.process, folder, until, toy=args.toy)
    else:
        launch(args, began + args.budget)


if __name__ == "__main__":
    main()
