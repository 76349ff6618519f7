"""Which trainings are worthwhile with the given data, and how long they run.

Host code: no jax.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from craftjax.options import too_few
from ocrcore.files import write_json
from ocrcore.training.run_folder import RunFolder
from ocrjax.fitting.stages import Stopped

# Share of the remaining time (without the time reserved for later stages) for the detector
# training. What it does not use goes to the stages after it.
DETECTOR_SHARE = 0.6
TRAIN_WORDS = 300
"""Least number of training words to train the detector. Measured: 200 steps on 18 street photos
changed hmean by -.028 (-.062 to +.008); 2,530 words of web graphics gained .02 in 400 steps and
.056 in 1,500 (docs/benchmarks.md). Nothing is measured between these; a training that does not help
is discarded."""
RECOGNIZER_WORDS = 50
"""Least number of training crops, and of validation crops, to train the recognizer."""
LEAST_STEPS = 100
"""Least number of steps for a training to be worthwhile."""
PROBE = 10
"""First steps of a run, which measure its speed. They are within the warmup, so that they do not
depend on the number of steps, which is decided afterwards."""
EVALUATIONS = 4
"""Most evaluations of a run before the last one."""
_EVALUATING = 0.2  # greatest share of a run's time for evaluations
_SKIPPED = 2  # first steps, which include compilation and do not count for the speed


def detector_pays(*, words: int, choosing: tuple[int, int]) -> str:
    """Return why the detector is not trained; empty if it is.

    Args:
        words: number of training words.
        choosing: number of words and of images in the validation part.
    """
    if few := too_few(*choosing):
        return few
    if words < TRAIN_WORDS:
        return f"{words:,} training words are too few (fewer than {TRAIN_WORDS})"
    return ""


def recognizer_pays(*, words: int, choosing: int) -> str:
    """Return why the recognizer is not trained; empty if it is."""
    for what, count in (("training", words), ("validation", choosing)):
        if count < RECOGNIZER_WORDS:
            return f"{count:,} {what} crops are too few (fewer than {RECOGNIZER_WORDS})"
    return ""


@dataclass(frozen=True, slots=True)
class Steps:
    """The length of a run.

    Attributes:
        steps: training steps; 0 if too few would fit.
        every: steps from one evaluation to the next.
        why: the reason, for the user.
    """

    steps: int
    every: int
    why: str


def plan_steps(*, seconds: float, step: float, evaluation: float, most: int) -> Steps:
    """Return how many steps fit into some time.

    Args:
        seconds: time for the remaining steps and evaluations.
        step: seconds per step.
        evaluation: seconds per evaluation; the last evaluation and the final test count as two.
        most: greatest number of steps, as many as are known to help.
    """
    room = seconds - 2 * evaluation
    between = int(min(EVALUATIONS, max(room, 0) * _EVALUATING / max(evaluation, 1e-9)))
    steps = min(int((room - between * evaluation) / max(step, 1e-9)), most)
    speed = f"{step:.2g} s per step, {evaluation:.2g} s per evaluation"
    if steps < min(LEAST_STEPS, most):
        return Steps(
            0, 0, f"only {max(steps, 0)} steps fit into {seconds / 60:.1f} minutes ({speed})"
        )
    return Steps(steps, -(-steps // (between + 1)), speed)


def decide_steps(
    folder: Path,
    *,
    given: int | None,
    most: int,
    seconds: Callable[[], float],
    evaluation: float,
    probe: Callable[[], object],
    batch_size: int,
    labels_every: int = 0,
) -> Steps:
    """Decide the number of steps of a run, once: an interrupted run keeps the decision.

    Args:
        folder: the run directory, which keeps `plan.json`.
        given: number of steps given by the user, or None.
        most: greatest number of steps, as many as are known to help.
        seconds: returns the time left for the run.
        evaluation: seconds per evaluation.
        probe: takes the first steps of the run.
        batch_size: batch size of the run.
        labels_every: steps from one labeling of new images to the next; 0: only one labeling.

    Raises:
        Stopped: a signal stopped the first steps.
    """
    path = folder / "plan.json"
    if path.is_file():
        return Steps(**json.loads(path.read_text(encoding="utf-8")))
    if given is not None:
        found = Steps(given, max(1, -(-given // 2)), "as given")
    else:
        probe()
        if not (RunFolder(folder).checkpoints / str(PROBE)).is_dir():
            raise Stopped
        step = seconds_a_step(folder / "metrics.jsonl", batch_size, labels_every)
        found = plan_steps(seconds=seconds(), step=step, evaluation=evaluation, most=most)
    write_json(path, {"steps": found.steps, "every": found.every, "why": found.why})
    return found


def seconds_a_step(metrics: Path, batch_size: int, labels_every: int = 0) -> float:
    """Return the median seconds per step from a log of all steps, labeling time included."""
    lines = metrics.read_text(encoding="utf-8").splitlines()
    rows: list[Mapping[str, float]] = [json.loads(line) for line in lines]
    speeds = [row["images_per_s"] for row in rows if row.get("images_per_s")]
    labeling = sum(row.get("labels/seconds", 0.0) for row in rows)
    extra = labeling / labels_every if labels_every else 0.0
    return batch_size / statistics.median(speeds[_SKIPPED:] or speeds) + extra
