"""Sampling for learnability (SFL, Rutherford et al. 2024)."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.config import check, check_counts, recipe
from metarl_jax.curricula import task_buffer as buffers
from metarl_jax.curricula.scores import check_episodes, learnability, solved, threshold
from metarl_jax.records import Curriculum, Outcome, PyTree, Student, Task, TaskDistribution


class SFLState(NamedTuple):
    """The buffer of the most learnable tasks.

    Attributes:
      tasks: ``[B]``, of the last evaluation.
      score: ``[B]``, learnability of each.
    """

    tasks: Task
    score: jax.Array


@recipe("sfl")
def sampling_for_learnability(
    tasks: TaskDistribution,
    student: Student,
    *,
    rounds: int = 8,
    kept: float = 0.2,
    period: int = 50,
    learnable: float = 0.5,
    trials: int = 4,
    solved_above: float | None = None,
) -> Curriculum:
    """Sampling for learnability: tasks that the agent solves about half the time.

    Every ``period`` updates the agent is evaluated in new tasks, and a share of the next updates' tasks is drawn from
    those with the highest scores.

    The score is ``p (1 - p)``, ``p`` the share of the episodes solved; its cost, ``rounds trials / period`` times an
    update's steps, is counted.

    Args:
      rounds: a look is at so many times the tasks of an update.
      kept: share of them that is kept: those with the highest scores.
      period: updates between two looks.
      learnable: share of an update's tasks that are drawn from those kept; the others are new.
      trials: lived in each task looked at.
      solved_above: an episode that returns more counts as solved (None: as the tasks say).

    Returns:
      The curriculum.
    """
    check_counts(dict(rounds=rounds, period=period, trials=trials))
    check(0 <= learnable <= 1, "learnable", learnable, "must lie between 0 and 1")
    check(0 < kept <= 1, "kept", kept, "must be above 0 and at most 1")
    check_episodes(tasks, "trials", trials, trials)
    above = threshold(tasks, solved_above)
    count = student.num_tasks
    size = max(1, round(kept * rounds * count))
    chosen = round(learnable * count)

    def init(key):
        return SFLState(buffers.places_for(jax.eval_shape(tasks.sample, key), size), jnp.zeros(size))

    def scored(learner: PyTree, key):
        """As many new tasks as an update has, and their learnability."""
        sample_key, live_key = jax.random.split(key)
        batch = jax.vmap(tasks.sample)(jax.random.split(sample_key, count))
        share = lambda key: solved(student.live(key, learner, batch), above)
        return batch, learnability(jax.vmap(share)(jax.random.split(live_key, trials)).mean(axis=0))

    def look(key, learner: PyTree) -> SFLState:
        batch, score = jax.lax.map(functools.partial(scored, learner), jax.random.split(key, rounds))
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (batch, score))
        best, places = jax.lax.top_k(flat[1], size)
        return SFLState(jax.tree.map(lambda x: x[places], flat[0]), best)

    def sample(key, update, state: SFLState, learner: PyTree):
        look_key, place_key, new_key = jax.random.split(key, 3)
        state = jax.lax.cond(update % period == 0, lambda: look(look_key, learner), lambda: state)
        batch = jax.vmap(tasks.sample)(jax.random.split(new_key, count))
        places = jax.random.randint(place_key, (chosen,), 0, size)
        return state, buffers.first_replaced(batch, jax.tree.map(lambda x: x[places], state.tasks))

    def update(key, update, state: SFLState, learner: PyTree, outcome: Outcome):
        return state, {"score": state.score.mean(), "learnable": (state.score > 0).mean()}

    steps = lambda num_updates: -(-num_updates // period) * rounds * count * trials * tasks.trial_steps
    return Curriculum(init, sample, update, steps, lambda state: state._asdict())
