"""The most recent trials of training: their tasks, as vectors, and their returns."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.curricula.scores import mean_return
from metarl_jax.records import Outcome

ROUNDING = 1e-5  # of their size: returns that differ by less are equal, since float32 sums differ by as much


class Returns(NamedTuple):
    """A ring buffer of trials.

    Attributes:
      seen: ``[B, F]``, features of each trial's task.
      earned: ``[B]``, mean return of a trial's episodes (else tasks whose episodes are short would have higher
        values), or that of the trial where outcomes have no trajectory.
      count: scalar, of all trials so far.
    """

    seen: jax.Array
    earned: jax.Array
    count: jax.Array


def none(size: int, width: int) -> Returns:
    """An empty buffer.

    Args:
      size: trials ``B`` that it holds.
      width: features ``F`` of a task.

    Returns:
      Returns of zeros, with a count of 0.
    """
    return Returns(jnp.zeros((size, width)), jnp.zeros(size), jnp.int32(0))


def held(returns: Returns) -> jax.Array:
    """Which places of the buffer hold a trial.

    Args:
      returns: the buffer.

    Returns:
      ``[B]`` bool.
    """
    return jnp.arange(len(returns.earned)) < returns.count


def remember(returns: Returns, seen: jax.Array, outcome: Outcome) -> Returns:
    """The buffer with the trials of an update that ended; the oldest are overwritten.

    Args:
      returns: the buffer.
      seen: ``[N, F]``, features of the update's tasks.
      outcome: of the update.

    Returns:
      The new buffer.
    """
    size = len(returns.earned)
    earned = outcome.trial_return if outcome.trajectory is None else mean_return(outcome.trajectory)
    order = jnp.cumsum(outcome.ended, dtype=jnp.int32) - 1
    place = jnp.where(outcome.ended, (returns.count + order) % size, size)  # out of bounds: dropped
    return Returns(
        returns.seen.at[place].set(seen, mode="drop"),
        returns.earned.at[place].set(earned, mode="drop"),
        returns.count + outcome.ended.sum(dtype=jnp.int32),
    )


def shares(returns: Returns) -> jax.Array:
    """Each return of the buffer as a share of the way from the lowest to the highest.

    Args:
      returns: the buffer.

    Returns:
      ``[B]``, in [0, 1] where the place holds a trial.
    """
    known = held(returns)
    low = jnp.where(known, returns.earned, jnp.inf).min()
    high = jnp.where(known, returns.earned, -jnp.inf).max()
    return share_of_range(returns.earned, low, high)


def share_of_range(value: jax.Array, least: jax.Array, most: jax.Array) -> jax.Array:
    """A value as a share of the way from the lowest to the highest; 1 where these are equal up to rounding.

    Where all returns are equal no task is harder than another: an agent that is perfect from the start goes on.

    Args:
      value: any shape.
      least: scalar, the lowest.
      most: scalar, the highest.

    Returns:
      As ``value``.
    """
    apart = most - least > ROUNDING * jnp.maximum(jnp.abs(least), jnp.abs(most))
    return jnp.where(apart, (value - least) / jnp.where(apart, most - least, 1.0), 1.0)
