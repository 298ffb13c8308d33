"""The last trials that were lived: in which tasks, as vectors, and what they brought."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.curricula.scores import mean_return
from metarl_jax.records import Outcome

ROUNDING = 1e-5  # of their size: returns that differ by less are equal, since float32 sums differ by as much


class Returns(NamedTuple):
    """A ring: ``seen [B, F]``, ``earned [B]``, ``count`` of all trials so far. What was earned is the mean return of a
    trial's episodes (else tasks whose episodes are short would seem worth more), or of the trial where none is told."""

    seen: jax.Array
    earned: jax.Array
    count: jax.Array


def none(size: int, width: int) -> Returns:
    return Returns(jnp.zeros((size, width)), jnp.zeros(size), jnp.int32(0))


def held(returns: Returns) -> jax.Array:
    """Which places hold a trial, ``[B]``."""
    return jnp.arange(len(returns.earned)) < returns.count


def remember(returns: Returns, seen: jax.Array, outcome: Outcome) -> Returns:
    """With the trials of an update in tasks ``seen [N, F]`` that are over."""
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
    """Each return as a share of the way from the least to the highest that is held, ``[B]``."""
    known = held(returns)
    low = jnp.where(known, returns.earned, jnp.inf).min()
    high = jnp.where(known, returns.earned, -jnp.inf).max()
    return share_of_range(returns.earned, low, high)


def share_of_range(value: jax.Array, least: jax.Array, most: jax.Array) -> jax.Array:
    """``value`` as a share of the way from the ``least`` to the ``most``; 1 where these are equal up to rounding.

    Where all returns are equal no task is harder than another: an agent that is perfect from the start goes on.
    """
    apart = most - least > ROUNDING * jnp.maximum(jnp.abs(least), jnp.abs(most))
    return jnp.where(apart, (value - least) / jnp.where(apart, most - least, 1.0), 1.0)
