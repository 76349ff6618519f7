"""When to do something, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


def every(step: int, interval: int | None) -> bool:
    """Whether `step` updates are a multiple of `interval`; never before the first, never for 0."""
    return bool(interval and step > 0 and step % interval == 0)


@dataclass
class EarlyStopping:
    """Stops after a number of evaluations without improvement.

    On several hosts all must see the same scores.

    Attributes:
        patience: evaluations without improvement before stopping; 0 disables early stopping.
        min_delta: how much higher a score must be to count as better.
        best: the highest score, or None.
        best_step: the step that had it.
        since: evaluations after it.
    """

    patience: int
    min_delta: float = 0.0
    best: float | None = None
    best_step: int | None = None
    since: int = 0

    def is_better(self, score: float) -> bool:
        """Whether a score would be the best so far: an equal one is not, NaN never is."""
        if math.isnan(score):
            return False
        return self.best is None or score > self.best + self.min_delta

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
        """Takes up where `state` was taken; patience and `min_delta` stay this object's."""
        self.best, self.best_step = state["best"], state["best_step"]
        self.since = int(state["since"])
