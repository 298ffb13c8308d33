"""Meta-learners and curricula."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from metarl_jax.records.environment import Key, State, Task, Trajectory
from metarl_jax.records.learning import MetaGradient, Outcome


class TaskAgnostic(NamedTuple):
    """What an Algorithm offers whose meta-parameters do not depend on its tasks' spaces.

    Attributes:
      estimator: of the meta-parameters' gradient.
      learner: ``MetaGradient -> (init, update)``, the Algorithm's, with another estimator.
      alike: options, (name, value), that are to be the same wherever the same is learned, since they say what the
        meta-parameters mean.
    """

    estimator: MetaGradient
    learner: Callable[[MetaGradient], tuple[Callable, Callable]]
    alike: tuple[tuple[str, Any], ...]


class Algorithm(NamedTuple):
    """HOW it is learned: a meta-learner.

    Attributes:
      init: ``(key, num_tasks) -> state``, for updates on that many tasks.
      update: ``(key, state, tasks [N]) -> (state, Outcome)``, one outer step.
      adapt: ``(key, state, task, trial_steps, forget) -> Trajectory [T]``, ONE task's whole trial at meta-test
        (``trial_steps`` is static; so is ``greedy``, where the algorithm offers it: act by the mode). With ``forget``
        the agent's memory is reset at the start of each episode (True or 1) or at each step (2): controls that show
        what memory is worth. Where the algorithm offers ``first``, a task, the first half of the trial
        (``rollout.first_half``) is in that one, with memory kept: the control that shows whether what it holds is of
        the task; ``forget`` may be traced then, so that one program serves them all.
      steps: environment steps that an update spends in each task.
      check: ``num_tasks -> None``, raises ConfigError where an update could not be run on that many tasks.
      decode: ``(state, Trajectory [T]) -> [T, C]``, where the agent holds a belief: what it took the task for before
        each step, the probability of each task of a finite set, else the mean of the task's numbers.
      window: environment steps between one inner step and the next; 1 where the agent may learn at any step.
      memory_options: ``(num_tasks, num_devices) -> {option: values}``, the recipe's options that spare memory at the
        cost of time or rounding, where the user left them to be chosen: what to try, from the most memory to the least.
      portable: where what ``adapt`` needs of a state does not depend on the tasks' spaces: the same recipe built for
        other tasks acts in them by it, and may learn it in several at once.
      advantages: ``(state, Trajectory [T, N]) -> [T, N]``, of its trials' actions, in the terms that it learns in,
        where it learns values.
      values_per_episode: these values, ``outputs[1]``, are of what is left of the episode, not of the trial.
      returns_trajectories: its outcomes have ``trajectory``.
      check_tasks: ``(name, tasks [N], learning)``, where task features are used: raises ConfigError for tasks of the
        distribution ``name`` which those of training do not describe, if the agents need them there: ``learning``, or
        else at meta-test.
    """

    init: Callable[[Key, int], State]
    update: Callable[[Key, State, Task], tuple[State, Outcome]]
    adapt: Callable[..., Trajectory]
    steps: int
    check: Callable[[int], None]
    decode: Callable[[State, Trajectory], jax.Array] | None = None
    window: int = 1
    memory_options: Callable[[int, int], Mapping[str, tuple]] = lambda num_tasks, num_devices: {}
    portable: TaskAgnostic | None = None
    advantages: Callable[[State, Trajectory], jax.Array] | None = None
    values_per_episode: bool = False
    returns_trajectories: bool = False
    check_tasks: Callable[[str, Task, bool], None] | None = None


class Student(NamedTuple):
    """Who learns, as a curriculum knows it.

    Attributes:
      live: ``(key, learner, tasks [M], steps) -> Trajectory [T, M]``, a trial in each task by the algorithm as it now
        is (``learner``: its state), of the usual length unless ``steps`` are given; it costs ``M T`` environment steps.
      num_tasks: of an update.
      returns_trajectories: see ``Algorithm``, as of the next two.
      advantages: of a trial's actions.
      values_per_episode: whether values are of the episode.
    """

    live: Callable[..., Trajectory]
    num_tasks: int
    returns_trajectories: bool
    advantages: Callable[[State, Trajectory], jax.Array] | None = None
    values_per_episode: bool = False


class Curriculum(NamedTuple):
    """WHICH tasks come next.

    Attributes:
      init: ``key -> state``.
      sample: ``(key, update, state, learner) -> (state, tasks [N])`` before update number ``update``; ``learner`` is
        the state of the algorithm.
      update: ``(key, update, state, learner, outcome) -> (state, metrics)`` after it.
      steps: ``num_updates -> int``, environment steps of its own in that many updates from the first one on.
      buffer: ``state -> {"tasks": [B, ...], "score": [B], ...}``, the tasks that it keeps, where it keeps any (score
        -inf: an empty place).
      makes: ``key -> task``, one as it makes them itself, where it does not only draw from the distribution.
    """

    init: Callable[[Key], State]
    sample: Callable[[Key, jax.Array, State, State], tuple[State, Task]]
    update: Callable[[Key, jax.Array, State, State, Outcome], tuple[State, dict[str, jax.Array]]]
    steps: Callable[[int], int] = lambda num_updates: 0
    buffer: Callable[[State], dict[str, Any]] | None = None
    makes: Callable[[Key], Task] | None = None
