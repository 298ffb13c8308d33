"""A simplified state space layer (S5): a linear recurrence between large products, with resets inside a sequence.

``s_t = d * s_{t-1} + B u_t;  y_t = 2 Re(C s_t) + D * u_t`` with complex, diagonal ``d = exp(lambda * timestep)`` (Smith
et al. 2023). Where a trial starts ``s_{t-1}`` counts as zero, which is ``d = 0`` at that step (Lu et al. 2023): the
recurrence stays linear and may be computed in any order.

Only the recurrence is sequential, 8 FLOPs a unit of state and step; all products are of whole sequences. It is scanned
step by step on CPUs, where an associative scan takes longer, and by an associative scan elsewhere, in log T kernels
instead of T. Complex numbers are kept as pairs of real arrays: as complex64 the scan is faster on CPUs and its products
are slower, so that nothing is gained.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

Pair = tuple[jax.Array, jax.Array]  # real and imaginary part
States = tuple[Pair, ...]  # of each block, [..., P]


def _both(function: Callable[..., jax.Array], *pairs: Pair) -> Pair:
    """A function of the real parts, and of the imaginary parts."""
    real, imaginary = zip(*pairs, strict=True)
    return function(*real), function(*imaginary)


def add(a: Pair, b: Pair) -> Pair:
    """The sum of two complex numbers, as pairs.

    Args:
      a: real and imaginary parts.
      b: likewise.

    Returns:
      The pair.
    """
    return _both(jnp.add, a, b)


def multiply(a: Pair, b: Pair) -> Pair:
    """The product of two complex numbers, as pairs.

    Args:
      a: real and imaginary parts.
      b: likewise.

    Returns:
      The pair.
    """
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def kept(resets: jax.Array, pair: Pair) -> Pair:
    """Zero where a trial begins.

    Args:
      resets: ``[...]`` bool.
      pair: ``[..., P]``.

    Returns:
      ``[..., P]``.
    """
    return _both(lambda x: jnp.where(resets[..., None], 0.0, x), pair)


def _lift(pair: Pair, like: jax.Array) -> Pair:
    """``pair [P]`` with as many axes as ``like [..., P]``."""
    return _both(lambda x: x.reshape((1,) * (like.ndim - 1) + (-1,)), pair)


def sequential(decay: Pair, inputs: Pair, resets: jax.Array, start: Pair, reverse: bool = False) -> Pair:
    """``s_t = (0 where resets_t else decay * s_{t-1}) + inputs_t``, step by step.

    Args:
      decay: ``[P]``.
      inputs: ``[T, ..., P]``.
      resets: ``[T, ...]`` bool.
      start: ``[..., P]``.
      reverse: from the last step to the first, ``s_{t+1}`` in place of ``s_{t-1}``.

    Returns:
      ``[T, ..., P]``.
    """
    decay = _lift(decay, start[0])

    def step(state, at):
        inputs, reset = at
        state = add(multiply(decay, kept(reset, state)), inputs)
        return state, state

    return jax.lax.scan(step, start, (inputs, resets), reverse=reverse)[1]


def associative(decay: Pair, inputs: Pair, resets: jax.Array, start: Pair, reverse: bool = False) -> Pair:
    """As ``sequential``, parallel in T: ``(d1, x1) then (d2, x2)`` is ``(d1 * d2, d2 * x1 + x2)``.

    Args:
      decay: ``[P]``.
      inputs: ``[T, ..., P]``.
      resets: ``[T, ...]`` bool.
      start: ``[..., P]``.
      reverse: from the last step to the first.

    Returns:
      ``[T, ..., P]``.
    """
    wide = _both(lambda d, x: jnp.broadcast_to(d, x.shape), _lift(decay, inputs[0]), inputs)
    decays = kept(resets, wide)
    at = -1 if reverse else 0
    first = multiply(_both(lambda d: d[at], decays), start)
    inputs = _both(lambda x, s: x.at[at].add(s), inputs, first)

    def join(first, second):
        return multiply(first[0], second[0]), add(multiply(second[0], first[1]), second[1])

    return jax.lax.associative_scan(join, (decays, inputs), reverse=reverse)[1]


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def recurrence(decay: Pair, inputs: Pair, resets: jax.Array, start: Pair, reverse: bool = False) -> Pair:
    """``sequential`` on CPUs, ``associative`` elsewhere; differentiable in reverse mode, any number of times.

    The gradient is the same recurrence in the other direction, and keeps nothing but the states.

    Args:
      decay: ``[P]``.
      inputs: ``[T, ..., P]``.
      resets: ``[T, ...]`` bool.
      start: ``[..., P]``.
      reverse: from the last step to the first.

    Returns:
      ``[T, ..., P]``.
    """
    kinds = {"cpu": sequential, "default": associative}
    kinds = {platform: functools.partial(scan, reverse=reverse) for platform, scan in kinds.items()}
    return jax.lax.platform_dependent(decay, inputs, resets, start, **kinds)


def _forward(decay, inputs, resets, start, reverse):
    states = recurrence(decay, inputs, resets, start, reverse)
    return states, (decay, resets, start, states)


def _backward(reverse, residuals, d_states):
    decay, resets, start, states = residuals
    conjugate = (decay[0], -decay[1])
    first, early, late = (-1, slice(1, None), slice(-1)) if reverse else (0, slice(-1), slice(1, None))
    # What reaches a step comes from the one that follows it, unless a trial starts there.
    end = jnp.ones_like(resets[:1])
    cut = jnp.concatenate([end, resets[late]] if reverse else [resets[late], end])
    d_inputs: Pair = recurrence(conjugate, d_states, cut, _both(jnp.zeros_like, start), not reverse)  # type: ignore
    # Of a product, the gradient of one factor is the other's conjugate times the gradient of the product.
    at_first = kept(resets[first], _both(lambda d: d[first], d_inputs))
    later = kept(resets[late], _both(lambda d: d[late], d_inputs))
    d_decay = add(
        summed(multiply((start[0], -start[1]), at_first)),
        summed(multiply((states[0][early], -states[1][early]), later)),
    )
    return d_decay, d_inputs, None, multiply(_lift(conjugate, start[0]), at_first)


def summed(pair: Pair) -> Pair:
    """The sum over all axes but the last.

    Args:
      pair: ``[..., P]``.

    Returns:
      ``[P]``.
    """
    return _both(lambda x: x.sum(tuple(range(x.ndim - 1))), pair)


recurrence.defvjp(_forward, _backward)


@functools.cache
def hippo_eigenvalues(order: int) -> np.ndarray:
    """Imaginary parts of the eigenvalues of HiPPO's normal part (all real parts are -1/2), ascending.

    Of ``-1/2 I - skew`` with ``skew[i, j] = sqrt((i + 1/2)(j + 1/2))`` above the diagonal and minus that below it (Gu
    et al. 2020, 2022); one of each conjugate pair.

    Args:
      order: of the matrix; even.

    Returns:
      ``[order / 2]``.
    """
    root = np.sqrt(np.arange(order) + 0.5)
    outer = np.outer(root, root)
    found = np.linalg.eigvalsh(1j * (np.triu(outer, 1) - np.tril(outer, -1)))
    return np.sort(found)[order // 2 :]


class Block(nn.Module):
    """Layer norm, S5, and a gated unit, beside a skip: ``x + y * s(y W + b)`` with ``y = gelu(S5(norm(x)))``."""

    size: int

    def setup(self):
        size, pairs = self.size, num_pairs(self.size)
        frequencies = np.resize(hippo_eigenvalues(2 * min(pairs, 8)), pairs)
        self.norm = nn.LayerNorm(use_bias=False, use_scale=False, name="norm")
        self.gate = nn.Dense(size, name="gate")
        uniform = lambda key, shape: jax.random.uniform(key, shape, minval=np.log(1e-3), maxval=np.log(1e-1))
        self.log_timestep = self.param("log_timestep", uniform, (pairs,))
        self.log_decay = self.param("log_decay", nn.initializers.constant(np.log(0.5)), (pairs,))
        self.frequency = self.param("frequency", lambda key: jnp.asarray(frequencies, jnp.float32))
        into, out = nn.initializers.normal((2 * size) ** -0.5), nn.initializers.normal(0.5 * pairs**-0.5)
        self.b = self.param("b_real", into, (size, pairs)), self.param("b_imaginary", into, (size, pairs))
        self.c = self.param("c_real", out, (pairs, size)), self.param("c_imaginary", out, (pairs, size))
        self.d = self.param("d", nn.initializers.normal(1.0), (size,))

    def decay(self) -> Pair:
        timestep = jnp.exp(self.log_timestep)
        modulus = jnp.exp(-jnp.exp(self.log_decay) * timestep)
        angle = self.frequency * timestep
        return modulus * jnp.cos(angle), modulus * jnp.sin(angle)

    def project(self, x: jax.Array) -> tuple[jax.Array, Pair, Pair]:
        """From x ``[..., H]`` -> its norm ``[..., H]``, the recurrence's inputs ``[..., P]`` and its decay ``[P]``."""
        u, decay = self.norm(x), self.decay()
        # States of unit variance for white inputs, whatever the timestep (Orvieto et al. 2023).
        scale = jnp.sqrt(1.0 - decay[0] ** 2 - decay[1] ** 2)[None]
        return u, (u @ (self.b[0] * scale), u @ (self.b[1] * scale)), decay

    def mix(self, x: jax.Array, u: jax.Array, states: Pair) -> jax.Array:
        y = 2.0 * (states[0] @ self.c[0] - states[1] @ self.c[1]) + u * _lift((self.d, self.d), u)[0]
        y = nn.gelu(y)
        return x + y * nn.sigmoid(self.gate(y))

    def step(self, state: Pair, x: jax.Array, reset: jax.Array) -> tuple[Pair, jax.Array]:
        u, inputs, decay = self.project(x)
        state = add(multiply(_lift(decay, x), kept(reset, state)), inputs)
        return state, self.mix(x, u, state)

    def unroll(self, state: Pair, x: jax.Array, reset: jax.Array) -> jax.Array:
        u, inputs, decay = self.project(x)
        return self.mix(x, u, recurrence(decay, inputs, reset, state))


class S5(nn.Module):
    """``num_blocks`` S5 blocks of width ``size`` with both faces: ``step`` for acting, ``unroll`` for learning."""

    size: int
    num_blocks: int = 2

    def setup(self):
        self.input = nn.Dense(self.size, name="input")
        self.blocks = [Block(self.size, name=f"block_{i}") for i in range(self.num_blocks)]
        self.norm = nn.LayerNorm(use_bias=False, use_scale=False, name="norm")

    def step(self, h: States, x: jax.Array, reset: jax.Array) -> tuple[States, jax.Array]:
        """From h (a pair ``[..., P]`` per block), x ``[..., F]``, reset bool ``[...]`` -> (h', ``[..., H]``)."""
        x, after = self.embed(x), []
        for block, state in zip(self.blocks, h, strict=True):
            state, x = block.step(state, x, reset)
            after.append(state)
        return tuple(after), self.norm(x)

    def unroll(self, h: States | None, x: jax.Array, reset: jax.Array) -> jax.Array:
        """From h as above, x ``[T, ..., F]``, reset ``[T, ...]`` -> ``[T, ..., H]``; no h: a trial begins."""
        h, x = self.carry(x.shape[1:-1]) if h is None else h, self.embed(x)
        for block, state in zip(self.blocks, h, strict=True):
            x = block.unroll(state, x, reset)
        return self.norm(x)

    def embed(self, x: jax.Array) -> jax.Array:
        return nn.gelu(self.input(x))

    @nn.nowrap
    def carry(self, batch: tuple[int, ...]) -> States:
        zeros = lambda: jnp.zeros((*batch, num_pairs(self.size)))
        return tuple((zeros(), zeros()) for _ in range(self.num_blocks))


def num_pairs(size: int) -> int:
    """Conjugate pairs of states in a block.

    Args:
      size: its width.

    Returns:
      P.
    """
    return (size + 1) // 2
