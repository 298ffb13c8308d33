"""Optimal control of known finite MDPs, and shortest paths.

Axis letters: ``[S]`` states, ``[A]`` actions, ``[T]`` steps. An MDP is either *dense*, ``transition [S, A, S]`` with
``reward [S, A]``, or a *table*, ``next_state [S, A]`` (int) with ``reward [S, A]`` and ``discount [S, A]``, where a
discount of 0 ends the episode. Every function is pure and can be jitted and vmapped over tasks.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

UNREACHABLE = 2**30  # a distance that no path has; one more still fits an int32

Backup = Callable[[jax.Array], jax.Array]  # value [S] -> q [S, A]


class Solution(NamedTuple):
    """The optimal value and a greedy policy of an MDP; the leading axis ``[T]`` is there for finite horizons only.

    Attributes:
      value: ``[S]``, or ``[T+1, S]`` before each step and after the last.
      q: ``[S, A]``, or ``[T, S, A]``.
      policy: ``[S]`` or ``[T, S]`` int32, the first of the actions that maximise ``q``.
    """

    value: jax.Array
    q: jax.Array
    policy: jax.Array


def _dense_backup(transition: jax.Array, reward: jax.Array, discount: jax.Array | float, value: jax.Array) -> jax.Array:
    """``q(s, a) = r(s, a) + discount sum_s' P(s' | s, a) V(s')``; ``[S, A, S], [S, A], scalar, [S] -> [S, A]``."""
    return reward + discount * jnp.einsum("ijk,k->ij", transition, value, precision="highest")


def _table_backup(next_state: jax.Array, reward: jax.Array, discount: jax.Array, value: jax.Array) -> jax.Array:
    """``q(s, a) = r(s, a) + discount(s, a) V(next(s, a))``; ``[S, A] x 3, [S] -> [S, A]``."""
    return reward + discount * value[next_state]


def value_iteration(
    transition: jax.Array,
    reward: jax.Array,
    discount: jax.Array | float,
    *,
    tolerance: float = 1e-6,
    max_iterations: int = 10_000,
) -> Solution:
    """The optimal discounted value of a dense MDP, ``V = max_a (r + discount P V)`` (Bellman 1957).

    Args:
      transition: ``[S, A, S]``, rows sum to one.
      reward: ``[S, A]``.
      discount: scalar in ``[0, 1)``.
      tolerance: error allowed in ``value``, relative to ``1 + max |V|``; no finer than the precision allows.
      max_iterations: backups at most.

    Returns:
      Solution with value ``[S]``, q ``[S, A]``, policy ``[S]``.
    """
    _check_shapes(transition.shape[:2], reward.shape, transition.shape[0], transition.shape[2])
    return _fixed_point(
        partial(_dense_backup, transition, reward, discount), reward, discount, tolerance, max_iterations
    )


def table_value_iteration(
    next_state: jax.Array,
    reward: jax.Array,
    discount: jax.Array,
    *,
    tolerance: float = 1e-6,
    max_iterations: int = 10_000,
) -> Solution:
    """``value_iteration`` for a deterministic MDP given by tables.

    Args:
      next_state: ``[S, A]`` int.
      reward: ``[S, A]``.
      discount: ``[S, A]``, 0 where the episode ends. 1 is fine where every optimal path ends; where a path collects
        rewards for ever, the iteration stops at ``max_iterations``.
      tolerance: error allowed in ``value``, relative to ``1 + max |V|``; no finer than the precision allows.
      max_iterations: backups at most.

    Returns:
      Solution with value ``[S]``, q ``[S, A]``, policy ``[S]``.
    """
    _check_shapes(next_state.shape, reward.shape, next_state.shape, discount.shape)
    return _fixed_point(
        partial(_table_backup, next_state, reward, discount), reward, jnp.max(discount), tolerance, max_iterations
    )


def backward_induction(transition: jax.Array, reward: jax.Array, horizon: int) -> Solution:
    """The optimal undiscounted value of the first ``horizon`` steps, ``V_t = max_a (r + P V_{t+1})``, ``V_T = 0``.

    Args:
      transition: ``[S, A, S]``, rows sum to one.
      reward: ``[S, A]``.
      horizon: steps ``T``, static.

    Returns:
      Solution with value ``[T+1, S]``, q ``[T, S, A]``, policy ``[T, S]``; index ``t`` is the step about to be made.
    """
    _check_shapes(transition.shape[:2], reward.shape, transition.shape[0], transition.shape[2])
    return _induction(partial(_dense_backup, transition, reward, 1.0), reward, horizon)


def table_backward_induction(next_state: jax.Array, reward: jax.Array, discount: jax.Array, horizon: int) -> Solution:
    """``backward_induction`` for a deterministic MDP given by tables, ``V_t = max_a (r + discount V_{t+1}(next))``.

    Args:
      next_state: ``[S, A]`` int.
      reward: ``[S, A]``.
      discount: ``[S, A]``, 0 where the episode ends.
      horizon: steps ``T``, static.

    Returns:
      Solution with value ``[T+1, S]``, q ``[T, S, A]``, policy ``[T, S]``; index ``t`` is the step about to be made.
    """
    _check_shapes(next_state.shape, reward.shape, next_state.shape, discount.shape)
    return _induction(partial(_table_backup, next_state, reward, discount), reward, horizon)


def policy_value(transition: jax.Array, reward: jax.Array, policy: jax.Array, horizon: int) -> jax.Array:
    """The undiscounted value of a stochastic policy, ``V_t = sum_a pi_t(a | s) (r + P V_{t+1})``.

    Args:
      transition: ``[S, A, S]``, rows sum to one.
      reward: ``[S, A]``.
      policy: probabilities ``[S, A]`` or ``[T, S, A]``.
      horizon: steps ``T``, static.

    Returns:
      Value ``[T+1, S]``; index ``t`` is the step about to be made.
    """
    _check_shapes(transition.shape[:2], reward.shape, transition.shape[0], transition.shape[2])
    return _evaluation(partial(_dense_backup, transition, reward, 1.0), reward, policy, horizon)


def table_policy_value(
    next_state: jax.Array, reward: jax.Array, discount: jax.Array, policy: jax.Array, horizon: int
) -> jax.Array:
    """``policy_value`` for a deterministic MDP given by tables.

    Args:
      next_state: ``[S, A]`` int.
      reward: ``[S, A]``.
      discount: ``[S, A]``, 0 where the episode ends.
      policy: probabilities ``[S, A]`` or ``[T, S, A]``.
      horizon: steps ``T``, static.

    Returns:
      Value ``[T+1, S]``; index ``t`` is the step about to be made.
    """
    _check_shapes(next_state.shape, reward.shape, next_state.shape, discount.shape)
    return _evaluation(partial(_table_backup, next_state, reward, discount), reward, policy, horizon)


def shortest_paths(next_state: ArrayLike, source: ArrayLike) -> jax.Array:
    """Steps from ``source`` to each state, ``d(s') = min_{s, a: next(s, a) = s'} d(s) + 1`` (Bellman-Ford).

    Args:
      next_state: ``[S, A]`` int.
      source: scalar int; vmap for many.

    Returns:
      ``[S]`` int32; ``UNREACHABLE`` where no path leads.
    """
    next_state = jnp.asarray(next_state)
    start = jnp.full(next_state.shape[:1], UNREACHABLE, jnp.int32).at[source].set(0)

    def relax(carry):
        distance, _ = carry
        through = jnp.minimum(distance + 1, UNREACHABLE)
        nearer = distance.at[next_state].min(jnp.broadcast_to(through[:, None], next_state.shape))
        return nearer, jnp.any(nearer < distance)

    return jax.lax.while_loop(lambda carry: carry[1], relax, (start, jnp.bool_(True)))[0]


@jax.jit
def all_shortest_paths(next_state: ArrayLike) -> jax.Array:
    """Steps from every state to every state, by ``shortest_paths``.

    Args:
      next_state: ``[S, A]`` int.

    Returns:
      ``[S, S]`` int32, from the first index to the second; ``UNREACHABLE`` where no path leads.
    """
    return jax.vmap(shortest_paths, (None, 0))(next_state, jnp.arange(jnp.shape(next_state)[0], dtype=jnp.int32))


def _fixed_point(
    backup: Backup, reward: jax.Array, discount: jax.Array | float, tolerance: float, max_iterations: int
) -> Solution:
    """Applies ``V <- max_a backup(V)`` until the change bounds the error by ``tolerance``, or is rounding."""
    precision = 2 * float(jnp.finfo(reward.dtype).eps)
    threshold = jnp.maximum(tolerance * (1 - discount), precision)

    def unsettled(carry):
        value, change, i = carry
        return (change > threshold * (1 + jnp.max(jnp.abs(value)))) & (i < max_iterations)

    def improve(carry):
        value, _, i = carry
        better = jnp.max(backup(value), axis=-1)
        return better, jnp.max(jnp.abs(better - value)), i + 1

    start = (jnp.zeros_like(reward[:, 0]), jnp.full((), jnp.inf, reward.dtype), jnp.int32(0))
    value, _, _ = jax.lax.while_loop(unsettled, improve, start)
    q = backup(value)
    return Solution(jnp.max(q, axis=-1), q, jnp.argmax(q, axis=-1).astype(jnp.int32))


def _induction(backup: Backup, reward: jax.Array, horizon: int) -> Solution:
    """Backward recursion with the max over actions."""

    def step(value, _):
        q = backup(value)
        value = jnp.max(q, axis=-1)
        return value, (value, q)

    last = jnp.zeros_like(reward[:, 0])
    _, (value, q) = jax.lax.scan(step, last, None, length=horizon, reverse=True)
    policy = jnp.argmax(q, axis=-1).astype(jnp.int32)
    return Solution(jnp.concatenate([value, last[None]]), q, policy)


def _evaluation(backup: Backup, reward: jax.Array, policy: jax.Array, horizon: int) -> jax.Array:
    """Backward recursion with the mean over a policy's actions."""
    if policy.shape not in (reward.shape, (horizon, *reward.shape)):
        raise ValueError(f"policy {policy.shape} must be {reward.shape} or {(horizon, *reward.shape)}")
    policy = jnp.broadcast_to(policy if policy.ndim == 3 else policy[None], (horizon, *reward.shape))

    def step(value, probabilities):
        value = jnp.sum(probabilities * backup(value), axis=-1)
        return value, value

    last = jnp.zeros_like(reward[:, 0])
    _, value = jax.lax.scan(step, last, policy, reverse=True)
    return jnp.concatenate([value, last[None]])


def _check_shapes(model: tuple, reward: tuple, first: object, second: object) -> None:
    """Raises ValueError where the arrays of one MDP do not belong together."""
    if len(reward) != 2 or model != reward or first != second:
        raise ValueError(f"the arrays must share [S, A]: got {model}, reward {reward}, and {first} against {second}")
