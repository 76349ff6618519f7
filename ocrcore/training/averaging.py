"""Averaging with the start weights at the end of a run (WiSE-FT, arXiv:2109.01903).

Training on few samples forgets some of what the start weights knew. An average of both often reads
the new data as well as the trained weights do, and the old data nearly as well as the start
weights. Several shares of the trained weights are tried on the validation words; if none beats the
start weights by more than chance, the start weights are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ocrcore.evaluation.statistics import Interval, paired_wilson
from ocrcore.files import write_json
from ocrcore.training.checkpoints import load_variables
from ocrcore.training.run import Run
from ocrcore.weights.averaging import average_variables, load_flat, save_flat

Tree = Any
Right = NDArray[np.bool_]


class Tried(NamedTuple):
    """A share of the trained weights, and its accuracy.

    Attributes:
        share: weight of the trained weights in the average; 0 is the start weights.
        score: fraction of the words that are read correctly.
        gain: difference to the score of the start weights, with its paired interval.
    """

    share: float
    score: float
    gain: Interval


def keep_start(run: Run, variables: Callable[[], Tree]) -> None:
    """Save the start weights of a run, and remove the average kept by an earlier start.

    Args:
        run: an open run, before the first step of this start.
        variables: returns the start weights; called if the run did not save them yet.
    """
    if run.unfinished:
        run.folder.kept.unlink(missing_ok=True)
        run.folder.average.unlink(missing_ok=True)
    if run.step == 0 or not run.folder.start.is_file():
        save_flat(run.folder.start, variables())


def choose_share(right: Mapping[float, Right]) -> tuple[Tried, list[Tried]]:
    """Choose a share of the trained weights.

    Args:
        right: for each share, including 0, whether each word is read correctly; the words are the
            same for all shares.

    Returns:
        The chosen share, and all that were tried. The best share is chosen (the smallest one among
        equals) if its gain over the start weights is more than chance (the interval lies above 0);
        otherwise 0.
    """
    tried = [
        Tried(share, float(words.mean()) if len(words) else 0.0, paired_wilson(right[0], words))
        for share, words in sorted(right.items())
    ]
    best = max(tried, key=lambda one: (one.score, -one.share))
    return (best if best.gain.low > 0 else tried[0]), tried


def average_run(
    run: Run,
    shares: Sequence[float],
    read: Callable[[Tree], Right],
    *,
    metric: str,
    measured_on: str,
    probe: Callable[[Tree], Right] | None = None,
) -> None:
    """Try averages of a finished run with its start weights, and keep the best.

    From now on `load_variables` returns the kept average for this run; `average.json` records the
    share. If the run is killed here, the next start repeats all of this, with the same result.

    Args:
        run: the finished run; call this in the main process only.
        shares: shares of the trained weights to try. The trained weights are those of the best
            step; if no step was better than the start, those of the last step.
        read: given variables, returns whether each word is read correctly, `(N,)`.
        metric: name of this metric, for the report.
        measured_on: description of the words, for the log.
        probe: like `read`, on words that only show what is forgotten.
    """
    run.checkpoints.wait()
    step = run.stopper.best_step or run.checkpoints.steps[-1]
    start, trained = load_flat(run.folder.start), load_variables(run.checkpoints.folder / str(step))
    right = {share: read(average_variables(start, trained, share)) for share in (0.0, *shares)}
    chosen, tried = choose_share(right)
    kept = average_variables(start, trained, chosen.share)
    report = {
        "share": chosen.share,
        "step": step,
        "metric": metric,
        "words": len(right[0.0]),
        "tried": [{**one._asdict(), "gain": asdict(one.gain)} for one in tried],
    }
    lines = [describe(chosen, tried, step=step, metric=metric, measured_on=measured_on)]
    if probe is not None:
        before, after = probe(start), probe(kept)
        lost = paired_wilson(before, after)
        report["probe"] = {
            "start": float(before.mean()),
            "kept": float(after.mean()),
            "gain": asdict(lost),
        }
        lines.append(
            f"probe for forgetting: start weights {before.mean():.4f}, kept "
            f"{after.mean():.4f}, difference {_shown(lost)}; on {len(before):,} words"
        )
    save_flat(run.folder.kept, kept)
    write_json(run.folder.average, report)
    for line in lines:
        run.log(line)


def describe(
    chosen: Tried, tried: Sequence[Tried], *, step: int, metric: str, measured_on: str
) -> str:
    """Return one log line: what is kept, and why."""
    start = tried[0]
    if chosen.share:
        return (
            f"average: kept {chosen.share:g} of the weights of step {step} and "
            f"{1 - chosen.share:g} of the start weights: {metric} {chosen.score:.4f}, start "
            f"weights {start.score:.4f}, difference {_shown(chosen.gain)}; on {measured_on}"
        )
    best = max(tried[1:], key=lambda one: (one.score, -one.share))
    return (
        f"average: the start weights are kept ({metric} {start.score:.4f}): no share of the "
        f"weights of step {step} is better by more than chance. The best, {best.share:g}, has "
        f"{best.score:.4f}, difference {_shown(best.gain)}; on {measured_on}. More validation "
        "words would resolve smaller differences"
    )


def _shown(gain: Interval) -> str:
    return f"{gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})"
