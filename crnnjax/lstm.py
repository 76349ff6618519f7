"""A bidirectional LSTM with torch's packed weights, for training on sequences of equal length.

The input projections are two matrix products before the scan, both directions share one scan, and
the backward pass is written by hand: the gradient of the weights is one product over all steps at
the end, instead of one per step. CPUs gain nothing by it (docs/benchmarks.md); it keeps the
products of bfloat16 networks in bfloat16.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

Array = jax.Array

# Before the scan, the gates of steps after the end of a sequence are set to this value: input,
# forget and output gate are then closed, so that the state is zero there, and the backward
# direction starts with zeros at the last valid step. Its exponential is 0 in all dtypes used here.
_CLOSED = -1e4


class BiLSTM(nn.Module):
    """One layer of torch's `nn.LSTM(in, features, bidirectional=True, batch_first=True)`.

    Gates are in torch's order: input, forget, cell, output. torch adds two biases; both are kept,
    so that training is the same and weights can be converted back exactly.

    Attributes:
        features: hidden size of each direction.
        dtype: dtype of the matrix products; the state is float32.
    """

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, steps: Array | None = None) -> Array:
        """Run over time.

        Args:
            x: `(B, T, in)`.
            steps: `(B,)` int, number of valid steps of each sequence; outputs of the others are
                zero and do not influence valid ones. None takes all.

        Returns:
            `(B, T, 2 * features)` of `dtype`: the forward direction, then the backward one.
        """
        n, inputs = self.features, x.shape[-1]
        init, zeros = nn.initializers.he_normal(), nn.initializers.zeros
        input_kernel = self.param("input_kernel", init, (2, inputs, 4 * n))
        hidden_kernel = self.param("hidden_kernel", init, (2, n, 4 * n))
        bias = self.param("input_bias", zeros, (2, 4 * n))
        bias = bias + self.param("hidden_bias", zeros, (2, 4 * n))
        time_first = jnp.swapaxes(x.astype(self.dtype), 0, 1)
        gates = [
            project(time_first, input_kernel[k].astype(self.dtype)) + bias[k] for k in range(2)
        ]
        if steps is not None:
            valid = jnp.arange(x.shape[1])[:, None, None] < steps[None, :, None]
            gates = [jnp.where(valid, one, _CLOSED) for one in gates]
        out = scan_both(gates[0], gates[1], hidden_kernel.astype(self.dtype))
        return jnp.swapaxes(out, 0, 1)


@jax.custom_vjp
def project(x: Array, kernel: Array) -> Array:
    """Multiply matrices to a float32 result, with gradients computed in the operands' dtype.

    Autodiff would use float32 products: the gradient of a float32 result is float32, so the other
    operand would be cast to float32 as well.

    Args:
        x: `(T, B, in)`.
        kernel: `(in, out)` of the same dtype.

    Returns:
        `(T, B, out)` float32.
    """
    return jnp.dot(x, kernel, preferred_element_type=jnp.float32)


def _keep_operands(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return project(x, kernel), (x, kernel)


def _project_back(operands: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    back: tuple[Array, Array] = jax.vjp(jnp.dot, *operands)[1](gradient.astype(operands[0].dtype))
    return back


project.defvjp(_keep_operands, _project_back)


@jax.custom_vjp
def scan_both(forward: Array, backward: Array, kernel: Array) -> Array:
    """Run the recurrence of both directions.

    Args:
        forward: `(T, B, 4n)` float32, gates of the forward direction without the part of the hidden
            state.
        backward: the same for the backward direction, in the order of time.
        kernel: `(2, n, 4n)`, weights of the hidden state; its dtype is that of the products.

    Returns:
        `(T, B, 2n)` of the kernel's dtype, hidden states in the order of time.
    """
    return _scan_forward(forward, backward, kernel)[0]


def _products(left: Sequence[Array], kernel: Array) -> tuple[Array, Array]:
    one, two = (
        jnp.dot(x.astype(kernel.dtype), kernel[k], preferred_element_type=jnp.float32)
        for k, x in enumerate(left)
    )
    return one, two


def _narrow(values: Sequence[Array], kernel: Array) -> tuple[Array, ...]:
    return tuple(x.astype(kernel.dtype) for x in values)


def _scan_forward(forward: Array, backward: Array, kernel: Array) -> tuple[Array, Any]:
    n = kernel.shape[1]
    zeros = jnp.zeros((forward.shape[1], n), jnp.float32)

    def step(carry: Any, gates: Any) -> tuple[Any, Any]:
        hidden, cells = carry
        hidden_part = _products(hidden, kernel)
        new_hidden, new_cells, kept = [], [], []
        for gate, part, cell in zip(gates, hidden_part, cells, strict=True):
            i, f, g, o = jnp.split(gate + part, 4, axis=-1)
            i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
            cell = f * cell + i * g
            new_cells.append(cell)
            new_hidden.append(o * jnp.tanh(cell))
            kept.append(jnp.concatenate([i, f, g, o], axis=-1))
        carry = tuple(new_hidden), tuple(new_cells)
        # Outside this loop, hidden states are only used in the dtype of the products.
        return carry, (_narrow(new_hidden, kernel), carry[1], tuple(kept))

    start = ((zeros, zeros), (zeros, zeros))
    _, (hidden, cells, kept) = lax.scan(step, start, (forward, backward[::-1]))
    out = jnp.concatenate([hidden[0], hidden[1][::-1]], axis=-1)
    return out, (hidden, cells, kept, kernel)


def _scan_backward(residuals: Any, gradient: Array) -> tuple[Array, Array, Array]:
    hidden, cells, kept, kernel = residuals
    n = kernel.shape[1]
    zeros = jnp.zeros((gradient.shape[1], n), jnp.float32)
    transposed = jnp.swapaxes(kernel, 1, 2)
    # Everything is in the order in which each direction ran.
    into = (gradient[..., :n], gradient[::-1, :, n:])
    before = tuple(jnp.concatenate([zeros[None], x[:-1]]) for x in cells)

    def step(carry: Any, values: Any) -> tuple[Any, Any]:
        hidden_grads, cell_grads = carry
        new_cells, gate_grads = [], []
        for dh, dc, (to_hidden, cell, last_cell, gates) in zip(
            hidden_grads, cell_grads, zip(*values, strict=True), strict=True
        ):
            i, f, g, o = jnp.split(gates, 4, axis=-1)
            tanh = jnp.tanh(cell)
            dh = dh + to_hidden
            dc = dc + dh * o * (1 - tanh * tanh)
            gate_grads.append(
                jnp.concatenate(
                    [
                        dc * g * i * (1 - i),
                        dc * last_cell * f * (1 - f),
                        dc * i * (1 - g * g),
                        dh * tanh * o * (1 - o),
                    ],
                    axis=-1,
                )
            )
            new_cells.append(dc * f)
        new_hidden = _products(gate_grads, transposed)
        return (new_hidden, tuple(new_cells)), _narrow(gate_grads, kernel)

    start = ((zeros, zeros), (zeros, zeros))
    _, gate_grads = lax.scan(step, start, (into, cells, before, kept), reverse=True)
    kernel_grads = []
    for states, grads in zip(hidden, gate_grads, strict=True):
        last = jnp.concatenate([zeros[None].astype(kernel.dtype), states[:-1]])
        kernel_grads.append(
            jnp.einsum("tbn,tbm->nm", last, grads, preferred_element_type=jnp.float32)
        )
    kernel_grad = jnp.stack(kernel_grads).astype(kernel.dtype)
    to_forward, to_backward = (grads.astype(jnp.float32) for grads in gate_grads)
    return to_forward, to_backward[::-1], kernel_grad


scan_both.defvjp(_scan_forward, _scan_backward)
