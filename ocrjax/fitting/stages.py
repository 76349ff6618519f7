"""Stages that are done once: each writes its result, with what that was made from, at its end.

A stage is repeated when an option that it uses, the result of a stage before it, or one of its
files has changed. One that was interrupted is begun again in its folder, where a training resumes;
one whose inputs have changed begins with an empty folder.

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

_VERSION = 1  # of what stages leave


class Stopped(Exception):
    """A signal has stopped a training, which is saved."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a stage found.

    Attributes:
        result: JSON values that depend on the inputs alone: what follows is repeated when they
            change.
        said: one line for the user: what was decided.
        files: what the stage leaves, below the output folder; the stage is repeated where one is
            gone.
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
        options: of the user.
        out: the output folder.
        log: called with each human-readable message.
        records: of the stages that are done, by name.
        begun: when the present stage, or this process, began (`time.monotonic`).
    """

    options: FitOptions
    out: Path
    log: Callable[[str], object] = print
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)

    def result(self, stage: str) -> dict[str, Any]:
        """What a stage before the present one found."""
        found: dict[str, Any] = self.records[stage]["result"]
        return found

    def measured(self, stage: str) -> dict[str, float]:
        """What a stage before the present one measured."""
        found: dict[str, float] = self.records[stage]["measured"]
        return found

    def elapsed(self) -> float:
        """Seconds of the present stage."""
        return time.monotonic() - self.begun

    def left(self) -> float:
        """Seconds of the budget that are left, those of repeated work not counted."""
        done = sum(record["seconds"] for record in self.records.values())
        return self.options.budget - done - self.elapsed()


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the work.

    Attributes:
        name: for `--stage`, and of its record `stages/NAME.json`.
        task: what it does, for the user.
        work: does it; called again after an interruption.
        uses: options that it depends on.
        after: stages whose results it depends on.
        owns: files and folders below the output folder that are removed when it is repeated.
        inputs: what else it depends on, as JSON values.
    """

    name: str
    task: str
    work: Callable[[Job], Done]
    uses: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    owns: tuple[str, ...] = ()
    inputs: Callable[[Job], Mapping[str, Any]] = lambda job: {}


def run_stages(job: Job, stages: Sequence[Stage], *, only: Collection[str] = ()) -> None:
    """Does what is not done yet.

    Args:
        job: its `records` are filled.
        stages: in their order.
        only: names of stages that are repeated whatever is there; no other is done then.

    Raises:
        FitError: an unknown name, or a stage before one of `only` that is not done.
        Stopped: a signal has stopped a training.
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
                    f"--stage {' '.join(only)}: the stage {stage.name} before it {why}: leave out "
                    "--stage, or name it as well"
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
            again = "" if record is None else f" again, because it {why or 'was asked for'}"
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
    """All that a stage depends on."""
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
    """Why a stage must be done, as the end of a sentence; empty where it need not."""
    if record is None:
        return "is not done yet"
    old = record["inputs"]
    changed = [name for name in {**old, **inputs} if old.get(name) != inputs.get(name)]
    if changed == ["after"]:
        stages = [n for n in inputs["after"] if old["after"].get(n) != inputs["after"][n]]
        return f"uses the result of {', '.join(stages)}, which has changed"
    if changed:
        told = (f"{n} ({old.get(n)!r}, now {inputs.get(n)!r})" for n in changed if n != "after")
        return f"was made with another {', '.join(told)}"
    lost = [name for name in record["files"] if not (job.out / name).exists()]
    return f"has lost its file {job.out / lost[0]}" if lost else ""


def digest(value: Any) -> str:
    """Sixteen hexadecimal digits of JSON values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _place(job: Job, name: str) -> Path:
    return job.out / "stages" / f"{name}.json"


def _read(job: Job, name: str) -> dict[str, Any] | None:
    """The record of a stage; None where there is none, or a damaged one."""
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
