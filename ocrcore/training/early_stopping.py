"""Chooses the step to keep, and stops training that no longer improves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ocrcore.evaluation.statistics import wilson

FEW_WORDS = 300
"""With fewer words than this, the order of two scores alone does not decide which step is kept.

Good training gains about .02. A paired difference of hmeans had a standard error of .012 on 1,093
words, which makes .023 on 300: with fewer words, the higher of two scores says little.
"""


@dataclass
class EarlyStopping:
    """Stops after a number of evaluations without improvement.

    Scores on few words are mostly chance, so they never stop training, and a higher score alone
    does not replace the kept step. If the start weights were evaluated (step 0), they are kept
    until the 95 % interval of a score (`ocrcore.evaluation.statistics.wilson`) lies above theirs.
    Among other steps, the latest one whose score is not below the interval of the best is kept.

    On several hosts all must see the same scores.

    Attributes:
        patience: evaluations without improvement before stopping; 0 disables early stopping.
        words: number of words behind the scores; fewer than `FEW_WORDS` are few.
        best: the highest score of a step that was kept, or None.
        best_step: the step that is kept: the one with the best score or, on few words, maybe a
            later one.
        since: number of evaluations after it.
    """

    patience: int
    words: int = FEW_WORDS
    best: float | None = None
    best_step: int | None = None
    since: int = 0

    @property
    def few(self) -> bool:
        """Whether the scores are on few words."""
        return self.words < FEW_WORDS

    def is_better(self, score: float) -> bool:
        """Return whether a step with this score would be kept.

        It must be better than the best so far: an equal score is not, NaN never is. On few words
        intervals decide.
        """
        if math.isnan(score):
            return False
        if self.few and self.best is not None:
            best, new = (wilson(round(x * self.words), self.words) for x in (self.best, score))
            return new.low > best.high if self.best_step == 0 else score >= best.low
        return self.best is None or score > self.best

    def update(self, step: int, score: float) -> bool:
        """Record an evaluation; return whether its step is kept."""
        better = self.is_better(score)
        if better:
            self.best = float(score if self.best is None else max(score, self.best))
            self.best_step, self.since = step, 0
        else:
            self.since += 1
        return better

    @property
    def should_stop(self) -> bool:
        """Whether there were `patience` evaluations without improvement."""
        return not self.few and 0 < self.patience <= self.since

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint saves, as JSON."""
        return {"best": self.best, "best_step": self.best_step, "since": self.since}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the result of `state`; the settings of this object do not change."""
        self.best, self.best_step = state["best"], state["best_step"]
        self.since = int(state["since"])
