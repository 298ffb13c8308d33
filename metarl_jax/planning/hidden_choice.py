"""One choice per episode, where one of a few deterministic tasks is the true one and what an episode pays is evidence.

Axis letters: ``[G]`` candidate tasks, ``[A]`` actions, ``[E]`` episodes. An episode in which ``a`` was chosen pays
``payoff[g, a]`` and shows ``signal[g, a]``; then the next one begins.
"""

import numpy as np
from numpy.typing import ArrayLike

from metarl_jax.planning.hidden_task import hidden_task_return
from metarl_jax.planning.known_goal import weights_of

MOST_CANDIDATES = 12  # that the planner over beliefs is asked about


def hidden_choice_return(
    payoff: ArrayLike, signal: ArrayLike, num_episodes: int, weight: ArrayLike | None = None
) -> np.ndarray | None:
    """The expected return of each episode under the Bayes-optimal policy of the whole trial, exact.

    Where each candidate has one action of its own that pays more, and nothing else differs, candidates are tried in the
    order of their probabilities. Other sets of candidates are planned for over beliefs.

    Args:
      payoff: ``[G, A]``.
      signal: ``[G, A]``, what else is observed of the task.
      num_episodes: ``E``.
      weight: ``[G]``, proportional to the candidates' prior probabilities; equal if None.

    Returns:
      ``[E]``, or None where there are too many candidates to plan over beliefs.
    """
    payoff, signal = np.asarray(payoff, np.float64), np.asarray(signal)
    count, num_actions = payoff.shape
    chances = weights_of(count, weight)
    if _one_of_its_own(payoff, signal):
        found = np.cumsum(np.append(-np.sort(-chances), np.zeros(num_episodes)))[:num_episodes]
        return payoff.min() + np.ptp(payoff) * found
    if count > MOST_CANDIDATES:
        return None
    # An action leads from cell 0 to a cell of its own. There the episode stays for a second step, as only what is seen
    # before the last step is seen before the next episode; each of the two pays half.
    cells = np.arange(num_actions + 1)
    next_state = np.where(cells[:, None] == 0, cells[1:], cells[:, None])
    seen = np.stack([np.unique(both, axis=1, return_inverse=True)[1].ravel() for both in _columns(payoff, signal)], 1)
    start = np.zeros((count, 1))
    reward, shown = np.concatenate([start, payoff / 2], axis=1), np.concatenate([start.astype(int), seen], axis=1)
    return hidden_task_return(next_state, 0, reward, shown, 2, num_episodes, chances)


def _one_of_its_own(payoff: np.ndarray, signal: np.ndarray) -> bool:
    """Whether each candidate has one action that pays more, a different one for each, and nothing else differs."""
    best = payoff.argmax(axis=1)
    alike = np.where(np.arange(payoff.shape[1]) == best[:, None], payoff.max(), payoff.min())
    return len(set(best.tolist())) == len(best) and bool((payoff == alike).all() and (signal == signal[:1]).all())


def _columns(payoff: np.ndarray, signal: np.ndarray) -> np.ndarray:
    """For each action what an episode reveals of each candidate, ``[A, 2, G]``."""
    return np.stack([payoff, signal]).transpose(2, 0, 1)
