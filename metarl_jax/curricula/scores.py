"""What a task is worth to an agent, told by the trials ``[T, M]`` that it lived in tasks ``[M]``: scores ``[M]``."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.config import ConfigError, check
from metarl_jax.records import PyTree, Student, Task, TaskDistribution, Trajectory

Score = Literal["positive-value-loss", "max-mc", "learnability", "regret"]


class Episodes(NamedTuple):
    """Of each step: the ``earned`` return of its episode so far, and whether it was the episode's last, ``[T, M]``."""

    earned: jax.Array
    ended: jax.Array


def episodes(trajectory: Trajectory) -> Episodes:
    ended = trajectory.terminated | trajectory.truncated
    step = jnp.arange(ended.shape[0], dtype=jnp.int32)[:, None]
    last_end = jax.lax.cummax(jnp.where(ended, step, -1), axis=0)
    before = jnp.concatenate([jnp.full_like(last_end[:1], -1), last_end[:-1]])  # of earlier steps
    total = jnp.cumsum(trajectory.mean_reward, axis=0)
    paid = jnp.where(before >= 0, jnp.take_along_axis(total, jnp.maximum(before, 0), axis=0), 0.0)
    return Episodes(total - paid, ended)


def solved(trajectory: Trajectory, solved_above: float) -> jax.Array:
    """``p``: the share of the episodes that ended which returned more than ``solved_above``; 0 if none ended."""
    earned, ended = episodes(trajectory)
    return (ended & (earned > solved_above)).sum(axis=0) / jnp.maximum(ended.sum(axis=0), 1)


def learnability(solved: jax.Array) -> jax.Array:
    """``p (1 - p)`` (Tzannetos et al. 2023; SFL, Rutherford et al. 2024)."""
    return solved * (1.0 - solved)


def check_episodes(tasks: TaskDistribution, field: str, value: object, trials: int = 1) -> None:
    """ConfigError where ``trials`` in a task show one episode's end at least, not two: none is solved half the time."""
    enough = trials * (tasks.trial_steps // tasks.horizon) >= 2
    fix = "a task must be tried at least twice: make trials of several episodes (num_episodes), or trials of more steps"
    check(enough, field, value, fix)


def best_return(trajectory: Trajectory) -> jax.Array:
    """Of an episode that ended; where none did, of the one under way."""
    earned, ended = episodes(trajectory)
    return jnp.where(ended.any(axis=0), jnp.where(ended, earned, -jnp.inf).max(axis=0), earned[-1])


def mean_return(trajectory: Trajectory) -> jax.Array:
    """Of the episodes that ended; where none did, of the one under way."""
    earned, ended = episodes(trajectory)
    mean = jnp.where(ended, earned, 0.0).sum(axis=0) / jnp.maximum(ended.sum(axis=0), 1)
    return jnp.where(ended.any(axis=0), mean, earned[-1])


def max_mc(trajectory: Trajectory, best: jax.Array) -> jax.Array:
    """``mean_t(R_max - V(s_t))``, ``R_max`` the ``best [M]`` return of an episode ever seen (Jiang et al. 2021)."""
    return best - trajectory.outputs[1].mean(axis=0)


def regret(tasks: TaskDistribution, batch: Task, trajectory: Trajectory) -> jax.Array:
    """The optimal return less the one earned: exact, up to the chance of one trial.

    Of an episode where these may end early, else of the trial: tasks in which many episodes fit into a trial would seem
    to hold more to learn.
    """
    if tasks.best_episode is not None:
        return jax.vmap(tasks.best_episode)(batch) - mean_return(trajectory)
    optimum = tasks.optimum
    assert optimum is not None
    return jax.vmap(lambda task: optimum(task, trajectory.reward.shape[0]))(batch) - trajectory.mean_reward.sum(axis=0)


def threshold(tasks: TaskDistribution, solved_above: float | None) -> float:
    """The return above which an episode is solved: the one given, or that of the tasks."""
    known = tasks.solved_above if solved_above is None else solved_above
    if known is None:
        raise ConfigError(f"solved_above=None: say the return above which an episode of {tasks.name} is solved")
    return known


def chosen(tasks: TaskDistribution, student: Student) -> Score:
    """The score that is most alike to true regret (README), of those that can be told cheaply."""
    if tasks.best_episode is not None:
        return "regret"
    return "max-mc" if student.values_per_episode else "positive-value-loss"


def scorer(
    tasks: TaskDistribution, student: Student, score: Score | None, solved_above: float | None
) -> Callable[[PyTree, Task, Trajectory, jax.Array], jax.Array]:
    """``(learner, tasks [M], trajectory [T, M], the best returns known [M]) -> scores [M]``.

    Raises:
      ConfigError: the agent has no such values, or the tasks no optimum or no word for solved, where the score needs
        them, or an option that it does not read is given.
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
