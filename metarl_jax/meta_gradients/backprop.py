"""Meta-gradients by back-propagation through a window of inner updates (Xu et al. 2018; truncated, lifetimes go on)."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl_jax.estimators.advantages import generalised_advantages
from metarl_jax.meta_gradients.bootstrapped_target import Target, matched
from metarl_jax.meta_gradients.lifetimes import Lifetime, Window, empty_lifetimes, reset_if_done, unroll
from metarl_jax.meta_gradients.outer_critic import Critic
from metarl_jax.meta_gradients.task_batches import over_blocks
from metarl_jax.records import Actor, Inner, Key, MetaGradient, Outcome, PyTree, Trajectory


class OuterLoss(NamedTuple):
    """The outer loss of back-propagation.

    Advantages are of what is left of the episode: nothing counts after its end, by termination or by truncation, since
    nothing more is paid in it. (To go on through a truncation has no fixed point at gamma 1.) With a window as long as
    a lifetime, gamma and lambda 1, and episodes of one length, the gradient is the mean reward's, on average. Nothing
    is counted after an inner update's last step: what follows has its credit already.

    Attributes:
      discount: gamma of the outer advantages.
      trace: their lambda.
      entropy_cost: weight of the entropy bonus.
      score: credit for the samples that inner updates learned from.
      normalisation: above 0, advantages of a lifetime's window are divided by their standard deviation plus this.
      max_norm: above 0, each lifetime's gradient is cut to that norm before the mean is taken, since those of lifetimes
        close to chaos are orders of magnitude longer than the others.
    """

    discount: float = 1.0
    trace: float = 1.0
    entropy_cost: float = 0.0
    score: bool = False
    normalisation: float = 0.0
    max_norm: float = 0.0


class BackpropState(NamedTuple):
    """What lasts from one outer update to the next.

    Attributes:
      lives: the lifetimes under way, leaves ``[N, ...]``.
      critic: the outer critic's state (``()`` where the agents' own values are used).
    """

    lives: Lifetime
    critic: PyTree


def backprop(
    actor: Actor,
    inner: Inner,
    length: int,
    window: int,
    loss: OuterLoss,
    critic: Critic | None = None,
    remat: bool = False,
    target: Target | None = None,
    block: int = 0,
) -> MetaGradient:
    """Back-propagation through a window of inner updates of lifetimes that go on (Xu et al. 2018).

    Loss: ``-mean_{n, k, t, e} log pi_{theta_k}(a | s) A``, ``theta_k`` the agent after ``k`` updates of the window,
    which is all that is differentiated; what came before the window is a constant (the truncation's bias). With
    ``window=1`` it is Xu et al.'s: one update on a trajectory, and the outer loss on the next.

    Args:
      actor: how agents act.
      inner: how they learn.
      length: inner updates of a lifetime.
      window: of them differentiated at a time.
      loss: the outer loss.
      critic: of the outer advantages; without it the agents' own values, which know nothing of ``loss.discount`` (the
        bias that Bonnet et al. 2022 describe).
      remat: compute inner updates again for the gradient instead of keeping what they computed.
      target: the loss is instead that of ``bootstrapped_target.matched``, ``mean_n match(target_n, theta_K)``, where
        the outer loss above has a say in the target; ``length`` is a multiple of ``window + target.updates - 1``.
      block: tasks whose lifetimes are computed, and differentiated, at a time, see ``over_blocks``.

    Returns:
      The MetaGradient.
    """

    updates = window + (0 if target is None else target.updates - 1)

    def init(key, task, num_tasks):
        lives = empty_lifetimes(actor, inner, task, num_tasks, length, updates)
        return BackpropState(lives, () if critic is None else critic.init(key))

    def estimate(key, meta, kept: BackpropState, tasks):
        keys = jax.random.split(key, kept.lives.age.shape[0])
        one = functools.partial(_window_loss, actor, inner, length, window, loss, critic, remat, target)
        of_block = functools.partial(gradients, one, loss, critic, meta, kept)
        (gradient, slope, metrics), lives = over_blocks(of_block, block, keys, kept.lives, tasks)
        state = kept.critic if critic is None else critic.update(kept.critic, slope)
        outcome = Outcome(lives.task, lives.earned / lives.age, lives.age >= lives.end, metrics)
        return gradient, BackpropState(lives, state), outcome

    return MetaGradient(init, estimate)


def gradients(
    one: Callable,
    loss: OuterLoss,
    critic: Critic | None,
    meta: PyTree,
    kept: BackpropState,
    keys: Key,
    lives: Lifetime,
    tasks: PyTree,
) -> tuple[tuple[PyTree, PyTree, dict[str, jax.Array]], Lifetime]:
    """The outer gradient and the outer critic's, means over the lifetimes given.

    Args:
      one: ``_window_loss`` from its key on.
      loss: the outer loss.
      critic: the outer critic, if there is one.
      meta: the meta-parameters.
      kept: the state; its lifetimes are not used.
      keys: ``[N]``.
      lives: the lifetimes under way, ``[N]``.
      tasks: those of lifetimes that begin now, leaves ``[N, ...]``.

    Returns:
      ``((the outer gradient, the outer critic's slope, metrics), lifetimes [N])``.
    """
    kept = kept._replace(lives=lives)
    told = {}
    if loss.max_norm:
        each = jax.vmap(jax.grad(one, argnums=1, has_aux=True), in_axes=(0, None, None, 0, 0))
        slopes, (lives, seen) = each(keys, meta, kept.critic, kept.lives, tasks)
        total, num_cut = optax.per_example_global_norm_clip(slopes, loss.max_norm)
        gradient = jax.tree.map(lambda x: x / keys.shape[0], total)
        told = {"gradients_cut": num_cut / keys.shape[0]}
    else:
        gradient, (lives, seen) = jax.grad(_mean_loss, argnums=2, has_aux=True)(one, keys, meta, kept, tasks)
    slope, metrics = (), told | {"entropy": seen.said.entropy.mean(), "step_reward": seen.trajectory.mean_reward.mean()}
    if critic is not None:
        metrics["outer_value_loss"], slope = improvement(critic, loss, kept.critic, seen)
    return (gradient, slope, metrics), lives


def _mean_loss(
    one: Callable, keys: Key, meta: PyTree, kept: BackpropState, tasks: PyTree
) -> tuple[jax.Array, tuple[Lifetime, Window]]:
    """The mean over all lifetimes ``[N]``; ``one``: ``_window_loss`` from its key on."""
    losses, led = jax.vmap(one, in_axes=(0, None, None, 0, 0))(keys, meta, kept.critic, kept.lives, tasks)
    return losses.mean(), led


def _window_loss(
    actor: Actor,
    inner: Inner,
    length: int,
    num_updates: int,
    loss: OuterLoss,
    critic: Critic | None,
    remat: bool,
    target: Target | None,
    key: Key,
    meta: PyTree,
    critic_state: PyTree,
    life: Lifetime,
    task: PyTree,
) -> tuple[jax.Array, tuple[Lifetime, Window]]:
    """The outer loss of one life's window, and where it led."""
    keys = jax.random.split(key, 2 if target is None else 3)
    life = reset_if_done(actor, inner, length, keys[0], meta, life, task)
    life, seen = unroll(actor, inner, num_updates, keys[1], meta, life, remat)
    judged = functools.partial(_judgement, loss, critic, critic_state)
    if target is None:
        return judged(seen), (life, seen)
    return matched(target, actor, inner, judged, keys[2], meta, life, seen)


def _judgement(loss: OuterLoss, critic: Critic | None, state: PyTree, seen: Window) -> jax.Array:
    """``surrogate``, of the outer critic's values if there is one."""
    values = None if critic is None else jax.vmap(functools.partial(critic.values, state))(seen.trajectory, seen.time)
    return surrogate(loss, seen, values)


def surrogate(loss: OuterLoss, seen: Window, values: tuple[jax.Array, jax.Array] | None = None) -> jax.Array:
    """``-mean log pi A - entropy_cost * H + penalty`` of a window.

    Args:
      loss: the outer loss.
      seen: a window, leaves ``[K, T, E, ...]``.
      values: ``(values, values of what followed)`` of an outer critic, each ``[K, T, E]``; by default the agents' own.

    Returns:
      A scalar.
    """
    value, following = (seen.said.value, seen.said.next_value) if values is None else values
    value, following = jax.lax.stop_gradient((value, following))
    credit = jax.vmap(functools.partial(outer_advantages, loss))(seen.trajectory, value, following)
    if loss.score:
        credit = credit + later(seen.trajectory)[:, None, None]
    if loss.normalisation:
        credit = credit / (credit.std() + loss.normalisation)
    gain = (seen.said.log_prob * credit).mean() + loss.entropy_cost * seen.said.entropy.mean()
    return seen.penalty.mean() - gain


def outer_advantages(loss: OuterLoss, trajectory: Trajectory, value: jax.Array, following: jax.Array) -> jax.Array:
    """Outer advantages: what follows the window counts, what follows an episode does not, whatever ended it.

    Args:
      loss: gamma, lambda, and whether the score is counted (then nothing counts after the last step).
      trajectory: ``[T, E]``.
      value: ``[T, E]``.
      following: ``[T, E]``, values of what followed.

    Returns:
      ``[T, E]``.
    """
    discounts = loss.discount * (1.0 - (trajectory.terminated | trajectory.truncated).astype(value.dtype))
    if loss.score:
        last = (jnp.arange(discounts.shape[0]) == discounts.shape[0] - 1)[:, None]
        following = jnp.where(last, 0.0, following)
    return generalised_advantages(trajectory.reward, value, following, discounts, loss.trace)


def later(trajectory: Trajectory) -> jax.Array:
    """For each inner update, the return of all later ones: credit that its samples share.

    The agent learned from all of them: it is the sum over ``E`` of what was paid side by side, as the loss is a mean
    over ``E``.

    Args:
      trajectory: ``[K, T, E]``.

    Returns:
      ``[K]``.
    """
    earned = trajectory.reward.sum(axis=(1, 2))
    return jnp.flip(jnp.cumsum(jnp.flip(earned))) - earned


def improvement(critic: Critic, loss: OuterLoss, state: PyTree, seen: Window) -> tuple[jax.Array, PyTree]:
    """The outer critic's error on lambda returns of the outer discount, and its slope.

    Args:
      critic: the outer critic.
      loss: gamma and lambda.
      state: the critic's.
      seen: windows, leaves ``[N, K, T, E, ...]``.

    Returns:
      ``(error, slope)``.
    """
    trajectory, time = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (seen.trajectory, seen.time))
    value, following = jax.vmap(functools.partial(critic.values, state))(trajectory, time)
    target = jax.vmap(functools.partial(outer_advantages, loss))(trajectory, value, following) + value
    return critic.error(state, trajectory, time, target)
