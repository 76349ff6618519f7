"""Metrics of a run: (sum, count) pairs, fetched one step late, checked, written and printed."""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from ocrcore.files import replacing, write_text
from ocrcore.progress import describe_seconds, format_seconds
from ocrcore.runtime.mesh import is_main

Pairs = Mapping[str, tuple[Any, Any]]

# Steps, and seconds, before the remaining time is estimated.
_FIRST_STEPS, _FIRST_SECONDS = 3, 5.0


class NonFiniteError(FloatingPointError):
    """A metric is NaN or infinite.

    Attributes:
        step: number of updates made.
        names: the batch's samples that this host loaded.
    """

    def __init__(self, message: str, *, step: int, names: tuple[str, ...]) -> None:
        super().__init__(message)
        self.step = step
        self.names = names


class MetricsError(ValueError):
    """A metrics file cannot be continued, or an optional writer is not installed."""


class Entry(NamedTuple):
    """The metrics of one step.

    Attributes:
        step: number of updates, including this one.
        values: (sum, count) pairs.
        names: the batch's samples that this host loaded; empty until they are needed.
    """

    step: int
    values: dict[str, tuple[float, float]]
    names: tuple[str, ...] = ()


class Deferred:
    """Keeps metrics on the devices until they are requested, so that steps do not wait."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, Pairs]] = []

    def push(self, step: int, values: Pairs) -> None:
        """Add a step's metrics as device arrays; do not wait."""
        self._waiting.append((step, values))

    def take(self, *, lag: int = 1) -> list[Entry]:
        """Fetch all but the last `lag` steps, which may still be running."""
        ready = self._waiting[: max(len(self._waiting) - lag, 0)]
        del self._waiting[: len(ready)]
        fetched = jax.device_get([values for _, values in ready])
        return [
            Entry(step, {k: (float(total), float(n)) for k, (total, n) in values.items()})
            for (step, _), values in zip(ready, fetched, strict=True)
        ]

    def flush(self) -> list[Entry]:
        """Fetch everything: before a checkpoint or an evaluation, and at the end."""
        return self.take(lag=0)


def mean(entries: Sequence[Entry]) -> dict[str, float]:
    """Return means over steps: sums over counts. Metrics with a zero count are left out."""
    totals: dict[str, list[float]] = {}
    for entry in entries:
        for name, (total, count) in entry.values.items():
            pair = totals.setdefault(name, [0.0, 0.0])
            pair[0] += total
            pair[1] += count
    return {name: total / count for name, (total, count) in totals.items() if count}


def check_finite(entries: Sequence[Entry], *, last_checkpoint: Path | str | None) -> None:
    """Stop a run that diverged.

    Call it on `Deferred.flush()` before saving a checkpoint, so that none contains NaN.

    Raises:
        NonFiniteError: a sum or a count is not finite. Names the first such step, its values, the
            batch's samples and the last checkpoint.
    """
    for entry in entries:
        bad = [name for name, pair in entry.values.items() if not np.isfinite(pair).all()]
        if bad:
            values = ", ".join(f"{name} {entry.values[name][0]}" for name in bad)
            raise non_finite_error(values, entry.step, entry.names, last_checkpoint=last_checkpoint)


def non_finite_error(
    what: str, step: int, names: Sequence[str], *, last_checkpoint: Path | str | None
) -> NonFiniteError:
    """Return the error that says what is not finite, and what to do.

    Args:
        what: what is NaN or infinite.
        step: number of updates, including the bad one.
        names: the batch's samples that this host loaded.
        last_checkpoint: the checkpoint to go back to.
    """
    return NonFiniteError(
        f"step {step}: {what}. The batch: {', '.join(names) or '(not named)'}. "
        f"Last good checkpoint: {last_checkpoint or 'none'}. Try a lower "
        "config.optimizer.learning_rate, config.optimizer.clip_norm, or float32",
        step=step,
        names=tuple(names),
    )


class MetricsWriter:
    """Writes `metrics.jsonl` and `metrics.csv`, and TensorBoard files if enabled.

    Every line of the first is an object with `step`; the second holds the same as a table whose
    columns may grow. Non-finite numbers become null and an empty cell. Only the main process
    writes.
    """

    def __init__(
        self, folder: str | Path, *, restored_step: int = 0, tensorboard: bool = False
    ) -> None:
        """Open the files; lines of an earlier start are kept up to the restored step.

        Args:
            folder: the run directory.
            restored_step: lines of later steps are removed; 0 for a new run.
            tensorboard: also write `tensorboard/` (extra `tensorboard`).

        Raises:
            MetricsError: a line is invalid, or tensorboardX is not installed.
        """
        self._board = None
        self._jsonl, self._csv = Path(folder) / "metrics.jsonl", Path(folder) / "metrics.csv"
        if not is_main():
            return
        Path(folder).mkdir(parents=True, exist_ok=True)
        # Earlier versions allowed two processes in one folder, which wrote lines twice.
        rows = {(row["step"], *row): row for row in self._read()}
        kept = [row for row in rows.values() if row["step"] <= restored_step]
        kept.sort(key=lambda row: row["step"])
        write_text(self._jsonl, "".join(_line(row) for row in kept))
        self._columns = ["step"]
        self._write_table(kept)
        if tensorboard:
            try:
                from tensorboardX import SummaryWriter
            except ImportError as error:
                raise MetricsError(
                    "config.tensorboard needs tensorboardX; install it with "
                    "`pip install 'ocrjax[tensorboard]'`"
                ) from error
            self._board = SummaryWriter(
                str(Path(folder) / "tensorboard"), purge_step=restored_step + 1
            )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add a line; TensorBoard groups names like `train/loss` by their prefix."""
        if not is_main():
            return
        row: dict[str, Any] = {"step": step}
        for name, value in values.items():
            row[name] = float(value) if math.isfinite(value) else None
        with self._jsonl.open("a", encoding="utf-8") as file:
            file.write(_line(row))
        if row.keys() <= set(self._columns):
            with self._csv.open("a", encoding="utf-8", newline="") as file:
                csv.DictWriter(file, self._columns).writerow(row)
        else:
            self._write_table(self._read())
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Show images in TensorBoard, `(H, W, 3)` uint8; do nothing if it is disabled."""
        if self._board is not None:
            for name, image in images.items():
                self._board.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        """Close TensorBoard's files; the others are complete after every line."""
        if self._board is not None:
            self._board.close()

    def _read(self) -> list[dict[str, Any]]:
        if not self._jsonl.is_file():
            return []
        lines = self._jsonl.read_text(encoding="utf-8").splitlines(keepends=True)
        # A killed process may have left an incomplete last line.
        if lines and not lines[-1].endswith("\n"):
            lines.pop()
        rows = []
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                row["step"] = int(row["step"])
            except (ValueError, TypeError, KeyError) as error:
                raise MetricsError(
                    f"{self._jsonl}:{number}: {line.strip()!r} is not a line of metrics (an object "
                    "with step); repair or remove the file"
                ) from error
            rows.append(row)
        return rows

    def _write_table(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._columns = list(dict.fromkeys(["step", *(name for row in rows for name in row)]))
        with (
            replacing(self._csv) as part,
            part.open("w", encoding="utf-8", newline="") as file,
        ):
            table = csv.DictWriter(file, self._columns)
            table.writeheader()
            table.writerows(rows)


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, allow_nan=False) + "\n"


class Progress:
    """Measures the speed of a run between two log lines, and formats the lines."""

    def __init__(
        self,
        *,
        steps: int,
        first: int = 0,
        batch_size: int,
        devices: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Start the clock.

        Args:
            steps: updates in the whole run.
            first: updates made by earlier starts.
            batch_size: size of the global batch.
            devices: number of devices on all hosts.
            clock: returns the time in seconds.
        """
        self._steps, self._batch_size, self._devices = steps, batch_size, devices
        self._clock = clock
        self._mark, self._step, self._waited = clock(), first, 0.0
        self._paused = 0.0
        self._begun: tuple[int, float] | None = None
        self._estimated = False

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Measure time spent waiting for data."""
        start, paused = self._clock(), self._paused
        yield
        self._waited += self._clock() - start - (self._paused - paused)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude time that is not training, such as an evaluation, from speed and data wait."""
        start = self._clock()
        yield
        seconds = self._clock() - start
        self._mark += seconds
        self._paused += seconds

    def lap(self, step: int) -> dict[str, float]:
        """Return speed since the last lap: images/s, images/s/device, data wait, seconds left."""
        now = self._clock()
        seconds = max(now - self._mark, 1e-9)
        done = step - self._step
        speed = done * self._batch_size / seconds
        left = (self._steps - step) * seconds / done if done else math.nan
        lap = {
            "images_per_s": speed,
            "images_per_s_per_device": speed / self._devices,
            "data_wait": min(self._waited / seconds, 1.0),
            "seconds_left": left,
        }
        self._mark, self._step, self._waited = now, step, 0.0
        return lap

    def estimate(self, step: int) -> str | None:
        """Return the estimated time for the rest of the run, once, after the first steps.

        Args:
            step: a step that is known to be finished.
        """
        now = self._clock() - self._paused
        first, begin = self._begun = self._begun or (step, now)
        left = self._steps - step
        early = step - first < _FIRST_STEPS or now - begin < _FIRST_SECONDS
        if self._estimated or early or not left:
            return None
        self._estimated = True
        seconds = (now - begin) / (step - first)
        return f"{left:,} steps at {seconds:.3g} s a step: {describe_seconds(left * seconds)}"

    def line(
        self, step: int, losses: Mapping[str, float], *, rate: float, lap: Mapping[str, float]
    ) -> str:
        """Return one log line: step, losses, learning rate, speed, data wait, time left."""
        parts = " ".join(f"{name} {value:.4g}" for name, value in losses.items())
        return (
            f"step {step}/{self._steps}  {parts}  lr {rate:.3g}  "
            f"{lap['images_per_s']:.4g} images/s ({lap['images_per_s_per_device']:.4g} a device)  "
            f"data {lap['data_wait']:.0%}  left {format_seconds(lap['seconds_left'])}"
        )
