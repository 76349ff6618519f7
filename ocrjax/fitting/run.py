"""The stages of `ocrjax fit`, in order.

Everything runs in one process, trainings included. A process per training would release its memory,
but if the main process were killed, the other would stay behind and hold the lock of its run: the
same command could not resume. On a GPU the first process would hold the memory that the second
needs. Instead, compiled programs are dropped after each stage.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from craftjax.weak.supervision import CollapseError
from crnnjax.charset import named
from ocrcore.data.mixing import TooManyDropped
from ocrcore.outputs import check_apart, check_outputs
from ocrcore.training.lock import run_lock
from ocrcore.training.metrics import NonFiniteError
from ocrcore.weights.named import find_weights
from ocrjax.easyocr.rules import name_fault
from ocrjax.fitting.judging import (
    describe,
)
from ocrjax.fitting.options import FitError, FitOptions
from ocrjax.fitting.pictures import (
    data_digest,
)
from ocrjax.fitting.stages import Done, Job, Stage, Stopped, run_stages
from ocrjax.fitting.work import (
    after,
    audit,
    average,
    before,
    crops,
    detector,
    export,
    recognizer,
    report,
    split,
)

_DATA = ("data", "layout", "split")
STAGES = (
    Stage(
        "audit",
        "checking all labels",
        audit,
        (*_DATA, "accept_warnings"),
        owns=("audit.txt",),
        inputs=lambda job: data_digest(job.options),
    ),
    Stage("split", "splitting the images", split, _DATA, ("audit",), ("data",)),
    Stage(
        "crops",
        "cutting word crops",
        crops,
        ("charset", "recognizer", "name"),
        ("split",),
        ("data/crops", "data/charset.json"),
        lambda job: _charset_file(job.options),
    ),
    Stage(
        "before",
        "evaluating the pretrained weights and tuning thresholds",
        before,
        ("detector", "recognizer"),
        ("split", "crops"),
        ("before",),
        lambda job: _start_files(job.options),
    ),
    Stage(
        "detector",
        "training the detector",
        detector,
        ("detector", "detector_steps", "seed", "budget"),
        ("split", "before"),
        ("detector",),
    ),
    Stage(
        "recognizer",
        "training the recognizer",
        recognizer,
        ("recognizer", "recognizer_steps", "seed", "budget"),
        ("crops", "before"),
        ("recognizer",),
    ),
    Stage(
        "average",
        "averaging with the pretrained weights",
        average,
        ("detector", "recognizer", "seed"),
        ("split", "crops", "before", "detector", "recognizer"),
        ("weights",),
    ),
    Stage("after", "evaluating the result", after, (), ("before", "average"), ("after",)),
    Stage(
        "export",
        "exporting to EasyOCR and writing model cards",
        export,
        ("name", "easyocr_python"),
        ("average", "before", "after"),
        ("easyocr", "model"),
    ),
    Stage(
        "report",
        "writing the report",
        report,
        ("name",),
        ("split", "crops", "before", "detector", "recognizer", "average", "after"),
        ("report.html", "suspects.tsv"),
    ),
)


def fit(
    data: str | Path,
    out: str | Path,
    *,
    stages: Collection[str] = (),
    log: Callable[[str], object] = print,
    **options: Any,
) -> dict[str, Any] | None:
    """Train a reader on labeled photos; an interrupted call resumes when it is repeated.

    This function does not change settings of the process. Call
    `ocrcore.runtime.tuning.tune_process()` before it, as the command does, to keep compiled
    programs on disk and to run faster on CPUs.

    Args:
        data: folder of photos and their word labels.
        out: folder for all results.
        stages: names of stages to repeat; no others run then.
        log: called with each human-readable message.
        **options: other fields of `ocrjax.fitting.options.FitOptions`.

    Returns:
        The result of each stage, by name; None if a signal stopped a training.

    Raises:
        FitError: the data cannot be fitted, or a stage cannot be repeated by itself.
        ValueError: (subclasses) invalid options, labels or weights.
    """
    chosen = FitOptions(data=str(data), out=str(out), **options)
    job = open_job(chosen, log)
    with run_lock(job.out, option="--out"):
        try:
            run_stages(job, [_freeing(stage) for stage in STAGES], only=stages)
        except Stopped:
            job.log("stopped; repeat the same command to resume")
            return None
    if not stages:
        for line in summary(job):
            job.log(line)
    return {name: record["result"] for name, record in job.records.items()}


def open_job(options: FitOptions, log: Callable[[str], object]) -> Job:
    """Check paths and the name before any work."""
    out = Path(options.out)
    if not Path(options.data).exists():
        raise FitError(f"{options.data}: no such folder; expected photos and their labels")
    for name in (options.name, f"{options.name}_detector"):
        if fault := name_fault(name):
            raise FitError(f"--name {options.name}: {fault}")
    check_apart(out, [options.data], option="--out")
    there = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if there - {"run.lock"} and "stages" not in there:
        raise FitError(
            f"--out {out}: already exists and is not from `ocrjax fit`; name another folder"
        )
    check_outputs([out / "stages" / "audit.json"], force=True)
    for name in (options.detector, options.recognizer):
        find_weights(name)
    return Job(options, out, log)


def summary(job: Job) -> Iterator[str]:
    """Yield lines on how to use the result."""
    weights = job.out / "weights"
    yield f"done: {describe(job.result('after')['scores'])}"
    yield "read photos with it:"
    yield (
        f"  ocrjax read PHOTOS --detector {shlex.quote(str(weights / 'detector.pth'))} "
        f"--recognizer {shlex.quote(str(weights / 'recognizer' / 'weights.pth'))}"
    )
    yield f"for EasyOCR: {job.out / 'easyocr'}; to publish: {job.out / 'model'}"
    yield f"report: {job.out / 'report.html'}"


def _freeing(stage: Stage) -> Stage:
    """Wrap a stage: drop its compiled programs at the end.

    If a training fails because of its data, keep the pretrained weights; the report says why.
    """

    def work(job: Job) -> Done:
        try:
            return stage.work(job)
        except (CollapseError, NonFiniteError, TooManyDropped) as error:
            if stage.name not in ("detector", "recognizer"):
                raise
            return Done({"steps": 0, "why": str(error)}, f"not trained: {error}")
        finally:
            jax.clear_caches()

    return replace(stage, work=work)


def _charset_file(options: FitOptions) -> dict[str, Any]:
    """The requested charset, and the charset file of the pretrained weights."""
    asked = named(options.charset).digest if options.charset else ""
    return {"characters": asked, "recognizer_file": _start_files(options)["recognizer_file"]}


def _start_files(options: FitOptions) -> dict[str, Any]:
    """Sizes and times of the pretrained weights."""
    found = {}
    for name in ("detector", "recognizer"):
        stat = find_weights(getattr(options, name)).stat()
        found[f"{name}_file"] = [stat.st_size, stat.st_mtime_ns]
    return found
