"""Forces on a planar machine: motors, springs, dampers and limits of hinges; the ground's push and friction.

What is stiff is integrated implicitly (``motion``), so each force comes with its *resistance*: how much it falls for
each unit of the speed that is to come. Hinges and contacts resist along paths of the tree only, where the mass matrix
has its non-zeros.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp

from metarl_jax.walkers.body import Body, Physics
from metarl_jax.walkers.dynamics import Constants, Matrix, Pair, Pose, Scalar, X, Z, hat, plus, times, turned

TOUCH = 1e-3  # m: contact sets in over so much depth; and rad, limits


class Forces(NamedTuple):
    """Generalised, for links' absolute angles, then x and z: ``[L + 2]``; and their resistances."""

    force: list[Scalar]
    resistance: Matrix


def softly(depth: Scalar) -> tuple[Scalar, Scalar]:
    """``max(0, depth)`` with a rounded corner of width ``TOUCH``, exactly 0 before it, and its slope."""
    slope = jnp.clip(depth / TOUCH, 0.0, 1.0)
    return slope * (depth - 0.5 * TOUCH * slope), slope


def hinge_forces(
    body: Body,
    physics: Physics,
    control: Sequence[Scalar],
    angle: Sequence[Scalar],
    speed: Sequence[Scalar],
    step: Scalar,
) -> Forces:
    """Of motors, springs (towards 0), dampers and limits. ``angle``, ``speed`` are the hinges' ``[J]``.

    A limit, ``e`` past it, pushes back with ``limit_stiffness e (1 + e' / limit_speed)``, never inwards.
    """
    force, resistance = [0.0] * (len(body.links) + 2), {}
    ground = physics.ground
    for j, link in enumerate(body.links[1:]):
        under, under_slope = softly(physics.lower[j] - angle[j])
        over, over_slope = softly(angle[j] - physics.upper[j])
        past, slope = over + under, over_slope + under_slope
        damping = physics.damping[j] + ground.limit_stiffness * past / ground.limit_speed
        torque = physics.gear[j] * control[j] - physics.stiffness[j] * angle[j] - damping * speed[j]
        torque = link.axis * (torque - ground.limit_stiffness * (over - under))
        resists = damping + step * (ground.limit_stiffness * slope)
        i, parent = j + 1, link.parent
        force[i], force[parent] = force[i] + torque, force[parent] - torque
        for key, share in (((i, i), resists), ((parent, parent), resists), ((i, parent), -resists)):
            resistance[key] = resistance.get(key, 0.0) + share
    return Forces(force, resistance)


class Touch(NamedTuple):
    """One contact point: its ``arm`` in its link, turned into the world; the ground's ``push`` and ``drag``; how much
    these fall for each unit of speed along the normal and the tangent."""

    arm: Pair
    push: Scalar
    drag: Scalar
    normal: Scalar
    tangent: Scalar


def touches(
    body: Body,
    physics: Physics,
    const: Constants,
    at: Pose,
    height: Scalar,
    speed: Sequence[Scalar],
    step: Scalar,
) -> list[list[Touch]]:
    """The ground, the plane z = 0, on spheres at contact points, link by link: ``d`` deep, sinking at ``d'``, sliding
    at ``v``.

    Push ``N = stiffness d max(0, 1 + d' / damping_speed)`` (Hunt and Crossley 1975: no pull, no jump on touching);
    friction ``-friction N v / sqrt(v^2 + slip_speed^2)``, Coulomb's for all but the slowest slides. ``height``: of link
    0's origin; ``speed``: absolute, links' and then x and z, ``[L + 2]``.
    """
    ground, found = physics.ground, []
    place, pace = [(0.0, height)], [(speed[X], speed[Z])]  # of the links' origins
    for i, link in enumerate(body.links):
        if i:
            arm = at.anchor[i]
            place.append(plus(place[link.parent], arm))
            pace.append(plus(pace[link.parent], times(speed[link.parent], hat(arm))))
        found.append([])
        for point in const.contacts[i]:
            arm = turned(at.turn[i], point)
            slide, rise = plus(pace[i], times(speed[i], hat(arm)))
            depth, slope = softly(physics.radius[i] - place[i][1] - arm[1])
            stiff = ground.stiffness * depth
            push = stiff * jnp.maximum(0.0, 1.0 - rise / ground.damping_speed)
            normal = stiff / ground.damping_speed + step * ground.stiffness * slope
            tangent = physics.friction[i] * push / jnp.sqrt(slide * slide + ground.slip_speed**2)
            found[i].append(Touch(arm, push, -tangent * slide, normal, tangent))
    return found


def contact_forces(body: Body, at: Pose, touching: list[list[Touch]]) -> Forces:
    """What ``touches`` do to the coordinates above each point: ``J^T f``, and ``J^T diag(tangent, normal) J``."""
    force, resistance = [0.0] * (len(body.links) + 2), {}

    def add(key, share):
        resistance[key] = resistance.get(key, 0.0) + share

    for i, points in enumerate(touching):
        path = (i, *body.ancestors(i))
        for touch in points:
            arms = [touch.arm, *(at.anchor[j] for j in path[:-1])]  # of each link on the path
            moving = list(zip(path, arms, strict=True))
            force[X], force[Z] = force[X] + touch.drag, force[Z] + touch.push
            add((X, X), touch.tangent)
            add((Z, Z), touch.normal)
            for n, (k, (x, z)) in enumerate(moving):
                force[k] = force[k] + touch.drag * z - touch.push * x
                along, across = touch.tangent * z, touch.normal * x
                add((k, X), along)
                add((k, Z), -across)
                for above, other in moving[n:]:
                    add((k, above), along * other[1] + across * other[0])
    return Forces(force, resistance)
