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
    """Whether a parameter is meant: `encoder/slice1` is all below it, `*/bias` any bias.

    Args:
        path: names joined by `/`, as `encoder/slice1/conv0/kernel`.
        pattern: a whole path or its beginning, with `*`, `?` and `[...]` as in a shell; `*` also
            matches `/`.
    """
    return fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern.rstrip('/')}/*")


class OptimizerError(ValueError):
    """A setting that cannot be; the message names the config's field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerOptions:
    """The section `config.optimizer`. Names, defaults and formulas are those of torch.optim.

    Attributes:
        name: `adam` (weight decay is added to the gradient, as the original trains), `adamw`
            (weight decay apart from the gradient), `adadelta`, `rmsprop` or `sgd` (as adam).
        learning_rate: the highest one.
        weight_decay: 0 for none.
        no_decay: patterns of parameters (see `matches`) without weight decay.
        b1: adam and adamw: decay of the mean of gradients.
        b2: adam and adamw: decay of the mean of their squares; None is .999. rmsprop's `alpha`,
            None is .99; adadelta's `rho`, None is .9.
        eps: None is 1e-8, for adadelta 1e-6.
        momentum: rmsprop and sgd.
        nesterov: sgd: Nesterov's momentum.
        schedule: `constant`; `step`: times `gamma` after every `decay_every` updates; `cosine`:
            down to `final` of the learning rate at the last update.
        warmup: updates over which the learning rate first rises in a straight line.
        decay_every: of `step`.
        gamma: of `step`.
        final: of `cosine`.
        clip_norm: longest gradient over all trained parameters together; None for any. Applied
            before weight decay.
        accumulate: parts that a batch is taken in (`ocrcore.training.state.accumulate_gradients`).
        freeze: patterns of parameters (see `matches`) that stay as they are. BatchNorm whose scale
            is among them keeps its running statistics and normalizes by them.
        rates: pairs of a pattern of parameters (see `matches`) and a factor of their learning rate,
            as `(("FeatureExtraction", 0.1),)`; of several patterns that match, the first counts.
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
            (0 <= self.final <= 1, "final", "a share from 0 to 1"),
            (self.clip_norm is None or self.clip_norm > 0, "clip_norm", "more than 0, or None"),
            (self.accumulate >= 1, "accumulate", "1 or more parts"),
            (
                all(0 < factor < inf for _, factor in self.rates),
                "rates",
                "pairs of a pattern and a factor of more than 0 (to 0: freeze)",
            ),
            error=OptimizerError,
        )

    def is_frozen(self, path: str) -> bool:
        """Whether a parameter, by its path as in `matches`, stays as it is."""
        return any(matches(path, pattern) for pattern in self.freeze)

    def rate_of(self, path: str) -> float:
        """The factor of a parameter's learning rate, by its path as in `matches`."""
        return next((factor for pattern, factor in self.rates if matches(path, pattern)), 1.0)

    @classmethod
    def from_config(cls, section: Mapping[str, Any]) -> OptimizerOptions:
        """Reads a section of a config, which may leave out fields.

        Raises:
            OptionsError: an unknown field, or a bad value.
        """
        return from_section(cls, section, "config.optimizer")
