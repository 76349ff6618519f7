"""Stages that run once: at its end each records its result and the inputs it depends on.

A stage is repeated if an option that it uses, the result of an earlier stage, or one of its files
has changed. An interrupted stage restarts in its folder, where a training resumes; a stage whose
inputs have changed starts with an empty folder.

Host code: no jax.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ocrcore.files import write_json
from ocrcore.progress import describe_seconds
from ocrjax.fitting.options import FitError, FitOptions

_VERSION = 1  # version of the records


class Stopped(Exception):
    """A signal stopped a training; its state is saved."""


@dataclass(frozen=True, slots=True)
class Done:
    """The outcome of a stage.

    Attributes:
        result: JSON values that depend only on the inputs; later stages are repeated if they
            change.
        said: one line for the user about what was decided.
        files: files of the stage, relative to the output folder; the stage is repeated if one is
            missing.
        measured: times and speeds.
    """

    result: dict[str, Any]
    said: str
    files: tuple[str, ...] = ()
    measured: dict[str, float] = field(default_factory=dict)


@dataclass
class Job:
    """A run of all stages.

    Attributes:
        options: the user's options.
        out: the output folder.
        log: called with each human-readable message.
        records: records of the finished stages, by name.
        begun: start of the current stage, or of this process (`time.monotonic`).
    """

    options: FitOptions
    out: Path
    log: Callable[[str], object] = print
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)

    def result(self, stage: str) -> dict[str, Any]:
        """Return the result of an earlier stage."""
        found: dict[str, Any] = self.records[stage]["result"]
        return found

    def measured(self, stage: str) -> dict[str, float]:
        """Return the measurements of an earlier stage."""
        found: dict[str, float] = self.records[stage]["measured"]
        return found

    def elapsed(self) -> float:
        """Return the seconds since the current stage began."""
        return time.monotonic() - self.begun

    def left(self) -> float:
        """Return the remaining seconds of the budget; repeated work is not counted."""
        done = sum(record["seconds"] for record in self.records.values())
        return self.options.budget - done - self.elapsed()


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the work.

    Attributes:
        name: name for `--stage` and for its record `stages/NAME.json`.
        task: what the stage does, for the user.
        work: does the work; called again after an interruption.
        uses: options that it depends on.
        after: stages whose results it depends on.
        owns: files and folders in the output folder that are removed if it is repeated.
        inputs: other inputs that it depends on, as JSON values.
    """

    name: str
    task: str
    work: Callable[[Job], Done]
    uses: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    owns: tuple[str, ...] = ()
    inputs: Callable[[Job], Mapping[str, Any]] = lambda job: {}


def run_stages(job: Job, stages: Sequence[Stage], *, only: Collection[str] = ()) -> None:
    """Run the stages that are not done yet.

    Args:
        job: its `records` are filled.
        stages: all stages in order.
        only: names of stages to repeat in any case; no others run then.

    Raises:
        FitError: an unknown name, or an unfinished stage before one of `only`.
        Stopped: a signal stopped a training.
    """
    names = [stage.name for stage in stages]
    if unknown := [name for name in only if name not in names]:
        raise FitError(f"--stage {unknown[0]}: expected one of {', '.join(names)}")
    for number, stage in enumerate(stages, 1):
        head = f"[{number}/{len(stages)}] {stage.name}"
        inputs = _inputs(job, stage)
        record = _read(job, stage.name)
        why = _outdated(job, record, inputs)
        if only and stage.name not in only:
            if why and any(name in only for name in names[number:]):
                raise FitError(
                    f"--stage {' '.join(only)}: the earlier stage {stage.name} {why}; leave out "
                    f"--stage, or add {stage.name}"
                )
            if why:
                job.log(f"{head}: {why}; left as it is")
                return
        elif not why and not only:
            assert record is not None
            job.records[stage.name] = record
            job.log(f"{head}: done before: {record['said']}")
            continue
        else:
            again = "" if record is None else f" again, because it {why or 'was requested'}"
            job.log(f"{head}: {stage.task}{again}")
            record = _do(job, stage, inputs, again=bool(again))
            seconds = describe_seconds(record["seconds"])
            job.log(f"[{number}/{len(stages)}] {stage.name}: {record['said']} ({seconds})")
        assert record is not None
        job.records[stage.name] = record


def _do(job: Job, stage: Stage, inputs: dict[str, Any], *, again: bool) -> dict[str, Any]:
    begun = job.out / "stages" / f"{stage.name}.begun.json"
    if again or not _same(begun, inputs):
        _place(job, stage.name).unlink(missing_ok=True)
        begun.unlink(missing_ok=True)
        for name in stage.owns:
            path = job.out / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        write_json(begun, inputs)
    job.begun = time.monotonic()
    done = stage.work(job)
    record = {
        "inputs": inputs,
        "result": json.loads(json.dumps(done.result)),
        "said": done.said,
        "files": list(done.files),
        "measured": done.measured,
        "seconds": round(job.elapsed(), 3),
    }
    write_json(_place(job, stage.name), record)
    begun.unlink(missing_ok=True)
    job.begun = time.monotonic()
    return record


def _inputs(job: Job, stage: Stage) -> dict[str, Any]:
    """All inputs of a stage."""
    options = {name: getattr(job.options, name) for name in stage.uses}
    after = {
        name: digest([job.records[name]["inputs"], job.records[name]["result"]])
        for name in stage.after
        if name in job.records
    }
    values = {"version": _VERSION, **options, **stage.inputs(job), "after": after}
    found: dict[str, Any] = json.loads(json.dumps(values))
    return found


def _outdated(job: Job, record: Mapping[str, Any] | None, inputs: Mapping[str, Any]) -> str:
    """Why a stage must run, as the end of a sentence; empty if it need not."""
    if record is None:
        return "has not run yet"
    old = record["inputs"]
    changed = [name for name in {**old, **inputs} if old.get(name) != inputs.get(name)]
    if changed == ["after"]:
        stages = [n for n in inputs["after"] if old["after"].get(n) != inputs["after"][n]]
        return f"uses the result of {', '.join(stages)}, which has changed"
    if changed:
        told = (f"{n} ({old.get(n)!r}, now {inputs.get(n)!r})" for n in changed if n != "after")
        return f"was run with another {', '.join(told)}"
    lost = [name for name in record["files"] if not (job.out / name).exists()]
    return f"has lost its file {job.out / lost[0]}" if lost else ""


def digest(value: Any) -> str:
    """Return a digest of JSON values, sixteen hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _place(job: Job, name: str) -> Path:
    return job.out / "stages" / f"{name}.json"


def _read(job: Job, name: str) -> dict[str, Any] | None:
    """The record of a stage; None if it is missing or damaged."""
    try:
        record = json.loads(_place(job, name).read_text(encoding="utf-8"))
        known = {"inputs", "result", "said", "files", "measured", "seconds"}
        return record if known <= set(record) else None
    except (OSError, ValueError, TypeError):
        return None


def _same(path: Path, inputs: Mapping[str, Any]) -> bool:
    try:
        return bool(json.loads(path.read_text(encoding="utf-8")) == inputs)
    except (OSError, ValueError):
        return False
