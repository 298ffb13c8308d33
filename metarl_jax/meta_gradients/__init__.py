"""Meta-gradients: how the outer gradient of agents that learn is estimated."""

from metarl_jax.meta_gradients.backprop import OuterLoss, backprop
from metarl_jax.meta_gradients.bootstrapped_target import Target
from metarl_jax.meta_gradients.evolution import evolution
from metarl_jax.meta_gradients.evosax_strategies import STRATEGIES, strategy
from metarl_jax.meta_gradients.lifetimes import Life, finite, live_window, unborn
from metarl_jax.meta_gradients.outer_critic import Critic, fixed_critic, regressed_critic
from metarl_jax.meta_gradients.task_batches import left_open, over_blocks, over_tasks

__all__ = [
    "STRATEGIES",
    "Critic",
    "Life",
    "OuterLoss",
    "Target",
    "backprop",
    "evolution",
    "finite",
    "fixed_critic",
    "left_open",
    "live_window",
    "over_blocks",
    "over_tasks",
    "regressed_critic",
    "strategy",
    "unborn",
]
