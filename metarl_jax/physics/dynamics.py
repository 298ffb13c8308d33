"""Equations of motion of planar trees, exactly: ``M(q) q'' + bias(q, q') = forces``.

In absolute link angles ``a`` (and the root's x, z) the equations are short. With ``A_j`` the anchor of link j in its
parent and ``B_k = m_k g_k + sum over children j of (mass of j's subtree) A_j``, both turned into the world:

    M_xx = M_zz = total mass    M_rk = B_k^    M_kk = I_k + m_k |g_k|^2 + sum_j m_j |A_j|^2 (a constant)
    M_kl = A_j . B_l  for k above l, j the child of k towards l;  0 for links on different branches

where ``(x, z)^ = (z, -x)`` is the derivative of a turned vector by its angle, and the velocity terms are
``-B_k a_k'^2`` for the root and ``-(A_j^ . B_l) a_l'^2``, ``-(B_l^ . A_j) a_k'^2`` for k and l. All is written out in
scalars, so that ``vmap`` makes of every number one array over machines, and the zeros of the tree are never touched.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.physics.model import Body, Link, Physics

Scalar = Any  # an array of shape (), or a float
Pair = tuple[Scalar, Scalar]
X, Z = -2, -1  # indices of the root's coordinates beside those of links, 0 to L - 1
Matrix = dict[tuple[int, int], Scalar]  # lower half: keys (k, l) with l an ancestor of k, X, Z or k itself


class Constants(NamedTuple):
    """What the equations need of a machine, the same throughout an episode; lists are over links.

    Attributes:
      mass: total mass, kg.
      anchor: ``A``, each link's hinge in its parent's frame.
      first: ``B``, the first moment of mass, in the link's own frame.
      diagonal: ``M_kk``, the diagonal of the mass matrix.
      contacts: centres of the link's contact spheres, in its own frame.
    """

    mass: Scalar
    anchor: list[Pair]
    first: list[Pair]
    diagonal: list[Scalar]
    contacts: list[list[Pair]]


def constants(body: Body, physics: Physics) -> Constants:
    """Computes the constants of the equations of motion from a machine's physical constants.

    Args:
      body: the static structure.
      physics: the constants of one machine; links longer or shorter than the body's scale its anchors and contacts.

    Returns:
      The ``Constants``, lists of ``L`` entries.
    """
    count = len(body.links)
    scale = [physics.length[i] / link.length for i, link in enumerate(body.links)]
    centres, inertias = zip(*(mass_of(link, physics, i, scale[i]) for i, link in enumerate(body.links)), strict=True)
    subtree = [physics.mass[i] for i in range(count)]
    for i in reversed(range(1, count)):
        subtree[body.links[i].parent] = subtree[body.links[i].parent] + subtree[i]
    anchor: list[Pair] = [(0.0, 0.0)]
    anchor += [times(scale[link.parent], link.anchor) for link in body.links[1:]]
    first, diagonal = [], []
    for i in range(count):
        mass, centre = physics.mass[i], centres[i]
        moment, total = times(mass, centre), inertias[i] + mass * dot(centre, centre)
        for j in body.children(i):
            moment = plus(moment, times(subtree[j], anchor[j]))
            total = total + subtree[j] * dot(anchor[j], anchor[j])
        first.append(moment)
        diagonal.append(total)
    contacts = [[times(scale[i], point) for point in link.contacts] for i, link in enumerate(body.links)]
    return Constants(subtree[0], anchor, first, diagonal, contacts)


def mass_of(link: Link, physics: Physics, index: int, scale: Scalar) -> tuple[Pair, Scalar]:
    """Centre of mass and moment of inertia of a link made of capsules of one density.

    Args:
      link: the link as in the standard body.
      physics: the constants of one machine.
      index: the link's index in ``physics``.
      scale: its length over the standard one.

    Returns:
      ``(centre, moment)``: the centre of mass in the link's frame, and the moment of inertia around it.
    """
    radius, volumes, centres, moments = physics.radius[index], [], [], []
    for start, end in link.capsules:
        height = scale * math.hypot(end[0] - start[0], end[1] - start[1])
        cylinder, sphere = math.pi * radius**2 * height, 4.0 / 3.0 * math.pi * radius**3
        volumes.append(cylinder + sphere)
        centres.append(times(0.5 * scale, plus(start, end)))
        moments.append(
            cylinder * (3.0 * radius**2 + height**2) / 12.0
            + sphere * (0.4 * radius**2 + 0.375 * height * radius + 0.25 * height**2)
        )
    volume = sum(volumes)
    centre = (0.0, 0.0)
    for v, c in zip(volumes, centres, strict=True):
        centre = plus(centre, times(v / volume, c))
    moment = 0.0
    for v, c, i in zip(volumes, centres, moments, strict=True):
        away = plus(c, times(-1.0, centre))
        moment = moment + i + v * dot(away, away)
    return centre, physics.inertia[index] * physics.mass[index] / volume * moment


class Pose(NamedTuple):
    """Where links point, link by link.

    Attributes:
      turn: ``(cos, sin)`` of the link's absolute angle.
      anchor: ``Constants.anchor``, turned into the world.
      first: ``Constants.first``, turned into the world.
    """

    turn: list[Pair]
    anchor: list[Pair]
    first: list[Pair]


def pose(body: Body, const: Constants, angle: Sequence[Scalar]) -> Pose:
    """Turns the links' vectors into the world.

    Args:
      body: the static structure.
      const: the constants of the equations.
      angle: absolute angles ``[L]``, rad.

    Returns:
      The ``Pose``, lists of ``L`` entries.
    """
    turns: list[Pair] = [(jnp.cos(a), jnp.sin(a)) for a in angle]
    above = [turns[link.parent] for link in body.links]
    anchors = [turned(turn, point) for turn, point in zip(above, const.anchor, strict=True)]
    return Pose(turns, anchors, [turned(turn, point) for turn, point in zip(turns, const.first, strict=True)])


def mass_matrix(body: Body, const: Constants, at: Pose) -> Matrix:
    """Mass matrix ``M``, for absolute angles.

    Args:
      body: the static structure.
      const: the constants of the equations.
      at: the links' pose.

    Returns:
      The lower half; entries between links on different branches, which are 0, are left out.
    """
    matrix: Matrix = {(X, X): const.mass, (Z, Z): const.mass, (Z, X): 0.0}
    for k in range(len(body.links)):
        matrix[k, k] = const.diagonal[k]
        matrix[k, X], matrix[k, Z] = hat(at.first[k])
        towards = k
        for above in body.ancestors(k):
            matrix[k, above] = dot(at.anchor[towards], at.first[k])
            towards = above
    return matrix


def with_armature(body: Body, matrix: Matrix, armature: Sequence[Scalar]) -> Matrix:
    """Adds the inertia of the hinges' rotors, which resists the hinges' own acceleration.

    Args:
      body: the static structure.
      matrix: the mass matrix, for absolute angles.
      armature: ``[J]``, kg m^2.

    Returns:
      A new matrix with the same keys.
    """
    matrix = dict(matrix)
    for j, link in enumerate(body.links[1:]):
        i, parent = j + 1, link.parent
        for key, sign in (((i, i), 1.0), ((parent, parent), 1.0), ((i, parent), -1.0)):
            matrix[key] = matrix[key] + sign * armature[j]
    return matrix


def bias(body: Body, at: Pose, speed: Sequence[Scalar]) -> list[Scalar]:
    """Velocity terms of the equations (Coriolis and centrifugal), for absolute angular speeds.

    Args:
      body: the static structure.
      at: the links' pose.
      speed: absolute angular speeds ``[L]``, rad/s.

    Returns:
      ``[L + 2]``: of links, then of x and z.
    """
    squares = [w * w for w in speed]
    terms, x, z = [0.0] * len(body.links), 0.0, 0.0
    for k in range(len(body.links)):
        x, z = x - at.first[k][0] * squares[k], z - at.first[k][1] * squares[k]
        towards = k
        for above in body.ancestors(k):
            arm = dot(hat(at.anchor[towards]), at.first[k])
            terms[above] = terms[above] - arm * squares[k]
            terms[k] = terms[k] + arm * squares[above]  # (B^ . A) = -(A^ . B)
            towards = above
    return [*terms, x, z]


def gravity(const: Constants, at: Pose, pull: Pair) -> list[Scalar]:
    """Generalised forces of a uniform acceleration.

    Args:
      const: the constants of the equations.
      at: the links' pose.
      pull: the acceleration ``(x, z)``, m/s^2.

    Returns:
      ``[L + 2]``: of links, then of x and z.
    """
    return [*(dot(hat(first), pull) for first in at.first), const.mass * pull[0], const.mass * pull[1]]


def eliminate(body: Body, matrix: Matrix, right: Sequence[Scalar]) -> tuple[Matrix, list[Scalar]]:
    """Factorizes ``matrix = U^T D U``, from the tips of the tree to its root, and eliminates forwards.

    Nothing but the entry (z, x) is filled in.

    Args:
      body: the static structure.
      matrix: a symmetric positive definite matrix over links, x and z.
      right: the right-hand side ``[L + 2]``.

    Returns:
      ``(U, D^-1 U^-T right)``, with ``U[p, k]`` at the key (k, p); ``substitute`` solves the rest.
    """
    h, b, ratio = dict(matrix), list(right), {}
    for k, above in order(body):
        inverse = 1.0 / h[k, k]
        for i, p in enumerate(above):
            ratio[k, p] = h[k, p] * inverse
            for q in above[i:]:
                h[p, q] = h[p, q] - ratio[k, p] * h[k, q]
            b[p] = b[p] - ratio[k, p] * b[k]
        b[k] = b[k] * inverse
    return ratio, b


def substitute(body: Body, ratio: Matrix, b: Sequence[Scalar]) -> list[Scalar]:
    """Solves the linear system that ``eliminate`` has factorized, by back substitution.

    Args:
      body: the static structure.
      ratio: ``U``, the first result of ``eliminate``.
      b: ``D^-1 U^-T right [L + 2]``, its second result.

    Returns:
      ``matrix^-1 right [L + 2]``.
    """
    found = list(b)
    for k, above in reversed(order(body)):
        for p in above:
            found[k] = found[k] - ratio[k, p] * found[p]
    return found


def order(body: Body) -> list[tuple[int, list[int]]]:
    """Order in which coordinates are eliminated: links from the tips to the root, then z and x.

    Args:
      body: the static structure.

    Returns:
      ``(coordinate, those above it)`` for each coordinate.
    """
    links = [(k, [*body.ancestors(k), Z, X]) for k in reversed(range(len(body.links)))]
    return [*links, (Z, [X]), (X, [])]


def absolute(body: Body, relative: Sequence[Scalar]) -> list[Scalar]:
    """Absolute angles (or angular speeds) of links, from the pitch and the hinges' own.

    Args:
      body: the static structure.
      relative: ``[L]``: the pitch of link 0, then the hinges' angles or speeds.

    Returns:
      ``[L]``, about the y axis.
    """
    found = [relative[0]]
    for i, link in enumerate(body.links[1:], start=1):
        found.append(found[link.parent] + link.axis * relative[i])
    return found


def relative(body: Body, angles: Sequence[Scalar]) -> list[Scalar]:
    """Pitch and hinge angles (or speeds), from the links' absolute ones: the inverse of ``absolute``.

    Args:
      body: the static structure.
      angles: ``[L]``, about the y axis.

    Returns:
      ``[L]``: the pitch of link 0, then the hinges' angles or speeds.
    """
    found = [angles[0]]
    for i, link in enumerate(body.links[1:], start=1):
        found.append(link.axis * (angles[i] - angles[link.parent]))
    return found


def turned(turn: Pair, point: Pair) -> Pair:
    """Rotates a vector by an angle about the y axis.

    Args:
      turn: ``(cos, sin)`` of the angle.
      point: ``(x, z)``.

    Returns:
      The rotated ``(x, z)``.
    """
    cos, sin = turn
    return cos * point[0] + sin * point[1], cos * point[1] - sin * point[0]


def hat(v: Pair) -> Pair:
    """Derivative of a turned vector by its angle, ``(x, z)^ = (z, -x)``.

    Args:
      v: ``(x, z)``.

    Returns:
      ``(z, -x)``.
    """
    return v[1], -v[0]


def dot(u: Pair, v: Pair) -> Scalar:
    """Inner product of two vectors.

    Args:
      u: ``(x, z)``.
      v: ``(x, z)``.

    Returns:
      A scalar.
    """
    return u[0] * v[0] + u[1] * v[1]


def plus(u: Pair, v: Pair) -> Pair:
    """Sum of two vectors.

    Args:
      u: ``(x, z)``.
      v: ``(x, z)``.

    Returns:
      ``(x, z)``.
    """
    return u[0] + v[0], u[1] + v[1]


def times(scale: Scalar, v: Pair) -> Pair:
    """A vector times a scalar.

    Args:
      scale: the scalar.
      v: ``(x, z)``.

    Returns:
      ``(x, z)``.
    """
    return scale * v[0], scale * v[1]


def split(array: jax.Array) -> list[jax.Array]:
    """Splits an array into its entries.

    Args:
      array: ``[D]``.

    Returns:
      A list of ``D`` scalars.
    """
    return [array[i] for i in range(array.shape[0])]
