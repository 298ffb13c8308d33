"""Prioritised level replay (PLR, Jiang et al. 2021a), its robust form (2021b) and ACCEL (Parker-Holder et al. 2022)."""

import functools

import jax
import jax.numpy as jnp

from metarl_jax.config import check, check_all, check_counts, preset, recipe
from metarl_jax.curricula import _buffer as buffers
from metarl_jax.curricula._buffer import Buffer
from metarl_jax.curricula._scores import Score, Scoring, best_return, scorer
from metarl_jax.types import Curriculum, Key, Outcome, PyTree, Student, Task, TaskDistribution, Trajectory


@recipe("plr")
def prioritised_replay(
    tasks: TaskDistribution,
    student: Student,
    *,
    score: Score = "max-mc",
    capacity: int = 1000,
    replayed: float = 0.5,
    temperature: float = 0.3,
    staleness: float = 0.3,
    fill: float = 0.5,
    robust: bool = False,
    mutated: float = 0.0,
    num_edits: int = 5,
    discount: float = 0.995,
    trace: float = 0.98,
    solved_above: float = 0.0,
) -> Curriculum:
    """Prioritised level replay: tasks that were worth much are lived again.

    A share of each update's tasks is replayed from a set of those with the highest scores, the others are new. With
    ``robust`` the agent learns from replayed tasks alone: as many new ones are lived besides, for their scores only,
    and their steps are counted. ACCEL makes these by small changes of tasks that are kept.

    Where we differ from the papers: every update replays the same share, where theirs replay all of an update's tasks
    or none, by chance; the tasks of an update are all different; until the set is filled agents learn from new ones
    with ``robust``, too. ACCEL's parents are drawn by their chances, theirs are the tasks just replayed, and begin as
    mazes without walls. Learners whose outcomes tell no trials (all but ``rl2``, ``varibad`` and their kin) live one
    more in each task for its score, which is counted.

    Args:
      score: what a task is worth: ``max-mc`` (the best return of an episode ever seen less the values, mean over
        steps), ``positive-value-loss`` (mean positive advantage), ``learnability`` (p (1 - p), p the share of episodes
        solved), ``regret`` (the exact optimum less the return: only where it is known).
      capacity: tasks that are kept.
      replayed: share of an update's tasks that are replayed (not with ``robust``: all).
      temperature: a task is replayed with chance ``rank^(-1 / temperature)`` by its score.
      staleness: share of the chances that goes by how many updates ago a task was last scored.
      fill: share of the places that must be taken before tasks are replayed; until then all are new.
      robust: learn from replayed tasks only.
      mutated: share of the new tasks that are made by changing kept ones (needs ``robust``).
      num_edits: changes (``tasks.mutate``) to each of these.
      discount, trace: of the advantages in ``positive-value-loss``.
      solved_above: an episode that returns more counts as solved.
    """
    check_counts(dict(capacity=capacity, num_edits=num_edits))
    shares = dict(replayed=replayed, staleness=staleness, fill=fill, mutated=mutated)
    check_all(shares, lambda x: 0 <= x <= 1, "must lie between 0 and 1")
    check(temperature > 0, "temperature", temperature, "must be above 0")
    check(robust or not mutated, "mutated", mutated, "needs robust=True: changed tasks are lived for their scores only")
    check(
        not mutated or tasks.mutate is not None, "mutated", mutated, f"{tasks.name} does not say how to change a task"
    )
    count = student.num_tasks
    least = round(fill * capacity)
    check(least >= count, "capacity", capacity, f"fill={fill} of it must be at least the {count} tasks of an update")
    if tasks.tasks is not None:
        size = jax.tree.leaves(tasks.tasks)[0].shape[0]
        fix = f"fill={fill} of it is more than the {size} tasks of {tasks.name}: it would never replay one"
        check(least <= size, "capacity", capacity, fix)
    worth = scorer(tasks, student, Scoring(score, discount, trace, solved_above))
    chances = functools.partial(buffers.weights, temperature=temperature, staleness=staleness)
    again, changed = (count, round(mutated * count)) if robust else (round(replayed * count), 0)

    def init(key):
        return buffers.empty(jax.eval_shape(tasks.sample, key), capacity)

    def keep(buffer: Buffer, update, batch: Task, lived: Trajectory, allowed: jax.Array | bool = True) -> Buffer:
        best = jnp.maximum(best_return(lived), buffers.best_of(buffer, batch))
        return buffers.put(buffer, batch, worth(batch, lived, best), best, update, chances(buffer, update), allowed)

    def explored(key, update, buffer: Buffer, learner: PyTree) -> Buffer:
        """With new tasks, lived for their scores."""
        sample_key, place_key, edit_key, live_key = jax.random.split(key, 4)
        batch = jax.vmap(tasks.sample)(jax.random.split(sample_key, count))
        if changed:
            places = buffers.draw(place_key, chances(buffer, update), changed)
            parents = jax.tree.map(lambda x: x[places], buffer.tasks)
            edited = jax.vmap(functools.partial(edits, tasks, num_edits))(jax.random.split(edit_key, changed), parents)
            batch = buffers.first_replaced(batch, edited, buffers.filled(buffer) >= fill)
        return keep(buffer, update, batch, student.live(live_key, learner, batch))

    def sample(key, update, buffer: Buffer, learner: PyTree):
        explore_key, sample_key, place_key = jax.random.split(key, 3)
        buffer = explored(explore_key, update, buffer, learner) if robust else buffer
        batch = jax.vmap(tasks.sample)(jax.random.split(sample_key, count))
        places = buffers.draw(place_key, chances(buffer, update), again)
        ready = buffers.filled(buffer) >= fill
        buffer = buffer._replace(replayed=buffer.replayed.at[places].add(ready.astype(jnp.int32)))
        return buffer, buffers.first_replaced(batch, jax.tree.map(lambda x: x[places], buffer.tasks), ready)

    def update(key, update, buffer: Buffer, learner: PyTree, outcome: Outcome):
        batch, lived = outcome.tasks, outcome.lived
        if lived is None:  # of lives under way: trials of its own say what their tasks are worth now
            buffer = keep(buffer, update, batch, student.live(key, learner, batch))
        else:
            buffer = keep(buffer, update, batch, lived, outcome.ended)
        held = jnp.isfinite(buffer.score)
        mean = jnp.where(held, buffer.score, 0.0).sum() / jnp.maximum(held.sum(), 1)
        return buffer, {"filled": held.mean(), "score": mean}

    steps = count * tasks.trial_steps * (robust + (not student.tells_trials))
    return Curriculum(init, sample, update, steps, lambda buffer: buffer._asdict())


def edits(tasks: TaskDistribution, num_edits: int, key: Key, task: Task) -> Task:
    """``num_edits`` small changes of a task."""
    assert tasks.mutate is not None
    change = lambda task, key: (tasks.mutate(key, task), None)  # type: ignore[misc]
    return jax.lax.scan(change, task, jax.random.split(key, num_edits))[0]


robust_plr = preset(
    "robust-plr",
    prioritised_replay,
    "Robust prioritised level replay: once the set is filled, gradients from replayed tasks alone.",
    robust=True,
)

accel = preset(
    "accel",
    prioritised_replay,
    "ACCEL: robust prioritised level replay of tasks that evolve by small changes.",
    robust=True,
    mutated=0.8,
)
