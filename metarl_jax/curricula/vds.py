"""Value disagreement sampling (VDS, Zhang et al. 2020)."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl_jax.config import check, check_counts, recipe
from metarl_jax.curricula import return_history as trials
from metarl_jax.curricula import task_buffer as buffers
from metarl_jax.curricula.return_history import Returns
from metarl_jax.curricula.starts import starts
from metarl_jax.networks import flat, mlp, variance_scaled_init
from metarl_jax.records import Curriculum, Outcome, PyTree, Student, TaskDistribution
from metarl_jax.tasks.features import vectors


class EnsembleState(NamedTuple):
    """An ensemble of value functions, and the trials that it is trained on.

    Attributes:
      members: ``[M, ...]``, parameters.
      optimizer: ``[M, ...]``, Adam's state.
      returns: the most recent trials.
    """

    members: PyTree
    optimizer: optax.OptState
    returns: Returns


@recipe("vds")
def value_disagreement(
    tasks: TaskDistribution,
    student: Student,
    *,
    members: int = 3,
    disputed: float = 0.5,
    sharpness: float = 3.0,
    hidden: tuple[int, ...] = (64, 64),
    num_candidates: int = 1000,
    remembered: int = 32,
    num_steps: int = 40,
    batch_size: int = 256,
    learning_rate: float = 3e-3,
) -> Curriculum:
    """Value disagreement sampling: tasks on which an ensemble of value functions disagrees most.

    Separate networks predict the return of a task's episode from the task and its first observation (which may reveal
    how goals lie to each other); a share of an update's tasks is drawn without replacement from candidates, with
    probability proportional to a power of the standard deviation of the members' predictions. That is large where the
    agent is just learning, small where it always or never succeeds. Where starts are random, one fixed start stands
    for all.

    Where we differ from the paper: values are of tasks, regressed on the returns of the agent's last trials (each
    member on draws of its own), not Q values learned by temporal differences; theirs draws all tasks by disagreement,
    which made agents forget what they had learned. It costs no environment steps.

    Args:
      members: networks of the ensemble.
      disputed: share of an update's tasks that are drawn by disagreement; the others are new.
      sharpness: the power (the paper's results are with 1).
      hidden: sizes of their tanh layers.
      num_candidates: tasks drawn for each update, of which its tasks are chosen.
      remembered: updates whose trials the members learn from, the last ones.
      num_steps: gradient steps an update.
      batch_size: trials a gradient step.
      learning_rate: Adam's.

    Returns:
      The curriculum.
    """
    counts = dict(members=members, num_candidates=num_candidates, remembered=remembered, num_steps=num_steps)
    check_counts(counts | dict(batch_size=batch_size))
    check(members > 1, "members", members, "must be at least 2, to disagree")
    check(all(size > 0 for size in hidden), "hidden", hidden, "each layer needs at least one unit")
    check(0 <= disputed <= 1, "disputed", disputed, "must lie between 0 and 1")
    check(sharpness >= 0, "sharpness", sharpness, "must not be negative")
    check(learning_rate > 0, "learning_rate", learning_rate, "must be above 0")
    count = student.num_tasks
    check(num_candidates >= count, "num_candidates", num_candidates, f"must be at least the {count} of an update")
    chosen = round(disputed * count)
    features = vectors(tasks)
    first_seen = starts(tasks)
    width = features.size + math.prod(tasks.env.spec.observation_shape)
    network, optimizer = mlp(width, hidden, 1, scaled=variance_scaled_init), optax.adam(learning_rate)
    predicted = lambda params, seen: network.apply(params, seen)[..., 0]
    disagreement = lambda ensemble, seen: jax.vmap(predicted, (0, None))(ensemble, seen).std(axis=0)

    def describe(task) -> jax.Array:
        return jnp.concatenate([features.vector(task), flat(first_seen(task), ())])

    def init(key):
        ensemble = jax.vmap(network.init)(jax.random.split(key, members))
        return EnsembleState(ensemble, jax.vmap(optimizer.init)(ensemble), trials.none(remembered * count, width))

    def sample(key, update, state: EnsembleState, learner: PyTree):
        sample_key, choice_key, new_key = jax.random.split(key, 3)
        candidates = jax.vmap(tasks.sample)(jax.random.split(sample_key, num_candidates))
        seen = jax.vmap(describe)(candidates)
        disputes = disagreement(state.members, seen) + 1e-6
        chances = jnp.maximum((disputes / disputes.max()) ** sharpness, 1e-30)  # none is left out for good
        places = buffers.draw(choice_key, chances, chosen)
        batch = jax.vmap(tasks.sample)(jax.random.split(new_key, count))
        return state, buffers.first_replaced(batch, jax.tree.map(lambda x: x[places], candidates))

    def step(params, moments, seen, goal):
        """A gradient step of one member."""
        loss = lambda params: jnp.square(predicted(params, seen) - goal).mean()
        updates, moments = optimizer.update(jax.grad(loss)(params), moments, params)
        return optax.apply_updates(params, updates), moments

    def learn(state: EnsembleState, key):
        """A gradient step of each member, on trials drawn for it."""
        returns = state.returns
        place = jax.random.randint(key, (members, batch_size), 0, jnp.minimum(returns.count, remembered * count))
        goal = trials.shares(returns)[place]
        ensemble, moments = jax.vmap(step)(state.members, state.optimizer, returns.seen[place], goal)
        return EnsembleState(ensemble, moments, returns), None

    def update(key, update, state: EnsembleState, learner: PyTree, outcome: Outcome):
        returns = trials.remember(state.returns, jax.vmap(describe)(outcome.tasks), outcome)
        state = state._replace(returns=returns)
        learned, _ = jax.lax.scan(learn, state, jax.random.split(key, num_steps))
        state = jax.tree.map(functools.partial(jnp.where, returns.count > 0), learned, state)
        known = trials.held(returns)
        spread = disagreement(state.members, returns.seen)
        return state, {"disagreement": (spread * known).sum() / jnp.maximum(known.sum(), 1)}

    return Curriculum(init, sample, update)
