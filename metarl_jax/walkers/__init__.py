"""Planar walking machines in pure JAX: many bodies, every one with constants of its own, in one vmapped program."""

from metarl_jax.walkers.bodies import BODIES, half_cheetah, hopper, walker2d
from metarl_jax.walkers.body import Body, Ground, Link, Physics, standard
from metarl_jax.walkers.drawing import picture
from metarl_jax.walkers.motion import Motion, at_rest, control_step
from metarl_jax.walkers.variation import varied, within

__all__ = [
    "BODIES",
    "Body",
    "Ground",
    "Link",
    "Motion",
    "Physics",
    "at_rest",
    "control_step",
    "half_cheetah",
    "hopper",
    "picture",
    "standard",
    "varied",
    "walker2d",
    "within",
]
