"""Strategies of evosax as outer optimisers: a population of meta-parameters, ranked by the reward of lifetimes."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.config import check, not_installed
from metarl_jax.meta_gradients.lifetimes import empty_lifetimes, finite, live_window
from metarl_jax.meta_gradients.task_batches import over_tasks
from metarl_jax.records import Actor, Inner, MetaGradient, Outcome

# Those that move a mean, and decompose no matrix: on CPU batched decompositions may wait for XLA's threads for ever.
STRATEGIES = {"snes": "SNES", "sep-cma-es": "Sep_CMA_ES"}


class StrategyState(NamedTuple):
    state: Any  # the strategy's own


def strategy(
    name: str, actor: Actor, inner: Inner, length: int, members: int, sigma: float = 0.1, block: int = 0
) -> MetaGradient:
    """A strategy of evosax over whole lifetimes.

    ``members`` meta-parameters, drawn by the strategy, have a whole lifetime in each of the ``[N]`` tasks, all with the
    same randomness, and are ranked by the mean reward of a step. ``gradient = meta - (the strategy's new mean)``:
    ``optax.sgd(1.0)`` takes the step that the strategy means. Members some agent of which has numbers that are not
    finite rank last.

    Args:
      name: of ``STRATEGIES``.
      actor: how agents act.
      inner: how they learn.
      length: inner updates of a lifetime.
      members: of the population.
      sigma: standard deviation of the first draws; the strategy goes on as it does.
      block: tasks whose lifetimes are computed at a time, see ``over_blocks``.

    Returns:
      The MetaGradient.

    Raises:
      ConfigError: evosax is not installed, or there are too few members.
    """
    check(members >= 4, "members", members, "must be at least 4")
    shape = jax.eval_shape(inner.meta, jax.random.key(0))
    searcher = _searcher_of(name, members, shape)
    params = searcher.default_params.replace(std_init=sigma)
    live = functools.partial(live_window, actor, inner, length, length)
    over_members = jax.vmap(live, in_axes=(None, 0, None, None))

    def init(key, task, num_tasks):
        # Where training's first meta-parameters are is told by the first estimate.
        del task, num_tasks
        with jax.numpy_rank_promotion("allow"):
            state = searcher.init(key, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shape), params)
        return StrategyState(strong(state))

    def estimate(key, meta, kept: StrategyState, tasks):
        ask_key, live_key, tell_key = jax.random.split(key, 3)
        num_tasks = jax.tree.leaves(tasks)[0].shape[0]
        with jax.numpy_rank_promotion("allow"):
            centred = kept.state.replace(mean=searcher._ravel_solution(meta))
            population, state = searcher.ask(ask_key, centred, params)
        one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), tasks)
        ended = jax.tree.map(lambda x: x[0], empty_lifetimes(actor, inner, one, 1, length, length))
        in_task = lambda key, task: over_members(key, population, ended, task)
        lives, rewards = over_tasks(in_task, block, jax.random.split(live_key, num_tasks), tasks)
        reward = rewards.mean(axis=0)
        sound = finite(lives) & jnp.isfinite(reward)
        fitness = -jnp.where(sound, reward, jnp.min(reward, where=sound, initial=jnp.inf))
        with jax.numpy_rank_promotion("allow"):
            state, _ = searcher.tell(tell_key, population, fitness, state, params)
            mean = searcher.get_mean(state)
        earned = lives.earned.mean(axis=1, where=sound[None]) / length
        outcome = Outcome(tasks, earned, jnp.ones(num_tasks, bool), {"step_reward": reward.mean(where=sound)})
        return jax.tree.map(jnp.subtract, meta, mean), StrategyState(strong(state)), outcome

    return MetaGradient(init, estimate, lives=members)


def _searcher_of(name: str, members: int, shape: Any) -> Any:
    """The strategy, made by evosax for meta-parameters of that shape."""
    try:
        from evosax import algorithms
    except ImportError as error:
        raise not_installed(f"gradient={name!r}", "evosax", "es", error) from error
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shape)
    return getattr(algorithms, STRATEGIES[name])(population_size=members, solution=zeros)


def strong(state: Any) -> Any:
    """A pytree with types that do not change from update to update.

    Args:
      state: numbers and arrays, weakly typed ones too.

    Returns:
      Arrays of their own types.
    """
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, jnp.asarray(x).dtype), state)
