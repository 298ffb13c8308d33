"""Machines that differ from a standard one by factors, after Rakelly et al. 2019."""

import jax
import jax.numpy as jnp

from metarl_jax.physics.model import Physics

BASES = dict(mass=1.5, inertia=1.5, damping=1.3, friction=1.5)


def randomize_dynamics(key: jax.Array, physics: Physics, spread: float) -> Physics:
    """Masses, moments of inertia (of their own, whatever the masses), dampings and frictions times ``b^u``."""
    factors = {}
    for (name, base), part in zip(BASES.items(), jax.random.split(key, len(BASES)), strict=True):
        shape = getattr(physics, name).shape
        factors[name] = base ** jax.random.uniform(part, shape, minval=-spread, maxval=spread)
    factors["inertia"] = factors["inertia"] / factors["mass"]  # it multiplies what mass implies
    return physics._replace(**{name: getattr(physics, name) * factor for name, factor in factors.items()})


def clip_dynamics(standard: Physics, physics: Physics, spread: float) -> Physics:
    """Each entry that ``varied`` may change, no further from the standard machine's than it may take it."""
    factors = {name: ratio(getattr(physics, name), getattr(standard, name)) for name in BASES}
    factors["inertia"] = factors["inertia"] * factors["mass"]
    factors = {name: jnp.clip(x, BASES[name] ** -spread, BASES[name] ** spread) for name, x in factors.items()}
    factors["inertia"] = factors["inertia"] / factors["mass"]
    return physics._replace(**{name: getattr(standard, name) * factor for name, factor in factors.items()})


def ratio(value: jax.Array, standard: jax.Array) -> jax.Array:
    """1 where the standard is 0, which no factor changes."""
    return jnp.where(standard == 0, 1.0, value / jnp.where(standard == 0, 1.0, standard))
