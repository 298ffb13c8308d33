"""A small causal transformer: attention within the trial, over a sliding window, with a key-value cache for acting.

A step attends to itself and to the ``window - 1`` steps before it, never to what came before the trial's start,
wherever in a sequence trials start. Positions are counted from there and enter as rotations of queries and keys (Su et
al. 2021), so that only distances matter and a trial may be longer than those seen in training. Blocks are pre-norm and
begin close to the identity, the part of GTrXL (Parisotto et al. 2020) that lets a policy learn to react before it
learns to remember; its gates are left out.

Acting costs one row of attention a step: 4 window x size FLOPs a block, and as many bytes of cache to read. Learning
goes by blocks of queries, each against the keys that it may see, and keeps no attention weights for its gradient.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

NUM_HEADS = 4
QUERIES = 128  # in a block of an unroll


class Cache(NamedTuple):
    """Keys and values of the last W steps; step p of a trial is kept at p modulo W.

    Attributes:
      keys: ``[..., heads, W, D]`` of each block, rotated.
      values: likewise.
      length: ``[...]`` int32, steps of the trial so far.
    """

    keys: tuple[jax.Array, ...]
    values: tuple[jax.Array, ...]
    length: jax.Array


class Seen(NamedTuple):
    """What one block attends to.

    Attributes:
      keys: ``[..., heads, S, D]``.
      values: ``[..., heads, S, D]``.
      time: ``[..., S]``, the step of each.
    """

    keys: jax.Array
    values: jax.Array
    time: jax.Array


def positions(reset: jax.Array, length: jax.Array) -> jax.Array:
    """Steps since the trial's start.

    Args:
      reset: ``[T, ...]`` bool, where a trial begins.
      length: ``[...]``, steps before the record.

    Returns:
      ``[T, ...]``: 0 where ``reset`` is set, ``length + t`` before any is.
    """
    time = jnp.arange(reset.shape[0]).reshape(-1, *(1,) * length.ndim)
    start = jax.lax.cummax(jnp.where(reset, time, -length[None]), axis=0)
    return time - start


def rotate(x: jax.Array, position: jax.Array) -> jax.Array:
    """Pairs of features turned by the position times their frequencies.

    Args:
      x: ``[..., heads, D]``.
      position: ``[...]``.

    Returns:
      ``[..., heads, D]``.
    """
    half = x.shape[-1] // 2
    frequency = 10_000.0 ** (-jnp.arange(half) / half)
    angle = position[..., None, None] * frequency.reshape((1,) * (x.ndim - 1) + (-1,))
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    a, b = x[..., :half], x[..., half:]
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


def _attend(query: jax.Array, seen: Seen, time: jax.Array, position: jax.Array, window: int) -> jax.Array:
    """Attention of ``query [..., heads, T, D]`` at steps ``time [..., T]``, ``position`` steps into their trials."""
    scores = jnp.einsum("...htd,...hsd->...hts", query, seen.keys) * query.shape[-1] ** -0.5
    distance = time[..., :, None] - seen.time[..., None, :]
    allowed = (distance >= 0) & (distance <= jnp.minimum(position, window - 1)[..., None])
    weights = nn.softmax(jnp.where(allowed[..., None, :, :], scores, -1e9))
    return jnp.einsum("...hts,...hsd->...htd", weights, seen.values)


def _steps_kept(position: jax.Array, window: int) -> jax.Array:
    """The step of what each slot of the cache keeps, ``[..., W]``, less the latest, ``position [...]``: 0, -1, ..."""
    slots = jnp.arange(window).reshape((1,) * position.ndim + (-1,))
    return -((position[..., None] - slots) % window)


def write(cache: jax.Array, new: jax.Array, slot: jax.Array) -> jax.Array:
    """A cache with a new entry.

    Args:
      cache: ``[..., heads, W, D]``.
      new: ``[..., heads, D]``.
      slot: ``[...]``, where it goes.

    Returns:
      Like ``cache``.
    """
    put = lambda cache, new, slot: jax.lax.dynamic_update_index_in_dim(cache, new, slot, 1)
    for _ in slot.shape:
        put = jax.vmap(put)
    return put(cache, new, slot)


class Block(nn.Module):
    """``x + A(norm(x))``, then ``x + M(norm(x))``: attention and a layer of twice the width, both small at first."""

    size: int
    window: int

    def setup(self):
        small = nn.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")
        self.attention_norm, self.mlp_norm = nn.LayerNorm(name="attention_norm"), nn.LayerNorm(name="mlp_norm")
        self.query, self.key, self.value = (
            nn.Dense(self.size, use_bias=False, name=name) for name in ("query", "key", "value")
        )
        self.out = nn.Dense(self.size, use_bias=False, kernel_init=small, name="out")
        self.up = nn.Dense(2 * self.size, name="up")
        self.down = nn.Dense(self.size, kernel_init=small, name="down")

    def project(self, x: jax.Array, position: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Queries, keys (both rotated) and values, ``[..., heads, D]``."""
        x = self.attention_norm(x)
        query, key, value = (f(x).reshape(*x.shape[:-1], NUM_HEADS, -1) for f in (self.query, self.key, self.value))
        return rotate(query, position), rotate(key, position), value

    def mix(self, x: jax.Array, attended: jax.Array) -> jax.Array:
        x = x + self.out(attended.reshape(x.shape))
        return x + self.down(nn.gelu(self.up(self.mlp_norm(x))))

    def step(self, keys: jax.Array, values: jax.Array, x: jax.Array, position: jax.Array):
        query, key, value = self.project(x, position)
        slot = position % self.window
        keys, values = write(keys, key, slot), write(values, value, slot)
        seen = Seen(keys, values, _steps_kept(position, self.window))
        now = jnp.zeros_like(position)[..., None]
        attended = _attend(query[..., None, :], seen, now, position[..., None], self.window)
        return keys, values, self.mix(x, attended[..., 0, :])

    def unroll(self, cached: Seen | None, x: jax.Array, position: jax.Array) -> jax.Array:
        """cached: what came before, x ``[T, ..., H]``, position ``[T, ...]``."""
        last = lambda x: jnp.moveaxis(x, 0, -2)
        query, key, value = (last(part) for part in self.project(x, position))
        position, steps = jnp.moveaxis(position, 0, -1), x.shape[0]
        time = jnp.broadcast_to(jnp.arange(steps), position.shape)
        blocks = []
        for start in range(0, steps, QUERIES):
            rows = slice(start, min(start + QUERIES, steps))
            columns = slice(max(0, start - self.window + 1), rows.stop)
            seen = Seen(key[..., columns, :], value[..., columns, :], time[..., columns])
            if cached is not None and start < self.window - 1:
                axes = (-2, -2, -1)
                seen = Seen(*(jnp.concatenate(pair, axis=axis) for *pair, axis in zip(cached, seen, axes, strict=True)))
            attention = jax.checkpoint(_attend, static_argnums=4)
            blocks.append(attention(query[..., rows, :], seen, time[..., rows], position[..., rows], self.window))
        return self.mix(x, jnp.moveaxis(jnp.concatenate(blocks, axis=-2), -2, 0))


class Transformer(nn.Module):
    """A causal transformer with both faces: ``step`` for acting, ``unroll`` for learning.

    Attributes:
      size: H, a multiple of 8.
      window: W, steps that a step attends to, itself among them.
      num_blocks: how many blocks.
    """

    size: int
    window: int
    num_blocks: int = 2

    def setup(self):
        self.input = nn.Dense(self.size, name="input")
        self.blocks = [Block(self.size, self.window, name=f"block_{i}") for i in range(self.num_blocks)]
        self.norm = nn.LayerNorm(name="norm")

    def step(self, h: Cache, x: jax.Array, reset: jax.Array) -> tuple[Cache, jax.Array]:
        """From x ``[..., F]``, reset bool ``[...]`` -> (h', ``[..., H]``)."""
        position = jnp.where(reset, 0, h.length)
        x, keys, values = self.input(x), [], []
        for block, key, value in zip(self.blocks, h.keys, h.values, strict=True):
            key, value, x = block.step(key, value, x, position)
            keys.append(key)
            values.append(value)
        return Cache(tuple(keys), tuple(values), position + 1), self.norm(x)

    def unroll(self, h: Cache | None, x: jax.Array, reset: jax.Array) -> jax.Array:
        """From x ``[T, ..., F]``, reset ``[T, ...]`` -> ``[T, ..., H]``; no ``h``: a trial begins, at less cost."""
        length = jnp.zeros(reset.shape[1:], jnp.int32) if h is None else h.length
        position, x = positions(reset, length), self.input(x)
        for i, block in enumerate(self.blocks):
            before = None if h is None else Seen(h.keys[i], h.values[i], _steps_kept(length - 1, self.window) - 1)
            x = block.unroll(before, x, position)
        return self.norm(x)

    @nn.nowrap
    def carry(self, batch: tuple[int, ...]) -> Cache:
        empty = jnp.zeros((*batch, NUM_HEADS, self.window, self.size // NUM_HEADS))
        return Cache((empty,) * self.num_blocks, (empty,) * self.num_blocks, jnp.zeros(batch, jnp.int32))
