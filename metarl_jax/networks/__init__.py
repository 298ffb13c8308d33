"""Networks: linen modules at the leaves, one adapter that turns a module into a Policy."""

from metarl_jax.networks.actions import to_bounds
from metarl_jax.networks.mlp import Network, mlp
from metarl_jax.networks.policy import MEMORIES, actor, actor_critic, first_timestep, from_module

__all__ = ["MEMORIES", "Network", "actor", "actor_critic", "first_timestep", "from_module", "mlp", "to_bounds"]
