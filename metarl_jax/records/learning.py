"""Agents that learn, and the gradient of what is meta-learned about it."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from metarl_jax.records.environment import Key, PyTree, Task, Trajectory


class ActionEvaluation(NamedTuple):
    """What an agent's policy says on a record ``[T, E]``: of the actions taken, and in all."""

    log_prob: jax.Array
    entropy: jax.Array
    value: jax.Array  # of each step
    next_value: jax.Array  # of what followed it, before any new episode began


class Actor(NamedTuple):
    """How an agent of an inner loop LIVES: ``E`` episodes side by side in one task, ``T`` steps at a time.

    ``enter(key, task) -> place``; ``act(key, agent, place, task, greedy=False) -> (place, Trajectory [T, E])``;
    ``said(agent, Trajectory) -> ActionEvaluation [T, E]``, differentiable in the agent.
    """

    enter: Callable[[Key, Task], PyTree]
    act: Callable[..., tuple[PyTree, Trajectory]]
    said: Callable[[PyTree, Trajectory], ActionEvaluation]


class Inner(NamedTuple):
    """How an agent of an inner loop LEARNS under meta-parameters; it samples no environment.

    ``meta(key) -> meta``, what is meta-learned; ``init(key, meta, task) -> agent``, at the start of a life;
    ``learn(key, meta, agent, Trajectory [T, E]) -> (agent, penalty)``: one inner update, differentiable in ``meta`` and
    ``agent``; ``penalty`` (a scalar) is what the method adds to the outer loss.
    """

    meta: Callable[[Key], PyTree]
    init: Callable[[Key, PyTree, Task], PyTree]
    learn: Callable[[Key, PyTree, PyTree, Trajectory], tuple[PyTree, jax.Array]]


class MetaGradient(NamedTuple):
    """How the outer gradient is ESTIMATED from lives under way in ``[N]`` tasks.

    ``init(key, task shapes, num_tasks) -> kept``: the lives, and whatever else lasts from one outer update to the next;
    ``estimate(key, meta, kept, tasks [N]) -> (gradient, kept, Outcome)``: lives on for a window of inner updates; where
    a life has ended, the next one is lived in the task offered. The gradient is that of a loss; the outcome's return is
    that of an episode, on average of each life so far. ``lives``: how many are lived in each task.
    """

    init: Callable[[Key, Task, int], PyTree]
    estimate: Callable[[Key, PyTree, PyTree, Task], tuple[PyTree, PyTree, "Outcome"]]
    lives: int = 1


class Outcome(NamedTuple):
    """What one outer step did: the tasks really lived ``[N]``, their returns ``[N]``, which lives ended ``[N]`` and
    scalar ``metrics`` by name. ``trajectory [T, N]``: the trials, where each task was lived in one."""

    tasks: Task
    trial_return: jax.Array
    ended: jax.Array
    metrics: dict[str, jax.Array]
    trajectory: Trajectory | None = None
