"""Prioritised level replay (PLR, Jiang et al. 2021a), its robust form (2021b) and ACCEL (Parker-Holder et al. 2022)."""

import functools

import jax
import jax.numpy as jnp

from metarl_jax.config import check, check_all, check_counts, preset, recipe
from metarl_jax.curricula import task_buffer as buffers
from metarl_jax.curricula.scores import Score, best_return, scorer
from metarl_jax.curricula.task_buffer import Buffer
from metarl_jax.records import Curriculum, Key, Outcome, PyTree, Student, Task, TaskDistribution, Trajectory


@recipe("plr")
def prioritised_replay(
    tasks: TaskDistribution,
    student: Student,
    *,
    score: Score | None = None,
    capacity: int = 1000,
    replayed: float = 0.5,
    explored: float = 0.0,
    mutated: float = 0.0,
    num_edits: int = 5,
    temperature: float = 0.3,
    staleness: float = 0.3,
    fill: float = 0.5,
    solved_above: float | None = None,
) -> Curriculum:
    """Prioritised level replay: tasks of high score are replayed.

    A share of each update's tasks is replayed from a buffer of those with the highest scores, the others are new. Its
    robust form learns from replayed tasks alone (``replayed=1``); trials are run in as many new ones besides, for
    their scores only (``explored=1``), and their steps are counted. ACCEL makes these by small changes of tasks in
    the buffer.

    Where we differ from the papers: every update replays the same share, where theirs replay all of an update's tasks
    or none, at random; replayed tasks of an update are all different (new ones take their place while the buffer
    holds fewer; where its capacity is less, they repeat); until it is filled agents learn from new ones in the robust
    form, too. Advantages are those of the learner's own loss. ACCEL's parents are drawn by their replay
    probabilities, theirs are the tasks just replayed, and begin as mazes without walls. For learners whose outcomes
    have no trajectory (all but ``rl2``, ``varibad`` and their presets) one more trial is run in each task for its
    score, which is counted.

    Args:
      score: what a task is worth: ``regret`` (the exact optimum less the return: only where it is known), ``max-mc``
        (the best return of an episode ever seen less the values, mean over steps: for learners whose values are of an
        episode, ``ppo``), ``positive-value-loss`` (mean positive advantage), ``learnability`` (p (1 - p), p the share
        of episodes solved). None: the first of the first three that can be told, regret only where that of an episode
        is, as in mazes, where it is cheap; in this order they are alike to true regret (README).
      capacity: tasks that are kept; of a finite set of fewer, all.
      replayed: share of an update's tasks that are replayed.
      explored: new tasks that are lived for their scores only, as a share of an update's.
      mutated: share of the tasks explored that are made by changing kept ones.
      num_edits: changes (``tasks.mutate``) to each of these.
      temperature: a task is replayed with chance ``rank^(-1 / temperature)`` by its score.
      staleness: share of the chances that goes by how many updates ago a task was last scored.
      fill: share of the places that must be taken before tasks are replayed; until then all are new.
      solved_above: an episode that returns more counts as solved (None: as the tasks say; for ``learnability``).

    Returns:
      The curriculum.
    """
    check_counts(dict(capacity=capacity, num_edits=num_edits))
    shares = dict(replayed=replayed, staleness=staleness, fill=fill, mutated=mutated)
    check_all(shares, lambda x: 0 <= x <= 1, "must lie between 0 and 1")
    check(explored >= 0, "explored", explored, "must not be negative")
    check(temperature > 0, "temperature", temperature, "must be above 0")
    if tasks.tasks is not None:
        capacity = min(capacity, jax.tree.leaves(tasks.tasks)[0].shape[0])
    count = student.num_tasks
    again, looked = round(replayed * count), round(explored * count)
    changed = round(mutated * looked)
    check(
        again < count or looked > 0,
        "replayed",
        replayed,
        f"none of {count} tasks would be new: lower it, or explore some",
    )
    check(
        looked > 0 or not mutated,
        "mutated",
        mutated,
        "needs explored > 0: changed tasks are lived for their scores only",
    )
    can = not mutated or tasks.mutate is not None
    check(can, "mutated", mutated, f"{tasks.name} does not say how to change a task")
    worth = scorer(tasks, student, score, solved_above)
    chances = functools.partial(buffers.weights, temperature=temperature, staleness=staleness)

    def init(key):
        return buffers.empty(jax.eval_shape(tasks.sample, key), capacity)

    def replay(key, update, buffer: Buffer, batch: Task, number: int) -> Task:
        """``batch``, its first ``number`` tasks replaced by ones of the buffer, all different as far as possible."""
        places, holds = buffers.draw_for_replay(key, chances(buffer, update), number)
        again = jax.tree.map(lambda x: x[places], buffer.tasks)
        return buffers.first_replaced(batch, again, holds & (buffers.filled(buffer) >= fill))

    def keep(buffer: Buffer, update, learner, batch: Task, trajectory: Trajectory, allowed: jax.Array | bool = True):
        """The buffer with the tasks of ``batch`` scored by their trials."""
        best = jnp.maximum(best_return(trajectory), buffers.best_of(buffer, batch))
        score = worth(learner, batch, trajectory, best)
        return buffers.put(buffer, batch, score, best, update, chances(buffer, update), allowed)

    def explore(key, update, buffer: Buffer, learner: PyTree) -> Buffer:
        """The buffer with new tasks, in which trials are run for their scores."""
        sample_key, place_key, edit_key, live_key = jax.random.split(key, 4)
        batch = jax.vmap(tasks.sample)(jax.random.split(sample_key, looked))
        if changed:
            parents = jax.tree.map(lambda x: x[:changed], replay(place_key, update, buffer, batch, changed))
            edited = jax.vmap(functools.partial(_edits, tasks, num_edits))(jax.random.split(edit_key, changed), parents)
            batch = buffers.first_replaced(batch, edited, buffers.filled(buffer) >= fill)
        return keep(buffer, update, learner, batch, student.live(live_key, learner, batch))

    def sample(key, update, buffer: Buffer, learner: PyTree):
        explore_key, sample_key, place_key = jax.random.split(key, 3)
        buffer = explore(explore_key, update, buffer, learner) if looked else buffer
        batch = jax.vmap(tasks.sample)(jax.random.split(sample_key, count))
        return buffer, replay(place_key, update, buffer, batch, again)

    def update(key, update, buffer: Buffer, learner: PyTree, outcome: Outcome):
        batch, trajectory = outcome.tasks, outcome.trajectory
        buffer = buffers.count(buffer, batch, outcome.ended)
        if trajectory is None:  # of lives under way: trials of its own say what their tasks are worth now
            buffer = keep(buffer, update, learner, batch, student.live(key, learner, batch))
        else:
            buffer = keep(buffer, update, learner, batch, trajectory, outcome.ended)
        held = jnp.isfinite(buffer.score)
        mean = jnp.where(held, buffer.score, 0.0).sum() / jnp.maximum(held.sum(), 1)
        return buffer, {"filled": held.mean(), "score": mean}

    each = (looked + count * (not student.returns_trajectories)) * tasks.trial_steps
    steps = lambda num_updates: num_updates * each
    makes = functools.partial(_made_by_edits, tasks, num_edits) if changed else None
    return Curriculum(init, sample, update, steps, lambda buffer: buffer._asdict(), makes)


def _edits(tasks: TaskDistribution, num_edits: int, key: Key, task: Task) -> Task:
    """A task after ``num_edits`` small changes."""
    assert tasks.mutate is not None
    change = lambda task, key: (tasks.mutate(key, task), None)  # type: ignore[misc]
    return jax.lax.scan(change, task, jax.random.split(key, num_edits))[0]


def _made_by_edits(tasks: TaskDistribution, num_edits: int, key: Key) -> Task:
    """A task drawn from the distribution, then changed by ``_edits``."""
    sample_key, edit_key = jax.random.split(key)
    return _edits(tasks, num_edits, edit_key, tasks.sample(sample_key))


robust_plr = preset(
    "robust-plr",
    prioritised_replay,
    "Robust prioritised level replay: once the set is filled, gradients from replayed tasks alone.",
    replayed=1.0,
    explored=1.0,
)

accel = preset(
    "accel",
    prioritised_replay,
    "ACCEL: robust prioritised level replay of tasks that evolve by small changes.",
    replayed=1.0,
    explored=1.0,
    mutated=0.8,
)
