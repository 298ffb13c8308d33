"""What methods share whose agents learn in their tasks while how they learn is meta-learned.

A method brings an ``Inner``; it gets an Actor for any task distribution, and an Algorithm from a ``MetaGradient``.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl_jax import estimators, meta_gradients
from metarl_jax.config import check, check_divides
from metarl_jax.networks import flat, mlp
from metarl_jax.records import (
    ActionEvaluation,
    Actor,
    Algorithm,
    Inner,
    Key,
    MetaGradient,
    Policy,
    PyTree,
    Spec,
    Task,
    TaskAgnostic,
    TaskDistribution,
    Trajectory,
)
from metarl_jax.rollout import after_steps, first_half, init_rollout, replay, rollout


class Agent(NamedTuple):
    """An agent of an inner loop.

    Attributes:
      params: its policy's.
      optimizer: its optimiser's state.
      memory: what its learning remembers.
    """

    params: PyTree
    optimizer: PyTree
    memory: PyTree = ()


class LearnerState(NamedTuple):
    meta: PyTree
    optimizer: optax.OptState
    kept: Any


def actor_of(tasks: TaskDistribution, policy: Policy, episodes: int) -> Actor:
    """An Actor of a policy without memory: episodes side by side in one task, a horizon at a time.

    Args:
      tasks: the environment and its horizon.
      policy: without memory.
      episodes: E.

    Returns:
      The Actor.
    """

    def spread(task):
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (episodes, *x.shape)), task)

    def enter_one(key, task):
        return init_rollout(key, tasks.env, policy, spread(task))

    def act(key, agent, place, task, greedy=False):
        return rollout(key, tasks.env, policy, agent.params, spread(task), tasks.horizon, place, greedy=greedy)

    return Actor(enter_one, act, functools.partial(said, policy))


def with_rollout_length(tasks: TaskDistribution, steps: int) -> TaskDistribution:
    """``tasks`` whose agents act ``steps`` at a time, whatever episodes do.

    Args:
      tasks: any distribution.
      steps: 0: an episode's most.

    Returns:
      The TaskDistribution with that horizon.

    Raises:
      ConfigError: there are more steps than in an episode.
    """
    check(0 <= steps <= tasks.horizon, "steps", steps, f"must lie between 0 and {tasks.horizon}, an episode's most")
    return tasks._replace(horizon=steps or tasks.horizon)


def said(policy: Policy, agent: Any, trajectory: Trajectory) -> ActionEvaluation:
    """What an agent's policy computes on a trajectory.

    Args:
      policy: of the agents.
      agent: has ``params``.
      trajectory: ``[T, E]``.

    Returns:
      The ActionEvaluation ``[T, E]``.
    """
    parameters, value = replay(policy, agent.params, trajectory.timestep)
    _, following = replay(policy, agent.params, after_steps(trajectory))
    actions = policy.actions
    return ActionEvaluation(
        actions.log_prob(parameters, trajectory.action), actions.entropy(parameters), value, following
    )


def divergence(policy: Policy, value_cost: float, target: Any, agent: Any, trajectory: Trajectory) -> jax.Array:
    """``KL(pi_target || pi_agent) + value_cost (V_target - V_agent)^2 / 2``, a mean over states.

    Args:
      policy: of the agents.
      value_cost: see above.
      target: has ``params``.
      agent: likewise.
      trajectory: ``[T, E]``, whose states count.

    Returns:
      A scalar.
    """
    goal, agents = (replay(policy, x.params, trajectory.timestep) for x in (target, agent))
    return (policy.actions.kl(goal[0], agents[0]) + value_cost * estimators.squared_error(agents[1], goal[1])).mean()


def outer_critic(
    spec: Spec, encoder: tuple[int, ...], learning_rate: float, horizon: int, discount: float
) -> meta_gradients.Critic:
    """Values of the observation and of the time left: an own network, the same for all tasks and agents.

    The time left is seen as the share of an episode's discounted steps,
    ``(1 - discount^left) / (1 - discount^horizon)``: with a constant reward values are linear in it.

    Args:
      spec: of the environment.
      encoder: layers of the network.
      learning_rate: of its Adam.
      horizon: steps of the longest episode.
      discount: of the outer loss.

    Returns:
      The Critic.
    """
    network = mlp(math.prod(spec.observation_shape) + 1, encoder, 1)

    def left(time: jax.Array) -> jax.Array:
        steps = jnp.maximum(horizon - time, 0).astype(jnp.float32)
        return steps / horizon if discount == 1 else (1.0 - discount**steps) / (1.0 - discount**horizon)

    def inputs(trajectory: Trajectory, time: jax.Array):
        seen = lambda x, time: jnp.concatenate([flat(x, time.shape), left(time)[..., None]], axis=-1)
        return seen(trajectory.timestep.observation, time), seen(trajectory.next_observation, time + 1)

    return meta_gradients.regressed_critic(
        network.init, lambda params, x: network.apply(params, x)[..., 0], inputs, learning_rate
    )


def lifetime_learner(
    tasks: TaskDistribution,
    actor: Actor,
    inner: Inner,
    estimator: MetaGradient,
    optimizer: optax.GradientTransformation,
    episodes: int,
    window: int,
    told: Callable[[PyTree], dict[str, jax.Array]] = lambda meta: {},
    alike: Mapping[str, Any] | None = None,
) -> Algorithm:
    """The Algorithm that meta-learns ``inner.meta``: an update is a window of every life, and an outer step.

    Args:
      episodes: of ``actor``.
      window: inner updates an outer one.
      told: ``meta -> metrics``, what is to be seen of it.
      alike: options, see ``TaskAgnostic``; None where it is not.

    Returns:
      The Algorithm.
    """
    optimizer = optax.apply_if_finite(optimizer, max_consecutive_errors=10)
    learner = functools.partial(_outer_steps, tasks, inner, optimizer, told)
    init, update = learner(estimator)

    def adapt(key, state: LearnerState, task, trial_steps: int, forget=False, greedy: bool = False, first=None):
        return trial(tasks, actor, inner, key, state.meta, task, trial_steps, episodes, forget, greedy, first)

    steps = episodes * tasks.horizon
    spent = estimator.lives * window * steps
    portable = None if alike is None else TaskAgnostic(estimator, learner, tuple(alike.items()))
    return Algorithm(init, update, adapt, spent, lambda num_tasks: None, window=steps, portable=portable)


def _outer_steps(
    tasks: TaskDistribution,
    inner: Inner,
    optimizer: optax.GradientTransformation,
    told: Callable[[PyTree], dict[str, jax.Array]],
    estimator: MetaGradient,
) -> tuple[Callable, Callable]:
    """``init`` and ``update`` of an Algorithm, see ``lifetime_learner``."""

    def init(key, num_tasks):
        keys = jax.random.split(key)
        meta = inner.meta(keys[0])
        task = jax.eval_shape(tasks.sample, keys[1])
        return LearnerState(meta, optimizer.init(meta), estimator.init(keys[1], task, num_tasks))

    def update(key, state: LearnerState, batch_tasks):
        gradient, kept, outcome = estimator.estimate(key, state.meta, state.kept, batch_tasks)
        updates, optimizer_state = optimizer.update(gradient, state.optimizer, state.meta)
        assert isinstance(optimizer_state, optax.ApplyIfFiniteState)
        meta = optax.apply_updates(state.meta, updates)
        norm = optax.tree.norm(gradient)  # of a gradient that is skipped: 0
        metrics = outcome.metrics | told(meta) | {"skipped": optimizer_state.total_notfinite}
        metrics["meta_gradient_norm"] = jnp.where(jnp.isfinite(norm), norm, 0.0)
        earned = outcome.trial_return * tasks.trial_steps / tasks.horizon
        return LearnerState(meta, optimizer_state, kept), outcome._replace(metrics=metrics, trial_return=earned)

    return init, update


def in_blocks(algorithm: Algorithm, block: int, remat: bool | None = False) -> Algorithm:
    """``algorithm`` with what is to be checked of ``block``, and what of both was left open.

    Args:
      algorithm: any.
      block: tasks at a time (0: open).
      remat: None: open.

    Returns:
      The Algorithm.
    """
    check(block >= 0, "block", block, "must not be negative")
    memory_options = functools.partial(meta_gradients.memory_options, "block", block, remat)
    return algorithm._replace(
        check=functools.partial(check_divides, "block", block or 1), memory_options=memory_options
    )


def trial(
    tasks: TaskDistribution,
    actor: Actor,
    inner: Inner,
    key: Key,
    meta: PyTree,
    task: Task,
    num_steps: int,
    episodes: int,
    forget: bool | int | jax.Array,
    greedy: bool,
    first: Task | None = None,
) -> Trajectory:
    """One task's whole trial ``[num_steps]``: an agent from its birth, its episodes one after the other.

    Those before an inner update are lived side by side; an episode that a horizon's end finds going on counts as cut
    short there. ``first``: the task of the first half of the inner updates, where that may be another; episodes begin
    anew where the second half does.

    Args:
      tasks: the environment and its horizon.
      actor: how the agent acts.
      inner: how it learns.
      key: of all draws.
      meta: the meta-parameters.
      task: where it is.
      num_steps: T.
      episodes: side by side.
      forget: above 0 it does not learn.
      greedy: act by the distribution's mode.
      first: see above.

    Returns:
      The Trajectory ``[T]``.
    """
    size = episodes * tasks.horizon
    count, half = math.ceil(num_steps / size), first_half(num_steps, size)
    keys = jax.random.split(key, 4)
    start = task if first is None else first
    agent, place = inner.init(keys[0], meta, start), actor.enter(keys[1], start)
    anew = actor.enter(keys[3], task)

    def body(carry, inputs):
        (agent, place), (key, index), now = carry, inputs, task
        keys = jax.random.split(key)
        if first is not None:
            now = jax.tree.map(lambda a, b: jnp.where(index < half, a, b), first, task)
            place = jax.tree.map(lambda a, b: jnp.where(index == half, a, b), anew, place)
        place, trajectory = actor.act(keys[0], agent, place, now, greedy=greedy)
        learn = lambda: inner.learn(keys[1], meta, agent, trajectory)[0]
        agent = jax.lax.cond(jnp.asarray(forget, jnp.int32) > 0, lambda: agent, learn)
        return (agent, place), trajectory

    _, trajectory = jax.lax.scan(body, (agent, place), (jax.random.split(keys[2], count), jnp.arange(count)))
    # [updates, T, E, ...] -> [updates * E * T, ...]
    trajectory = jax.tree.map(lambda x: jnp.swapaxes(x, 1, 2).reshape(-1, *x.shape[3:])[:num_steps], trajectory)
    index = jnp.arange(num_steps)
    first, last = index % tasks.horizon == 0, index % tasks.horizon == tasks.horizon - 1
    timestep = trajectory.timestep._replace(
        trial_start=index == 0, episode_start=trajectory.timestep.episode_start | first
    )
    return trajectory._replace(timestep=timestep, truncated=trajectory.truncated | (last & ~trajectory.terminated))
