"""Networks: linen modules at the leaves, one adapter that turns a module into a Policy."""

from metarl_jax.networks.actions import to_bounds
from metarl_jax.networks.policy import (
    MEMORIES,
    actor,
    actor_critic,
    first_timestep,
    from_module,
    num_parameters,
    window_of,
)

__all__ = [
    "MEMORIES",
    "actor",
    "actor_critic",
    "first_timestep",
    "from_module",
    "num_parameters",
    "to_bounds",
    "window_of",
]
