"""Self-paced context evaluation (SPaCE, Eimer et al. 2021)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.config import check, check_counts, recipe
from metarl_jax.curricula._scores import mean_return
from metarl_jax.types import Curriculum, Outcome, PyTree, Student, Task, TaskDistribution


class Paced(NamedTuple):
    """A set of tasks ``[B]``, what the agent expected of each (``value``) at the last look, by how much that was more
    than at the one before (``gain``); their ``order``, of which the first ``size`` are in use."""

    tasks: Task
    value: jax.Array
    gain: jax.Array
    order: jax.Array
    size: jax.Array


@recipe("space")
def value_gain(
    tasks: TaskDistribution,
    student: Student,
    *,
    instances: int = 256,
    start: int = 8,
    growth: int = 8,
    threshold: float = 0.1,
    period: int = 10,
) -> Curriculum:
    """Self-paced context evaluation (SPaCE): of a finite set of tasks, those whose value grew the most, and more of
    them whenever the values stand still.

    Every ``period`` updates the agent's value ``V`` of each task is looked at. Where its mean over those in use changed
    by at most a share ``threshold`` of itself, ``growth`` more come into use; in use are those with the greatest gains
    ``V_now - V_before``. All tasks of an update are drawn from them.

    The value is what the agent predicts at the start of a trial, which costs one environment step a task; that of an
    algorithm that learns no values is the mean return of a trial's episodes, and costs it. Where we differ from the
    paper: it looks after each pass through the tasks in use, which are then lived in turn.

    Args:
      instances: tasks drawn at the start for the whole training; of a finite distribution all are taken.
      start: how many are in use at first, any ones.
      growth: how many more each time.
      threshold: of the change.
      period: updates between two looks.
    """
    check_counts(dict(instances=instances, start=start, growth=growth, period=period))
    check(threshold >= 0, "threshold", threshold, "must not be negative")
    count, whole, valued = student.num_tasks, tasks.tasks, student.advantages is not None
    size = instances if whole is None else len(jax.tree.leaves(whole)[0])
    check(start <= size, "start", start, f"must be at most the {size} tasks of the set")
    rounds = -(-size // count)  # as many at once as an update has
    length = 1 if valued else tasks.trial_steps

    def init(key):
        draw_key, order_key = jax.random.split(key)
        drawn = jax.vmap(tasks.sample)(jax.random.split(draw_key, size)) if whole is None else whole
        order = jax.random.permutation(order_key, size).astype(jnp.int32)
        return Paced(drawn, jnp.zeros(size), jnp.zeros(size), order, jnp.int32(start))

    def values(key, learner: PyTree, batch: Task) -> jax.Array:
        lived = student.live(key, learner, batch, length)
        return lived.outputs[1][0] if valued else mean_return(lived)

    def look(key, update, state: Paced, learner: PyTree) -> Paced:
        places = (jnp.arange(rounds * count, dtype=jnp.int32) % size).reshape(rounds, count)
        batches = jax.tree.map(lambda x: x[places], state.tasks)
        keys = jax.random.split(key, rounds)
        value = jax.lax.map(lambda x: values(x[0], learner, x[1]), (keys, batches)).reshape(-1)[:size]
        used = jnp.zeros(size, bool).at[state.order].set(jnp.arange(size) < state.size)
        before, now = (x.mean(where=used) for x in (state.value, value))
        grown = jnp.where(jnp.abs(now - before) <= threshold * jnp.abs(before), state.size + growth, state.size)
        gain = value - state.value
        later = Paced(
            state.tasks, value, gain, jnp.argsort(-gain).astype(jnp.int32), jnp.minimum(grown, size).astype(jnp.int32)
        )
        first = state._replace(value=value)  # there was no value before it
        return jax.tree.map(lambda one, other: jnp.where(update == 0, one, other), first, later)

    def sample(key, update, state: Paced, learner: PyTree):
        look_key, place_key = jax.random.split(key)
        state = jax.lax.cond(update % period == 0, lambda: look(look_key, update, state, learner), lambda: state)
        places = state.order[jax.random.randint(place_key, (count,), 0, state.size)]
        return state, jax.tree.map(lambda x: x[places], state.tasks)

    def update(key, update, state: Paced, learner: PyTree, outcome: Outcome):
        return state, {"share": state.size / size, "value": state.value.mean()}

    return Curriculum(
        init,
        sample,
        update,
        rounds * count * length // period,
        lambda state: {"tasks": state.tasks, "score": state.gain},
    )
