"""An LSTM over a sequence, forwards or backwards in time, whose gradient is large matmuls around a small core.

``i, f, o = s(x W + h U);  g = tanh(x W_g + h U_g);  c' = f c + i g;  h' = o tanh(c')`` (Hochreiter & Schmidhuber 1997,
with forget gates). As in ``gru``, input projections are hoisted out of the scan, the gradient of the recurrent weights
is one product after it, and the four gates are arrays of their own.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

Gates = tuple[jax.Array, ...]  # i, f, g, o


def lstm_sequence(projections: Gates, resets: jax.Array, kernels: Gates, reverse: bool = False) -> jax.Array:
    """Hidden states of a sequence that begins with none; differentiable in reverse mode.

    Args:
      projections: ``x W + b`` of all steps for each of the gates i, f, g, o: four ``[T, ..., H]``.
      resets: bool ``[T, ...]``; where set, memory is zeroed before that step.
      kernels: ``U`` of each gate, four ``[H, H]``.
      reverse: from the last step to the first.

    Returns:
      ``[T, ..., H]``, the state after each step.
    """
    return _sequence(projections, resets, kernels, reverse)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _sequence(projections: Gates, resets: jax.Array, kernels: Gates, reverse: bool) -> Any:
    return _forward(projections, resets, kernels, reverse)[0]


def _forward(projections: Gates, resets: jax.Array, kernels: Gates, reverse: bool):
    zeros = jnp.zeros_like(projections[0][0])

    def step(carry, inputs):
        x, reset = inputs
        h, c = (jnp.where(reset[..., None], 0.0, s) for s in carry)
        i, f, g, o = (a + h @ kernel for a, kernel in zip(x, kernels, strict=True))
        i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
        new = f * c + i * g
        h = o * jnp.tanh(new)
        return (h, new), (h, c, i, f, g, o)

    _, (states, *saved) = jax.lax.scan(step, (zeros, zeros), (projections, resets), reverse=reverse)
    return states, (resets, kernels, states, *saved)


def _backward(reverse: bool, residuals, d_states: jax.Array):
    resets, kernels, states, *saved = residuals
    transposed = [kernel.T for kernel in kernels]

    def step(carry, inputs):
        dh, dc = carry
        d_state, reset, c, i, f, g, o = inputs
        squashed = jnp.tanh(f * c + i * g)
        dh = dh + d_state
        dc = dc + dh * o * (1 - squashed * squashed)
        d = (dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g), dh * squashed * o * (1 - o))
        dh = sum(x @ kernel for x, kernel in zip(d, transposed, strict=True))
        return tuple(jnp.where(reset[..., None], 0.0, x) for x in (dh, dc * f)), d

    start = (jnp.zeros_like(d_states[0]),) * 2
    _, d = jax.lax.scan(step, start, (d_states, resets, *saved), reverse=not reverse)
    # All leading axes are contracted as they are: flattening them would gather what is sharded over tasks.
    leading = tuple(range(states.ndim - 1))
    # What a step found of memory: what the one before it left, nothing after a reset.
    left, found = (slice(1, None), slice(None, -1)) if reverse else (slice(None, -1), slice(1, None))
    memory = jnp.where(resets[found][..., None], 0.0, states[left])
    return d, None, tuple(jnp.tensordot(memory, x[found], (leading, leading)) for x in d)


_sequence.defvjp(_forward, _backward)
