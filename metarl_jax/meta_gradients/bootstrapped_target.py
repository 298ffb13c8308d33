"""Bootstrapped targets for meta-gradients (Flennerhag et al. 2022, "Bootstrapped Meta-Learning", BMG).

The outer loss of a window is then not the return of its agent, but how far the agent is from what it becomes a
little later. That sees further than the window without being differentiated further.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.meta_gradients.lifetimes import Lifetime, Window, unroll
from metarl_jax.records import Actor, Inner, Key, PyTree, Trajectory


class Target(NamedTuple):
    """What a lifetime's window is matched to.

    Attributes:
      updates: L, inner updates from the window's end to the target, the last of them a step on the outer loss.
      rate: of that step.
      match: ``(target, agent, Trajectory [T, E]) -> scalar``, how far the agent is from the target.
    """

    updates: int
    rate: float
    match: Callable[[PyTree, PyTree, Trajectory], jax.Array]


def matched(
    target: Target,
    actor: Actor,
    inner: Inner,
    judged: Callable[[Window], jax.Array],
    key: Key,
    meta: PyTree,
    life: Lifetime,
    seen: Window,
) -> tuple[jax.Array, tuple[Lifetime, Window]]:
    """``match(target, theta_K) + penalty`` of a lifetime at its window's end.

    ``target = theta_{K+L-1} - rate * grad judged(theta_{K+L-1})``, a constant: the agent after ``L - 1`` more inner
    updates, and a step on the outer loss of its last trajectory; on that the two are matched. Those updates are the
    lifetime's own, as where the paper's agents learn online: it goes on from ``theta_{K+L-1}``, and no environment step
    is taken for the target alone. The last step is plain gradient descent, whatever optimiser the agents have.

    Args:
      target: how far it is, and how the agent is matched to it.
      actor: how agents act.
      inner: how they learn.
      judged: ``Window [1, T, E] -> scalar``, the outer loss.
      key: of the updates after the window.
      meta: the meta-parameters.
      life: the lifetime at its window's end.
      seen: the window, leaves ``[K, T, E, ...]``.

    Returns:
      The loss, and where the lifetime led: its state, and the window of all ``K + L - 1`` updates.
    """
    agent = life.agent
    meta, life = jax.lax.stop_gradient((meta, life))
    life, more = unroll(actor, inner, target.updates - 1, key, meta, life)
    trajectory, everything = life.pending, jax.tree.map(lambda *x: jnp.concatenate(x), seen, more)

    def outer(later: PyTree) -> jax.Array:
        record, said = jax.tree.map(lambda x: x[None], (trajectory, actor.said(later, trajectory)))
        return judged(Window(record, said, jnp.zeros(1), everything.time[-1:]))

    # An optimiser's state may hold counts; what does not speak has no gradient, and stays.
    gradient = jax.grad(outer, allow_int=True)(life.agent)
    moved = lambda x, g: x if g.dtype == jax.dtypes.float0 else x - target.rate * g
    reached = jax.lax.stop_gradient(jax.tree.map(moved, life.agent, gradient))
    return target.match(reached, agent, trajectory) + seen.penalty.mean(), (life, everything)
