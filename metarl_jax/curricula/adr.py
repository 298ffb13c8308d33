"""Automatic domain randomisation (ADR, OpenAI et al. 2019): ranges that widen while the agent performs well."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.config import ConfigError, check, check_all, check_counts, recipe
from metarl_jax.curricula.return_history import share_of_range
from metarl_jax.curricula.task_numbers import as_numbers
from metarl_jax.records import Curriculum, Outcome, PyTree, Student, TaskDistribution
from metarl_jax.tasks.features import examples

NEAR = 1e-4  # of a number's whole range: as near to an edge a task stands on it, whatever rounding did


class ADRState(NamedTuple):
    """The ranges, and the trials at each of their edges since it was last moved or checked.

    Attributes:
      share: ``[F, 2]``, of each number's range below and above the centre.
      earned: ``[F, 2]``, summed return of the trials at each edge.
      tried: ``[F, 2]``, number of these trials.
      least: scalar, lowest return of any trial so far.
      most: scalar, highest return of any trial so far.
    """

    share: jax.Array
    earned: jax.Array
    tried: jax.Array
    least: jax.Array
    most: jax.Array


@recipe("adr")
def automatic_domain_randomisation(
    tasks: TaskDistribution,
    student: Student,
    *,
    start: float = 0.1,
    step: float = 0.05,
    boundary: float = 0.5,
    trials: int = 32,
    widen_above: float = 0.6,
    narrow_below: float = 0.3,
) -> Curriculum:
    """Automatic domain randomisation: from around the distribution's mean, wider where the agent does well.

    A task is ``centre + share (draw - centre)``, number by number, with a share of its own for each number below and
    above the centre. In some tasks one number, drawn at random, is set to an edge of its range. After so many trials
    at an edge it moves out or in, or stays, depending on their mean return. It costs no environment steps.

    Where we differ from the paper: thresholds are relative to the returns so far (while all are equal, no edge is
    known to be harder, and it moves out), ranges are never wider than the distribution's nor narrower than at the
    start, other numbers are drawn as the distribution has them, not uniformly. Numbers are scaled one by one: where
    they depend on each other (rows of probabilities that sum to one, goals on a circle) this leaves the distribution.

    Args:
      start: share of each range at the beginning.
      step: share by which an edge moves.
      boundary: chance that a task stands at an edge.
      trials: at an edge, before it is looked at.
      widen_above: as a share of the way from the least to the highest return of all trials so far.
      narrow_below: likewise.

    Returns:
      The curriculum.

    Raises:
      ConfigError: tasks that are not made of real numbers, or are all the same.
    """
    check_counts(dict(trials=trials))
    check_all(dict(start=start, step=step, boundary=boundary), lambda x: 0 < x <= 1, "must be above 0 and at most 1")
    check(narrow_below < widen_above, "narrow_below", narrow_below, f"must be below widen_above={widen_above}")
    flat, unflatten = as_numbers(tasks, "adr")
    drawn = np.asarray(jax.vmap(flat)(examples(tasks)))
    centre = drawn.mean(axis=0, dtype=np.float64).astype(drawn.dtype)  # [F]; of what is the same in all, exactly that
    ends = np.stack([drawn.min(axis=0), drawn.max(axis=0)], axis=1)  # [F, 2]
    reach = ends[:, 1] - ends[:, 0]
    varies = np.flatnonzero(reach > 1e-6 * (1.0 + np.abs(centre)))
    if not len(varies):
        raise ConfigError(f"curriculum='adr': the tasks of {tasks.name} are all the same")
    near = np.where(np.isin(np.arange(len(reach)), varies), NEAR * reach, -1.0)  # what is always the same has no edge
    count, size = student.num_tasks, len(centre)

    def init(key):
        nothing = jnp.zeros((size, 2))
        return ADRState(nothing + start, nothing, nothing, jnp.float32(jnp.inf), jnp.float32(-jnp.inf))

    def edges(share: jax.Array) -> jax.Array:
        return centre[:, None] + share * (ends - centre[:, None])

    def one(share: jax.Array, key) -> jax.Array:
        draw_key, edge_key, number_key, side_key = jax.random.split(key, 4)
        away = flat(tasks.sample(draw_key)) - centre
        task = centre + jnp.where(away < 0, share[:, 0], share[:, 1]) * away
        number = jnp.asarray(varies)[jax.random.randint(number_key, (), 0, len(varies))]
        side = jax.random.randint(side_key, (), 0, 2)
        put = task.at[number].set(edges(share)[number, side])
        return jnp.where(jax.random.bernoulli(edge_key, boundary), put, task)

    def sample(key, update, state: ADRState, learner: PyTree):
        numbers = jax.vmap(one, (None, 0))(state.share, jax.random.split(key, count))
        return state, jax.vmap(unflatten)(numbers)

    def update(key, update, state: ADRState, learner: PyTree, outcome: Outcome):
        """An edge is recognised by a task's numbers: lifetimes under way may have begun when it was elsewhere."""
        gap = jnp.abs(jax.vmap(flat)(outcome.tasks)[:, :, None] - edges(state.share)[None])
        there = ((gap <= near[None, :, None]) & outcome.ended[:, None, None]).astype(jnp.float32)  # [N, F, 2]
        tried = state.tried + there.sum(axis=0)
        earned = state.earned + (there * outcome.trial_return[:, None, None]).sum(axis=0)
        least = jnp.minimum(state.least, jnp.where(outcome.ended, outcome.trial_return, jnp.inf).min())
        most = jnp.maximum(state.most, jnp.where(outcome.ended, outcome.trial_return, -jnp.inf).max())
        worth = share_of_range(earned / jnp.maximum(tried, 1.0), least, most)
        due = tried >= trials
        move = step * ((worth > widen_above).astype(jnp.float32) - (worth < narrow_below))
        share = jnp.clip(state.share + jnp.where(due, move, 0.0), start, 1.0)
        state = ADRState(share, jnp.where(due, 0.0, earned), jnp.where(due, 0.0, tried), least, most)
        return state, {"width": share[varies].mean()}

    return Curriculum(init, sample, update)
