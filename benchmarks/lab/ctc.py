"""CTC with a hand-written gradient against `optax.ctc_loss`, which is differentiated by autodiff.

`own_ctc_losses` computes forward and backward variables in one scan over time: the backward ones
are the forward ones of the reversed target and the reversed time steps, so both are rows of one
batch. Everything is float32 in log space. Both losses are timed at the shapes of the recognizer's
training steps, with and without the gradient. Rounds alternate in one process; the minimum time of
a call is reported. Losses and gradients of both are compared with optax's in float64.

The toolkit uses optax's loss: on CPUs the hand-written gradient is no faster (docs/benchmarks.md).
On GPUs it was not measured; `benchmarks/gpu/measure.py` has a row for it.

Command: python benchmarks/lab/ctc.py [--rounds 9]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

Array = jax.Array

CASES = {  # batch size, time steps, classes, longest target
    "dtrb": (192, 24, 37, 25),
    "easyocr": (32, 63, 97, 25),
    "ppocr": (64, 20, 96, 25),
    "long": (64, 80, 96, 40),
}
_NEVER = -1e30  # log(0), but finite, to avoid NaN


def own_ctc_losses(logits: Array, steps: Array, labels: Array, lengths: Array) -> Array:
    """Compute the negative log-probability of each target, with a hand-written gradient.

    Graves et al. 2006, "Connectionist Temporal Classification", equations 6 to 16.

    Args:
        logits: `(B, T, N)`; the blank is class 0.
        steps: `(B,)` int, valid time steps, at least one.
        labels: `(B, L)` int, classes from 1 on; values beyond the length are ignored.
        lengths: `(B,)` int, 0 for an empty target. Every target must fit its time steps.

    Returns:
        `(B,)` float32.
    """
    return _losses(logits, steps, labels, lengths)


@jax.custom_vjp
def _losses(logits: Array, steps: Array, labels: Array, lengths: Array) -> Array:
    known = _known(labels, lengths)
    _, blank, label = _emissions(logits, known)
    return -_total(*_forward(blank, label, known), steps, lengths)


def _losses_and_gradient(
    logits: Array, steps: Array, labels: Array, lengths: Array
) -> tuple[Array, Array]:
    known = _known(labels, lengths)
    logs, blank, label = _emissions(logits, known)
    (rows, most), row = known.shape, jnp.arange(len(known))
    # The same paths, read from the end.
    back = (steps - 1 - jnp.arange(len(blank))[:, None]) % len(blank)
    turned = (lengths[:, None] - 1 - jnp.arange(most)) % most
    gaps = (lengths[:, None] - jnp.arange(most + 1)) % (most + 1)
    blanks, states = _forward(
        jnp.concatenate([blank, blank[back, row]], 1),
        jnp.concatenate([label, label[back[..., None], row[:, None], turned]], 1),
        jnp.concatenate([known, jnp.take_along_axis(known, turned, 1)]),
    )
    total = _total(blanks[:, :rows], states[:, :rows], steps, lengths)
    # Both variables contain the emission of their time step, which must count once.
    after = states[:, rows:][back[..., None], row[:, None], turned]
    in_label = jnp.exp(states[:, :rows] + after - label - total[:, None])
    in_label = jnp.where(jnp.arange(most) < lengths[:, None], in_label, 0)
    after = blanks[:, rows:][back[..., None], row[:, None], gaps]
    in_blank = jnp.exp(blanks[:, :rows] + after - blank[..., None] - total[:, None])
    in_blank = jnp.where(jnp.arange(most + 1) <= lengths[:, None], in_blank, 0)
    classes = jax.nn.one_hot(known, logits.shape[-1], dtype=jnp.float32)
    expected = jnp.einsum("tbl,bln->btn", in_label, classes, precision="highest")
    expected = expected.at[..., 0].add(jnp.sum(in_blank, -1).T)
    valid = jnp.arange(logits.shape[1]) < steps[:, None]
    gradient = jnp.where(valid[..., None], jnp.exp(logs) - expected, 0)
    return -total, gradient.astype(logits.dtype)


def _scaled(gradient: Array, of_losses: Array) -> tuple[Array, None, None, None]:
    return gradient * of_losses[:, None, None].astype(gradient.dtype), None, None, None


_losses.defvjp(_losses_and_gradient, _scaled)


def _known(labels: Array, lengths: Array) -> Array:
    """Return the labels `(B, L)` with blanks beyond their length."""
    return jnp.where(jnp.arange(labels.shape[1]) < lengths[:, None], labels, 0)


def _emissions(logits: Array, known: Array) -> tuple[Array, Array, Array]:
    """Return log-probabilities: all `(B, T, N)`, blank `(T, B)`, labels `(T, B, L)`."""
    logs = jax.nn.log_softmax(logits.astype(jnp.float32))
    places = jnp.broadcast_to(known[:, None], (*logs.shape[:2], known.shape[1]))
    return logs, logs[..., 0].T, jnp.swapaxes(jnp.take_along_axis(logs, places, 2), 0, 1)


def _forward(blank: Array, label: Array, known: Array) -> tuple[Array, Array]:
    """Compute forward variables of the blanks `(T, B, L + 1)` and of the labels `(T, B, L)`."""
    rows, most = known.shape
    # Between different labels, a path may skip the blank.
    direct = jnp.pad(known[:, 1:] != known[:, :-1], ((0, 0), (1, 0)))

    def move(state: tuple[Array, Array], now: tuple[Array, Array]) -> tuple[Any, Any]:
        blanks, labels = state
        before = jnp.pad(labels, ((0, 0), (1, 0)), constant_values=_NEVER)
        over = jnp.where(direct, before[:, :-1], _NEVER)
        state = (
            _log_add(blanks, before) + now[0][:, None],
            _log_add(labels, blanks[:, :-1], over) + now[1],
        )
        return state, state

    # Before the first time step, every path is in the first blank.
    start = jnp.full((rows, most + 1), _NEVER).at[:, 0].set(0), jnp.full((rows, most), _NEVER)
    return lax.scan(move, start, (blank, label))[1]


def _total(blanks: Array, states: Array, steps: Array, lengths: Array) -> Array:
    """Return the log-probabilities of the targets, `(B,)`."""
    row, last = jnp.arange(len(steps)), steps - 1
    label = states[last, row, jnp.maximum(lengths - 1, 0)]
    return _log_add(blanks[last, row, lengths], jnp.where(lengths > 0, label, _NEVER))


def _log_add(*terms: Array) -> Array:
    top = terms[0]
    for term in terms[1:]:
        top = jnp.maximum(top, term)
    return top + jnp.log(sum(jnp.exp(term - top) for term in terms))


def optax_ctc_losses(logits: Array, steps: Array, labels: Array, lengths: Array) -> Array:
    """Call `optax.ctc_loss` with the arguments of `own_ctc_losses`."""
    return optax.ctc_loss(
        logits,
        (jnp.arange(logits.shape[1]) >= steps[:, None]).astype(logits.dtype),
        labels,
        (jnp.arange(labels.shape[1]) >= lengths[:, None]).astype(logits.dtype),
    )


def make_case(rows: int, steps: int, classes: int, longest: int) -> tuple[np.ndarray, ...]:
    """Draw random logits, steps, labels and lengths; every target fits its time steps."""
    rng = np.random.default_rng(0)
    labels = rng.integers(1, classes, (rows, longest)).astype(np.int32)
    lengths = rng.integers(0, min(longest, steps // 2) + 1, rows).astype(np.int32)
    valid = rng.integers(np.maximum(2 * lengths, 1), steps + 1).astype(np.int32)
    return rng.normal(size=(rows, steps, classes)).astype(np.float32), valid, labels, lengths


Losses = Callable[..., Array]


def graded(losses: Losses) -> Callable[..., Any]:
    """Jit the sum of the losses and its gradient with respect to the logits."""
    return jax.jit(jax.value_and_grad(lambda *arrays: jnp.sum(losses(*arrays))))


def _seconds(program: Callable[..., Any], arrays: tuple[Any, ...], calls: int) -> float:
    begun = time.process_time()
    for _ in range(calls):
        jax.block_until_ready(program(*arrays))
    return (time.process_time() - begun) / calls


def main() -> None:
    """Print the table, and write JSON with --out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=20, help="calls timed together")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args()
    contestants = {"optax": optax_ctc_losses, "own": own_ctc_losses}
    rows: list[dict[str, Any]] = []
    for case, shape in CASES.items():
        arrays = make_case(*shape)
        programs = {
            (kind, name): graded(losses) if kind == "gradient" else jax.jit(losses)
            for kind in ("gradient", "forward")
            for name, losses in contestants.items()
        }
        with jax.enable_x64(True):
            exact = graded(optax_ctc_losses)(arrays[0].astype(np.float64), *arrays[1:])
            exact = jax.device_get(exact)
        best: dict[tuple[str, str], float] = {}
        for program in programs.values():
            jax.block_until_ready(program(*arrays))
        for _ in range(args.rounds):
            for key, program in programs.items():
                best[key] = min(best.get(key, np.inf), _seconds(program, arrays, args.calls))
        for name in contestants:
            value, gradient = programs["gradient", name](*arrays)
            row = {
                "case": case,
                "losses": name,
                "gradient_ms": best["gradient", name] * 1e3,
                "forward_ms": best["forward", name] * 1e3,
                "loss_error": abs(float(value) / float(exact[0]) - 1),
                "gradient_error": float(np.abs(np.asarray(gradient) - exact[1]).max()),
            }
            rows.append(row)
            print(
                f"{case:8} {name:6} with gradient {row['gradient_ms']:7.2f} ms, forward "
                f"{row['forward_ms']:6.2f} ms; errors: loss {row['loss_error']:.1e}, gradient "
                f"{row['gradient_error']:.1e}"
            )
    if args.out:
        machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "jax": jax.__version__}
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
