"""Self-paced context evaluation (SPaCE, Eimer et al. 2021)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.config import check, check_counts, recipe
from metarl_jax.curricula.scores import mean_return
from metarl_jax.curricula.starts import differ
from metarl_jax.records import Curriculum, Outcome, PyTree, Student, Task, TaskDistribution


class SPaCEState(NamedTuple):
    """A finite set of tasks, and those in use.

    Attributes:
      tasks: ``[B]``.
      value: ``[B]``, the agent's value of each at the last evaluation.
      gain: ``[B]``, ``value`` less that of the evaluation before.
      order: ``[B]`` int, the tasks by falling gain.
      size: scalar int, how many of ``order``, from its start, are in use.
    """

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
    """Self-paced context evaluation (SPaCE): of a set of tasks, those whose value grew the most.

    Every ``period`` updates the agent's value ``V`` of each task of a finite set is evaluated. Where its mean over
    those in use changed by at most a share ``threshold`` of itself, ``growth`` more come into use; in use are those
    with the greatest gains ``V_now - V_before``. All tasks of an update are drawn from them.

    The value is what the agent predicts at the start of a trial. Where it learns no values, or the first observation
    is the same in all tasks, it is the mean return of the episodes of one trial, a noisy estimate. It costs the steps
    of that trial, or one step a task; as many tasks are evaluated in parallel as an update has, some twice to fill
    the last batch.

    Where we differ from the paper: there values are evaluated after each pass through the tasks in use, which are
    trained on in turn.

    Args:
      instances: tasks drawn at the start for the whole training; of a finite distribution all are taken.
      start: how many are in use at first, any ones (of a set of fewer, all).
      growth: how many more each time.
      threshold: of the change.
      period: updates between two looks.

    Returns:
      The curriculum.
    """
    check_counts(dict(instances=instances, start=start, growth=growth, period=period))
    check(threshold >= 0, "threshold", threshold, "must not be negative")
    count, whole = student.num_tasks, tasks.tasks
    valued = student.advantages is not None and differ(tasks)
    size = instances if whole is None else len(jax.tree.leaves(whole)[0])
    rounds, length = -(-size // count), 1 if valued else tasks.trial_steps

    def init(key):
        draw_key, order_key = jax.random.split(key)
        drawn = jax.vmap(tasks.sample)(jax.random.split(draw_key, size)) if whole is None else whole
        order = jax.random.permutation(order_key, size).astype(jnp.int32)
        return SPaCEState(drawn, jnp.zeros(size), jnp.zeros(size), order, jnp.int32(min(start, size)))

    def used(state: SPaCEState) -> jax.Array:
        return jnp.zeros(size, bool).at[state.order].set(jnp.arange(size) < state.size)

    def values(learner: PyTree, key, batch: Task) -> jax.Array:
        trajectory = student.live(key, learner, batch, length)
        return trajectory.outputs[1][0] if valued else mean_return(trajectory)

    def look(key, update, state: SPaCEState, learner: PyTree) -> SPaCEState:
        places = (jnp.arange(rounds * count, dtype=jnp.int32) % size).reshape(rounds, count)
        batches = jax.tree.map(lambda x: x[places], state.tasks)
        seen = jax.lax.map(lambda x: values(learner, *x), (jax.random.split(key, rounds), batches))
        value, later = seen.reshape(-1)[:size], update > 0  # before, there was no value
        before, now = (x.mean(where=used(state)) for x in (state.value, value))
        still = later & (jnp.abs(now - before) <= threshold * jnp.abs(before))
        gain = jnp.where(later, value - state.value, 0.0)
        order = jnp.where(later, jnp.argsort(-gain).astype(jnp.int32), state.order)
        grown = jnp.minimum(state.size + min(growth, size), size)
        return SPaCEState(state.tasks, value, gain, order, jnp.where(still, grown, state.size))

    def sample(key, update, state: SPaCEState, learner: PyTree):
        look_key, place_key = jax.random.split(key)
        state = jax.lax.cond(update % period == 0, lambda: look(look_key, update, state, learner), lambda: state)
        places = state.order[jax.random.randint(place_key, (count,), 0, state.size)]
        return state, jax.tree.map(lambda x: x[places], state.tasks)

    def update(key, update, state: SPaCEState, learner: PyTree, outcome: Outcome):
        return state, {"share": state.size / size, "value": state.value.mean(where=used(state))}

    def buffer(state: SPaCEState) -> dict[str, Any]:
        return {"tasks": state.tasks, "score": jnp.where(used(state), state.gain, -jnp.inf)}

    steps = lambda num_updates: -(-num_updates // period) * rounds * count * length
    return Curriculum(init, sample, update, steps, buffer)
