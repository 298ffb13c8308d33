"""Meta-gradients by evolution strategies: the return under perturbed meta-parameters, and nothing differentiated.

Salimans et al. 2017 (antithetic pairs), Vicol et al. 2021 (persistent ES). A pair shares its task and all randomness.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl_jax.meta_gradients.lifetimes import Lifetime, empty_lifetimes, live_window
from metarl_jax.meta_gradients.task_batches import over_blocks
from metarl_jax.records import Actor, Inner, Key, MetaGradient, Outcome, PyTree


class ESState(NamedTuple):
    """What lasts from one outer update to the next.

    Attributes:
      lives: lifetimes ``[N]``, persistent ones in pairs ``[N, 2]``, under ``meta + noise`` and ``meta - noise``.
      summed: ``[N]``, the noise of a lifetime's windows so far (``()`` where lifetimes are truncated).
    """

    lives: Lifetime
    summed: PyTree


def evolution(
    actor: Actor,
    inner: Inner,
    length: int,
    window: int,
    sigma: float = 0.1,
    persistent: bool = True,
    block: int = 0,
) -> MetaGradient:
    """Evolution strategies on windows of lifetimes.

    Loss: minus the mean reward a step of a window. Gradient, for noise ``e ~ N(0, sigma^2)`` and ``F+-`` the mean
    rewards under ``meta +- e``:

    - persistent: ``-mean_n (F+ - F-) / (2 sigma^2) * (sum of e over the lifetime so far)``. The two lifetimes of a pair
      go their own ways from start to end, so that what an early window does to later ones counts: unbiased for whole
      lifetimes, but for the smoothing by ``sigma``.
    - else: ``-mean_n (F+ - F-) / (2 sigma^2) * e``, both from one lifetime, which goes on unperturbed: truncated, and
      biased, unless ``window == length``: that is full-lifetime ES.

    Args:
      actor: how agents act.
      inner: how they learn.
      length: inner updates of a lifetime.
      window: of them under one perturbation.
      sigma: standard deviation of the perturbations.
      persistent: see above.
      block: tasks whose lifetimes are computed at a time, see ``over_blocks``.

    Returns:
      The MetaGradient.
    """
    live = functools.partial(live_window, actor, inner, length, window)

    def init(key, task, num_tasks):
        del key
        lives = empty_lifetimes(actor, inner, task, num_tasks, length, window)
        if not persistent:
            return ESState(lives, ())
        shape = jax.eval_shape(inner.meta, jax.random.key(0))
        summed = jax.tree.map(lambda x: jnp.zeros((num_tasks, *x.shape), x.dtype), shape)
        return ESState(jax.tree.map(lambda x: jnp.stack([x, x], axis=1), lives), summed)

    def estimate(key, meta, kept: ESState, tasks):
        keys = jax.random.split(key, kept.lives.age.shape[0])
        step = _persistent_pair if persistent else functools.partial(_truncated_pair, window == length)
        of_block = functools.partial(_slopes, functools.partial(step, live, sigma), meta)
        (gradient, reward), (kept, lives) = over_blocks(of_block, block, keys, kept, tasks)
        outcome = Outcome(lives.task, lives.earned / lives.age, lives.age >= lives.end, {"step_reward": reward})
        return gradient, kept, outcome

    return MetaGradient(init, estimate, lives=2 if persistent or window == length else 3)


def _slopes(pair: Callable, meta: PyTree, keys: Key, kept: ESState, tasks: PyTree):
    """``((gradient, reward), (kept [N], lives [N]))``, means over the tasks given; ``pair``: one task's."""
    gradients, kept, lives, rewards = jax.vmap(pair, in_axes=(0, None, 0, 0))(keys, meta, kept, tasks)
    return (jax.tree.map(lambda x: x.mean(axis=0), gradients), rewards.mean()), (kept, lives)


def _persistent_pair(live: Callable, sigma: float, key: Key, meta: PyTree, kept: ESState, task: PyTree):
    """(gradient, kept, one life of the pair, mean rewards of both) of one task; leaves of ``kept.lives [2, ...]``."""
    noise, live_key = drawn(sigma, key, meta)
    ended = kept.lives.age[0] >= kept.lives.end[0]
    summed = jax.tree.map(lambda old, new: jnp.where(ended, 0.0, old) + new, kept.summed, noise)
    lives, rewards = _both(live, live_key, meta, noise, kept.lives, 0, task)
    first = jax.tree.map(lambda x: x[0], lives)._replace(earned=lives.earned.mean())
    return slope(rewards, sigma, summed), ESState(lives, summed), first, rewards


def _truncated_pair(whole: bool, live: Callable, sigma: float, key: Key, meta: PyTree, kept: ESState, task: PyTree):
    """As ``_persistent_pair``, of one life that goes on unperturbed (``whole``: that ends here)."""
    noise, live_key = drawn(sigma, key, meta)
    lives, rewards = _both(live, live_key, meta, noise, kept.lives, None, task)
    life = jax.tree.map(lambda x: x[0], lives) if whole else live(live_key, meta, kept.lives, task)[0]
    return slope(rewards, sigma, noise), ESState(life, ()), life, rewards


def drawn(sigma: float, key: Key, meta: PyTree) -> tuple[PyTree, Key]:
    """A perturbation.

    Args:
      sigma: its standard deviation.
      key: split in two.
      meta: the meta-parameters.

    Returns:
      Noise like ``meta``, and a key for the lifetimes.
    """
    keys = jax.random.split(key)
    return optax.tree.scale(sigma, optax.tree.random_like(keys[0], meta, jax.random.normal)), keys[1]


def _both(live: Callable, key: Key, meta: PyTree, noise: PyTree, lives: Lifetime, axis: int | None, task: PyTree):
    """``live`` under ``meta + noise`` and ``meta - noise``, with the same randomness: leaves ``[2, ...]``."""
    metas = jax.tree.map(lambda x, e: jnp.stack([x + e, x - e]), meta, noise)
    return jax.vmap(live, in_axes=(None, 0, axis, None))(key, metas, lives, task)


def slope(rewards: jax.Array, sigma: float, noise: PyTree) -> PyTree:
    """The gradient of minus the reward, by an antithetic pair.

    Args:
      rewards: ``[2]``, under ``meta + noise`` and ``meta - noise``.
      sigma: standard deviation of the noise.
      noise: the perturbation, or the sum of a lifetime's.

    Returns:
      A pytree like ``noise``.
    """
    return optax.tree.scale((rewards[1] - rewards[0]) / (2.0 * sigma**2), noise)
