"""Optimizers and schedules from a section of a config."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ocrcore.options import from_section

Schedule = Callable[[Any], Any]

_NAMES = ("adam", "adamw", "adadelta", "rmsprop", "sgd")
_SCHEDULES = ("constant", "step", "cosine")


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
        freeze: patterns of parameters (see `matches`) that stay as they are.
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
        for good, field, wanted in (
            (self.name in _NAMES, "name", f"one of {', '.join(_NAMES)}"),
            (self.schedule in _SCHEDULES, "schedule", f"one of {', '.join(_SCHEDULES)}"),
            (self.learning_rate > 0, "learning_rate", "more than 0"),
            (self.weight_decay >= 0, "weight_decay", "0 or more"),
            (0 <= self.b1 < 1, "b1", "0 or more and less than 1"),
            (self.b2 is None or 0 <= self.b2 < 1, "b2", "0 or more and less than 1, or None"),
            (self.eps is None or self.eps > 0, "eps", "more than 0, or None"),
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
        ):
            if not good:
                value = getattr(self, field)
                raise OptimizerError(f"{field} is {value!r}, expected {wanted}")

    @classmethod
    def from_config(cls, section: Mapping[str, Any]) -> OptimizerOptions:
        """Reads a section of a config, which may leave out fields.

        Raises:
            OptionsError: an unknown field, or a bad value.
        """
        return from_section(cls, section, "config.optimizer")


def make_schedule(options: OptimizerOptions, *, steps: int) -> Schedule:
    """The learning rate as a function of the updates made before, so that a resumed run has it too.

    Args:
        options: of the optimizer.
        steps: updates of the whole run; `cosine` ends there.

    Returns:
        A function of an int or int array that returns float32: by JAX for what JAX traces or holds,
        else by NumPy.
    """
    peak, warmup = options.learning_rate, options.warmup
    if options.schedule == "cosine" and steps <= warmup:
        raise OptimizerError(
            f"config.optimizer.warmup is {warmup}, expected less than the run's {steps} updates"
        )

    def schedule(count: Any) -> Any:
        # A number of the host, of a line of the log, must not wait for the steps under way.
        xp = jnp if isinstance(count, jax.Array) else np
        rate = xp.asarray(peak, xp.float32)
        if options.schedule == "step":
            rate = rate * xp.float32(options.gamma) ** (count // options.decay_every)
        elif options.schedule == "cosine":
            done = xp.clip((count - warmup) / (steps - warmup), 0, 1)
            fall = 0.5 * (1 + xp.cos(xp.pi * done))
            rate = rate * (options.final + (1 - options.final) * fall)
        if warmup:
            rate = rate * xp.minimum(1, (count + 1) / warmup)
        return xp.asarray(rate, xp.float32)

    return schedule


def make_optimizer(
    options: OptimizerOptions, *, steps: int
) -> tuple[optax.GradientTransformation, Schedule]:
    """The optimizer, and its schedule for the log.

    Frozen parameters get no update, no weight decay, no part in the clipped norm, and no state.
    `init` raises `OptimizerError` for a pattern that matches no parameter.

    Args:
        options: of the optimizer.
        steps: updates of the whole run.
    """
    schedule = make_schedule(options, steps=steps)

    def decayed(params: Any) -> Any:
        return jax.tree.map(lambda skip: not skip, select(params, options.no_decay))

    decay = optax.add_decayed_weights(options.weight_decay, decayed)
    coupled = options.weight_decay > 0 and options.name != "adamw"
    decoupled = options.weight_decay > 0 and options.name == "adamw"
    trained = optax.chain(
        *([optax.clip_by_global_norm(options.clip_norm)] if options.clip_norm else []),
        *([decay] if coupled else []),
        *_direction(options),
        *([decay] if decoupled else []),
        optax.scale_by_learning_rate(schedule),
    )
    whole = trained
    if options.freeze:

        def labels(params: Any) -> Any:
            frozen = select(params, options.freeze)
            return jax.tree.map(lambda yes: "frozen" if yes else "trained", frozen)

        whole = optax.partition({"trained": trained, "frozen": optax.set_to_zero()}, labels)

    def init(params: Any) -> Any:
        _check_patterns(params, options.freeze, field="freeze")
        _check_patterns(params, options.no_decay, field="no_decay")
        return whole.init(params)

    return optax.GradientTransformation(init, whole.update), schedule


def _direction(options: OptimizerOptions) -> list[optax.GradientTransformation]:
    """What comes between the gradient and the learning rate, with torch's placement of eps."""
    eps = options.eps if options.eps is not None else 1e-8
    b2 = options.b2 if options.b2 is not None else 0.999
    momentum = [optax.trace(options.momentum, options.nesterov)] if options.momentum else []
    if options.name == "adadelta":
        rho = options.b2 if options.b2 is not None else 0.9
        return [optax.scale_by_adadelta(rho, options.eps if options.eps is not None else 1e-6)]
    if options.name == "rmsprop":
        alpha = options.b2 if options.b2 is not None else 0.99
        return [optax.scale_by_rms(alpha, eps, eps_in_sqrt=False), *momentum]
    if options.name == "sgd":
        return momentum
    return [optax.scale_by_adam(options.b1, b2, eps)]


def matches(path: str, pattern: str) -> bool:
    """Whether a parameter is meant: `encoder/slice1` is all below it, `*/bias` any bias.

    Args:
        path: names joined by `/`, as `encoder/slice1/conv0/kernel`.
        pattern: a whole path or its beginning, with `*`, `?` and `[...]` as in a shell; `*` also
            matches `/`.
    """
    return fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern.rstrip('/')}/*")


def select(params: Any, patterns: tuple[str, ...]) -> Any:
    """A tree like `params` of whether one of the patterns matches."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: any(matches(_name(path), pattern) for pattern in patterns), params
    )


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _check_patterns(params: Any, patterns: tuple[str, ...], *, field: str) -> None:
    names = [_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    for pattern in patterns:
        if not any(matches(name, pattern) for name in names):
            near = difflib.get_close_matches(pattern, names, n=3, cutoff=0)
            raise OptimizerError(
                f"config.optimizer.{field}: {pattern!r} matches no parameter; "
                f"among them are {', '.join(near)}"
            )
