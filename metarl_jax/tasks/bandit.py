"""Bandits: Bernoulli arms with uniform prior, and dependent two-armed bandits. A pull is an episode of one step."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax import planning
from metarl_jax.config import check, family
from metarl_jax.records import ExactBelief, Reference, Spec, TaskDistribution, Trajectory
from metarl_jax.tasks.environment import Environment
from metarl_jax.tasks.priors import elsewhere, of_these, prior_of

BAR, GROUND, PULLED = (86, 140, 200), (236, 236, 232), (213, 94, 0)


class BanditTask(NamedTuple):
    """A Bernoulli bandit.

    Attributes:
      probability: ``[k]``, each arm's probability to pay 1.
    """

    probability: jax.Array


class BanditState(NamedTuple):
    """Which arm was pulled.

    Attributes:
      arm: the one just pulled, -1 before.
      time: pulls since the episode began.
    """

    arm: jax.Array
    time: jax.Array


class BanditEnv(Environment):
    """Pulling arm ``a`` pays 1 with ``probability[a]``, else 0, and ends the episode. There is nothing to observe."""

    horizon = 1

    def __init__(self, num_arms: int):
        self.spec = Spec(observation_shape=(1,), num_actions=num_arms)

    def sample_noise(self, key, shape):
        return jax.random.uniform(key, shape)

    def reset(self, noise, task: BanditTask):
        return BanditState(jnp.int32(-1), jnp.int32(0))

    def step(self, noise, state: BanditState, action, task: BanditTask):
        chance = task.probability[action]
        reward = (noise < chance).astype(jnp.float32)
        return BanditState(action.astype(jnp.int32), state.time + 1), reward, jnp.bool_(True), {"mean_reward": chance}

    def observe(self, state: BanditState, task: BanditTask):
        return jnp.zeros(1)

    def picture(self, task: BanditTask, state: BanditState | None = None) -> np.ndarray:
        """Draws bars as high as the arms' probabilities; the arm just pulled has another colour.

        Args:
          task: the bandit.
          state: after the pull; None: no arm is marked.

        Returns:
          uint8 RGB ``[20, 4 k + 1, 3]``.
        """
        heights = np.round(20 * np.asarray(task.probability)).astype(int)
        image = np.full((20, 4 * len(heights) + 1, 3), GROUND, np.uint8)
        for arm, height in enumerate(heights):
            pulled = state is not None and int(state.arm) == arm
            image[20 - height :, 4 * arm + 1 : 4 * arm + 4] = PULLED if pulled else BAR
        return image


@family("bandit")
def bandit(*, num_arms: int = 5, num_pulls: int = 10) -> TaskDistribution:
    """Bernoulli bandits, each arm's probability uniform on [0, 1] (Duan et al. 2016).

    A trial is ``num_pulls`` pulls. References: the best arm known, the Bayes-optimal value (exact by dynamic
    programming where that is feasible, else the finite-horizon Gittins policy), and 1/2 a pull without adapting. Of a
    finite set of bandits: its own values, by dynamic programming over counts where there are few enough of these.

    Args:
      num_arms: arms, k.
      num_pulls: pulls in a trial, n.

    Returns:
      The distribution of these bandits.
    """
    check(num_arms >= 1, "bandit: num_arms", num_arms, "must be at least 1")
    check(num_pulls >= 1, "bandit: num_pulls", num_pulls, "must be at least 1")

    def bayes(trial_steps: int) -> Reference:
        known = planning.bernoulli_reference(num_arms, trial_steps)
        error = f", s.e. {known.standard_error:.3f}" if known.standard_error else "; simulated by pull"
        return Reference("bayes", known.kind, known.value, known.by_pull, known.note + error)

    return TaskDistribution(
        name="bandit",
        env=BanditEnv(num_arms),
        sample=lambda key: BanditTask(jax.random.uniform(key, (num_arms,))),
        horizon=1,
        trial_steps=num_pulls,
        references=functools.partial(references, bayes),
        mutate=mutate,
        optimum=optimum,
        belief=ExactBelief(lambda task: task.probability, functools.partial(_beta_means, num_arms)),
    )


@family("bandit-dependent")
def dependent_bandit(*, low: float | None = 0.1, num_pulls: int = 100) -> TaskDistribution:
    """Two arms that pay with p and 1 - p (Wang et al. 2016).

    Args:
      low: p is ``low`` or ``1 - low``, equally likely (0.1 easy, 0.25 medium, 0.4 hard); None: p uniform on [0, 1].
      num_pulls: pulls in a trial, n.

    Returns:
      The distribution of these bandits.
    """
    check(low is None or 0 <= low <= 1, "bandit-dependent: low", low, "must lie between 0 and 1, or be None")
    check(num_pulls >= 1, "bandit-dependent: num_pulls", num_pulls, "must be at least 1")

    def sample(key):
        u = jax.random.uniform(key)
        p = u if low is None else jnp.where(u < 0.5, low, 1.0 - low).astype(jnp.float32)
        return BanditTask(jnp.stack([p, 1.0 - p]))

    def bayes(trial_steps: int) -> Reference:
        known = planning.dependent_reference(None if low is None else (low, 1.0 - low), trial_steps)
        return Reference("bayes", "exact", known.value, known.by_pull, "dynamic programming over counts")

    return TaskDistribution(
        name="bandit-dependent",
        env=BanditEnv(2),
        sample=sample,
        horizon=1,
        trial_steps=num_pulls,
        references=functools.partial(references, bayes),
        mutate=_mutate_dependent,
        optimum=optimum,
    )


def optimum(task: BanditTask, trial_steps: int) -> jax.Array:
    """The expected return of pulling the best arm throughout.

    Args:
      task: the bandit.
      trial_steps: pulls in a trial.

    Returns:
      A scalar.
    """
    return trial_steps * task.probability.max()


def references(
    bayes: Callable[[int], Reference], tasks: BanditTask, trial_steps: int, prior: BanditTask | None = None
) -> list[Reference]:
    """Reference values of bandits.

    Args:
      bayes: ``trial_steps -> Reference``: the Bayes-optimal value of the distribution itself, where each arm pays 1/2
        on average.
      tasks: leaves ``[N, ...]``.
      trial_steps: pulls in a trial.
      prior: leaves ``[M, ...]``, each row equally likely; None: the distribution itself.

    Returns:
      Optimal and random play of each task, and what is Bayes-optimal and not adaptive.
    """
    probability, repeat = np.asarray(tasks.probability, np.float64), np.ones(trial_steps)
    best, mean = probability.max(axis=-1), probability.mean(axis=-1)
    per_task = [
        Reference("optimal", "exact", best * trial_steps, best.mean() * repeat, "always the best arm"),
        Reference("random", "exact", mean * trial_steps, mean.mean() * repeat, "uniform over the arms"),
    ]
    if prior is None:
        half = Reference("non_adaptive", "exact", 0.5 * trial_steps, 0.5 * repeat, "any arm, its mean over the prior")
        return [*per_task, half, bayes(trial_steps)]
    candidates, weight, _ = prior_of(prior)
    arm = float((weight @ np.asarray(candidates.probability, np.float64)).max())
    fixed = Reference("non_adaptive", "exact", arm * trial_steps, arm * repeat, "the arm that is best on average")
    by_pull = planning.candidate_bandits_return(candidates.probability, trial_steps, weight)
    if by_pull is None:  # too many beliefs
        return [*per_task, *of_these([fixed], tasks, prior), *elsewhere([bayes(trial_steps)])]
    planned = Reference("bayes", "exact", by_pull.sum(), by_pull, "dynamic programming over counts")
    return [*per_task, *of_these([fixed, planned], tasks, prior)]


def _beta_means(num_arms: int, trajectory: Trajectory) -> jax.Array:
    """Each arm's posterior mean after each step, ``(1 + wins) / (2 + pulls)``: Beta(1, 1) before any; ``[T, k]``."""
    pulled = jax.nn.one_hot(trajectory.action, num_arms)

    def step(counts, record):
        new, trial_start = record
        counts = jnp.where(trial_start, 0.0, counts) + new
        return counts, counts

    new = jnp.stack([pulled * trajectory.reward[:, None], pulled], axis=1)  # [T, 2, k]
    _, counts = jax.lax.scan(step, jnp.zeros((2, num_arms)), (new, trajectory.timestep.trial_start))
    return (1 + counts[:, 0]) / (2 + counts[:, 1])


def mutate(key: jax.Array, task: BanditTask) -> BanditTask:
    """Moves every arm's probability by about 0.1, reflected at 0 and 1.

    Args:
      key: a random key.
      task: the bandit.

    Returns:
      The changed bandit.
    """
    moved = task.probability + 0.1 * jax.random.normal(key, task.probability.shape)
    return BanditTask(jnp.clip(jnp.where(moved > 1, 2 - moved, jnp.abs(moved)), 0.0, 1.0))


def _mutate_dependent(key: jax.Array, task: BanditTask) -> BanditTask:
    """Moves p likewise; the other arm keeps paying with 1 - p."""
    p = mutate(key, task).probability[0]
    return BanditTask(jnp.stack([p, 1.0 - p]))
