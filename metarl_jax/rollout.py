"""Rollouts in many tasks at once: every trajectory in the library comes from here."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.networks import first_timestep, to_bounds
from metarl_jax.records import Environment, Key, Policy, PyTree, State, Task, TimeStep, Trajectory


class RolloutState(NamedTuple):
    """Where ``[N]`` agents are in their trials.

    Attributes:
      env_state: environment states, leaves ``[N, ...]``.
      timestep: what the agents see.
      memory: what they remember.
    """

    env_state: State
    timestep: TimeStep
    memory: PyTree


def init_rollout(key: Key, env: Environment, policy: Policy, tasks: Task) -> RolloutState:
    """The start of a trial in each task.

    Args:
      key: of the first states.
      env: the environment.
      policy: whose memory starts anew.
      tasks: leaves ``[N, ...]``.

    Returns:
      The RolloutState of ``[N]`` agents.
    """
    num_tasks = jax.tree.leaves(tasks)[0].shape[0]
    env_state = jax.vmap(env.reset)(env.sample_noise(key, (num_tasks,)), tasks)
    observation = jax.vmap(env.observe)(env_state, tasks)
    return RolloutState(env_state, first_timestep(env.spec, (num_tasks,), observation), policy.carry((num_tasks,)))


def rollout(
    key: Key,
    env: Environment,
    policy: Policy,
    params: PyTree,
    tasks: Task,
    num_steps: int,
    place: RolloutState | None = None,
    forget: bool | int | jax.Array = False,
    greedy: bool = False,
    first: tuple[Task, int] | None = None,
) -> tuple[RolloutState, Trajectory]:
    """Runs ``num_steps`` steps in each of ``tasks [N]``; an episode that ends is followed by one in the same task.

    Nothing about a task is drawn here: tasks never change inside a trial, but for a control (``first``). All randomness
    is drawn in bulk before the scan.

    Args:
      key: of noise and actions.
      env: the environment.
      policy: the network that acts.
      params: its parameters, the same in all tasks.
      tasks: leaves ``[N, ...]``.
      num_steps: T; static.
      place: goes on from there; else new trials start.
      forget: reset memory and last action and reward at the start of each episode (True or 1: the non-adaptive
        control), or before each step (2); it may be traced.
      greedy: take the distribution's mode instead of a sample.
      first: ``(tasks [N], episodes)``: the first so many episodes are in these tasks instead.

    Returns:
      The place reached and a Trajectory with leaves ``[T, N, ...]``.
    """
    enter_key, env_key, action_key = jax.random.split(key, 3)
    if place is None:
        place = init_rollout(enter_key, env, policy, tasks if first is None else first[0])
    shape = (num_steps, *place.timestep.last_reward.shape)

    def task_of(episode: jax.Array):
        if first is None:
            return tasks
        return jax.tree.map(functools.partial(select, episode < first[1]), first[0], tasks)

    def step(carry, noise):
        (place, ended), (env_noise, action_noise) = carry, noise
        memory, outputs = policy.step(params, place.memory, place.timestep)
        action = policy.actions.mode(outputs[0]) if greedy else policy.actions.sample(outputs[0], action_noise)
        env_state, timestep, record = advance(
            env, env_noise, place, action, task_of(ended), forget, policy.actions.bounded, task_of(ended + 1)
        )
        trajectory = Trajectory(place.timestep, action, *record, place.env_state, outputs)
        return (RolloutState(env_state, timestep, memory), ended + timestep.episode_start), trajectory

    noise = (env.sample_noise(env_key, shape), policy.actions.noise(action_key, shape))
    (place, _), trajectory = jax.lax.scan(step, (place, jnp.zeros(shape[1:], jnp.int32)), noise, length=num_steps)
    return place, trajectory


def advance(
    env: Environment,
    noise: PyTree,
    place: RolloutState,
    action: jax.Array,
    tasks: Task,
    forget: bool | int | jax.Array = False,
    bounded: Callable[[jax.Array], jax.Array] = lambda action: action,
    following: Task | None = None,
):
    """One step of the trial loop in ``[N]`` tasks: the environment's step and, where it ended an episode, the next one.

    Args:
      env: the environment.
      noise: of this step, leading axis ``[N]``.
      place: where the agents are.
      action: ``[N, ...]``, as the policy drew it.
      tasks: leaves ``[N, ...]``.
      forget: see ``rollout``.
      bounded: the action distribution's.
      following: the tasks of episodes that begin now (by default the same).

    Returns:
      The next environment states, what the agents see there, and ``(reward, mean reward, terminated, truncated, next
      observation, next environment state)`` of the step, each ``[N, ...]``.
    """
    following = tasks if following is None else following
    given = to_bounds(env.spec, bounded(action))
    reached, reward, terminated, info = jax.vmap(env.step)(noise, place.env_state, given, tasks)
    truncated = jax.vmap(env.is_truncated)(reached, tasks) & ~terminated
    done = terminated | truncated
    env_state = jax.tree.map(functools.partial(select, done), jax.vmap(env.reset)(noise, following), reached)
    now = tasks if following is tasks else jax.tree.map(functools.partial(select, done), following, tasks)
    observation, next_observation = jax.vmap(env.observe)(env_state, now), jax.vmap(env.observe)(reached, tasks)
    reward = reward.astype(jnp.float32)
    last_action, last_reward, trial_start = action, reward, jnp.zeros_like(done)
    if forget is not False:
        level = jnp.asarray(forget, jnp.int32)
        trial_start = (done & (level >= 1)) | (level >= 2)
        last_action = select(trial_start, jnp.zeros_like(action), action)
        last_reward = jnp.where(trial_start, 0.0, reward)
    timestep = TimeStep(observation, last_action, last_reward, done, trial_start)
    mean_reward = info.get("mean_reward", reward)
    return env_state, timestep, (reward, mean_reward, terminated, truncated, next_observation, reached)


def first_half(num_steps: int, length: int) -> int:
    """How many episodes (or windows) are the first half of a trial.

    Args:
      num_steps: of the trial.
      length: steps of the longest episode (or window).

    Returns:
      At least one.
    """
    return max(1, math.ceil(num_steps / length) // 2)


def select(condition: jax.Array, chosen: jax.Array, other: jax.Array) -> jax.Array:
    """``where`` with a condition for each row.

    Args:
      condition: ``[N]`` bool.
      chosen: ``[N, ...]``.
      other: ``[N, ...]``.

    Returns:
      ``[N, ...]``.
    """
    return jnp.where(condition.reshape(condition.shape + (1,) * (other.ndim - 1)), chosen, other)


def after_steps(trajectory: Trajectory) -> TimeStep:
    """What followed each step of a trajectory, before any new episode began.

    Args:
      trajectory: ``[T, ...]``.

    Returns:
      A TimeStep ``[T, ...]``, none of them an episode's first.
    """
    flags = jnp.zeros_like(trajectory.terminated)
    return TimeStep(trajectory.next_observation, trajectory.action, trajectory.reward, flags, flags)


def replay(policy: Policy, params: PyTree, timesteps: TimeStep, memory: PyTree | None = None):
    """What the policy computes on a recorded trajectory.

    Args:
      policy: the network.
      params: its parameters.
      timesteps: ``[T, N, ...]``.
      memory: with which it starts (by default that of a trial's start).

    Returns:
      ``(action parameters [T, N, P], values [T, N])``, and whatever else the policy's kind returns.
    """
    return policy.unroll(params, memory, timesteps)
