"""A GRU whose sequence pass is large matmuls around a small recurrent core, in both directions.

``r = s(x W_r + h U_r);  z = s(x W_z + h U_z);  n = tanh(x W_n + r * (h U_n + b));  h' = (1 - z) * n + z * h``
(Cho et al. 2014, in the variant of cuDNN). The input projections of all T steps are hoisted out of the scan. So is,
by a hand-written gradient, the gradient of the recurrent weights: autodiff of a scan adds an ``[H, H]`` product a gate
to an accumulator at every step, here the products of all steps are one matmul after it.

The three gates are kept as three arrays: slices of one ``[..., 3H]`` array keep XLA's CPU backend from vectorising
the elementwise part, which then costs ten times as much and more than the matmuls.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

Gates = tuple[jax.Array, jax.Array, jax.Array]


def gru_gates(x: Gates, h: jax.Array, kernels: Gates, bias: jax.Array):
    """One step of a GRU.

    Args:
      x: three projections of the input, each ``[..., H]``.
      h: ``[..., H]``.
      kernels: three, each ``[H, H]``.
      bias: ``[H]``, of the candidate.

    Returns:
      ``h' [..., H]``, and what the gradient needs.
    """
    hr, hz, hn = (h @ kernel for kernel in kernels)
    r, z = jax.nn.sigmoid(x[0] + hr), jax.nn.sigmoid(x[1] + hz)
    hn = hn + jnp.broadcast_to(bias, hn.shape)
    n = jnp.tanh(x[2] + r * hn)
    return n + z * (h - n), (r, z, n, hn)


def _mask(h: jax.Array, reset: jax.Array) -> jax.Array:
    return jnp.where(reset[..., None], 0.0, h)


@jax.custom_vjp
def gru_sequence(projections: Gates, resets: jax.Array, h0: jax.Array, kernels: Gates, bias: jax.Array) -> jax.Array:
    """Hidden states of a sequence; differentiable in reverse mode, any number of times.

    Args:
      projections: ``x W + b`` of all steps for each of the gates r, z, n: three ``[T, ..., H]``.
      resets: bool ``[T, ...]``; where set, memory is zeroed before that step.
      h0: ``[..., H]``, the state before the first step.
      kernels: ``U`` of each gate, three ``[H, H]``.
      bias: ``b`` of the candidate, ``[H]``.

    Returns:
      ``[T, ..., H]``, the state after each step.
    """
    return _forward(projections, resets, h0, kernels, bias)[0]


def _forward(projections, resets, h0, kernels, bias):
    def step(h, inputs):
        x, reset = inputs
        h = _mask(h, reset)
        new, gates = gru_gates(x, h, kernels, bias)
        return new, (new, h, *gates)

    _, (states, *saved) = jax.lax.scan(step, h0, (projections, resets))
    return states, (resets, kernels, *saved)


def _backward(residuals, d_states):
    resets, kernels, previous, r, z, n, hn = residuals
    transposed = [kernel.T for kernel in kernels]

    def step(dh, inputs):
        d_state, reset, h, r, z, n, hn = inputs
        dh = dh + d_state
        dn = dh * (1 - z) * (1 - n * n)
        dz = dh * (h - n) * z * (1 - z)
        dr = dn * hn * r * (1 - r)
        dhn = dn * r
        dh = dh * z + dr @ transposed[0] + dz @ transposed[1] + dhn @ transposed[2]
        return _mask(dh, reset), (dr, dz, dn, dhn)

    inputs = (d_states, resets, previous, r, z, n, hn)
    dh0, (dr, dz, dn, dhn) = jax.lax.scan(step, jnp.zeros_like(d_states[0]), inputs, reverse=True)
    # All leading axes are contracted as they are: flattening them would gather what is sharded over tasks.
    leading = tuple(range(previous.ndim - 1))
    d_kernels = tuple(jnp.tensordot(previous, d, (leading, leading)) for d in (dr, dz, dhn))
    return (dr, dz, dn), None, dh0, d_kernels, dhn.sum(leading)


gru_sequence.defvjp(_forward, _backward)


class GRU(nn.Module):
    """A GRU layer of ``size`` units with both faces: ``step`` for acting, ``unroll`` for learning."""

    size: int

    def setup(self):
        scale = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")
        self.inputs = [nn.Dense(self.size, kernel_init=scale, name=f"input_{gate}") for gate in "rzn"]
        orthogonal, shape = nn.initializers.orthogonal(), (self.size, self.size)
        r, z, n = (self.param(f"recurrent_{gate}", orthogonal, shape) for gate in "rzn")
        self.kernels = (r, z, n)
        self.bias = self.param("recurrent_bias", nn.initializers.zeros_init(), (self.size,))

    def step(self, h: jax.Array, x: jax.Array, reset: jax.Array) -> tuple[jax.Array, jax.Array]:
        """From h ``[..., H]``, x ``[..., F]``, reset bool ``[...]`` -> (h', h')."""
        h, _ = gru_gates(self.project(x), _mask(h, reset), self.kernels, self.bias)
        return h, h

    def unroll(self, h: jax.Array | None, x: jax.Array, reset: jax.Array) -> jax.Array:
        """From h ``[..., H]``, x ``[T, ..., F]``, reset ``[T, ...]`` -> ``[T, ..., H]``; no h: a trial begins."""
        h = jnp.zeros((*x.shape[1:-1], self.size)) if h is None else h
        return gru_sequence(self.project(x), reset, h, self.kernels, self.bias)

    def project(self, x: jax.Array) -> Gates:
        r, z, n = self.inputs
        return r(x), z(x), n(x)
