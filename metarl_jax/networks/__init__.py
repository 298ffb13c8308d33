"""Networks: linen modules at the leaves, one adapter that turns a module into a Policy."""

from metarl_jax.networks.actions import Bounding, to_bounds
from metarl_jax.networks.mlp import Network, mlp
from metarl_jax.networks.policy import MEMORIES, Critic, actor, actor_critic, first_timestep, from_module

__all__ = [
    "MEMORIES",
    "Bounding",
    "Critic",
    "Network",
    "actor",
    "actor_critic",
    "first_timestep",
    "from_module",
    "mlp",
    "to_bounds",
]
