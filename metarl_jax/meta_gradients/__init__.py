"""Meta-gradients: how the outer gradient of agents that learn is estimated."""

from metarl_jax.meta_gradients.backprop import OuterLoss, backprop
from metarl_jax.meta_gradients.bootstrapped_target import Target
from metarl_jax.meta_gradients.evolution import evolution
from metarl_jax.meta_gradients.evosax_strategies import STRATEGIES, strategy
from metarl_jax.meta_gradients.lifetimes import Lifetime, empty_lifetimes, finite, live_window
from metarl_jax.meta_gradients.outer_critic import Critic, fixed_critic, regressed_critic
from metarl_jax.meta_gradients.task_batches import memory_options, over_blocks, over_tasks

__all__ = [
    "STRATEGIES",
    "Critic",
    "Lifetime",
    "OuterLoss",
    "Target",
    "backprop",
    "empty_lifetimes",
    "evolution",
    "finite",
    "fixed_critic",
    "live_window",
    "memory_options",
    "over_blocks",
    "over_tasks",
    "regressed_critic",
    "strategy",
]
