"""What methods that adapt by gradient share: living a window of episodes, the inner step, a trial of several steps.

Axis letters: ``[E]`` episodes lived side by side, ``[T]`` steps of each, ``[K]`` inner steps. A *window* is what one
inner step learns from: ``E`` episodes of up to ``T`` steps under one policy, leaves ``[T, E, ...]``.
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
    """What is learned from ``E`` episodes; ``parameters`` and ``log_prob`` are those of the policy that lived them."""

    timestep: TimeStep
    action: jax.Array
    parameters: jax.Array
    log_prob: jax.Array
    advantage: jax.Array
    returns: jax.Array  # discounted, from each step to the episode's end
    earned: jax.Array  # scalar: reward of a lane of the window, on average: of an episode, where none ends early


class Inner(NamedTuple):
    """How an agent lives and adapts in one task.

    ``live(key, params, task, greedy) -> Trajectory [T, E]``;
    ``window(baseline, Trajectory) -> Window``, ``baseline`` the state of a ``_baseline.Baseline``;
    ``said(params, window) -> (action parameters, log-probabilities of the actions taken)``;
    ``learn(meta, params, window, scale) -> params``: one inner step;
    ``start(meta) -> params``: where a trial starts.
    A method may have a record of its own in the place of ``Window``: whatever its ``said`` and ``learn`` read.
    """

    live: Callable[..., Trajectory]
    window: Callable[[PyTree, Trajectory], Any]
    said: Callable[[PyTree, Any], tuple[jax.Array, jax.Array]]
    learn: Callable[[PyTree, PyTree, Any, float | jax.Array], PyTree]
    start: Callable[[PyTree], PyTree]
    num_steps: int
    at_once: int = 0  # tasks side by side, see `meta_gradients.over_tasks`
    remat: bool = False  # `adapt` keeps parameters only, and computes each step again for its gradient


def windows_of(tasks: TaskDistribution, num_windows: int, episodes: int) -> int:
    """Episodes a window: ``episodes``, or (0) those of the distribution's trial divided over ``num_windows``."""
    return episodes or max(1, math.ceil(tasks.trial_steps / tasks.horizon) // num_windows)


def live(tasks: TaskDistribution, policy: Policy, episodes: int, key: Key, params, task: Task, greedy: bool = False):
    """``episodes`` episodes side by side in one task. A window's last step ends its episodes, whatever happens."""
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
    """Advantages over the baseline in ``state``, standardised over the window.

    Returns end with the episode, by its own end and by the horizon alike: the baseline sees the time.
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
    """(action parameters, log-probabilities of the actions taken) of another policy on a window."""
    parameters, _ = replay(policy, params, seen.timestep)
    return parameters, policy.actions.log_prob(parameters, seen.action)


def inner_gradient(said: Callable, objective: Callable, params: PyTree, adapting: PyTree, seen: Window) -> PyTree:
    """The gradient of the window's policy-gradient loss by ``adapting``, some (or all) entries of the dictionary
    ``params``; differentiable again."""

    def loss(adapting):
        log_prob = said(params | adapting, seen)[1]
        return -objective(log_prob, seen.log_prob, seen.advantage, seen.timestep.episode_start).mean()

    return jax.grad(loss)(adapting)


def descend(params: PyTree, gradient: PyTree, rates: PyTree, scale: float | jax.Array) -> PyTree:
    return jax.tree.map(lambda p, g, rate: p - scale * rate * g, params, gradient, rates)


def adapt(inner: Inner, meta: PyTree, windows: Any, before: bool = False) -> tuple[PyTree, Any]:
    """The parameters after a step on each of ``windows [K, T, E, ...]``, and (``before``) what was ``said`` of each
    before it."""

    def body(params, seen):
        return inner.learn(meta, params, seen, 1.0), inner.said(params, seen) if before else ()

    body = jax.checkpoint(body) if inner.remat else body
    return jax.lax.scan(body, inner.start(meta), windows)


def lifetime(inner: Inner, key: Key, meta: PyTree, baseline: PyTree, task: Task) -> Any:
    """``num_steps`` windows in one task, an inner step after each, and one more: leaves ``[K + 1, T, E, ...]``."""
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
    """One task's whole trial, its episodes one after the other: ``[num_steps]``.

    As many inner steps as fit; those beyond the ones of training shrink by ``decay`` each. ``forget``: none at all.
    ``first``: the task of the first half of the windows, where that is another.
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
