"""Agents that learn, and the gradient of what is meta-learned about it."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from metarl_jax.records.environment import Key, PyTree, Task, Trajectory


class ActionEvaluation(NamedTuple):
    """What an agent's policy computes on a trajectory ``[T, E]``.

    Attributes:
      log_prob: ``[T, E]``, of the actions taken.
      entropy: ``[T, E]``, of the policy at each step.
      value: ``[T, E]``, of each step's observation.
      next_value: ``[T, E]``, of what followed it, before any new episode began.
    """

    log_prob: jax.Array
    entropy: jax.Array
    value: jax.Array
    next_value: jax.Array


class Actor(NamedTuple):
    """How an agent of an inner loop ACTS: ``E`` episodes side by side in one task, ``T`` steps at a time.

    Attributes:
      enter: ``(key, task) -> place``, where episodes begin.
      act: ``(key, agent, place, task, greedy=False) -> (place, Trajectory [T, E])``.
      said: ``(agent, Trajectory) -> ActionEvaluation [T, E]``, differentiable in the agent.
    """

    enter: Callable[[Key, Task], PyTree]
    act: Callable[..., tuple[PyTree, Trajectory]]
    said: Callable[[PyTree, Trajectory], ActionEvaluation]


class Inner(NamedTuple):
    """How an agent of an inner loop LEARNS under meta-parameters; it samples no environment.

    Attributes:
      meta: ``key -> meta``, initial meta-parameters.
      init: ``(key, meta, task) -> agent``, at the start of a lifetime.
      learn: ``(key, meta, agent, Trajectory [T, E]) -> (agent, penalty)``, one inner update, differentiable in ``meta``
        and ``agent``; the penalty is a scalar that the method adds to the outer loss.
    """

    meta: Callable[[Key], PyTree]
    init: Callable[[Key, PyTree, Task], PyTree]
    learn: Callable[[Key, PyTree, PyTree, Trajectory], tuple[PyTree, jax.Array]]


class MetaGradient(NamedTuple):
    """How the outer gradient is ESTIMATED from lifetimes under way in ``[N]`` tasks.

    The gradient is that of a loss; the outcome's return is that of an episode, the mean over each lifetime so far.
    Where a lifetime has ended, the next one is in the task offered.

    Attributes:
      init: ``(key, task shapes, num_tasks) -> state``, the lifetimes, and whatever else lasts from one outer update to
        the next.
      estimate: ``(key, meta, state, tasks [N]) -> (gradient, state, Outcome)``, over a window of inner updates.
      lives: how many lifetimes there are in each task.
    """

    init: Callable[[Key, Task, int], PyTree]
    estimate: Callable[[Key, PyTree, PyTree, Task], tuple[PyTree, PyTree, "Outcome"]]
    lives: int = 1


class Outcome(NamedTuple):
    """What one outer step did.

    Attributes:
      tasks: those in which trajectories were collected, leaves ``[N, ...]``.
      trial_return: ``[N]``.
      ended: ``[N]`` bool, which lifetimes ended.
      metrics: scalars by name.
      trajectory: ``[T, N]``, the trials, where each task had one.
    """

    tasks: Task
    trial_return: jax.Array
    ended: jax.Array
    metrics: dict[str, jax.Array]
    trajectory: Trajectory | None = None
