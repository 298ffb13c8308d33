"""An LSTM over a sequence, forwards or backwards in time, whose gradient is large matmuls around a small core.

``i, f, o = s(x W + h U);  g = tanh(x W_g + h U_g);  c' = f c + i g;  h' = o tanh(c')`` (Hochreiter & Schmidhuber 1997,
with forget gates). As in ``gru``, input projections are hoisted out of the scan, the gradient of the recurrent weights
is one product after it, and the four gates are arrays of their own.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Gates = tuple[jax.Array, ...]  # i, f, g, o
Carry = tuple[jax.Array, jax.Array]  # h, c


def _lstm_gates(x: Gates, carry: Carry, kernels: Gates) -> tuple[Carry, Gates]:
    """One step: projections x four ``[..., H]``, carry two ``[..., H]`` -> (the next carry, the gates)."""
    h, c = carry
    i, f, g, o = (a + h @ kernel for a, kernel in zip(x, kernels, strict=True))
    i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
    c = f * c + i * g
    return (o * jnp.tanh(c), c), (i, f, g, o)


def _mask(carry: tuple, reset: jax.Array) -> tuple:
    return tuple(jnp.where(reset[..., None], 0.0, x) for x in carry)


def lstm_sequence(
    projections: Gates, resets: jax.Array, kernels: Gates, reverse: bool = False, start: Carry | None = None
) -> jax.Array:
    """Hidden states of a sequence; differentiable in reverse mode.

    Args:
      projections: ``x W + b`` of all steps for each of the gates i, f, g, o: four ``[T, ..., H]``.
      resets: bool ``[T, ...]``; where set, memory is zeroed before that step.
      kernels: ``U`` of each gate, four ``[H, H]``.
      reverse: from the last step to the first.
      start: ``(h, c)``, each ``[..., H]``, before the first step that is taken; None: zeros.

    Returns:
      ``[T, ..., H]``, the state after each step.
    """
    return _sequence(projections, resets, kernels, start, reverse)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _sequence(projections: Gates, resets: jax.Array, kernels: Gates, start: Carry | None, reverse: bool) -> Any:
    return _forward(projections, resets, kernels, start, reverse)[0]


def _forward(projections: Gates, resets: jax.Array, kernels: Gates, start: Carry | None, reverse: bool):
    def step(carry, inputs):
        x, reset = inputs
        carry = _mask(carry, reset)
        new, gates = _lstm_gates(x, carry, kernels)
        return new, (new[0], carry[1], *gates)

    first = (jnp.zeros_like(projections[0][0]),) * 2 if start is None else start
    _, (states, *saved) = jax.lax.scan(step, first, (projections, resets), reverse=reverse)
    return states, (resets, kernels, start, states, *saved)


def _backward(reverse: bool, residuals, d_states: jax.Array):
    resets, kernels, start, states, *saved = residuals
    transposed = [kernel.T for kernel in kernels]

    def step(carry, inputs):
        dh, dc = carry
        d_state, reset, c, i, f, g, o = inputs
        squashed = jnp.tanh(f * c + i * g)
        dh = dh + d_state
        dc = dc + dh * o * (1 - squashed * squashed)
        d = (dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g), dh * squashed * o * (1 - o))
        dh = sum(x @ kernel for x, kernel in zip(d, transposed, strict=True))
        return _mask((dh, dc * f), reset), d

    last = (jnp.zeros_like(d_states[0]),) * 2
    d_start, d = jax.lax.scan(step, last, (d_states, resets, *saved), reverse=not reverse)
    # What a step found of memory: what the one before it left, nothing after a reset.
    first = jnp.zeros_like(states[:1]) if start is None else start[0][None]
    left = [states[1:], first] if reverse else [first, states[:-1]]
    (memory,) = _mask((jnp.concatenate(left),), resets)
    # All leading axes are contracted as they are: flattening them would gather what is sharded over tasks.
    leading = tuple(range(states.ndim - 1))
    d_kernels = tuple(jnp.tensordot(memory, x, (leading, leading)) for x in d)
    return d, None, d_kernels, None if start is None else d_start


_sequence.defvjp(_forward, _backward)


class LSTM(nn.Module):
    """An LSTM layer of ``size`` units with both faces: ``step`` for acting, ``unroll`` for learning.

    A carry is ``(h, c)``, each ``[..., H]``; biases of forget gates begin at 1 (Jozefowicz et al. 2015).

    Attributes:
      size: H.
    """

    size: int

    def setup(self):
        scale = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")
        bias = {"f": nn.initializers.ones_init()}
        zeros = nn.initializers.zeros_init()
        self.inputs = [
            nn.Dense(self.size, kernel_init=scale, bias_init=bias.get(gate, zeros), name=f"input_{gate}")
            for gate in "ifgo"
        ]
        orthogonal, shape = nn.initializers.orthogonal(), (self.size, self.size)
        self.kernels = tuple([self.param(f"recurrent_{gate}", orthogonal, shape) for gate in "ifgo"])

    def step(self, h: Carry, x: jax.Array, reset: jax.Array) -> tuple[Carry, jax.Array]:
        """From h two ``[..., H]``, x ``[..., F]``, reset bool ``[...]`` -> (the next carry, its state ``[..., H]``)."""
        h, _ = _lstm_gates(self.project(x), _mask(h, reset), self.kernels)
        return h, h[0]

    def unroll(self, h: Carry | None, x: jax.Array, reset: jax.Array) -> jax.Array:
        """From h two ``[..., H]``, x ``[T, ..., F]``, reset ``[T, ...]`` -> ``[T, ..., H]``; no h: a trial begins."""
        return lstm_sequence(self.project(x), reset, self.kernels, start=h)

    def project(self, x: jax.Array) -> Gates:
        return tuple(layer(x) for layer in self.inputs)
