"""Optimizers and schedules from a config section."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ocrcore.training.optimizer_options import OptimizerError, OptimizerOptions, matches

Schedule = Callable[[Any], Any]
_log = logging.getLogger(__name__)


def make_schedule(options: OptimizerOptions, *, steps: int) -> Schedule:
    """Return the learning rate as a function of the number of updates, so it resumes exactly.

    Args:
        options: the optimizer options. A warmup longer than the run is shortened to a tenth of it,
            with a warning in the log.
        steps: updates in the whole run; `cosine` ends there.

    Returns:
        A function of an int or int array that returns float32, computed by JAX for traced values
        and JAX arrays, otherwise by NumPy.
    """
    peak, warmup = options.learning_rate, options.warmup
    if steps < warmup or (options.schedule == "cosine" and steps == warmup):
        # Otherwise a run shortened for a quick test would never reach its learning rate.
        warmup = steps // 10
        _log.warning(
            "config.optimizer.warmup is %d, but the run has %d updates: warmup shortened to %d",
            *(options.warmup, steps, warmup),
        )

    def schedule(count: Any) -> Any:
        # For a host number (a log line), JAX would wait for the steps in flight.
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
    """Return the optimizer, and its schedule for the log.

    Frozen parameters get no update, no weight decay, no part in the clipped norm, and no state.
    `init` raises `OptimizerError` for a pattern that matches no parameter. Settings without effect
    are logged as warnings.

    Args:
        options: the optimizer options.
        steps: updates in the whole run.
    """
    for name in _idle(options):
        _log.warning(
            "config.optimizer.%s is %r, but has no effect with name=%r, schedule=%r and "
            "weight_decay=%g",
            *(name, getattr(options, name), options.name, options.schedule, options.weight_decay),
        )
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
        *([_scale_by_rates(options)] if options.rates else []),
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
        _check_patterns(params, tuple(pattern for pattern, _ in options.rates), field="rates")
        return whole.init(params)

    return optax.GradientTransformation(init, whole.update), schedule


def _scale_by_rates(options: OptimizerOptions) -> optax.GradientTransformation:
    """Multiply the updates, weight decay included, by the factors of `options.rates`."""

    def scale(updates: Any, params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, update: update * options.rate_of(_name(path)), updates
        )

    return optax.stateless(scale)


def _idle(options: OptimizerOptions) -> list[str]:
    """Return fields that are set but have no effect given the others."""
    used = {
        "no_decay": options.weight_decay > 0,
        "b1": options.name in ("adam", "adamw"),
        "b2": options.name != "sgd",
        "eps": options.name != "sgd",
        "momentum": options.name in ("rmsprop", "sgd"),
        "decay_every": options.schedule == "step",
        "gamma": options.schedule == "step",
        "final": options.schedule == "cosine",
    }
    default = OptimizerOptions()
    return [one for one in used if not used[one] and getattr(options, one) != getattr(default, one)]


def _direction(options: OptimizerOptions) -> list[optax.GradientTransformation]:
    """Return the transforms between gradient and learning rate, with eps placed as in torch."""
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


def select(params: Any, patterns: tuple[str, ...]) -> Any:
    """Return a tree like `params` of whether one of the patterns matches."""
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
                f"similar ones are {', '.join(near)}"
            )
