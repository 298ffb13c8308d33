"""Returns, advantages, losses and gradient steps: pure functions, time first."""

from metarl_jax.estimators.advantages import discounted_sums, generalised_advantages
from metarl_jax.estimators.backprop import OuterLoss, backprop
from metarl_jax.estimators.baselines import linear_baseline, solve_positive, time_in_episode
from metarl_jax.estimators.blocks import left_open, over_blocks, over_tasks
from metarl_jax.estimators.bootstrap import Target
from metarl_jax.estimators.critic import Critic, fixed_critic, regressed_critic
from metarl_jax.estimators.epochs import falling_cost, falling_rate, minibatch_epochs
from metarl_jax.estimators.evolution import evolution
from metarl_jax.estimators.inner import OBJECTIVES, sampling_score
from metarl_jax.estimators.lives import Life, finite, live_window, unborn
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
from metarl_jax.estimators.strategies import STRATEGIES, strategy
from metarl_jax.estimators.trust_region import trust_region_step

__all__ = [
    "OBJECTIVES",
    "ROUNDING",
    "STRATEGIES",
    "TINY",
    "Critic",
    "Life",
    "OuterLoss",
    "Target",
    "backprop",
    "clipped_surrogate",
    "discounted_sums",
    "evolution",
    "falling_cost",
    "falling_rate",
    "finite",
    "fixed_critic",
    "generalised_advantages",
    "left_open",
    "linear_baseline",
    "live_window",
    "minibatch_epochs",
    "over_blocks",
    "over_tasks",
    "regressed_critic",
    "root_mean_square",
    "sampling_score",
    "solve_positive",
    "squared_error",
    "standardised",
    "strategy",
    "time_in_episode",
    "trust_region_step",
    "unborn",
    "unit_of",
    "value_loss",
]
