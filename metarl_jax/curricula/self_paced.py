"""Self-paced learning: from easy tasks to the target ones, at the pace of the agent's progress."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.config import ConfigError, check, check_counts, recipe
from metarl_jax.curricula import return_history as trials
from metarl_jax.curricula.return_history import Returns
from metarl_jax.curricula.task_numbers import as_numbers
from metarl_jax.records import Curriculum, Outcome, PyTree, Student, Task, TaskDistribution
from metarl_jax.tasks.features import vectors


class SelfPacedState(NamedTuple):
    """Straight lines through the space of tasks, the agent's progress along them, and its most recent trials.

    Attributes:
      start: ``[P, F]``, tasks where the lines begin.
      end: ``[P, F]``, tasks of the target distribution where they end.
      share: ``[P]``, of the way along each line, when a task was last drawn on it.
      returns: the most recent trials.
    """

    start: jax.Array
    end: jax.Array
    share: jax.Array
    returns: Returns


@recipe("self-paced")
def self_paced(
    tasks: TaskDistribution,
    student: Student,
    *,
    threshold: float = 0.5,
    ways: int = 256,
    candidates: int = 32,
    neighbours: int = 8,
    remembered: int = 1024,
) -> Curriculum:
    """Self-paced learning: tasks move towards the distribution's target, each as far as the agent follows.

    Each of many straight lines leads from one draw of the tasks to one of ``tasks.target``. A task is drawn on a line
    chosen at random, at the farthest point at which the expected return, the mean over the nearest recent trials,
    reaches a threshold. Where no point does, it is the one of highest expected return. This interpolates between the
    two distributions under a constraint on performance, after CURROT (Klink et al. 2022); there lines are not fixed
    but found by optimal transport at each step, and particles move by at most a given distance. It costs no
    environment steps.

    Args:
      threshold: as a share of the way from the least to the highest return of the trials remembered.
      ways: how many there are.
      candidates: points looked at on each.
      neighbours: trials that tell what a point's return will be.
      remembered: trials, the last ones.

    Returns:
      The curriculum.

    Raises:
      ConfigError: tasks without a target, or not made of real numbers.
    """
    check_counts(dict(ways=ways, candidates=candidates, neighbours=neighbours, remembered=remembered))
    check(0 < threshold < 1, "threshold", threshold, "must lie between 0 and 1")
    check(neighbours <= remembered, "neighbours", neighbours, f"must be at most remembered={remembered}")
    count, target = student.num_tasks, tasks.target
    check(remembered >= count, "remembered", remembered, f"must be at least the {count} tasks of an update")
    if target is None:
        raise ConfigError(f"curriculum='self-paced': {tasks.name} has no target to go to")
    flat, unflatten = as_numbers(tasks, "self-paced")
    features = vectors(tasks)
    of_target = jax.jit(jax.vmap(target))(jax.random.split(jax.random.key(0), ways))
    features.check(f"{tasks.name}, target", of_target)

    def init(key):
        start_key, end_key = jax.random.split(key)
        draws = lambda sample, key: jax.vmap(lambda key: flat(sample(key)))(jax.random.split(key, ways))
        start, end = draws(tasks.sample, start_key), draws(target, end_key)
        return SelfPacedState(start, end, jnp.zeros(ways), trials.none(remembered, features.size))

    def expected(returns: Returns, points: jax.Array) -> jax.Array:
        """Returns at ``points [C, F]``, as shares of the range of the trials' returns."""
        known = trials.held(returns)
        apart = jax.vmap(lambda point: features.vector(unflatten(point)))(points)[:, None] - returns.seen[None]
        near = jnp.where(known[None], -jnp.square(apart).sum(axis=-1), -jnp.inf)
        places = jax.lax.top_k(near, neighbours)[1]
        return trials.shares(returns)[places].mean(axis=1, where=known[places])

    def farthest(state: SelfPacedState, way: jax.Array) -> jax.Array:
        """How far along a way."""
        shares = jnp.linspace(0.0, 1.0, candidates)
        points = state.start[way][None] + shares[:, None] * (state.end - state.start)[way][None]
        hopes = expected(state.returns, points)
        reached = hopes >= threshold
        last = jnp.where(reached.any(), jnp.where(reached, shares, -1.0).max(), shares[jnp.argmax(hopes)])
        return jnp.where(state.returns.count >= neighbours, last, 0.0)

    def sample(key, update, state: SelfPacedState, learner: PyTree):
        way = jax.random.randint(key, (count,), 0, ways)
        share = jax.vmap(farthest, (None, 0))(state, way)
        points = state.start[way] + share[:, None] * (state.end - state.start)[way]
        batch: Task = jax.vmap(unflatten)(points)
        return state._replace(share=state.share.at[way].set(share)), batch

    def update(key, update, state: SelfPacedState, learner: PyTree, outcome: Outcome):
        returns = trials.remember(state.returns, jax.vmap(features.vector)(outcome.tasks), outcome)
        return state._replace(returns=returns), {"share": state.share.mean()}

    return Curriculum(init, sample, update, makes=target)
