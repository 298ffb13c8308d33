"""What a task is worth to an agent, told by the trials ``[T, M]`` that it lived in tasks ``[M]``: scores ``[M]``."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax import estimators
from metarl_jax.config import ConfigError, check, check_all
from metarl_jax.types import Student, Task, TaskDistribution, Trajectory

Score = Literal["positive-value-loss", "max-mc", "learnability", "regret"]


class Episodes(NamedTuple):
    """Of each step: the ``earned`` return of its episode so far, and whether it was the episode's last, ``[T, M]``."""

    earned: jax.Array
    ended: jax.Array


class Scoring(NamedTuple):
    """Options of scores, as ``prioritised_replay`` documents them."""

    score: str
    discount: float
    trace: float
    solved_above: float


def episodes(lived: Trajectory) -> Episodes:
    ended = lived.terminated | lived.truncated
    step = jnp.arange(ended.shape[0], dtype=jnp.int32)[:, None]
    last_end = jax.lax.cummax(jnp.where(ended, step, -1), axis=0)
    before = jnp.concatenate([jnp.full_like(last_end[:1], -1), last_end[:-1]])  # of earlier steps
    total = jnp.cumsum(lived.mean_reward, axis=0)
    paid = jnp.where(before >= 0, jnp.take_along_axis(total, jnp.maximum(before, 0), axis=0), 0.0)
    return Episodes(total - paid, ended)


def solved(lived: Trajectory, solved_above: float) -> jax.Array:
    """``p``: the share of the episodes that ended which returned more than ``solved_above``; 0 if none ended."""
    earned, ended = episodes(lived)
    return (ended & (earned > solved_above)).sum(axis=0) / jnp.maximum(ended.sum(axis=0), 1)


def learnability(solved: jax.Array) -> jax.Array:
    """``p (1 - p)`` (Tzannetos et al. 2023; SFL, Rutherford et al. 2024)."""
    return solved * (1.0 - solved)


def check_episodes(tasks: TaskDistribution, field: str, value: object, trials: int = 1) -> None:
    """ConfigError where ``trials`` in a task show one episode's end at least, not two: none is solved half the time."""
    enough = trials * (tasks.trial_steps // tasks.horizon) >= 2
    fix = "a task must be tried at least twice: make trials of several episodes (num_episodes), or trials of more steps"
    check(enough, field, value, fix)


def best_return(lived: Trajectory) -> jax.Array:
    """Of an episode that ended; where none did, of the one under way."""
    earned, ended = episodes(lived)
    return jnp.where(ended.any(axis=0), jnp.where(ended, earned, -jnp.inf).max(axis=0), earned[-1])


def max_mc(lived: Trajectory, best: jax.Array) -> jax.Array:
    """``mean_t(R_max - V(s_t))``, ``R_max`` the ``best [M]`` return ever seen (Jiang et al. 2021).

    Meant for values of what is left of an episode. Those of agents that remember run on across a trial's episodes, and
    then it falls where an agent is good again and again: near goals score low, tasks that nobody solves near 0.
    """
    return best - lived.outputs[1].mean(axis=0)


def positive_value_loss(lived: Trajectory, discount: float, trace: float) -> jax.Array:
    """``mean_t max(A_t, 0)`` of generalised advantages that episodes' ends cut (Jiang et al. 2021)."""
    values = lived.outputs[1]
    following = jnp.concatenate([values[1:], jnp.zeros_like(values[:1])])
    going_on = 1.0 - (lived.terminated | lived.truncated).astype(values.dtype)
    advantages = estimators.generalised_advantages(lived.reward, values, following, discount * going_on, trace)
    return jnp.maximum(advantages, 0.0).mean(axis=0)


def regret(optimum: Callable[[Task, int], jax.Array], batch: Task, lived: Trajectory) -> jax.Array:
    """The optimal return of the trial less the one earned: exact, up to the chance of one trial."""
    best = jax.vmap(lambda task: optimum(task, lived.reward.shape[0]))(batch)
    return best - lived.mean_reward.sum(axis=0)


def scorer(
    tasks: TaskDistribution, student: Student, options: Scoring
) -> Callable[[Task, Trajectory, jax.Array], jax.Array]:
    """``(tasks [M], lived [T, M], the best returns known [M]) -> scores [M]``.

    Raises:
      ConfigError: the agent has no values, or the tasks no optimum, where the score needs them.
    """
    named = dict(discount=options.discount, trace=options.trace)
    check_all(named, lambda x: 0 <= x <= 1, "must lie between 0 and 1")
    score, optimum = options.score, tasks.optimum
    valued = student.values or score in ("learnability", "regret")
    check(valued, "score", score, "needs an algorithm that learns values (rl2, ppo, varibad): take 'learnability'")
    if score == "regret":
        if optimum is None:
            raise ConfigError(f"score={score!r}: needs the exact optimum, which {tasks.name} does not trace")
        return lambda batch, lived, best: regret(optimum, batch, lived)
    if score == "learnability":
        check_episodes(tasks, "score", score)
        return lambda batch, lived, best: learnability(solved(lived, options.solved_above))
    if score == "max-mc":
        return lambda batch, lived, best: max_mc(lived, best)
    return lambda batch, lived, best: positive_value_loss(lived, options.discount, options.trace)
