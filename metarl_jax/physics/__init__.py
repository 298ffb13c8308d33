"""Planar walking machines in pure JAX: many bodies, every one with constants of its own, in one vmapped program."""

from metarl_jax.physics.integrator import Motion, at_rest, control_step
from metarl_jax.physics.model import Body, Ground, Link, Physics, standard
from metarl_jax.physics.models import BODIES, half_cheetah, hopper, walker2d
from metarl_jax.physics.randomize import clip_dynamics, randomize_dynamics
from metarl_jax.physics.render import picture

__all__ = [
    "BODIES",
    "Body",
    "Ground",
    "Link",
    "Motion",
    "Physics",
    "at_rest",
    "clip_dynamics",
    "control_step",
    "half_cheetah",
    "hopper",
    "picture",
    "randomize_dynamics",
    "standard",
    "walker2d",
]
