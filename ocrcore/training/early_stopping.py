"""Which step is kept, and when training stops for want of improvement."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ocrcore.evaluation.statistics import wilson

FEW_WORDS = 300
"""Scores of fewer words than these do not choose the kept step by their order alone.

Good training gains .02 or so. A paired difference of hmeans had a standard error of .012 on 1,093
words, which makes .023 on 300: with fewer, the higher of two scores says little.
"""


@dataclass
class EarlyStopping:
    """Stops after a number of evaluations without improvement.

    Scores of few words are mostly chance, so they stop nothing, and their order chooses nothing.
    Where the start weights were evaluated (step 0), they are kept until the 95 % interval of a
    score (`ocrcore.evaluation.statistics.wilson`) lies above that of theirs. Of other steps the
    latest is kept whose score is not below the interval of the best.

    On several hosts all must see the same scores.

    Attributes:
        patience: evaluations without improvement before stopping; 0 disables early stopping.
        words: that the scores rest on; few are those below `FEW_WORDS`.
        best: the highest score of a step that was kept, or None.
        best_step: the step that is kept: the one that had it, with few words perhaps a later one.
        since: evaluations after it.
    """

    patience: int
    words: int = FEW_WORDS
    best: float | None = None
    best_step: int | None = None
    since: int = 0

    @property
    def few(self) -> bool:
        """Whether the scores rest on few words."""
        return self.words < FEW_WORDS

    def is_better(self, score: float) -> bool:
        """Whether a step of this score would be kept.

        It must be the best so far: an equal one is not, NaN never is. With few words intervals
        decide.
        """
        if math.isnan(score):
            return False
        if self.few and self.best is not None:
            best, new = (wilson(round(x * self.words), self.words) for x in (self.best, score))
            return new.low > best.high if self.best_step == 0 else score >= best.low
        return self.best is None or score > self.best

    def update(self, step: int, score: float) -> bool:
        """Notes an evaluation; whether its step is kept."""
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
        """What a checkpoint keeps, as JSON."""
        return {"best": self.best, "best_step": self.best_step, "since": self.since}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes up where `state` was taken; the settings stay this object's."""
        self.best, self.best_step = state["best"], state["best_step"]
        self.since = int(state["since"])
