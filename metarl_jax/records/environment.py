"""Tasks, the environments that they are tasks of, and what is seen of them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

Key = jax.Array  # a typed PRNG key; each is consumed once
PyTree = Any
Task = Any  # a pytree, every leaf traced
State = Any


class Spec(NamedTuple):
    """The static shapes that all tasks of a distribution share.

    Attributes:
      observation_shape: of one observation.
      num_actions: how many discrete actions there are; None where actions are continuous.
      action_size: length of a continuous action; 0 where actions are discrete.
      action_low: least value of each action, a float or an array that broadcasts to ``[action_size]``.
      action_high: greatest value, likewise.
    """

    observation_shape: tuple[int, ...]
    num_actions: int | None = None
    action_size: int = 0
    action_low: Any = -1.0
    action_high: Any = 1.0

    def __eq__(self, other: object) -> bool:  # bounds may be arrays, whose own == is one too
        return isinstance(other, Spec) and plain(self) == plain(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(plain(self))


def plain(spec: Spec) -> tuple:
    """A Spec as numbers that can be compared.

    Args:
      spec: its bounds may be arrays.

    Returns:
      A tuple of numbers and tuples: bounds of each action, none where actions are discrete.
    """
    if spec.num_actions is not None:
        return tuple(spec.observation_shape), spec.num_actions
    bounds = [np.broadcast_to(np.asarray(x), (spec.action_size,)) for x in (spec.action_low, spec.action_high)]
    return tuple(spec.observation_shape), spec.action_size, *(tuple(bound.tolist()) for bound in bounds)


class Environment(Protocol):
    """What the trial loop asks of an environment (``tasks.Environment.as_gymnax`` gives it gymnax's interface).

    All the randomness of a step is drawn in bulk: one element of the noise serves one ``reset`` or one ``step``
    together with the ``reset`` that may follow it. ``observe`` is apart, so that an observation is computed once a
    step, of the state that the agent is really in; what is random in it must be in the state.

    Attributes:
      spec: shapes of observations and actions.
    """

    spec: Spec

    def sample_noise(self, key: Key, shape: tuple[int, ...]) -> PyTree: ...
    def reset(self, noise: PyTree, task: Task) -> State: ...
    def step(
        self, noise: PyTree, state: State, action: jax.Array, task: Task
    ) -> tuple[State, jax.Array, jax.Array, dict]: ...
    def observe(self, state: State, task: Task) -> jax.Array: ...
    def is_truncated(self, state: State, task: Task) -> jax.Array: ...


class Reference(NamedTuple):
    """A known value to hold a score against, in units of return a trial.

    Attributes:
      role: ``optimal`` (task known), ``bayes`` (the best that any agent that must find the task out can do),
        ``non_adaptive`` (the best behaviour that forgets at each episode), ``memoryless`` (that forgets at each step),
        ``random`` or any other name.
      kind: ``exact``, ``estimate`` (simulated), ``lower`` or ``upper`` (a bound on the role's true value).
      trial_return: ``[N]``, or a scalar for the mean over tasks.
      by_episode: ``[E]``, its mean over tasks for each episode of the trial, where that makes sense.
      note: how it was computed.
      lengths: ``[N, E]``, steps of each episode of each task, the last column standing for all later ones, where
        lengths vary.
      of: empty where the value is of the tasks asked about and their prior; else what it is of, in words: such a value
        is printed with them, and no score is held to it.
    """

    role: str
    kind: str
    trial_return: Any
    by_episode: Any = None
    note: str = ""
    lengths: Any = None
    of: str = ""


class ExactBelief(NamedTuple):
    """The exact posterior over tasks, given a trial.

    Attributes:
      truth: ``task -> [C]``, a one-hot over candidate tasks, or numbers such as the arms' chances.
      posterior: ``trajectory [T, ...] -> [T, C]``, its mean given all that the agent was shown up to and with the
        outcome of each step, ``E[truth(task) | shown up to t]``: the candidates' probabilities, or the arms' mean
        chances. One trial; vmap for many. It starts anew where ``timestep.trial_start`` is set.
      candidates: how many tasks there are to tell apart; 0 where the truth is numbers.
      prior: the probability of each before anything was shown.
    """

    truth: Callable[[Task], jax.Array]
    posterior: Callable[["Trajectory"], jax.Array]
    candidates: int = 0
    prior: tuple[float, ...] = ()


class TaskDistribution(NamedTuple):
    """WHAT is learned: a set of MDPs with shared state and action spaces.

    Attributes:
      name: in tables and run folders.
      env: the environment; the task is an argument of its functions.
      sample: ``key -> task``.
      horizon: steps of the longest episode; static.
      trial_steps: the default length of a trial; static.
      tasks: the whole set, leaves ``[N, ...]``, where it is finite.
      references: ``(tasks [N], trial_steps, prior=None) -> [Reference]``, the known answers: of tasks that the agent
        knows are drawn from ``prior``, leaves ``[M, ...]``, each row equally likely (a task that is held twice is twice
        as likely), by default from the distribution's own.
      mutate: ``(key, task) -> task``, a small random change of it.
      recipe: name and options, which rebuild the distribution.
      belief: set where the posterior has a closed form (``beliefs.exact_belief`` finds others).
      optimum: ``(task, trial_steps) -> scalar``, the exact optimal return of a trial, the task known, where it can be
        traced.
      best_episode: ``task -> scalar``, that of an episode, where these may end early, so that a trial holds more.
      target: ``key -> task``, the tasks that matter in the end, where these are others than ``sample``'s.
      solved_above: an episode that returns more is solved, where there is such a number.
      counts: a task's structure with whole numbers for leaves: how many values, from 0 on, that leaf may have, where it
        is a whole number by itself and the set is not finite (0: not known).
      trained_on: set where an algorithm that learned in that distribution is built to act in this one. What it derives
        from its tasks beside their environment and its horizon (task features, the length of memories, episodes before
        an inner step) is then that of training; agents that learn from scratch divide the trial that they are given.
    """

    name: str
    env: Environment
    sample: Callable[[Key], Task]
    horizon: int
    trial_steps: int
    tasks: Task | None = None
    references: Callable[..., list[Reference]] | None = None
    mutate: Callable[[Key, Task], Task] | None = None
    recipe: Mapping[str, Any] | None = None
    belief: ExactBelief | None = None
    optimum: Callable[[Task, int], jax.Array] | None = None
    best_episode: Callable[[Task], jax.Array] | None = None
    target: Callable[[Key], Task] | None = None
    solved_above: float | None = None
    counts: Task | None = None
    trained_on: "TaskDistribution | None" = None

    def __repr__(self) -> str:
        count = "" if self.tasks is None else f", {jax.tree.leaves(self.tasks)[0].shape[0]} tasks"
        spec = self.env.spec
        actions = f"{spec.num_actions} actions" if spec.num_actions is not None else f"actions [{spec.action_size}]"
        shape = list(spec.observation_shape)
        return (
            f"TaskDistribution({self.name}{count}: episodes of {self.horizon} steps, trials of {self.trial_steps}, "
            f"observations {shape}, {actions})"
        )


class TimeStep(NamedTuple):
    """What an agent is given before it acts; leaves ``[..., ...]`` share their leading axes.

    At the start of a trial ``last_action`` and ``last_reward`` are zero and both flags are set.

    Attributes:
      observation: ``[..., *observation_shape]``.
      last_action: ``[...]`` int32, or ``[..., action_size]``.
      last_reward: ``[...]``.
      episode_start: ``[...]`` bool, the last step ended an episode.
      trial_start: ``[...]`` bool, a new task: memory must be reset.
    """

    observation: jax.Array
    last_action: jax.Array
    last_reward: jax.Array
    episode_start: jax.Array
    trial_start: jax.Array


class Trajectory(NamedTuple):
    """A record of ``T`` steps, leaves ``[T, ...]`` (``[T, N, ...]`` for ``N`` tasks).

    Attributes:
      timestep: what the agent saw before it acted.
      action: as the policy drew it.
      reward: of the step.
      mean_reward: its expectation given state and action where the environment knows it, else the reward.
      terminated: the MDP ended the episode.
      truncated: a time limit ended it.
      next_observation: of what followed the step, before any new episode began.
      next_env_state: the state that followed it, likewise.
      env_state: the state before the action.
      outputs: ``(action parameters, value)`` of the policy, and whatever else its kind returns.
    """

    timestep: TimeStep
    action: jax.Array
    reward: jax.Array
    mean_reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    next_observation: jax.Array
    next_env_state: State
    env_state: State
    outputs: PyTree
