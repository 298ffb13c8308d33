"""Value disagreement sampling (VDS, Zhang et al. 2020)."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl_jax.algorithms._task_vectors import vectors
from metarl_jax.config import check, check_counts, recipe
from metarl_jax.curricula import _buffer as buffers
from metarl_jax.networks import by_variance, mlp
from metarl_jax.types import Curriculum, Outcome, PyTree, Student, TaskDistribution


class Opinions(NamedTuple):
    """``members``: parameters of the ensemble, ``[M, ...]``; what it learns from: ``seen [B, F]`` and ``earned [B]`` of
    the last tasks that were lived, ``count`` so far."""

    members: PyTree
    optimizer: optax.OptState
    seen: jax.Array
    earned: jax.Array
    count: jax.Array


@recipe("vds")
def value_disagreement(
    tasks: TaskDistribution,
    student: Student,
    *,
    members: int = 3,
    hidden: tuple[int, ...] = (64, 64),
    num_candidates: int = 1000,
    remembered: int = 4096,
    num_steps: int = 10,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
) -> Curriculum:
    """Value disagreement sampling: tasks on whose worth a small ensemble does not agree are the ones to learn from.

    Networks of their own predict the return of a trial from the task; tasks are drawn without replacement from
    candidates, with chances in proportion to the standard deviation of the members' predictions. That is large where
    the agent is just learning, small where it always or never succeeds.

    Where we differ from the paper: values are of tasks, regressed on the returns of the agent's last trials (each
    member on draws of its own), not Q values learned by temporal differences. It costs no environment steps.

    Args:
      members: networks of the ensemble.
      hidden: sizes of their tanh layers.
      num_candidates: tasks drawn for each update, of which its tasks are chosen.
      remembered: trials that the members learn from, the last ones.
      num_steps: gradient steps an update.
      batch_size: trials a gradient step.
      learning_rate: Adam's.
    """
    counts = dict(members=members, num_candidates=num_candidates, remembered=remembered, num_steps=num_steps)
    check_counts(counts | dict(batch_size=batch_size))
    check(members > 1, "members", members, "must be at least 2, to disagree")
    check(all(size > 0 for size in hidden), "hidden", hidden, "each layer needs at least one unit")
    check(learning_rate > 0, "learning_rate", learning_rate, "must be above 0")
    count = student.num_tasks
    check(num_candidates >= count, "num_candidates", num_candidates, f"must be at least the {count} of an update")
    check(remembered >= count, "remembered", remembered, f"must be at least the {count} tasks of an update")
    describe, width = vectors(tasks)
    network, optimizer = mlp(width, hidden, 1, scaled=by_variance), optax.adam(learning_rate)
    predicted = lambda params, seen: network.apply(params, seen)[..., 0]

    def init(key):
        ensemble = jax.vmap(network.init)(jax.random.split(key, members))
        seen, earned = jnp.zeros((remembered, width)), jnp.zeros(remembered)
        return Opinions(ensemble, jax.vmap(optimizer.init)(ensemble), seen, earned, jnp.int32(0))

    def sample(key, update, state: Opinions, learner: PyTree):
        sample_key, choice_key = jax.random.split(key)
        batch = jax.vmap(tasks.sample)(jax.random.split(sample_key, num_candidates))
        seen = jax.vmap(describe)(batch)
        spread = jax.vmap(predicted, (0, None))(state.members, seen).std(axis=0)
        places = buffers.draw(choice_key, spread + 1e-6, count)
        return state, jax.tree.map(lambda x: x[places], batch)

    def learn(state: Opinions, low: jax.Array, unit: jax.Array, key):
        """A gradient step of each member, on trials drawn for it."""
        place = jax.random.randint(key, (members, batch_size), 0, jnp.minimum(state.count, remembered))
        goal = (state.earned[place] - low) / unit

        def one(params, moments, seen, goal):
            loss = lambda params: jnp.square(predicted(params, seen) - goal).mean()
            updates, moments = optimizer.update(jax.grad(loss)(params), moments, params)
            return optax.apply_updates(params, updates), moments

        ensemble, moments = jax.vmap(one)(state.members, state.optimizer, state.seen[place], goal)
        return state._replace(members=ensemble, optimizer=moments), None

    def update(key, update, state: Opinions, learner: PyTree, outcome: Outcome):
        # Trials that are not over are not remembered: their places come after the last.
        order = jnp.cumsum(outcome.ended) - 1
        place = jnp.where(outcome.ended, (state.count + order) % remembered, remembered)
        seen = state.seen.at[place].set(jax.vmap(describe)(outcome.tasks), mode="drop")
        earned = state.earned.at[place].set(outcome.trial_return, mode="drop")
        state = state._replace(seen=seen, earned=earned, count=state.count + outcome.ended.sum(dtype=jnp.int32))
        held = jnp.arange(remembered) < state.count
        low = jnp.where(held, earned, jnp.inf).min()
        unit = jnp.maximum(jnp.where(held, earned, -jnp.inf).max() - low, 1e-6)
        step = lambda state, key: learn(state, low, unit, key)
        learned, _ = jax.lax.scan(step, state, jax.random.split(key, num_steps))
        state = jax.tree.map(functools.partial(jnp.where, state.count > 0), learned, state)
        spread = jax.vmap(predicted, (0, None))(state.members, seen).std(axis=0)
        return state, {"disagreement": (spread * held).sum() / jnp.maximum(held.sum(), 1)}

    return Curriculum(init, sample, update)
