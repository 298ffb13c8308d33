"""Machines that differ from a standard one by factors, after Rakelly et al. 2019."""

import jax
import jax.numpy as jnp

from metarl_jax.physics.model import Physics

BASES = dict(mass=1.5, inertia=1.5, damping=1.3, friction=1.5)


def randomize_dynamics(key: jax.Array, physics: Physics, spread: float) -> Physics:
    """Multiplies masses, moments of inertia, dampings and frictions by random factors ``b^u`` (Rakelly et al. 2019).

    ``u`` is uniform in ``[-spread, spread]``, drawn for each entry; the bases ``b`` are ``BASES``. Moments of inertia
    vary independently of the masses.

    Args:
      key: a random key.
      physics: the standard machine.
      spread: the greatest exponent.

    Returns:
      A machine of the same shapes.
    """
    factors = {}
    for (name, base), part in zip(BASES.items(), jax.random.split(key, len(BASES)), strict=True):
        shape = getattr(physics, name).shape
        factors[name] = base ** jax.random.uniform(part, shape, minval=-spread, maxval=spread)
    factors["inertia"] = factors["inertia"] / factors["mass"]  # it multiplies what mass implies
    return physics._replace(**{name: getattr(physics, name) * factor for name, factor in factors.items()})


def clip_dynamics(standard: Physics, physics: Physics, spread: float) -> Physics:
    """Clips a machine's constants to what ``randomize_dynamics`` can make of the standard one.

    Args:
      standard: the standard machine.
      physics: the machine to clip.
      spread: the greatest exponent.

    Returns:
      The standard machine with masses, moments of inertia, dampings and frictions as near to ``physics`` as allowed.
    """
    factors = {name: ratio(getattr(physics, name), getattr(standard, name)) for name in BASES}
    factors["inertia"] = factors["inertia"] * factors["mass"]
    factors = {name: jnp.clip(x, BASES[name] ** -spread, BASES[name] ** spread) for name, x in factors.items()}
    factors["inertia"] = factors["inertia"] / factors["mass"]
    return physics._replace(**{name: getattr(standard, name) * factor for name, factor in factors.items()})


def ratio(value: jax.Array, standard: jax.Array) -> jax.Array:
    """Ratio of a constant to the standard one; 1 where the standard is 0, which no factor changes.

    Args:
      value: of any shape.
      standard: of the same shape.

    Returns:
      Ratios of that shape.
    """
    return jnp.where(standard == 0, 1.0, value / jnp.where(standard == 0, 1.0, standard))
