"""Time: a control step of a planar machine, in substeps of linearly implicit, semi-implicit Euler."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.config import check
from metarl_jax.physics.dynamics import (
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
from metarl_jax.physics.forces import Forces, Touch, contact_forces, hinge_forces, limit_forces, touches
from metarl_jax.physics.fusion_barrier import fusion_barrier
from metarl_jax.physics.model import Body, Physics


class Motion(NamedTuple):
    """Where a machine is and how it moves.

    Attributes:
      position: ``[3 + J]``: x and z of link 0's origin (m), its pitch and the hinges' angles (rad).
      velocity: ``[3 + J]``, their time derivatives.
    """

    position: jax.Array
    velocity: jax.Array


def at_rest(body: Body) -> Motion:
    """The standard pose, standing still.

    Args:
      body: the static structure.

    Returns:
      All positions and velocities 0, but for the height of link 0.
    """
    size = body.num_hinges + 3
    return Motion(jnp.zeros(size).at[1].set(body.height), jnp.zeros(size))


def control_step(
    body: Body, physics: Physics, motion: Motion, control: jax.Array, substeps: int | None = None
) -> Motion:
    """Integrates one control step, ``body.control_seconds`` long, under constant controls.

    Link poses are taken once a substep:

        (M + h R) (q'_new - q') = h (forces - bias),    q_new = q + h q'_new

    with ``R`` the resistances of hinges and contacts, so that dampers, limits and the ground may be as stiff as they
    like; without them it is semi-implicit (symplectic) Euler. It is solved twice, first without limits and ground: how
    the machine would move then tells which of these push.

    Args:
      body: the static structure.
      physics: the constants of one machine; ``vmap`` over machines.
      motion: position and velocity ``[3 + J]`` before the step.
      control: ``[J]``, each a share of its motor's gear, clipped to [-1, 1].
      substeps: in how many substeps; None: the body's.

    Returns:
      The motion after the step.

    Raises:
      ConfigError: when ``substeps`` is not a positive whole number, or an array is not of one machine's shape.
    """
    count = body.substeps if substeps is None else substeps
    check(isinstance(count, int) and count >= 1, "substeps", count, "must be a whole number of at least 1")
    shapes = dict(control=(control, body.num_hinges), position=(motion.position, body.num_hinges + 3))
    shapes |= dict(velocity=(motion.velocity, body.num_hinges + 3), gear=(physics.gear, body.num_hinges))
    for name, (value, size) in shapes.items():
        check(jnp.shape(value) == (size,), name, jnp.shape(value), f"must have shape ({size},): vmap over machines")
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
    """One substep, in stages of which XLA fuses each by itself (``fusion_barrier``).

    Args:
      body: the static structure.
      physics: the constants of the machine and its ground.
      const: the constants of the equations.
      control: ``[J]``, within [-1, 1].
      position: ``[3 + J]``, as in ``Motion``.
      velocity: ``[3 + J]``, as in ``Motion``.
      step: length of the substep, in seconds.
      true: the boolean that ``fusion_barrier`` asks for.

    Returns:
      Position and velocity ``[3 + J]`` after the substep.
    """
    x, z, *angle = position
    speed_x, speed_z, *turning = velocity
    at, turns, hinges = fusion_barrier(true, _begun, body, physics, const, control, angle, turning)
    speed = [*turns, speed_x, speed_z]
    touching = fusion_barrier(true, touches, body, physics, const, at, z, step)
    matrix, right = fusion_barrier(true, _free_system, body, physics, const, at, speed, hinges, step)
    free = fusion_barrier(true, _moved, body, speed, *fusion_barrier(true, eliminate, body, matrix, right))
    matrix, right = fusion_barrier(
        true, _system, body, physics, at, touching, angle, turning, speed, free, matrix, right, step
    )
    *new, new_x, new_z = _moved(body, speed, *fusion_barrier(true, eliminate, body, matrix, right))
    velocity = [new_x, new_z, *relative(body, new)]
    position = [old + step * rate for old, rate in zip((x, z, *angle), velocity, strict=True)]
    return position, velocity


def _begun(body: Body, physics: Physics, const, control, angle, turning) -> tuple[Pose, list[Scalar], Forces]:
    """Where links are and how they turn, and what their hinges do."""
    at, turns = pose(body, const, absolute(body, angle)), absolute(body, turning)
    return at, turns, hinge_forces(body, physics, control, angle[1:], turning[1:])


def _free_system(
    body: Body, physics: Physics, const: Constants, at: Pose, speed: list[Scalar], hinges: Forces, step: Scalar
) -> tuple[Matrix, list[Scalar]]:
    """``(M + h R, h (forces - bias))`` without limits and ground."""
    pull = (-physics.gravity * jnp.sin(physics.slope), -physics.gravity * jnp.cos(physics.slope))
    weight, fictitious = gravity(const, at, pull), bias(body, at, speed[:-2])
    matrix = with_armature(body, mass_matrix(body, const, at), split(physics.armature))
    right = [step * (w - f) for w, f in zip(weight, fictitious, strict=True)]
    return _with_forces(matrix, right, hinges, step)


def _system(
    body: Body,
    physics: Physics,
    at: Pose,
    touching: list[list[Touch]],
    angle: list[Scalar],
    turning: list[Scalar],
    speed: list[Scalar],
    free: list[Scalar],
    matrix: Matrix,
    right: list[Scalar],
    step: Scalar,
) -> tuple[Matrix, list[Scalar]]:
    """The same with them."""
    free_turning = relative(body, free[:-2])
    limits = limit_forces(body, physics, angle[1:], turning[1:], free_turning[1:], step)
    contacts = contact_forces(body, physics, at, touching, speed, free)
    return _with_forces(*_with_forces(matrix, right, limits, step), contacts, step)


def _with_forces(matrix: Matrix, right: Sequence[Scalar], more: Forces, step: Scalar) -> tuple[Matrix, list[Scalar]]:
    """``(matrix + h R, right + h f)``."""
    matrix = matrix | {key: matrix[key] + step * share for key, share in more.resistance.items()}
    return matrix, [old + step * force for old, force in zip(right, more.force, strict=True)]


def _moved(body: Body, speed: Sequence[Scalar], ratio: Matrix, right: Sequence[Scalar]) -> list[Scalar]:
    """Speeds after the step, absolute ``[L + 2]``, of what ``eliminate`` made of the equations."""
    return [old + change for old, change in zip(speed, substitute(body, ratio, right), strict=True)]
