"""What is worth doing with some data in some time.

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

# Of the time that is left when a training begins, without what must be kept for the stages after
# it. What is left over goes to the stages that follow.
DETECTOR_SHARE = 0.6
TRAIN_WORDS = 300
"""Words from which on the detector is trained. Measured: 200 updates on 18 street photos changed
hmean by -.028 (-.062 to +.008); 2,530 words of web graphics gained .02 in 400 updates and .056 in
1,500 (docs/benchmarks.md). Between these nothing is measured; what does not help is not kept."""
RECOGNIZER_WORDS = 50
"""Crops from which on the recognizer is trained; the same number must choose."""
LEAST_STEPS = 100
"""Updates from which on a training is worth its time."""
PROBE = 10
"""First updates of a run, by which its speed is measured. They are all within the warmup, so that
the number of updates, which is then known, does not change them."""
EVALUATIONS = 4
"""Of a run, at most, before the last one."""
_EVALUATING = 0.2  # of the time of a run, at most
_SKIPPED = 2  # first updates that say nothing of the speed


def detector_pays(*, words: int, choosing: tuple[int, int]) -> str:
    """Why the detector is not trained; empty where it is.

    Args:
        words: to train on.
        choosing: words and pictures of the validation part.
    """
    if few := too_few(*choosing):
        return few
    if words < TRAIN_WORDS:
        return f"{words:,} words to train on are too few (fewer than {TRAIN_WORDS})"
    return ""


def recognizer_pays(*, words: int, choosing: int) -> str:
    """Why the recognizer is not trained; empty where it is."""
    for what, count in (("train on", words), ("choose by", choosing)):
        if count < RECOGNIZER_WORDS:
            return f"{count:,} crops to {what} are too few (fewer than {RECOGNIZER_WORDS})"
    return ""


@dataclass(frozen=True, slots=True)
class Steps:
    """How long a run trains.

    Attributes:
        steps: updates; 0 where the time allows none that are worth it.
        every: updates from one evaluation to the next.
        why: for the user.
    """

    steps: int
    every: int
    why: str


def plan_steps(*, seconds: float, step: float, evaluation: float, most: int) -> Steps:
    """How many updates fit.

    Args:
        seconds: for the updates and evaluations that are still to come.
        step: seconds of an update.
        evaluation: seconds of an evaluation; the last one, and the test of the results, are two.
        most: updates, as many as are known to help.
    """
    room = seconds - 2 * evaluation
    between = int(min(EVALUATIONS, max(room, 0) * _EVALUATING / max(evaluation, 1e-9)))
    steps = min(int((room - between * evaluation) / max(step, 1e-9)), most)
    speed = f"{step:.2g} s an update, {evaluation:.2g} s an evaluation"
    if steps < min(LEAST_STEPS, most):
        return Steps(
            0, 0, f"only {max(steps, 0)} updates fit into {seconds / 60:.1f} minutes ({speed})"
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
    """Says how many updates a run takes; once, so that an interruption changes nothing.

    Args:
        folder: of the run; keeps `plan.json`.
        given: by the user, or None.
        most: updates, as many as are known to help.
        seconds: that are left for the run.
        evaluation: seconds of an evaluation.
        probe: takes the first updates of the run.
        batch_size: of the run.
        labels_every: updates from one labeling of other pictures to the next; 0: there is but one.

    Raises:
        Stopped: a signal stopped the first updates.
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
    """The median time of an update, of a run that logs each, with its share of a labeling."""
    lines = metrics.read_text(encoding="utf-8").splitlines()
    rows: list[Mapping[str, float]] = [json.loads(line) for line in lines]
    speeds = [row["images_per_s"] for row in rows if row.get("images_per_s")]
    labeling = sum(row.get("labels/seconds", 0.0) for row in rows)
    extra = labeling / labels_every if labels_every else 0.0
    return batch_size / statistics.median(speeds[_SKIPPED:] or speeds) + extra
