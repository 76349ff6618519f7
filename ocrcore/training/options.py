"""Settings of any run: its sections of a config that detector and recognizer share.

Host code: no jax.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import inf
from typing import Any

from ocrcore.options import expect, from_section

DTYPES = ("float32", "bfloat16")
"""Types that a network can be computed in."""
_NAMES = ("adam", "adamw", "adadelta", "rmsprop", "sgd")
_SCHEDULES = ("constant", "step", "cosine")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What stands at the top of a config, whatever is trained.

    Attributes:
        seed: of the first weights, of synthetic data, and of the order and augmentation of samples.
        steps: updates of the weights.
        batch_size: samples of an update, of all devices together; a multiple of their number.
        init_from: folder of a run whose weights are the first ones; empty: none.
        init_weights: or a name or file of weights; empty: random ones.
        ema: decay of the moving average of the weights, which is evaluated and saved; 0 for none.
        log_every: updates from one line of the log to the next; 0: only the last one has a line.
        tensorboard: also write TensorBoard's files; needs the extra `tensorboard`.
    """

    seed: int = 0
    steps: int = 1000
    batch_size: int = 4
    init_from: str = ""
    init_weights: str = ""
    ema: float = 0.999
    log_every: int = 50
    tensorboard: bool = False

    def __post_init__(self) -> None:
        expect(
            self,
            (0 <= self.seed < 1 << 63, "seed", "0 to 2**63 - 1"),
            (1 <= self.steps < 1 << 31, "steps", "1 or more updates, less than 2**31"),
            (1 <= self.batch_size <= 1 << 16, "batch_size", "1 to 65,536 samples"),
            (0 <= self.ema < 1, "ema", "0 for none, or a decay of less than 1"),
            (self.log_every >= 0, "log_every", "0 or more updates"),
        )


def loading(threads: int, workers: int) -> tuple[tuple[bool, str, str], ...]:
    """What is expected of the threads and processes that make batches, for `expect`."""
    return (
        (1 <= threads <= 1024, "threads", "1 to 1024 threads"),
        (0 <= workers <= 1024, "workers", "0 (this process) to 1024 processes"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointOptions:
    """The section `config.checkpoint`.

    Attributes:
        every: updates from one saved state to the next: what a crash can cost; 0 for none.
            Evaluations are saved as well.
        keep: how many of the last ones are kept; the best one is kept as well.
    """

    every: int = 1000
    keep: int = 3

    def __post_init__(self) -> None:
        expect(
            self,
            (self.every >= 0, "every", "0 or more updates"),
            (self.keep >= 1, "keep", "1 or more"),
        )


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
                self.schedule != "step" or self.decay_every > 0,
                "decay_every",
                "1 or more updates with schedule 'step'",
            ),
            (0 < self.gamma <= 1, "gamma", "more than 0, at most 1"),
            (0 <= self.final <= 1, "final", "a share from 0 to 1"),
            (self.clip_norm is None or self.clip_norm > 0, "clip_norm", "more than 0, or None"),
            (self.accumulate >= 1, "accumulate", "1 or more parts"),
            error=OptimizerError,
        )

    def is_frozen(self, path: str) -> bool:
        """Whether a parameter, by its path as in `matches`, stays as it is."""
        return any(matches(path, pattern) for pattern in self.freeze)

    @classmethod
    def from_config(cls, section: Mapping[str, Any]) -> OptimizerOptions:
        """Reads a section of a config, which may leave out fields.

        Raises:
            OptionsError: an unknown field, or a bad value.
        """
        return from_section(cls, section, "config.optimizer")
