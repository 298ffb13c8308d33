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
    """A link as it is in the standard body, in its own frame.

    The frame's origin is the link's hinge, and its axes are those of the world when all angles are 0. The ``length`` is
    that of the first capsule's axis.

    Attributes:
      name: for people.
      parent: index of the link that it hangs on.
      anchor: its hinge in its parent's frame, m.
      capsules: the ends of the axes of the capsules that it is made of, m.
      radius: of its capsules and contact spheres, m.
      contacts: centres of the spheres by which it touches the ground, m.
      axis: 1, or -1 where the hinge's angle counts against the y axis.
      mass: kg.
      friction: Coulomb's coefficient.
      damping: of its hinge, N m s/rad.
      stiffness: of its hinge's spring towards angle 0, N m/rad.
      armature: inertia of its hinge's rotor, kg m^2.
      gear: torque of its motor at full control, N m.
      limits: least and greatest angle of its hinge, rad.
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
    """How contact and joint limits give way, see ``forces``.

    Attributes:
      stiffness: of contact, N/m.
      damping_speed: m/s; the greater, the less contact damps.
      slip_speed: m/s; slides that are slower meet less than Coulomb's friction.
      limit_stiffness: of joint limits, N m/rad.
      limit_speed: rad/s; the greater, the less joint limits damp.
    """

    stiffness: jax.Array | float = 2e4
    damping_speed: jax.Array | float = 0.3
    slip_speed: jax.Array | float = 0.05
    limit_stiffness: jax.Array | float = 1e3
    limit_speed: jax.Array | float = 2.0


class Body(NamedTuple):
    """The static structure of a machine.

    Attributes:
      name: of the body, as in ``BODIES``.
      links: each after its parent.
      height: of link 0's origin as an episode begins, feet some centimetres above the ground, m.
      substep: of the integrator, in seconds.
      substeps: number of substeps in a control step.
      zero_height: where the standard model counts height 0, m.
    """

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
        """Links between a link and the root.

        Args:
          link: index of a link.

        Returns:
          Indices from its parent to link 0; empty for link 0.
        """
        above = []
        while link:
            link = self.links[link].parent
            above.append(link)
        return tuple(above)

    def children(self, link: int) -> tuple[int, ...]:
        """Links that hang directly on a link.

        Args:
          link: index of a link.

        Returns:
          Their indices, ascending.
        """
        return tuple(i for i, other in enumerate(self.links) if i and other.parent == link)


class Physics(NamedTuple):
    """The constants of one machine and its ground, every one of them free to differ from task to task.

    Attributes:
      mass: ``[L]``, kg.
      length: ``[L]``, m.
      radius: ``[L]``, m.
      inertia: ``[L]``, multiplies what mass, length and radius imply (1: consistent).
      friction: ``[L]``, Coulomb's coefficient.
      damping: ``[J]``, of hinges, N m s/rad.
      stiffness: ``[J]``, of hinges' springs towards angle 0, N m/rad.
      armature: ``[J]``, inertia of hinges' rotors, kg m^2.
      gear: ``[J]``, torque at full control, N m.
      lower: ``[J]``, least angle, rad.
      upper: ``[J]``, greatest angle, rad.
      gravity: m/s^2.
      slope: of the ground, rad, uphill ahead.
      ground: how contact and joint limits give way.
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
    """The physical constants of a body as published.

    Args:
      body: the static structure.

    Returns:
      The constants, every leaf an array.
    """
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
    """A float array of numbers.

    Args:
      values: a number, or numbers of any shape.

    Returns:
      An array of the default float type, of their shape.
    """
    return jnp.asarray(np.asarray(values), float)
