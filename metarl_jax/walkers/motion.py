"""Time: a control step of a planar machine, in substeps of linearly implicit, semi-implicit Euler."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.walkers.body import Body, Physics
from metarl_jax.walkers.dynamics import (
    Constants,
    Matrix,
    Pose,
    Scalar,
    absolute,
    bias,
    constants,
    eliminate,
    gravity,
    mass_matrix,
    pose,
    relative,
    split,
    substitute,
    with_armature,
)
from metarl_jax.walkers.forces import Forces, contact_forces, hinge_forces, touches
from metarl_jax.walkers.stages import stage


class Motion(NamedTuple):
    """``position``: x, z of link 0's origin, its pitch, the hinges' angles; ``velocity``: theirs. ``[3 + J]`` each."""

    position: jax.Array
    velocity: jax.Array


def control_step(
    body: Body, physics: Physics, motion: Motion, control: jax.Array, substeps: int | None = None
) -> Motion:
    """``body.control_seconds`` under ``control [J]``, each within [-1, 1] of its motor's gear; ``substeps``: the
    body's, unless said otherwise. Link poses are taken once a substep:

        (M + h R) (q'_new - q') = h (forces - bias),    q_new = q + h q'_new

    with ``R`` the resistances of hinges and contacts, so that dampers, limits and the ground may be as stiff as they
    like; without them it is semi-implicit (symplectic) Euler.
    """
    count = substeps or body.substeps
    const, step = constants(body, physics), body.control_seconds / count
    controls = [jnp.clip(c, -1.0, 1.0) for c in split(control)]

    def fine(state, index):
        return substep(body, physics, const, controls, state[0], state[1], step, index >= 0), None

    (position, velocity), _ = jax.lax.scan(fine, (split(motion.position), split(motion.velocity)), jnp.arange(count))
    return Motion(jnp.stack(position), jnp.stack(velocity))


def substep(
    body: Body,
    physics: Physics,
    const: Constants,
    control: Sequence[Scalar],
    position: Sequence[Scalar],
    velocity: Sequence[Scalar],
    step: Scalar,
    true: jax.Array,
) -> tuple[list[Scalar], list[Scalar]]:
    """In stages, ``true`` being what ``stage`` asks for."""
    x, z, *angle = position
    speed_x, speed_z, *turning = velocity
    at, speed, hinges = stage(true, begun, body, physics, const, control, angle, turning, step)
    speed = [*speed, speed_x, speed_z]
    touching = stage(true, touches, body, physics, const, at, z, speed, step)
    whole, right = stage(true, system, body, physics, const, at, speed, hinges, touching, step)
    ratio, right = stage(true, eliminate, body, whole, right)
    *change, change_x, change_z = substitute(body, ratio, right)
    velocity = [speed_x + change_x, speed_z + change_z]
    velocity += [old + new for old, new in zip(turning, relative(body, change), strict=True)]
    position = [old + step * rate for old, rate in zip((x, z, *angle), velocity, strict=True)]
    return position, velocity


def begun(body: Body, physics: Physics, const, control, angle, turning, step) -> tuple[Pose, list[Scalar], Forces]:
    """Where links are and how they turn, and what their hinges do."""
    at, speed = pose(body, const, absolute(body, angle)), absolute(body, turning)
    return at, speed, hinge_forces(body, physics, control, angle[1:], turning[1:], step)


def system(
    body: Body, physics: Physics, const, at: Pose, speed, hinges: Forces, touching, step
) -> tuple[Matrix, list[Scalar]]:
    """``(M + h R, h (forces - bias))``."""
    contacts = contact_forces(body, at, touching)
    pull = (-physics.gravity * jnp.sin(physics.slope), -physics.gravity * jnp.cos(physics.slope))
    forces = zip(hinges.force, contacts.force, gravity(const, at, pull), bias(body, at, speed[:-2]), strict=True)
    right = [step * (hinge + contact + weight - fictitious) for hinge, contact, weight, fictitious in forces]
    matrix = with_armature(body, mass_matrix(body, const, at), split(physics.armature))
    for resistance in (hinges.resistance, contacts.resistance):
        for key, share in resistance.items():
            matrix[key] = matrix[key] + step * share
    return matrix, right
