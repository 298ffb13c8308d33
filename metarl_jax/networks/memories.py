"""Memories by name, behind one face: ``step`` for acting, ``unroll`` for learning."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from metarl_jax.config import check
from metarl_jax.networks.gru import GRU
from metarl_jax.networks.lstm import LSTM
from metarl_jax.networks.s5 import S5
from metarl_jax.networks.transformer import NUM_HEADS, Transformer
from metarl_jax.records import PyTree


class Memoryless(nn.Module):
    """The face of a memory with nothing in it."""

    def step(self, h, x, reset):
        return h, x

    def unroll(self, h, x, reset):
        return x


class Memory(NamedTuple):
    """A kind of memory.

    Attributes:
      module: ``(size, window)`` -> a linen module with ``step(h, x, reset)`` and ``unroll(h, x, reset)``, in which h is
        None where all trials begin; ``window``: steps that a transformer attends to (others have none).
      carry: ``(size, batch, window) -> h``, its initial state.
      multiple: sizes are multiples of it.
    """

    module: Callable[..., nn.Module]
    carry: Callable[..., PyTree]
    multiple: int = 1


MEMORIES = {
    "gru": Memory(
        lambda size, window: GRU(size, name="memory"),
        lambda size, batch, window: jnp.zeros((*batch, size)),
    ),
    "lstm": Memory(
        lambda size, window: LSTM(size, name="memory"),
        lambda size, batch, window: (jnp.zeros((*batch, size)), jnp.zeros((*batch, size))),
    ),
    "s5": Memory(
        lambda size, window: S5(size, name="memory"),
        lambda size, batch, window: S5(size).carry(batch),
    ),
    "transformer": Memory(
        lambda size, window: Transformer(size, window, name="memory"),
        lambda size, batch, window: Transformer(size, window).carry(batch),
        multiple=2 * NUM_HEADS,
    ),
    "none": Memory(lambda size, window: Memoryless(name="memory"), lambda size, batch, window: ()),
}


def num_parameters(memory: str, inputs: int, size: int) -> int:
    """Parameters of a memory, heads and encoder not counted.

    ``gru``: ``3 H (H + F) + 4 H``. ``lstm``: ``4 H (H + F) + 4 H``. ``s5``, with P = H / 2 rounded up, 2 blocks:
    ``H (F + 1) + 2 (4 H P + H^2 + 2 H + 3 P)``. ``transformer``, 2 blocks: ``H (F + 3) + 2 (8 H^2 + 7 H)``, whatever
    its window.

    Args:
      memory: a name of ``MEMORIES``.
      inputs: F.
      size: H.

    Returns:
      How many numbers.
    """
    module, h = MEMORIES[memory].module(size, 1), MEMORIES[memory].carry(size, (), 1)
    init = lambda key: module.init(key, h, jnp.zeros(inputs), jnp.zeros((), bool), method="step")
    return sum(x.size for x in jax.tree.leaves(jax.eval_shape(init, jax.random.key(0))))


def window_of(memory: str, memory_window: int, trial_steps: int) -> int:
    """Steps that a memory attends to.

    Args:
      memory: a name of ``MEMORIES``.
      memory_window: the option; 0: the whole trial.
      trial_steps: of a training trial.

    Returns:
      The window.

    Raises:
      ConfigError: it is negative, or the memory has none.
    """
    check(memory_window >= 0, "memory_window", memory_window, "must not be negative")
    check(memory == "transformer" or not memory_window, "memory_window", memory_window, 'needs memory="transformer"')
    return memory_window or trial_steps


def initial_memory(memory: str, size: int, window: int) -> Callable[[tuple[int, ...]], PyTree]:
    """The initial state of a memory.

    Args:
      memory: a name of ``MEMORIES``.
      size: its units.
      window: of a transformer.

    Returns:
      ``batch_shape -> state``.

    Raises:
      ConfigError: the size does not fit the memory's kind.
    """
    kind = MEMORIES[memory]
    fits = size > 0 or memory == "none"
    check(fits, "memory_size", size, "must be above 0")
    check(
        size % kind.multiple == 0, "memory_size", size, f'must be a multiple of {kind.multiple} for memory="{memory}"'
    )
    check(window > 0 or memory != "transformer", "window", window, "must be above 0")
    return functools.partial(kind.carry, size, window=window)
