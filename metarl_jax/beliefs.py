"""What can be known of the task, exactly, from what a trial has shown: the truth that learned beliefs are held to."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.networks import first_timestep
from metarl_jax.records import Environment, ExactBelief, Task, TaskDistribution, Trajectory
from metarl_jax.rollout import RolloutState, advance, select
from metarl_jax.tasks.priors import prior_of
from metarl_jax.tasks.sets import which

TOLERANCE = 1e-4  # two programs may compute one reward to different last bits


def exact_belief(tasks: TaskDistribution) -> ExactBelief | None:
    """The exact belief over ``tasks``, or None where none is known.

    A distribution may bring its own (``tasks.belief``: the bandits). Every other one has one where it is a finite set
    (``tasks.tasks``), each row equally likely, and nothing random happens in it (its environment's ``sample_noise``
    returns nothing): gridnavi, mazes of known layouts, treasure hunts, the corners of navigation. There ``truth`` is
    one-hot over the ``[G]`` distinct tasks of the set, in their order, and all zeros for a task that is none of them. A
    task that is held twice is one of twice the weight.

    Args:
      tasks: the prior.

    Returns:
      The ExactBelief, or None.
    """
    if tasks.belief is not None:
        return tasks.belief
    noise = jax.eval_shape(lambda key: tasks.env.sample_noise(key, ()), jax.random.key(0))
    if tasks.tasks is None or jax.tree.leaves(noise):
        return None
    candidates, weight, _ = prior_of(tasks.tasks)
    posterior = candidate_posterior(tasks.env, candidates, weight)
    return ExactBelief(functools.partial(which, candidates), posterior, len(weight), tuple(weight.tolist()))


def candidate_posterior(env: Environment, candidates: Task, weight: np.ndarray) -> Callable[[Trajectory], jax.Array]:
    """The posterior over candidate tasks in a deterministic environment.

    Every candidate is replayed with the actions of the record; what is not what it would have shown is out:
    ``p_t(g) = 1[g agrees with steps 0..t] weight_g / the weight of all that agree``. An agent is shown rewards, ends of
    episodes and the observations that it acts on. The observation that an episode ends with it never sees: the next one
    begins instead.

    Args:
      env: nothing random happens in it.
      candidates: leaves ``[G, ...]``.
      weight: ``[G]``, their prior probabilities.

    Returns:
      ``posterior(trajectory [T, ...]) -> [T, G]``.
    """
    num = jax.tree.leaves(candidates)[0].shape[0]
    env_state = jax.vmap(lambda task: env.reset((), task))(candidates)
    first = first_timestep(env.spec, (num,), jax.vmap(env.observe)(env_state, candidates))
    start = RolloutState(env_state, first, ())

    def same(some: jax.Array, one: jax.Array) -> jax.Array:
        near = jnp.abs(some - one[None]) <= TOLERANCE * (1 + jnp.abs(one[None]))
        return near.reshape(num, -1).all(axis=1)

    def step(carry: tuple[RolloutState, jax.Array], record: tuple):
        collected, shown, visible = record
        begins = jnp.broadcast_to(collected.timestep.trial_start, num)
        place, possible = jax.tree.map(lambda new, old: select(begins, new, old), (start, begins), carry)
        possible &= ~begins | same(start.timestep.observation, collected.timestep.observation)
        action = jnp.broadcast_to(collected.action, (num, *collected.action.shape))
        env_state, timestep, (reward, *_) = advance(env, (), place, action, candidates)
        possible &= same(reward, collected.reward) & (
            timestep.episode_start == (collected.terminated | collected.truncated)
        )
        possible &= same(timestep.observation, shown) | ~visible
        return (RolloutState(env_state, timestep, ()), possible), possible

    def posterior(trajectory: Trajectory) -> jax.Array:
        observation = trajectory.timestep.observation
        shown = jnp.concatenate([observation[1:], trajectory.next_observation[-1:]])
        ends = (trajectory.terminated | trajectory.truncated)[-1]  # then what the last step shows is not on record
        visible = (jnp.arange(observation.shape[0]) < observation.shape[0] - 1) | ~ends
        collected = trajectory._replace(outputs=(), env_state=(), next_env_state=())
        _, possible = jax.lax.scan(step, (start, jnp.ones(num, bool)), (collected, shown, visible))
        left = possible * jnp.asarray(weight / weight.max(), jnp.float32)[None]
        total = left.sum(axis=1, keepdims=True)
        return left / jnp.where(total > 0, total, 1.0)

    return posterior
