"""One of a few mazes is the true one, its goal and perhaps its walls unknown: dynamic programming over beliefs, exact.

Axis letters: ``[M]`` candidate tasks, ``[L]`` layouts, ``[S]`` cells, ``[A]`` actions, ``[B]`` beliefs, ``[K]`` parts
into which an outcome may split them, ``[T]`` steps. Reaching the goal pays 1 and sends the agent back to the start; an
episode ends in no other way. Nothing is random, so a belief is a set of candidates: those that agree with all that was
observed. A step splits it by its outcome, and the agent goes on with the part that holds the truth,

``W_t(B, s) = max_a sum_parts w(B') [found] + W_{t+1}(B', s')``,

with ``w`` the weight of a set and ``W`` a return times the weight, so that nothing is divided.
"""

from typing import NamedTuple

import numpy as np

from metarl_jax.planning.dynamic_programming import UNREACHABLE, all_shortest_paths

MOST_BELIEFS = 2048
MOST_WORK = 1.5e8  # array elements, over all steps: about two seconds


class Candidates(NamedTuple):
    """Candidate tasks that begin at one cell and look alike there.

    Attributes:
      next_state: ``[L, S, A]`` int.
      shown: ``[L, S]`` int, what is observed at a cell, its position included.
      start: the cell.
      layout: ``[M]`` int, of each task.
      goal: ``[M]`` int, the cell of each task's goal, never the start; no two tasks share layout and goal.
      weight: ``[M]`` int, proportional to the tasks' prior probabilities.
    """

    next_state: np.ndarray
    shown: np.ndarray
    start: int
    layout: np.ndarray
    goal: np.ndarray
    weight: np.ndarray


class Plan(NamedTuple):
    """The outcome of a policy in each candidate task.

    Attributes:
      returns: ``[M]`` int, goals reached in a trial.
      first: ``[M]`` int, steps to the first goal; more than the trial has where it is never reached.
      later: ``[M]`` int, steps of each later episode.
    """

    returns: np.ndarray
    first: np.ndarray
    later: np.ndarray


class _Outcomes(NamedTuple):
    """The outcomes of each action at each cell.

    Attributes:
      mask: ``[K, A, S]`` int64, the candidates that share an outcome, as bits; 0 for no more outcomes.
      cell: ``[K, A, S]`` int, the cell reached.
      found: ``[K, A, S]`` bool, whether the goal is found there.
    """

    mask: np.ndarray
    cell: np.ndarray
    found: np.ndarray


def belief_plan(candidates: Candidates, trial_steps: int, repeat: bool = False) -> Plan | None:
    """The policy that maximises the mean return of the whole trial over the candidates, and its outcome in each.

    Args:
      candidates: at most 62 tasks.
      trial_steps: ``T``.
      repeat: plan for the best of the policies that do the same in every episode instead.

    Returns:
      Plan, or None where there are too many candidates or beliefs.
    """
    if len(candidates.goal) > 62:
        return None
    candidates = _reachable(candidates)
    outcomes = _outcomes(candidates)
    beliefs = _beliefs(outcomes.mask, len(candidates.goal))
    if beliefs is None or len(beliefs) * outcomes.mask.size * trial_steps > MOST_WORK:
        return None
    after = np.searchsorted(beliefs, beliefs[:, None] & outcomes.mask[:, :, None])  # [K, A, B, S]
    cell, found = outcomes.cell[:, :, None], outcomes.found[:, :, None]
    bits = beliefs[:, None] >> np.arange(len(candidates.goal)) & 1
    weight = np.where(found, (bits @ candidates.weight)[after], 0)
    value = np.zeros((len(beliefs), candidates.shown.shape[1]), np.int64)
    actions = np.zeros((trial_steps, *value.shape), np.int8)
    for step in reversed(range(trial_steps)):
        later = value[after, cell]
        if repeat:
            q = (trial_steps // (step + 1) * weight + np.where(found, 0, later)).sum(axis=0)
        else:
            q = (weight + later).sum(axis=0)
        actions[step], value = q.argmax(axis=0), q.max(axis=0)  # [B, S]
    finds = [_finds(candidates, outcomes, after, actions, task, repeat) for task in range(len(candidates.goal))]
    first = np.array([times[0] if times else trial_steps + 1 for times in finds])
    if repeat:
        return Plan(trial_steps // first, first, first)
    later = [times[-1] - times[-2] if len(times) > 1 else time for times, time in zip(finds, first, strict=True)]
    return Plan(np.array([len(times) for times in finds]), first, np.array(later))


def _reachable(candidates: Candidates) -> Candidates:
    """The same without the cells that ``start`` leads to in no layout, but for the goals."""
    near = [np.asarray(all_shortest_paths(table))[candidates.start] < UNREACHABLE for table in candidates.next_state]
    cells = np.union1d(np.flatnonzero(np.any(near, axis=0)), candidates.goal)
    number = np.zeros(candidates.shown.shape[1], np.int64)
    number[cells] = np.arange(len(cells))
    return candidates._replace(
        next_state=number[candidates.next_state[:, cells]],
        shown=candidates.shown[:, cells],
        start=int(number[candidates.start]),
        goal=number[candidates.goal],
    )


def _outcomes(candidates: Candidates) -> _Outcomes:
    ahead = candidates.next_state[candidates.layout]  # [M, S, A]
    found = ahead == candidates.goal[:, None, None]
    seen = np.take_along_axis(candidates.shown[candidates.layout], ahead.reshape(len(ahead), -1), axis=1)
    outcome = np.where(found, -1, seen.reshape(ahead.shape))  # where it is found says the agent's own move
    alike = outcome[:, None] == outcome  # [M, M, S, A]
    mask = (alike * (1 << np.arange(len(ahead), dtype=np.int64))[:, None, None, None]).sum(axis=0)  # of each task's
    first = alike.argmax(axis=1) == np.arange(len(ahead))[:, None, None]  # one task of each part
    order = np.argsort(~first, axis=0, kind="stable")[: first.sum(axis=0).max()]
    take = lambda x: np.take_along_axis(x, order, axis=0).transpose(0, 2, 1)
    cell = np.where(found, candidates.start, ahead)
    return _Outcomes(take(np.where(first, mask, 0)), take(cell), take(found & first))


def _beliefs(masks: np.ndarray, num_tasks: int) -> np.ndarray | None:
    """All sets that outcomes can cut out of the whole, the empty one first; None where they are too many."""
    beliefs = new = np.array([2**num_tasks - 1])
    masks = np.unique(masks)
    while len(new):
        new = np.setdiff1d(new[:, None] & masks, beliefs)
        beliefs = np.union1d(beliefs, new)
        if len(beliefs) > MOST_BELIEFS:
            return None
    return np.union1d(beliefs, 0)


def _finds(
    candidates: Candidates, outcomes: _Outcomes, after: np.ndarray, actions: np.ndarray, task: int, once: bool
) -> list[int]:
    """The steps at which the policy ``actions [T, B, S]`` finds the goal of a task, from 1; with ``once`` the first."""
    belief, cell, times = after.shape[2] - 1, candidates.start, []
    for step in range(len(actions)):
        action = actions[step, belief, cell]
        part = int(np.argmax(outcomes.mask[:, action, cell] >> task & 1))
        if outcomes.found[part, action, cell]:
            times.append(step + 1)
            if once:
                break
        belief, cell = after[part, action, belief, cell], outcomes.cell[part, action, cell]
    return times
