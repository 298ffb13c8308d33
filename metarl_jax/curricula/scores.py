"""Scores ``[M]`` of tasks for a curriculum, computed from an agent's trials ``[T, M]`` in them."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.config import ConfigError, check
from metarl_jax.records import PyTree, Student, Task, TaskDistribution, Trajectory

Score = Literal["positive-value-loss", "max-mc", "learnability", "regret"]


class Episodes(NamedTuple):
    """The episodes of trials, step by step.

    Attributes:
      earned: ``[T, M]``, return of the episode so far, this step included.
      ended: ``[T, M]`` bool, whether the step was its episode's last.
    """

    earned: jax.Array
    ended: jax.Array


def episodes(trajectory: Trajectory) -> Episodes:
    """Splits trials into episodes.

    Args:
      trajectory: ``[T, M]``.

    Returns:
      Episodes ``[T, M]``.
    """
    ended = trajectory.terminated | trajectory.truncated
    step = jnp.arange(ended.shape[0], dtype=jnp.int32)[:, None]
    last_end = jax.lax.cummax(jnp.where(ended, step, -1), axis=0)
    before = jnp.concatenate([jnp.full_like(last_end[:1], -1), last_end[:-1]])  # of earlier steps
    total = jnp.cumsum(trajectory.mean_reward, axis=0)
    paid = jnp.where(before >= 0, jnp.take_along_axis(total, jnp.maximum(before, 0), axis=0), 0.0)
    return Episodes(total - paid, ended)


def solved(trajectory: Trajectory, solved_above: float) -> jax.Array:
    """The share ``p`` of a task's finished episodes that were solved.

    Args:
      trajectory: ``[T, M]``.
      solved_above: an episode of higher return is solved.

    Returns:
      ``[M]``, 0 where no episode ended.
    """
    earned, ended = episodes(trajectory)
    return (ended & (earned > solved_above)).sum(axis=0) / jnp.maximum(ended.sum(axis=0), 1)


def learnability(solved: jax.Array) -> jax.Array:
    """``p (1 - p)`` (Tzannetos et al. 2023; SFL, Rutherford et al. 2024).

    Args:
      solved: ``[M]``, the share ``p`` of episodes solved.

    Returns:
      ``[M]``.
    """
    return solved * (1.0 - solved)


def check_episodes(tasks: TaskDistribution, field: str, value: object, trials: int = 1) -> None:
    """Checks that trials contain the ends of at least two episodes of a task: with one, none is solved half the time.

    Args:
      tasks: the distribution.
      field: option that the error names.
      value: its value.
      trials: number of trials in a task.

    Raises:
      ConfigError: where they contain fewer.
    """
    enough = trials * (tasks.trial_steps // tasks.horizon) >= 2
    fix = "a task must be tried at least twice: make trials of several episodes (num_episodes), or trials of more steps"
    check(enough, field, value, fix)


def best_return(trajectory: Trajectory) -> jax.Array:
    """The highest return of an episode of each trial.

    Args:
      trajectory: ``[T, M]``.

    Returns:
      ``[M]``, of the episodes that ended; where none did, the return of the one under way.
    """
    earned, ended = episodes(trajectory)
    return jnp.where(ended.any(axis=0), jnp.where(ended, earned, -jnp.inf).max(axis=0), earned[-1])


def mean_return(trajectory: Trajectory) -> jax.Array:
    """The mean return of the episodes of each trial.

    Args:
      trajectory: ``[T, M]``.

    Returns:
      ``[M]``, of the episodes that ended; where none did, the return of the one under way.
    """
    earned, ended = episodes(trajectory)
    mean = jnp.where(ended, earned, 0.0).sum(axis=0) / jnp.maximum(ended.sum(axis=0), 1)
    return jnp.where(ended.any(axis=0), mean, earned[-1])


def max_mc(trajectory: Trajectory, best: jax.Array) -> jax.Array:
    """``mean_t(R_max - V(s_t))``, the maximum Monte Carlo score (Jiang et al. 2021).

    Args:
      trajectory: ``[T, M]``; ``outputs[1]`` are values.
      best: ``[M]``, ``R_max``: the highest return of an episode of the task ever seen.

    Returns:
      ``[M]``.
    """
    return best - trajectory.outputs[1].mean(axis=0)


def regret(tasks: TaskDistribution, batch: Task, trajectory: Trajectory) -> jax.Array:
    """The optimal return less the agent's: exact, but for the noise of a single trial.

    Of an episode where these may end early, else of the trial: tasks in which many episodes fit into a trial would seem
    to have more to learn.

    Args:
      tasks: the distribution, with ``best_episode`` or ``optimum``.
      batch: tasks ``[M]``.
      trajectory: ``[T, M]``, a trial in each.

    Returns:
      ``[M]``.
    """
    if tasks.best_episode is not None:
        return jax.vmap(tasks.best_episode)(batch) - mean_return(trajectory)
    optimum = tasks.optimum
    assert optimum is not None
    return jax.vmap(lambda task: optimum(task, trajectory.reward.shape[0]))(batch) - trajectory.mean_reward.sum(axis=0)


def threshold(tasks: TaskDistribution, solved_above: float | None) -> float:
    """The return above which an episode is solved.

    Args:
      tasks: the distribution.
      solved_above: the user's; None for that of ``tasks``.

    Returns:
      The return.

    Raises:
      ConfigError: if neither is known.
    """
    known = tasks.solved_above if solved_above is None else solved_above
    if known is None:
        raise ConfigError(f"solved_above=None: say the return above which an episode of {tasks.name} is solved")
    return known


def chosen(tasks: TaskDistribution, student: Student) -> Score:
    """The default score: that most correlated with true regret (README) among those that are cheap to compute.

    Args:
      tasks: the distribution.
      student: the agent that is trained.

    Returns:
      The name of the score.
    """
    if tasks.best_episode is not None:
        return "regret"
    return "max-mc" if student.values_per_episode else "positive-value-loss"


def scorer(
    tasks: TaskDistribution, student: Student, score: Score | None, solved_above: float | None
) -> Callable[[PyTree, Task, Trajectory, jax.Array], jax.Array]:
    """A function that scores tasks.

    Args:
      tasks: the distribution.
      student: the agent that is trained.
      score: name of the score; None for ``chosen``'s.
      solved_above: an episode of higher return is solved; None for that of ``tasks``. For ``learnability`` alone.

    Returns:
      ``(learner, tasks [M], trajectory [T, M], best returns seen [M]) -> scores [M]``, ``learner`` the algorithm's
        state.

    Raises:
      ConfigError: if the agent has no such values, or the tasks no optimum or no return that counts as solved, where
        the score needs them, or an option is given that the score does not use.
    """
    score = score or chosen(tasks, student)
    check(solved_above is None or score == "learnability", "solved_above", solved_above, f"score={score!r} has no use")
    advantages = student.advantages
    if score == "learnability":
        check_episodes(tasks, "score", score)
        above = threshold(tasks, solved_above)
        return lambda learner, batch, trajectory, best: learnability(solved(trajectory, above))
    if score == "regret":
        known = tasks.optimum or tasks.best_episode
        check(known is not None, "score", score, f"needs the exact optimum, which {tasks.name} does not trace")
        return lambda learner, batch, trajectory, best: regret(tasks, batch, trajectory)
    if advantages is None:
        fix = "needs an algorithm that learns values (rl2, ppo, varibad): take 'learnability' or 'regret'"
        raise ConfigError(f"score={score!r}: {fix}")
    if score == "positive-value-loss":
        return lambda learner, batch, trajectory, best: jnp.maximum(advantages(learner, trajectory), 0.0).mean(axis=0)
    fix = "needs values of an episode (ppo): those of this algorithm are of whole trials; take 'positive-value-loss'"
    check(student.values_per_episode, "score", score, fix)
    return lambda learner, batch, trajectory, best: max_mc(trajectory, best)
