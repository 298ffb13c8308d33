"""Forces on a planar machine: motors, springs, dampers and limits of hinges; the ground's push and friction.

What is stiff is integrated implicitly (``integrator``), so each force comes with its *resistance*: how much it falls
for each unit of the speed that is to come. Hinges and contacts resist along paths of the tree only, where the mass
matrix has its non-zeros.

Ground and limits only push. Whether one does in this substep follows from how the machine would move without them:
``stiff - normal s`` is what it would push at the end, ``s`` the speed there at which it is left; where the free motion
is faster than ``stiff / normal`` it is left anyway, else the push holds it between the two. Exact for one contact.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.physics.dynamics import Constants, Matrix, Pair, Pose, Scalar, X, Z, hat, plus, times, turned
from metarl_jax.physics.model import Body, Physics

TOUCH = 1e-3  # m: contact sets in over so much depth; and rad, limits


class Forces(NamedTuple):
    """Generalised forces, for links' absolute angles, then x and z.

    Attributes:
      force: ``[L + 2]``.
      resistance: how much each force falls per unit of the speed that is to come, as the lower half of a matrix.
    """

    force: list[Scalar]
    resistance: Matrix


def _softly(depth: Scalar) -> tuple[Scalar, Scalar]:
    """``max(0, depth)`` with a rounded corner of width ``TOUCH``, exactly 0 before it, and its slope."""
    slope = jnp.clip(depth / TOUCH, 0.0, 1.0)
    return slope * (depth - 0.5 * TOUCH * slope), slope


def _one_sided(stiff: Scalar, normal: Scalar, leaving: Scalar, free: Scalar) -> tuple[jax.Array, jax.Array]:
    """``(push, resistance)`` of what only pushes: at the speed ``leaving`` now, ``free`` after the step without it."""
    pushes = (stiff > 0) & (normal * free < stiff)
    return jnp.where(pushes, stiff - normal * leaving, 0.0), jnp.where(pushes, normal, 0.0)


def hinge_forces(
    body: Body, physics: Physics, control: Sequence[Scalar], angle: Sequence[Scalar], speed: Sequence[Scalar]
) -> Forces:
    """Forces of motors, of springs towards angle 0, and of dampers.

    Args:
      body: the static structure.
      physics: the constants of the machine.
      control: ``[J]``, shares of the motors' gears.
      angle: the hinges' angles ``[J]``, rad.
      speed: the hinges' speeds ``[J]``, rad/s.

    Returns:
      Forces on the links, and the dampers' resistances.
    """
    torque = [
        physics.gear[j] * control[j] - physics.stiffness[j] * angle[j] - physics.damping[j] * speed[j]
        for j in range(body.num_hinges)
    ]
    return _at_hinges(body, torque, [physics.damping[j] for j in range(body.num_hinges)])


def limit_forces(
    body: Body,
    physics: Physics,
    angle: Sequence[Scalar],
    speed: Sequence[Scalar],
    free: Sequence[Scalar],
    step: Scalar,
) -> Forces:
    """Forces of joint limits, which only push a hinge back into its range.

    Where the angle is ``e`` past a limit, the torque is ``limit_stiffness e (1 + e' / limit_speed)``.

    Args:
      body: the static structure.
      physics: the constants of the machine and its ground.
      angle: the hinges' angles ``[J]``, rad.
      speed: the hinges' speeds ``[J]``, rad/s.
      free: the hinges' speeds ``[J]`` after the step without limits and ground.
      step: length of the substep, in seconds.

    Returns:
      Forces on the links, and the limits' resistances.
    """
    torque, resists = [], []
    for j in range(body.num_hinges):
        under, under_slope = _softly(physics.lower[j] - angle[j])
        over, over_slope = _softly(angle[j] - physics.upper[j])
        side = jnp.where(over > 0, 1.0, -1.0)
        stiff = physics.ground.limit_stiffness * (over + under)
        normal = stiff / physics.ground.limit_speed
        normal = normal + step * physics.ground.limit_stiffness * (over_slope + under_slope)
        push, resistance = _one_sided(stiff, normal, -side * speed[j], -side * free[j])
        torque.append(-side * push)
        resists.append(resistance)
    return _at_hinges(body, torque, resists)


def _at_hinges(body: Body, torque: Sequence[Scalar], resists: Sequence[Scalar]) -> Forces:
    """Torques ``[J]`` in the hinges' own sense, each on a link and against its parent."""
    force: list[Scalar] = [0.0] * (len(body.links) + 2)
    resistance: Matrix = {}
    for j, link in enumerate(body.links[1:]):
        i, parent = j + 1, link.parent
        force[i], force[parent] = force[i] + link.axis * torque[j], force[parent] - link.axis * torque[j]
        for key, share in (((i, i), resists[j]), ((parent, parent), resists[j]), ((i, parent), -resists[j])):
            resistance[key] = resistance.get(key, 0.0) + share
    return Forces(force, resistance)


class Touch(NamedTuple):
    """One contact point.

    Attributes:
      arm: ``(x, z)`` from its link's origin, turned into the world, down to the ground.
      stiff: what it would push at the end of the substep, were it not leaving (the module's docstring).
      normal: how much that push falls per unit of speed away from the ground.
    """

    arm: Pair
    stiff: Scalar
    normal: Scalar


def touches(
    body: Body, physics: Physics, const: Constants, at: Pose, height: Scalar, step: Scalar
) -> list[list[Touch]]:
    """Contact points of all links: spheres on the plane z = 0.

    Args:
      body: the static structure.
      physics: the constants of the machine and its ground.
      const: the constants of the equations.
      at: the links' pose.
      height: z of link 0's origin, in metres.
      step: length of the substep, in seconds.

    Returns:
      For each link, a list of its contact points.
    """
    ground, found, place = physics.ground, [], [height]
    for i, link in enumerate(body.links):
        if i:
            place.append(place[link.parent] + at.anchor[i][1])
        found.append([])
        for point in const.contacts[i]:
            x, z = turned(at.turn[i], point)
            depth, slope = _softly(physics.radius[i] - place[i] - z)
            stiff = ground.stiffness * depth
            normal = stiff / ground.damping_speed + step * ground.stiffness * slope
            found[i].append(Touch((x, z - physics.radius[i]), stiff, normal))
    return found


def _point_speeds(body: Body, at: Pose, touching: list[list[Touch]], speed: Sequence[Scalar]) -> list[list[Pair]]:
    """How each contact point slides (ahead) and rises. ``speed``: absolute, links' and then x and z, ``[L + 2]``."""
    pace, found = [(speed[X], speed[Z])], []  # of the links' origins
    for i, link in enumerate(body.links):
        if i:
            pace.append(plus(pace[link.parent], times(speed[link.parent], hat(at.anchor[i]))))
        found.append([plus(pace[i], times(speed[i], hat(touch.arm))) for touch in touching[i]])
    return found


def contact_forces(
    body: Body,
    physics: Physics,
    at: Pose,
    touching: list[list[Touch]],
    speed: Sequence[Scalar],
    free: Sequence[Scalar],
) -> Forces:
    """Forces of the ground: ``d`` deep, sinking at ``d'``, sliding at ``v``.

    Push ``N = stiffness d (1 + d' / damping_speed)``, never a pull (Hunt and Crossley 1975: no jump on touching);
    friction ``-friction N v / sqrt(v^2 + slip_speed^2)``, Coulomb's for all but the slowest slides, but for its ``N``:
    it takes the push at the substep's start, before the implicit solve has softened it. On landing that is up to 13 %
    too much of an impulse, and settles with the substep. On coordinates ``J^T f``, resisting with
    ``J^T diag(tangent, normal) J``.

    Args:
      body: the static structure.
      physics: the constants of the machine and its ground.
      at: the links' pose.
      touching: the contact points, link by link.
      speed: absolute speeds ``[L + 2]`` now.
      free: absolute speeds ``[L + 2]`` after the step without limits and ground.

    Returns:
      Forces on the links and the root, and their resistances.
    """
    force: list[Scalar] = [0.0] * (len(body.links) + 2)
    resistance: Matrix = {}

    def add(key, share):
        resistance[key] = resistance.get(key, 0.0) + share

    now, then = (_point_speeds(body, at, touching, each) for each in (speed, free))
    for i, points in enumerate(touching):
        path = (i, *body.ancestors(i))
        for touch, (slide, rise), (_, free_rise) in zip(points, now[i], then[i], strict=True):
            push, normal = _one_sided(touch.stiff, touch.normal, rise, free_rise)
            slip = jnp.sqrt(slide * slide + physics.ground.slip_speed**2)
            tangent = physics.friction[i] * jnp.maximum(push, 0.0) / slip
            drag = -tangent * slide
            arms = [touch.arm, *(at.anchor[j] for j in path[:-1])]  # of each link on the path
            moving = list(zip(path, arms, strict=True))
            force[X], force[Z] = force[X] + drag, force[Z] + push
            add((X, X), tangent)
            add((Z, Z), normal)
            for n, (k, (x, z)) in enumerate(moving):
                force[k] = force[k] + drag * z - push * x
                along, across = tangent * z, normal * x
                add((k, X), along)
                add((k, Z), -across)
                for above, other in moving[n:]:
                    add((k, above), along * other[1] + across * other[0])
    return Forces(force, resistance)
