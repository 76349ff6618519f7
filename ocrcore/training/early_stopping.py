"""Early stopping: no more training after evaluations without improvement."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass
class EarlyStopping:
    """Stops after a number of evaluations without improvement.

    On several hosts all must see the same scores.

    Attributes:
        patience: evaluations without improvement before stopping; 0 disables early stopping.
        best: the highest score, or None.
        best_step: the step that had it.
        since: evaluations after it.
    """

    patience: int
    best: float | None = None
    best_step: int | None = None
    since: int = 0

    def is_better(self, score: float) -> bool:
        """Whether a score would be the best so far: an equal one is not, NaN never is."""
        if math.isnan(score):
            return False
        return self.best is None or score > self.best

    def update(self, step: int, score: float) -> bool:
        """Notes an evaluation; whether it is the best so far."""
        better = self.is_better(score)
        if better:
            self.best, self.best_step, self.since = float(score), step, 0
        else:
            self.since += 1
        return better

    @property
    def should_stop(self) -> bool:
        """Whether there were `patience` evaluations without improvement."""
        return 0 < self.patience <= self.since

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as JSON."""
        return {"best": self.best, "best_step": self.best_step, "since": self.since}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes up where `state` was taken; patience stays this object's."""
        self.best, self.best_step = state["best"], state["best_step"]
        self.since = int(state["since"])
