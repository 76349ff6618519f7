"""The section `config.optimizer`: learning rates, schedule, weight decay, frozen parameters.

Host code: no jax.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import inf
from typing import Any

from ocrcore.options import expect, from_section

_NAMES = ("adam", "adamw", "adadelta", "rmsprop", "sgd")
_SCHEDULES = ("constant", "step", "cosine")


def matches(path: str, pattern: str) -> bool:
    """Return whether a pattern matches a parameter: `encoder/slice1`, `*/bias`.

    Args:
        path: names joined by `/`, like `encoder/slice1/conv0/kernel`.
        pattern: a whole path or its beginning, with `*`, `?` and `[...]` as in a shell; `*` also
            matches `/`. So `encoder/slice1` matches everything below it, `*/bias` any bias.
    """
    return fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern.rstrip('/')}/*")


class OptimizerError(ValueError):
    """Invalid optimizer setting; the message names the config's field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerOptions:
    """The section `config.optimizer`. Names, defaults and formulas follow torch.optim.

    Attributes:
        name: `adam` (weight decay is added to the gradient, as in the original training), `adamw`
            (decoupled weight decay), `adadelta`, `rmsprop` or `sgd` (weight decay as in adam).
        learning_rate: the peak learning rate.
        weight_decay: 0 disables it.
        no_decay: patterns of parameters (see `matches`) without weight decay.
        b1: adam and adamw: decay rate of the mean of gradients.
        b2: adam and adamw: decay rate of the mean of squared gradients; None is .999. For rmsprop
            it is `alpha`, None is .99; for adadelta `rho`, None is .9.
        eps: None is 1e-8, for adadelta 1e-6.
        momentum: for rmsprop and sgd.
        nesterov: for sgd: use Nesterov momentum.
        schedule: `constant`; `step`: multiply by `gamma` every `decay_every` updates; `cosine`:
            decay to `final` times the learning rate at the last update.
        warmup: updates of linear warmup of the learning rate.
        decay_every: for `step`.
        gamma: for `step`.
        final: for `cosine`.
        clip_norm: maximum global norm of the gradients of all trained parameters; None disables
            clipping. Applied before weight decay.
        accumulate: number of parts a batch is split into
            (`ocrcore.training.state.accumulate_gradients`).
        freeze: patterns of parameters (see `matches`) that are not trained. BatchNorm whose scale
            is frozen keeps its running statistics and normalizes by them.
        rates: pairs of a parameter pattern (see `matches`) and a factor for its learning rate, like
            `(("FeatureExtraction", 0.1),)`; if several patterns match, the first one counts.
    """

    name: str = "adam"
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    no_decay: tuple[str, ...] = ()
    b1: float = 0.9
    b2: float | None = None
    eps: float | None = None
    momentum: float = 0.0
    nesterov: bool = False
    schedule: str = "constant"
    warmup: int = 0
    decay_every: int = 0
    gamma: float = 1.0
    final: float = 0.0
    clip_norm: float | None = None
    accumulate: int = 1
    freeze: tuple[str, ...] = ()
    rates: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        expect(
            self,
            (self.name in _NAMES, "name", f"one of {', '.join(_NAMES)}"),
            (self.schedule in _SCHEDULES, "schedule", f"one of {', '.join(_SCHEDULES)}"),
            (0 < self.learning_rate < inf, "learning_rate", "more than 0"),
            (0 <= self.weight_decay < inf, "weight_decay", "0 or more"),
            (0 <= self.b1 < 1, "b1", "0 or more and less than 1"),
            (self.b2 is None or 0 <= self.b2 < 1, "b2", "0 or more and less than 1, or None"),
            (self.eps is None or 0 < self.eps < inf, "eps", "more than 0, or None"),
            (0 <= self.momentum < 1, "momentum", "0 or more and less than 1"),
            (not self.nesterov or self.momentum > 0, "nesterov", "False without momentum"),
            (self.warmup >= 0, "warmup", "0 or more updates"),
            (
                self.decay_every >= (self.schedule == "step"),
                "decay_every",
                "0 or more updates, 1 or more with schedule 'step'",
            ),
            (0 < self.gamma <= 1, "gamma", "more than 0, at most 1"),
            (0 <= self.final <= 1, "final", "a fraction from 0 to 1"),
            (self.clip_norm is None or self.clip_norm > 0, "clip_norm", "more than 0, or None"),
            (self.accumulate >= 1, "accumulate", "1 or more parts"),
            (
                all(0 < factor < inf for _, factor in self.rates),
                "rates",
                "pairs of a pattern and a factor greater than 0 (use freeze instead of 0)",
            ),
            error=OptimizerError,
        )

    def is_frozen(self, path: str) -> bool:
        """Return whether a parameter is frozen, by its path as in `matches`."""
        return any(matches(path, pattern) for pattern in self.freeze)

    def rate_of(self, path: str) -> float:
        """Return the learning rate factor of a parameter, by its path as in `matches`."""
        return next((factor for pattern, factor in self.rates if matches(path, pattern)), 1.0)

    @classmethod
    def from_config(cls, section: Mapping[str, Any]) -> OptimizerOptions:
        """Read a config section, which may leave out fields.

        Raises:
            OptionsError: an unknown field, or a bad value.
        """
        return from_section(cls, section, "config.optimizer")
