"""Networks: linen modules at the leaves, one adapter that turns a module into a Policy."""

from metarl_jax.networks.actions import Bounding, to_bounds
from metarl_jax.networks.memories import MEMORIES, num_parameters, window_of
from metarl_jax.networks.mlp import Network, mlp
from metarl_jax.networks.policy import (
    actor,
    actor_critic,
    asymmetric_critic,
    first_timestep,
    flat,
    from_module,
    held,
    num_inputs,
    step_inputs,
    variance_scaled_init,
    with_scaled_init,
)

__all__ = [
    "MEMORIES",
    "Bounding",
    "Network",
    "actor",
    "actor_critic",
    "asymmetric_critic",
    "first_timestep",
    "flat",
    "from_module",
    "held",
    "mlp",
    "num_inputs",
    "num_parameters",
    "step_inputs",
    "to_bounds",
    "variance_scaled_init",
    "window_of",
    "with_scaled_init",
]
