"""Objects on a grid that pay when collected, may end the episode, and respawn: returns of trials.

Axis letters: ``[S]`` cells, ``[A]`` actions, ``[m]`` objects, ``[M]`` the 2^m sets of objects that may be present (bit
i is object i), ``[K]`` steps since the episode began, ``[T]`` steps of a trial. An action leads to a cell of the table
``next_cell [S, A]``. If an object is present there it pays, ends the episode with its probability and disappears; then
each absent object respawns with its probability, including that one. Episodes begin in any cell, equally likely, with
all objects present; they end after ``horizon`` steps at the latest, and the trial goes on with the next one. Nothing is
discounted.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike


class Objects(NamedTuple):
    """The objects of a task.

    Attributes:
      position: ``[m]`` int, the cell of each, no two in one; a number that is no cell stands for an absent object.
      reward: ``[m]``, paid on collecting it.
      end: ``[m]``, probability that collecting it ends the episode.
      respawn: ``[m]``, probability per step that it comes back.
    """

    position: jax.Array
    reward: jax.Array
    end: jax.Array
    respawn: jax.Array


class Gain(NamedTuple):
    """The optimal average reward of an endless trial, and bounds on the return of a finite one.

    A trial of ``T`` steps returns at least ``T gain + low`` and at most ``T gain + high`` under its optimal policy.

    Attributes:
      gain: scalar, reward per step.
      low: scalar.
      high: scalar.
    """

    gain: jax.Array
    low: jax.Array
    high: jax.Array


def optimal_collection(next_cell: ArrayLike, objects: Objects, steps: int, horizon: int) -> jax.Array:
    """The optimal return of trials of 0, 1, ... ``steps`` steps, exactly, by backward induction.

    With ``n`` steps left, ``W_n = mean_s V_n(0, s, all)``, ``V_n(k, s, P) = max_a (r + end W_{n-1} + (1 - end)
    E[V_{n-1}(k + 1, s', P')])`` and ``V_n(horizon, s, P) = W_n``. Where ``steps <= horizon`` the time ``k`` does not
    matter and ``S M`` numbers are stored, else ``horizon S M``.

    Args:
      next_cell: ``[S, A]`` int.
      objects: of one task.
      steps: of the longest trial, static.
      horizon: longest episode, in steps; static.

    Returns:
      ``[steps + 1]``, indexed by the length of the trial.
    """
    next_cell, cut = jnp.asarray(next_cell), steps > horizon
    arrive = _arrival(objects, next_cell.shape[0])

    def step(carry, _):
        value, whole = carry
        last = jnp.full_like(value[:1], whole)  # the step after which the next episode begins
        following = jnp.concatenate([value[1:], last]) if cut else value
        value = jax.vmap(arrive, (0, None))(following, whole)[:, next_cell].max(axis=2)
        whole = value[0, :, -1].mean()
        return (value, whole), whole

    nothing = jnp.zeros((horizon if cut else 1, next_cell.shape[0], 2 ** objects.position.shape[0]))
    _, whole = jax.lax.scan(step, (nothing, jnp.float32(0.0)), None, length=steps)
    return jnp.concatenate([jnp.zeros(1), whole])


def collecting_gain(next_cell: ArrayLike, objects: Objects, horizon: int) -> Gain:
    """The optimal gain ``g`` of endless trials, and bounds from relative values ``h`` (Puterman 1994, 8.4).

    ``h(k, s, P) = max_a (r - g + (1 - end) E[h(k + 1, s', P')])``, 0 at ``horizon``; ``g`` is where ``mean_s h(0, s,
    all)``, convex in it, is 0 (Newton's method). By induction over ``T`` the optimal return from a new episode lies
    between ``T g - max h`` and ``T g - min h``. Memory ``S M``, whatever ``T``.

    Args:
      next_cell: ``[S, A]`` int.
      objects: of one task.
      horizon: longest episode, in steps; static.

    Returns:
      Gain.
    """
    next_cell = jnp.asarray(next_cell)
    arrive = _arrival(objects, next_cell.shape[0])
    nothing = jnp.zeros((next_cell.shape[0], 2 ** objects.position.shape[0]))

    def episode(gain):
        def step(carry, _):
            value, least, most = carry
            value = arrive(value, 0.0)[next_cell].max(axis=1) - gain
            return (value, jnp.minimum(least, value.min()), jnp.maximum(most, value.max())), None

        (value, *ends), _ = jax.lax.scan(step, (nothing, jnp.float32(0.0), jnp.float32(0.0)), None, length=horizon)
        return value[:, -1].mean(), ends

    def improve(carry):
        gain, _, i = carry
        worth, slope, _ = jax.jvp(episode, (gain,), (jnp.float32(1.0),), has_aux=True)  # minus an episode's length
        return gain - worth / slope, jnp.abs(worth / slope), i + 1

    unsettled = lambda carry: (carry[1] > 1e-6 * (1 + jnp.abs(carry[0]))) & (carry[2] < 30)
    gain = jax.lax.while_loop(unsettled, improve, (jnp.float32(0.0), jnp.float32(jnp.inf), 0))[0]
    _, (least, most) = episode(gain)
    return Gain(gain, -most, -least)


def random_episode(next_cell: ArrayLike, objects: Objects, horizon: int) -> tuple[jax.Array, jax.Array]:
    """An episode of uniformly random actions: its mean return so far, and its survival probability, after each step.

    Args:
      next_cell: ``[S, A]`` int.
      objects: of one task.
      horizon: longest episode, in steps; static.

    Returns:
      ``(return [horizon + 1], survival [horizon + 1])``: the mean return of the first 0, 1, ... ``horizon`` steps of an
      episode, and the probability that no object has ended it within them.
    """
    next_cell = jnp.asarray(next_cell)
    arrive = _arrival(objects, next_cell.shape[0])
    lasts = _arrival(objects._replace(reward=jnp.zeros_like(objects.reward)), next_cell.shape[0])

    def step(carry, _):
        earned, alive = (f(x, 0.0)[next_cell].mean(axis=1) for f, x in zip((arrive, lasts), carry, strict=True))
        return (earned, alive), (earned[:, -1].mean(), alive[:, -1].mean())

    nothing = jnp.zeros((next_cell.shape[0], 2 ** objects.position.shape[0]))
    _, (earned, alive) = jax.lax.scan(step, (nothing, nothing + 1.0), None, length=horizon)
    return jnp.concatenate([jnp.zeros(1), earned]), jnp.concatenate([jnp.ones(1), alive])


def renewed(earned: ArrayLike, alive: ArrayLike, steps: int) -> np.ndarray:
    """The mean return of trials of 0, 1, ... ``steps`` steps in which episodes follow each other.

    ``W_n = R_min(n, H) + sum_{l <= min(n, H)} P(L = l) W_{n - l}``, the renewal equation (Feller 1968, XIII), for a
    policy that does not depend on time.

    Args:
      earned: ``[..., H + 1]``, R: the mean return of the first 0, 1, ... ``H`` steps of an episode.
      alive: ``[..., H + 1]``, P(L > l): the probability that the episode goes on after them, the horizon ``H`` apart.
      steps: of the longest trial.

    Returns:
      ``[..., steps + 1]``, W, indexed by the length of the trial.
    """
    earned, alive = np.asarray(earned, np.float64), np.array(alive, np.float64)
    horizon = earned.shape[-1] - 1
    alive[..., -1] = 0.0
    ends = -np.diff(alive)[..., ::-1]  # the chance to end after H, H - 1, ... 1 steps
    whole = np.zeros((*earned.shape[:-1], steps + 1))
    for n in range(1, steps + 1):
        longest = min(n, horizon)
        again = (ends[..., horizon - longest :] * whole[..., n - longest : n]).sum(-1)
        whole[..., n] = earned[..., longest] + again
    return whole


def _arrival(objects: Objects, num_cells: int):
    """``(value [S, M], what a new episode is worth) -> [S, M]``: the value of arriving in a cell."""
    count, cells = objects.position.shape[0], jnp.arange(num_cells)[:, None]
    sets = jnp.arange(2**count)[None]
    here = cells == objects.position[None]  # [S, m]
    bit = (here * 2 ** jnp.arange(count)[None]).sum(axis=1)[:, None]
    collected = (sets & bit) > 0  # [S, M]
    of_cell = lambda each: (here * each[None]).sum(axis=1)[:, None] * collected
    pay, end, left = of_cell(objects.reward), of_cell(objects.end), sets & ~bit
    return lambda value, anew: pay + end * anew + (1 - end) * _come_back(value, objects.respawn)[cells, left]


def _come_back(value: jax.Array, respawn: jax.Array) -> jax.Array:
    """``E[value(s, P')]`` over the objects that come back to ``P``; ``[S, M] -> [S, M]``."""
    shape = value.shape
    for i in range(respawn.shape[0]):
        split = value.reshape(shape[0], -1, 2, 2**i)  # without object i, with it
        absent = split[:, :, 0] + respawn[i] * (split[:, :, 1] - split[:, :, 0])
        value = jnp.stack([absent, split[:, :, 1]], axis=2).reshape(shape)
    return value
