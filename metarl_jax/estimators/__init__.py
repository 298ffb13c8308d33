"""Returns, advantages, losses and gradient steps: pure functions, time first."""

from metarl_jax.estimators.advantages import discounted_sums, generalised_advantages
from metarl_jax.estimators.baselines import linear_baseline, solve_positive, time_in_episode
from metarl_jax.estimators.epochs import falling_cost, falling_rate, minibatch_epochs
from metarl_jax.estimators.inner import OBJECTIVES, sampling_score
from metarl_jax.estimators.losses import (
    ROUNDING,
    TINY,
    clipped_surrogate,
    root_mean_square,
    squared_error,
    standardised,
    unit_of,
    value_loss,
)
from metarl_jax.estimators.trust_region import trust_region_step

__all__ = [
    "OBJECTIVES",
    "ROUNDING",
    "TINY",
    "clipped_surrogate",
    "discounted_sums",
    "falling_cost",
    "falling_rate",
    "generalised_advantages",
    "linear_baseline",
    "minibatch_epochs",
    "root_mean_square",
    "sampling_score",
    "solve_positive",
    "squared_error",
    "standardised",
    "time_in_episode",
    "trust_region_step",
    "unit_of",
    "value_loss",
]
