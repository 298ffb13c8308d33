"""The records that everything in metarl_jax is made of. No logic lives here.

Axis letters, always in this order: ``[S]`` seeds, ``[N]`` tasks, ``[K]`` inner updates, ``[E]`` episodes,
``[T]`` steps, then features. A *task* is an MDP: a pytree whose every leaf is traced. A *trial* is all the
episodes that an agent spends in one task.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

Key = jax.Array  # a typed PRNG key; each is consumed once
PyTree = Any
Task = Any  # a pytree, every leaf traced
State = Any


class ConfigError(ValueError):
    """A user's mistake: names the field, the value and the fix. Raised before anything is compiled."""


class Spec(NamedTuple):
    """The static shapes that all tasks of a distribution share.

    ``num_actions`` is set for discrete actions; otherwise actions are vectors ``[action_size]`` within
    ``[action_low, action_high]`` (each a float or an array that broadcasts to ``[action_size]``).
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
    """A Spec as numbers that can be compared: bounds of each action, none where actions are discrete."""
    if spec.num_actions is not None:
        return tuple(spec.observation_shape), spec.num_actions
    bounds = [np.broadcast_to(np.asarray(x), (spec.action_size,)) for x in (spec.action_low, spec.action_high)]
    return tuple(spec.observation_shape), spec.action_size, *(tuple(bound.tolist()) for bound in bounds)


class Environment(Protocol):
    """What the trial loop asks of an environment (``tasks.environment`` gives it gymnax's face).

    All the randomness of a step is drawn in bulk: ``draw(key, shape)`` returns noise with leading axes ``shape``,
    and one element of it serves one ``begin`` or one ``advance`` together with the ``begin`` that may follow it.
    ``advance`` returns ``(state, reward, terminated, info)``. ``observe`` is apart, so that an observation is computed
    once a step, of the state that the agent is really in; what is random in it must be in the state.
    """

    spec: Spec

    def draw(self, key: Key, shape: tuple[int, ...]) -> PyTree: ...
    def begin(self, noise: PyTree, task: Task) -> State: ...
    def advance(
        self, noise: PyTree, state: State, action: jax.Array, task: Task
    ) -> tuple[State, jax.Array, jax.Array, dict]: ...
    def observe(self, state: State, task: Task) -> jax.Array: ...
    def is_truncated(self, state: State, task: Task) -> jax.Array: ...


class Reference(NamedTuple):
    """A known value to hold a score against, in units of return a trial.

    ``role``: ``optimal`` (task known), ``bayes`` (the best that any agent that must find the task out can do),
    ``non_adaptive`` (the best behaviour that forgets at each episode), ``memoryless`` (that forgets at each step),
    ``random`` or any other name.
    ``kind``: ``exact``, ``estimate`` (simulated), ``lower`` or ``upper`` (a bound on the role's true value).
    ``trial_return``: ``[N]``, or a scalar for the mean over tasks. ``by_episode``: ``[E]``, its mean over tasks for
    each episode of the trial, where that makes sense. ``note`` says how it was computed. ``lengths``: ``[N, E]``,
    how long each episode of each task is, the last column standing for all later ones, where lengths vary. ``of``:
    empty where the value is of the tasks asked about and their prior; else what it is of, in words: such a value is
    printed with them, and no score is held to it.
    """

    role: str
    kind: str
    trial_return: Any
    by_episode: Any = None
    note: str = ""
    lengths: Any = None
    of: str = ""


class ExactBelief(NamedTuple):
    """What a trial has told of its task, exactly.

    ``truth(task) -> [C]``: what is to be known, a one-hot over candidate tasks or numbers such as the arms' chances.
    ``posterior(trajectory [T, ...]) -> [T, C]``: its mean given all that the agent was shown up to and with the
    outcome of each step, ``E[truth(task) | shown up to t]``: the candidates' probabilities, or the arms' mean chances.
    One trial; vmap for many. It starts anew where ``timestep.trial_start`` is set. ``candidates``: how many tasks there
    are to tell apart, 0 where the truth is numbers; ``prior``: the chance of each before anything was shown.
    """

    truth: Callable[[Task], jax.Array]
    posterior: Callable[["Trajectory"], jax.Array]
    candidates: int = 0
    prior: tuple[float, ...] = ()


class TaskDistribution(NamedTuple):
    """WHAT is learned: a set of MDPs with shared state and action spaces.

    ``trial_steps`` is the default length of a trial, ``horizon`` the longest episode, both static. ``tasks`` is the
    whole set, leaves ``[N, ...]``, when it is finite. ``references(tasks [N], trial_steps, prior=None)`` returns the
    known answers: of tasks that the agent knows are drawn from ``prior``, leaves ``[M, ...]``, each row equally likely
    (a task that is held twice is twice as likely), by default from the distribution's own. ``mutate(key, task)`` is a
    small random change of a task. ``recipe`` (name and options) rebuilds it.
    ``belief`` is set where what a trial tells of the task has a closed form (``beliefs.exact_belief`` finds others).
    ``optimum(task, trial_steps)``: the exact optimal return of a trial, the task known, where it can be traced;
    ``best_episode(task)``: that of an episode, where these may end early, so that a trial holds more of them.
    ``target(key)`` draws from the tasks that matter in the end, where these are others than ``sample``'s.
    ``solved_above``: an episode that returns more is solved, where that is so to say.
    ``counts``: a task's structure with whole numbers for leaves: how many values, from 0 on, that leaf may have, where
    it is a whole number by itself and the set is not finite (0: not known).
    ``trained_on``: set where an algorithm that learned in that distribution is built to act in this one. What it
    derives from its tasks beside their environment and its horizon (task features, the length of memories, episodes
    before an inner step) is then that of training; agents that learn from scratch divide the trial that they are given.
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
    """

    observation: jax.Array
    last_action: jax.Array
    last_reward: jax.Array
    episode_start: jax.Array  # bool: the last step ended an episode
    trial_start: jax.Array  # bool: a new task; memory must be reset


class Trajectory(NamedTuple):
    """A record of ``T`` steps, leaves ``[T, ...]`` (``[T, N, ...]`` for ``N`` tasks).

    ``mean_reward`` is the expectation of the reward given state and action where the environment knows it, else the
    reward. ``env_state`` is the state before the action; ``next_env_state`` and ``next_observation`` are what followed
    it, before any new episode began. ``outputs`` is what the policy said: ``(action parameters, value)``,
    and whatever else its kind says.
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


class ActionDistribution(NamedTuple):
    """A family of distributions over actions, parameters last: ``[..., size]``.

    ``noise(key, shape)`` draws in bulk what ``sample(parameters, noise)`` consumes; ``kl(p, q)`` is the divergence
    KL(p || q) of two parameters. ``bounded(action)`` is what the environment gets of a sample (before ``to_bounds``).
    """

    size: int
    noise: Callable[[Key, tuple[int, ...]], jax.Array]
    sample: Callable[[jax.Array, jax.Array], jax.Array]
    mode: Callable[[jax.Array], jax.Array]
    log_prob: Callable[[jax.Array, jax.Array], jax.Array]
    entropy: Callable[[jax.Array], jax.Array]
    kl: Callable[[jax.Array, jax.Array], jax.Array]
    bounded: Callable[[jax.Array], jax.Array] = lambda action: action


class Policy(NamedTuple):
    """All that an algorithm knows of a network.

    ``init(key) -> params``; ``carry(batch_shape) -> memory``;
    ``step(params, memory, timestep [...]) -> (memory, (action parameters [..., P], value [...]))``;
    ``unroll(params, memory, timesteps [T, ...]) -> (action parameters [T, ..., P], values [T, ...])``.
    ``unroll`` equals ``step`` scanned, up to rounding; with None for its memory it starts from ``carry``'s.
    """

    init: Callable[[Key], PyTree]
    carry: Callable[[tuple[int, ...]], PyTree]
    step: Callable[[PyTree, PyTree, TimeStep], tuple[PyTree, PyTree]]
    unroll: Callable[[PyTree, PyTree, TimeStep], PyTree]
    actions: ActionDistribution


class Said(NamedTuple):
    """What an agent's policy says on a record ``[T, E]``: of the actions taken, and in all."""

    log_prob: jax.Array
    entropy: jax.Array
    value: jax.Array  # of each step
    next_value: jax.Array  # of what followed it, before any new episode began


class Actor(NamedTuple):
    """How an agent of an inner loop LIVES: ``E`` episodes side by side in one task, ``T`` steps at a time.

    ``enter(key, task) -> place``; ``act(key, agent, place, task, greedy=False) -> (place, Trajectory [T, E])``;
    ``said(agent, Trajectory) -> Said [T, E]``, differentiable in the agent.
    """

    enter: Callable[[Key, Task], PyTree]
    act: Callable[..., tuple[PyTree, Trajectory]]
    said: Callable[[PyTree, Trajectory], Said]


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


class Portable(NamedTuple):
    """Of an Algorithm whose meta-parameters do not depend on its tasks' spaces. ``estimator``: of their gradient;
    ``learner(MetaGradient) -> (init, update)``: the Algorithm's, by another estimator; ``alike``: options, (name,
    value), that are to be the same wherever the same is learned, since they say what the meta-parameters mean."""

    estimator: MetaGradient
    learner: Callable[[MetaGradient], tuple[Callable, Callable]]
    alike: tuple[tuple[str, Any], ...]


class Outcome(NamedTuple):
    """What one outer step did: the tasks really lived ``[N]``, their returns ``[N]``, which lives ended ``[N]`` and
    scalar ``metrics`` by name. ``lived [T, N]``: the trials, where each task was lived in one."""

    tasks: Task
    trial_return: jax.Array
    ended: jax.Array
    metrics: dict[str, jax.Array]
    lived: Trajectory | None = None


class Algorithm(NamedTuple):
    """HOW it is learned: a meta-learner.

    ``init(key, num_tasks) -> state``, for updates on that many tasks;
    ``update(key, state, tasks [N]) -> (state, Outcome)`` is one outer step;
    ``adapt(key, state, task, trial_steps, forget) -> Trajectory [T]`` lives ONE task's whole trial at meta-test
    (``trial_steps`` static; so is ``greedy``, where the algorithm offers it: act by the mode). With ``forget`` the
    agent's memory is reset at the start of each episode (True or 1) or at each step (2): controls that show what memory
    is worth. Where the algorithm offers ``first``, a task, the first half of the trial (``rollout.first_half``) is in
    that one, with memory kept: the control that shows whether what it holds is of the task; ``forget`` may be traced
    then, so that one program serves them all. ``steps``: environment steps that an update
    spends in each task. ``check(num_tasks)`` raises ConfigError where an update could not be run on that many tasks.
    ``decode(state, Trajectory [T]) -> [T, C]``, where the agent holds a belief: what it thought of the task before each
    step, the chance of each task of a finite set, else the mean of the task's numbers. ``window``: steps that are
    lived between one inner step and the next, 1 where the agent may learn at any step.
    ``left_open(num_tasks, num_devices) -> {option: values}``: the recipe's options that spare memory at the cost of
    time or rounding, where the user left them to be chosen: what to try, the first value first, from the most memory to
    the least. ``portable``: where what ``adapt`` needs of a state does not depend on the tasks' spaces: the same recipe
    built for other tasks lives in them by it, and may learn it in several at once.
    ``advantages(state, Trajectory [T, N]) -> [T, N]``: of its trials' actions, in the terms that it learns in, where it
    learns values. ``episodic``: these values, ``outputs[1]``, are of what is left of the episode, not of the trial.
    ``tells_trials``: its outcomes have ``lived``.
    ``check_tasks(name, tasks [N], learning)``, where task features are used: raises ConfigError for tasks of the
    distribution ``name`` which those of training do not describe, if the agents need them there: ``learning``, or else
    at meta-test.
    """

    init: Callable[[Key, int], State]
    update: Callable[[Key, State, Task], tuple[State, Outcome]]
    adapt: Callable[..., Trajectory]
    steps: int
    check: Callable[[int], None]
    decode: Callable[[State, Trajectory], jax.Array] | None = None
    window: int = 1
    left_open: Callable[[int, int], Mapping[str, tuple]] = lambda num_tasks, num_devices: {}
    portable: Portable | None = None
    advantages: Callable[[State, Trajectory], jax.Array] | None = None
    episodic: bool = False
    tells_trials: bool = False
    check_tasks: Callable[[str, Task, bool], None] | None = None


class Student(NamedTuple):
    """Who learns, as a curriculum knows it.

    ``live(key, learner, tasks [M], steps) -> Trajectory [T, M]``: a trial in each task by the algorithm as it now is
    (``learner``: its state), of the usual length unless ``steps`` are given, which costs ``M T`` environment steps.
    ``num_tasks``: of an update. ``tells_trials``, ``advantages`` and ``episodic``: see ``Algorithm``.
    """

    live: Callable[..., Trajectory]
    num_tasks: int
    tells_trials: bool
    advantages: Callable[[State, Trajectory], jax.Array] | None = None
    episodic: bool = False


class Curriculum(NamedTuple):
    """WHICH tasks come next.

    ``init(key) -> state``; ``sample(key, update, state, learner) -> (state, tasks [N])`` before update number
    ``update``; ``update(key, update, state, learner, outcome) -> (state, metrics)`` after it; ``learner`` is the state
    of the algorithm. ``steps(num_updates)``: environment steps of its own in that many updates from the first one on.
    ``buffer(state)``: the tasks that it keeps, ``{"tasks": [B, ...], "score": [B], ...}``, where it keeps any (score
    -inf: an empty place).
    ``makes(key) -> task``: one as it makes them itself, where it does not only draw from the distribution.
    """

    init: Callable[[Key], State]
    sample: Callable[[Key, jax.Array, State, State], tuple[State, Task]]
    update: Callable[[Key, jax.Array, State, State, Outcome], tuple[State, dict[str, jax.Array]]]
    steps: Callable[[int], int] = lambda num_updates: 0
    buffer: Callable[[State], dict[str, Any]] | None = None
    makes: Callable[[Key], Task] | None = None
