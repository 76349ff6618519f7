"""Averages of pretrained and trained weights (WiSE-FT)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from craftjax.convert import from_state_dict
from craftjax.detector import Detector
from craftjax.evaluate import OperatingPoint, choose_point
from craftjax.options import DetectorOptions, save_operating_point
from crnnjax.charset import Charset
from crnnjax.charset_transfer import map_classes
from crnnjax.convert import to_state_dict
from crnnjax.options import RecognizerOptions
from crnnjax.recognizer import load_recognizer
from ocrcore.evaluation.statistics import Interval, paired_bootstrap
from ocrcore.files import write_json
from ocrcore.pages import Page
from ocrcore.training.checkpoints import RunCheckpoints
from ocrcore.training.run_folder import RunFolder
from ocrcore.weights.averaging import average_states
from ocrjax.fitting.judging import try_thresholds
from ocrjax.fitting.options import FitOptions
from ocrjax.weights import State, load_network, save_state

SHARES = (1.0, 0.8, 0.6, 0.4)
"""Shares of the trained weights to try. On web graphics, .6 kept most of the gain with no
measurable loss on street photos (docs/benchmarks.md, "Fine-tuning on words")."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The weights that were chosen.

    Attributes:
        share: share of the trained weights; 0 if the pretrained weights are kept.
        why: the reason, for the user.
        tried: the score of each share on the validation part.
    """

    share: float
    why: str
    tried: dict[str, float]


def trained_state(folder: Path) -> State:
    """Return the trained weights of a detector run: those of its best step.

    If the best step is the start, return those of the last step: with few words a run keeps the
    pretrained weights, and `choose_detector` decides by a paired test whether others are better.
    """
    with RunCheckpoints(RunFolder(folder).checkpoints, keep=2) as checkpoints:
        step = checkpoints.best_step or checkpoints.steps[-1]
        return load_network(checkpoints.folder / str(step)).state


def _mixed(start: State, end: State, share: float) -> State:
    if share == 1:
        return end
    return average_states({"start": start, "end": end}, [1 - share, share])


def _sentence(name: str, share: float, gain: Interval, *, kept: bool) -> str:
    figures = (
        f"{name} {gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f}) on the validation part"
    )
    if kept:
        return f"{share:.0%} trained and {1 - share:.0%} pretrained weights: {figures}"
    return (
        f"the pretrained weights, because the best of {len(SHARES)} averages is not significantly "
        f"better: {figures}"
    )


def choose_detector(
    out: Path,
    options: FitOptions,
    reading: DetectorOptions,
    start_point: OperatingPoint | None,
    truth: Sequence[Page],
    *,
    trained: bool,
) -> Chosen:
    """Write `weights/detector.pth` with its thresholds: an average, or the pretrained weights.

    Args:
        out: the output folder.
        options: the user's options.
        reading: thresholds and magnification tuned for the pretrained weights.
        start_point: their result on the validation part; None if that part is too small.
        truth: pages of the validation part.
        trained: whether a detector was trained.
    """
    start = load_network(options.detector)
    state, chosen, final = start.state, Chosen(0.0, "the pretrained weights", {}), reading
    measured: dict[str, Any] = start_point.to_dict() if start_point else {}
    if trained and start_point is None:
        why = "the pretrained weights, because the validation part has too few words to choose by"
        chosen = Chosen(0.0, why, {})
    if trained and start_point is not None:
        detector = Detector(start.variables, options=reading)
        end = trained_state(out / "detector")
        tried: dict[str, float] = {"0": start_point.evaluation.hmean}
        best: tuple[float, State, OperatingPoint] | None = None
        for share in SHARES:
            mixed = _mixed(start.state, end, share)
            points = try_thresholds(
                detector.with_variables(from_state_dict(mixed)),
                truth,
                reading,
                f"evaluating an average with {share:.0%} trained weights",
            )
            point = choose_point(points, reading).point
            tried[f"{share:g}"] = point.evaluation.hmean
            if best is None or point.evaluation.hmean > best[2].evaluation.hmean:
                best = (share, mixed, point)
        assert best is not None
        gain = paired_bootstrap(start_point.evaluation, best[2].evaluation)
        kept = gain.low > 0
        share = best[0] if kept else 0.0
        chosen = Chosen(share, _sentence("hmean", best[0], gain, kept=kept), tried)
        if kept:
            state, measured = best[1], best[2].to_dict()
            final = replace(reading, **best[2].thresholds)
    path = out / "weights" / "detector.pth"
    save_state(path, "detector", state)
    beside = path.with_name(f"{path.name}.operating_point.json")
    save_operating_point(beside, final, measured=measured, chosen=f"ocrjax fit: {chosen.why}")
    return chosen


def choose_recognizer(out: Path, options: FitOptions, known: Charset, *, trained: bool) -> Chosen:
    """Write `weights/recognizer/`: the average chosen by the run, or the pretrained weights.

    Args:
        out: the output folder.
        options: the user's options.
        known: the characters to read that the pretrained weights know.
        trained: whether a recognizer was trained; its run has averaged with the start weights.
    """
    start = load_recognizer(options.recognizer)
    state, charset, chosen = None, known, Chosen(0.0, "the pretrained weights", {})
    if trained:
        run = RunFolder(out / "recognizer")
        found = json.loads(run.average.read_text(encoding="utf-8"))
        tried = {f"{one['share']:g}": one["score"] for one in found["tried"]}
        others = [one for one in found["tried"] if one["share"]]
        best = max(others, key=lambda one: (one["score"], -one["share"]))
        share, kept = best["share"], bool(found["share"])
        gain = Interval(**best["gain"])
        chosen = Chosen(found["share"], _sentence("word accuracy", share, gain, kept=kept), tried)
        if kept:
            state, charset = load_network(run.path).state, Charset.load(run.charset)
    if state is None:
        mapped = map_classes(start.variables, old=start.charset, new=known)
        state = to_state_dict(mapped.variables, prefix="")
    folder = out / "weights" / "recognizer"
    save_state(folder / "weights.pth", "recognizer", state)
    charset.save(folder / "charset.json")
    reading = asdict(start.options or RecognizerOptions())
    write_json(folder / "config.json", {"data": {"height": start.height}, "recognizer": reading})
    return chosen
