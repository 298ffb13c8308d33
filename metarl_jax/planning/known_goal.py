"""Hidden-goal grids with the goal known, and two reference agents: random play and posterior sampling.

Axis letters: ``[S]`` cells, ``[A]`` actions, ``[G]`` candidate goals, ``[E]`` episodes, ``[T]`` steps, ``[B]``
simulated trials. The grids are those of ``hidden_goal``: entering the goal or staying on it pays ``hit``, other steps
``miss``.
"""

import numpy as np
from numpy.typing import ArrayLike

from metarl_jax.config import check


def weights_of(count: int, weight: ArrayLike | None) -> np.ndarray:
    """The prior probabilities of candidates.

    Args:
      count: number of candidates.
      weight: ``[count]``, proportional to the probabilities; equal if None.

    Returns:
      ``[count]`` float64, normalised.

    Raises:
      ConfigError: if ``weight`` is not as many numbers above 0.
    """
    weights = np.ones(count) if weight is None else np.asarray(weight, np.float64)
    fits = weights.shape == (count,) and bool((weights > 0).all())
    check(fits, "weight", weight, f"give {count} numbers above 0")
    return weights / weights.sum()


def known_goal_values(
    next_state: ArrayLike, goals: ArrayLike, horizon: int, hit: float = 1.0, miss: float = -0.1
) -> np.ndarray:
    """The optimal return of the last ``m`` steps with the goal known, ``V_m(s) = max_a r(s') + V_{m-1}(s')``.

    Args:
      next_state: ``[S, A]`` int.
      goals: ``[G]`` int, cells.
      horizon: ``T``.
      hit: reward of a step onto the goal or on it.
      miss: reward of every other step.

    Returns:
      ``[G, T + 1, S]`` float64, indexed by goal, steps left, cell.
    """
    next_state, goals = np.asarray(next_state), np.asarray(goals)
    reward = np.where(np.arange(len(next_state)) == goals[:, None], hit, miss)  # [G, S], for entering a cell
    value = np.zeros((len(goals), horizon + 1, len(next_state)))
    for left in range(1, horizon + 1):
        value[:, left] = (reward + value[:, left - 1])[:, next_state].max(axis=-1)
    return value


def random_return(
    next_state: ArrayLike, start: int, candidates: ArrayLike, horizon: int, hit: float = 1.0, miss: float = -0.1
) -> np.ndarray:
    """The exact expected return of an episode of uniformly random actions with each goal (the same in every episode).

    Args:
      next_state: ``[S, A]`` int.
      start: cell where the episode begins.
      candidates: ``[G]`` int, cells.
      horizon: steps of the episode.
      hit: reward of a step onto the goal or on it.
      miss: reward of every other step.

    Returns:
      ``[G]``.
    """
    next_state, candidates = np.asarray(next_state), np.asarray(candidates)
    chance = np.zeros(len(next_state))
    chance[start] = 1.0
    total = np.zeros(candidates.shape)
    for _ in range(horizon):
        after = np.zeros_like(chance)
        np.add.at(after, next_state, np.broadcast_to(chance[:, None] / next_state.shape[1], next_state.shape))
        chance = after
        total += miss + (hit - miss) * chance[candidates]
    return total


def posterior_sampling_return(
    next_state: ArrayLike,
    start: int,
    candidates: ArrayLike,
    horizon: int,
    num_episodes: int,
    *,
    hit: float = 1.0,
    miss: float = -0.1,
    weight: ArrayLike | None = None,
    num_trials: int = 20_000,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """The simulated return of posterior sampling (Strens 2000).

    In each episode one goal is drawn from the belief and played for as if it were the true one. The agent takes one
    of the best actions for the goal drawn, at random; once it is on the true goal it knows it.

    Args:
      next_state: ``[S, A]`` int.
      start: cell where each episode begins.
      candidates: ``[G]`` int, cells.
      horizon: steps ``T`` of an episode.
      num_episodes: ``E``.
      hit: reward of a step onto the goal or on it.
      miss: reward of every other step.
      weight: ``[G]``, proportional to the candidates' prior probabilities; equal if None.
      num_trials: ``B``, simulated.
      seed: of the simulation.

    Returns:
      ``(by_episode [E], standard errors [E])``.
    """
    rng, rows = np.random.default_rng(seed), np.arange(num_trials)
    next_state, candidates = np.asarray(next_state), np.asarray(candidates)
    known = known_goal_values(next_state, candidates, horizon, hit, miss)
    entering = np.where(np.arange(len(next_state)) == candidates[:, None], hit, miss)
    chance = weights_of(len(candidates), weight)
    truth = rng.choice(len(candidates), num_trials, p=chance)
    possible = np.ones((num_trials, len(candidates)), bool)
    returns = np.zeros((num_episodes, num_trials))
    for episode in range(num_episodes):
        position = np.full(num_trials, start)
        goal = np.argmax(possible * rng.random(possible.shape) ** (1 / chance), axis=1)  # i wins with chance[i]
        for left in reversed(range(horizon)):
            after = next_state[position]  # [B, A]
            q = entering[goal[:, None], after] + known[goal[:, None], left, after]
            ties = q > q.max(axis=1, keepdims=True) - 1e-9
            position = after[rows, np.argmax(ties * rng.random(q.shape), axis=1)]
            returns[episode] += entering[truth, position]
            possible &= position[:, None] != candidates
            found = position == candidates[truth]
            possible[found] = np.arange(len(candidates)) == truth[found, None]
            goal = np.where(found, truth, goal)
    return returns.mean(axis=1), returns.std(axis=1) / np.sqrt(num_trials)
