"""What methods that adapt by gradient share: collecting a window of episodes, the inner step, trials of several steps.

Axis letters: ``[E]`` episodes collected in parallel, ``[T]`` steps of each, ``[K]`` inner steps. A *window* is the data
of one inner step: ``E`` episodes of up to ``T`` steps under one policy, leaves ``[T, E, ...]``.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax import estimators
from metarl_jax.algorithms.gradient.baseline import Baseline
from metarl_jax.records import ActionDistribution, Key, Policy, PyTree, Task, TaskDistribution, TimeStep, Trajectory
from metarl_jax.rollout import first_half, replay, rollout


class Window(NamedTuple):
    """The data of one inner step.

    Attributes:
      timestep: ``[T, E, ...]``.
      action: ``[T, E, ...]``.
      parameters: ``[T, E, P]``, action parameters of the policy that collected the episodes.
      log_prob: ``[T, E]``, of the actions under that policy.
      advantage: ``[T, E]``, standardised over the window.
      returns: ``[T, E]``, discounted, from each step to the episode's end.
      earned: scalar, total reward of one of the ``E`` lanes, a mean over lanes: of an episode, where none ends early.
    """

    timestep: TimeStep
    action: jax.Array
    parameters: jax.Array
    log_prob: jax.Array
    advantage: jax.Array
    returns: jax.Array
    earned: jax.Array


class Inner(NamedTuple):
    """How an agent acts and adapts in one task.

    A method may have a record of its own in the place of ``Window``: whatever its ``said`` and ``learn`` read.

    Attributes:
      live: ``(key, params, task, greedy) -> Trajectory [T, E]``, collects a window.
      window: ``(baseline state, Trajectory) -> Window``.
      said: ``(params, window) -> (action parameters, log-probabilities of the actions)`` under another policy.
      learn: ``(meta, params, window, scale) -> params``, one inner step.
      start: ``(meta) -> params``, where a trial starts.
      num_steps: ``K``, inner steps of a trial in meta-training.
      at_once: tasks computed in parallel, see ``meta_gradients.over_tasks``.
      remat: store parameters alone in ``adapt``, and compute each step again for its gradient.
    """

    live: Callable[..., Trajectory]
    window: Callable[[PyTree, Trajectory], Any]
    said: Callable[[PyTree, Any], tuple[jax.Array, jax.Array]]
    learn: Callable[[PyTree, PyTree, Any, float | jax.Array], PyTree]
    start: Callable[[PyTree], PyTree]
    num_steps: int
    at_once: int = 0
    remat: bool = False


def windows_of(tasks: TaskDistribution, num_windows: int, episodes: int) -> int:
    """The number of episodes in a window.

    Args:
      tasks: the distribution.
      num_windows: windows of a trial in meta-training.
      episodes: the user's number; 0 for those of the distribution's trial divided over the windows.

    Returns:
      ``E``.
    """
    return episodes or max(1, math.ceil(tasks.trial_steps / tasks.horizon) // num_windows)


def live(tasks: TaskDistribution, policy: Policy, episodes: int, key: Key, params, task: Task, greedy: bool = False):
    """Collects a window: episodes in parallel in one task. A window's last step truncates episodes that have not ended.

    Args:
      tasks: the distribution.
      policy: of the agent.
      episodes: ``E``.
      key: PRNG key.
      params: of the policy.
      task: one task.
      greedy: act by the mode.

    Returns:
      Trajectory ``[T, E]``, ``T`` the horizon of ``tasks``.
    """
    lanes = jax.tree.map(lambda x: jnp.broadcast_to(x, (episodes, *x.shape)), task)
    _, trajectory = rollout(key, tasks.env, policy, params, lanes, tasks.horizon, greedy=greedy)
    last = (jnp.arange(tasks.horizon) == tasks.horizon - 1)[:, None]
    return trajectory._replace(truncated=trajectory.truncated | (last & ~trajectory.terminated))


def window(
    actions: ActionDistribution,
    baseline: Baseline,
    discount: float,
    trace: float,
    state: PyTree,
    trajectory: Trajectory,
) -> Window:
    """A window with advantages over a baseline, standardised.

    Returns end with the episode, by its own end and by the horizon alike: the baseline sees the time.

    Args:
      actions: distribution of the policy's actions.
      baseline: its values are subtracted.
      discount: gamma, per step.
      trace: lambda of the generalised advantages.
      state: of the baseline.
      trajectory: ``[T, E]``.

    Returns:
      Window ``[T, E]``.
    """
    going_on = 1.0 - (trajectory.terminated | trajectory.truncated).astype(trajectory.reward.dtype)
    returns = estimators.discounted_sums(trajectory.reward, discount * going_on)
    values = baseline.values(state, trajectory.timestep, returns)
    following = jnp.concatenate([values[1:], jnp.zeros_like(values[:1])])
    advantage = estimators.generalised_advantages(trajectory.reward, values, following, discount * going_on, trace)
    # Where all episodes earned the same, what is left is rounding: it must not be blown up.
    advantage = estimators.standardised(advantage, 1e-3 * estimators.root_mean_square(returns))
    log_prob = actions.log_prob(trajectory.outputs[0], trajectory.action)
    earned = trajectory.mean_reward.sum(axis=0).mean()
    return Window(trajectory.timestep, trajectory.action, trajectory.outputs[0], log_prob, advantage, returns, earned)


def said(policy: Policy, params: PyTree, seen: Window) -> tuple[jax.Array, jax.Array]:
    """Evaluates another policy on a window.

    Args:
      policy: of the agent.
      params: of the policy.
      seen: the window.

    Returns:
      ``(action parameters [T, E, P], log-probabilities of the actions [T, E])``.
    """
    parameters, _ = replay(policy, params, seen.timestep)
    return parameters, policy.actions.log_prob(parameters, seen.action)


def inner_gradient(said: Callable, objective: Callable, params: PyTree, adapting: PyTree, seen: Window) -> PyTree:
    """The gradient of a window's policy-gradient loss by some of the parameters; differentiable again.

    Args:
      said: as in ``Inner``.
      objective: ``(log_prob, log_prob of the policy that collected, advantage, episode_start) -> [T, E]``, to maximise.
      params: a dictionary.
      adapting: the entries of ``params`` that adapt, some or all.
      seen: the window.

    Returns:
      The gradient, as ``adapting``.
    """

    def loss(adapting):
        log_prob = said(params | adapting, seen)[1]
        return -objective(log_prob, seen.log_prob, seen.advantage, seen.timestep.episode_start).mean()

    return jax.grad(loss)(adapting)


def descend(params: PyTree, gradient: PyTree, rates: PyTree, scale: float | jax.Array) -> PyTree:
    """A gradient step, ``p - scale * rate * g`` for each parameter.

    Args:
      params: to be moved.
      gradient: as ``params``.
      rates: step sizes, as ``params``.
      scale: of all step sizes.

    Returns:
      The new parameters.
    """
    return jax.tree.map(lambda p, g, rate: p - scale * rate * g, params, gradient, rates)


def adapt(inner: Inner, meta: PyTree, windows: Any, before: bool = False) -> tuple[PyTree, Any]:
    """Adapts in one task: an inner step on each of several windows.

    Args:
      inner: the method.
      meta: meta-parameters.
      windows: ``[K, T, E, ...]``.
      before: evaluate the policy on each window before its inner step.

    Returns:
      ``(the parameters after the last step, inner.said(params, window) before each step, leaves [K, ...])``, the second
      ``()`` without ``before``.
    """

    def body(params, seen):
        return inner.learn(meta, params, seen, 1.0), inner.said(params, seen) if before else ()

    body = jax.checkpoint(body) if inner.remat else body
    return jax.lax.scan(body, inner.start(meta), windows)


def lifetime(inner: Inner, key: Key, meta: PyTree, baseline: PyTree, task: Task) -> Any:
    """A trial of meta-training in one task: ``K`` windows with an inner step after each, and one more window.

    Args:
      inner: the method.
      key: PRNG key.
      meta: meta-parameters.
      baseline: its state.
      task: one task.

    Returns:
      Windows, leaves ``[K + 1, T, E, ...]``.
    """
    keys = jax.random.split(key, inner.num_steps + 1)

    def body(params, key):
        seen = inner.window(baseline, inner.live(key, params, task))
        return inner.learn(meta, params, seen, 1.0), seen

    params, before = jax.lax.scan(body, inner.start(meta), keys[:-1])
    after = inner.window(baseline, inner.live(keys[-1], params, task))
    return jax.tree.map(lambda many, one: jnp.concatenate([many, one[None]]), before, after)


def trial(
    inner: Inner,
    decay: float,
    key: Key,
    meta: PyTree,
    baseline: PyTree,
    task: Task,
    num_steps: int,
    forget: bool | int | jax.Array,
    greedy: bool,
    first: Task | None = None,
) -> Trajectory:
    """One task's whole trial at meta-test, its episodes one after the other.

    It has as many inner steps as fit.

    Args:
      inner: the method.
      decay: factor of each inner step's size, to the last one's, beyond those of training.
      key: PRNG key.
      meta: meta-parameters.
      baseline: its state.
      task: one task.
      num_steps: of the trial, static.
      forget: do not adapt; may be traced.
      greedy: act by the mode, static.
      first: the task of the first half of the windows, where that is another.

    Returns:
      Trajectory ``[num_steps]``.
    """
    start = inner.start(meta)
    size = jax.eval_shape(inner.live, key, start, task).reward.size
    count = math.ceil(num_steps / size)
    index = jnp.arange(count)
    scales = decay ** jnp.maximum(0, index - inner.num_steps + 1)
    earlier = index < first_half(num_steps, size)

    def body(params, inputs):
        key, scale, earlier = inputs
        now = task if first is None else jax.tree.map(lambda a, b: jnp.where(earlier, a, b), first, task)
        trajectory = inner.live(key, params, now, greedy)
        learn = lambda: inner.learn(meta, params, inner.window(baseline, trajectory), scale)
        return jax.lax.cond(jnp.asarray(forget, jnp.int32) > 0, lambda: params, learn), trajectory

    _, trajectory = jax.lax.scan(body, start, (jax.random.split(key, count), scales, earlier))
    flat = jax.tree.map(lambda x: jnp.swapaxes(x, 1, 2).reshape(-1, *x.shape[3:])[:num_steps], trajectory)
    first = jnp.arange(num_steps) == 0
    return flat._replace(timestep=flat.timestep._replace(trial_start=first))
