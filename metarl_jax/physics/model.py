"""What a planar walking machine is made of: static structure, and the physical constants of one machine.

A machine is a tree of links in the x-z plane (x ahead, z up). Link 0 is free: x, z and pitch; every other hangs on its
parent by one hinge. Angles are about the y axis, as in MuJoCo: a positive pitch bows the front down,
``R(a) (x, z) = (x cos a + z sin a, z cos a - x sin a)``. Axis letters: ``[L]`` links, ``[J]`` hinges, ``J = L - 1``.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Vector = tuple[float, float]  # (x, z)


class Link(NamedTuple):
    """A link as it is in the standard body, in metres, in its own frame: origin at its hinge, axes those of the world
    when all angles are 0.

    ``capsules``: the ends of the axes of what it is made of; ``contacts``: centres of the spheres, of the link's
    radius, by which it touches the ground; ``anchor``: its hinge in its parent's frame; ``axis``: 1, or -1 where the
    hinge's angle counts against the y axis. ``length`` is that of the first capsule's axis.
    """

    name: str
    parent: int
    anchor: Vector
    capsules: tuple[tuple[Vector, Vector], ...]
    radius: float
    contacts: tuple[Vector, ...]
    axis: float = 1.0
    mass: float = 1.0
    friction: float = 1.0
    damping: float = 0.0
    stiffness: float = 0.0
    armature: float = 0.0
    gear: float = 0.0
    limits: tuple[float, float] = (-1.0, 1.0)

    @property
    def length(self) -> float:
        (x, z), (to_x, to_z) = self.capsules[0]
        return float(np.hypot(to_x - x, to_z - z))


class Ground(NamedTuple):
    """How contact and joint limits give way, see ``forces``: N/m, m/s, m/s, N m/rad and rad/s."""

    stiffness: jax.Array | float = 2e4
    damping_speed: jax.Array | float = 0.3
    slip_speed: jax.Array | float = 0.05
    limit_stiffness: jax.Array | float = 1e3
    limit_speed: jax.Array | float = 2.0


class Body(NamedTuple):
    """``height``: of link 0's origin as an episode begins, feet some centimetres above the ground; ``substep``: of the
    integrator, in seconds; ``substeps``: of a control step; ``zero_height``: where the standard model counts height 0.
    A link comes after its parent."""

    name: str
    links: tuple[Link, ...]
    height: float
    substep: float
    substeps: int
    zero_height: float = 0.0

    @property
    def num_hinges(self) -> int:
        return len(self.links) - 1

    @property
    def control_seconds(self) -> float:
        return self.substep * self.substeps

    def ancestors(self, link: int) -> tuple[int, ...]:
        """From its parent to link 0."""
        above = []
        while link:
            link = self.links[link].parent
            above.append(link)
        return tuple(above)

    def children(self, link: int) -> tuple[int, ...]:
        return tuple(i for i, other in enumerate(self.links) if i and other.parent == link)


class Physics(NamedTuple):
    """The constants of one machine and its ground, every one of them free to differ from task to task.

    ``inertia [L]`` multiplies what mass, length and radius imply (1: consistent). ``friction [L]`` is Coulomb's
    coefficient. ``damping`` (N m s/rad), ``stiffness`` (N m/rad, towards angle 0), ``armature`` (kg m^2) and ``gear``
    (N m at full control) ``[J]`` are the hinges', ``lower`` and ``upper [J]`` their limits (rad). ``gravity``: m/s^2.
    ``slope``: rad, uphill ahead.
    """

    mass: jax.Array
    length: jax.Array
    radius: jax.Array
    inertia: jax.Array
    friction: jax.Array
    damping: jax.Array
    stiffness: jax.Array
    armature: jax.Array
    gear: jax.Array
    lower: jax.Array
    upper: jax.Array
    gravity: jax.Array
    slope: jax.Array
    ground: Ground


def standard(body: Body) -> Physics:
    """The body as published."""
    of_links = lambda name: array([getattr(link, name) for link in body.links])
    of_hinges = lambda name: array([getattr(link, name) for link in body.links[1:]])
    return Physics(
        mass=of_links("mass"),
        length=of_links("length"),
        radius=of_links("radius"),
        inertia=jnp.ones(len(body.links)),
        friction=of_links("friction"),
        damping=of_hinges("damping"),
        stiffness=of_hinges("stiffness"),
        armature=of_hinges("armature"),
        gear=of_hinges("gear"),
        lower=array([link.limits[0] for link in body.links[1:]]),
        upper=array([link.limits[1] for link in body.links[1:]]),
        gravity=array(9.81),
        slope=array(0.0),
        ground=Ground(*(array(x) for x in Ground())),
    )


def array(values: Sequence[float] | jax.Array | float) -> jax.Array:
    return jnp.asarray(np.asarray(values), float)
