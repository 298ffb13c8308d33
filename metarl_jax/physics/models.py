"""The half-cheetah, walker2d and hopper of the MuJoCo benchmarks (Todorov et al. 2012; Gymnasium's models, v4).

Dimensions, masses, gears and control rates are those of the standard models; angles are about the y axis, in radians.
"""

import math
from typing import Any

from metarl_jax.physics.model import Body, Link, Vector

DEGREE = math.pi / 180


def capsule(centre: Vector, half: float, angle: float) -> tuple[Vector, Vector]:
    """Ends of the axis of a capsule.

    Args:
      centre: ``(x, z)``, m.
      half: half the axis' length, m.
      angle: about the y axis, rad; at 0 the axis points up.

    Returns:
      The upper end and the lower one, at angle 0.
    """
    x, z = half * math.sin(angle), half * math.cos(angle)
    return (centre[0] + x, centre[1] + z), (centre[0] - x, centre[1] - z)


def _volume(link: Link) -> float:
    total = 0.0
    for (x, z), (to_x, to_z) in link.capsules:
        total += math.pi * link.radius**2 * (math.hypot(to_x - x, to_z - z) + 4.0 / 3.0 * link.radius)
    return total


def _of_density(density: float, *links: Link) -> tuple[Link, ...]:
    """The links with masses of their volumes, ``density`` in kg/m^3."""
    return tuple(link._replace(mass=density * _volume(link)) for link in links)


def half_cheetah() -> Body:
    """The half-cheetah: 7 links, 6 motors, 14 kg; 20 control steps a second.

    Returns:
      The body.
    """

    def leg_part(name, parent, anchor, centre, half, angle, touching, **hinge: Any):
        axis = capsule(centre, half, angle)
        lowest_last = sorted(axis, key=lambda end: -end[1])
        touches = tuple(lowest_last[2 - touching :])
        return Link(name, parent, anchor, (axis,), 0.046, touches, friction=0.4, armature=0.1, **hinge)

    torso = ((-0.5, 0.0), (0.5, 0.0))
    head = capsule((0.6, 0.1), 0.15, 0.87)
    links = (
        Link("torso", 0, (0.0, 0.0), (torso, head), 0.046, (*torso, head[0]), friction=0.4),
        leg_part("bthigh", 0, (-0.5, 0.0), (0.1, -0.13), 0.145, -3.8, 1, damping=6.0, stiffness=240.0, gear=120.0),
        leg_part("bshin", 1, (0.16, -0.25), (-0.14, -0.07), 0.15, -2.03, 0, damping=4.5, stiffness=180.0, gear=90.0),
        leg_part("bfoot", 2, (-0.28, -0.14), (0.03, -0.097), 0.094, -0.27, 2, damping=3.0, stiffness=120.0, gear=60.0),
        leg_part("fthigh", 0, (0.5, 0.0), (-0.07, -0.12), 0.133, 0.52, 1, damping=4.5, stiffness=180.0, gear=120.0),
        leg_part("fshin", 4, (-0.14, -0.24), (0.065, -0.09), 0.106, -0.6, 0, damping=3.0, stiffness=120.0, gear=60.0),
        leg_part("ffoot", 5, (0.13, -0.18), (0.045, -0.07), 0.07, -0.6, 2, damping=1.5, stiffness=60.0, gear=30.0),
    )
    limits = ((-0.52, 1.05), (-0.785, 0.785), (-0.4, 0.785), (-1.0, 0.7), (-1.2, 0.87), (-0.5, 0.5))
    links = (links[0], *(link._replace(limits=pair) for link, pair in zip(links[1:], limits, strict=True)))
    density = 14.0 / sum(_volume(link) for link in links)
    return Body("half-cheetah", _of_density(density, *links), height=0.7, substep=0.01, substeps=5, zero_height=0.7)


def _upright(foot: tuple[float, float], legs: tuple[tuple[str, float], ...], **hinge: Any) -> tuple[Link, ...]:
    """A torso on legs of thigh, leg and foot, each ``(ending of names, friction of the foot)``."""
    up_down = lambda length: (((0.0, 0.0), (0.0, -length)),)
    hinge = dict(axis=-1.0) | hinge
    torso = ((0.0, 0.2), (0.0, -0.2))
    links = [Link("torso", 0, (0.0, 0.0), (torso,), 0.05, torso, friction=0.9)]
    bent, turned = (-150 * DEGREE, 0.0), (-45 * DEGREE, 45 * DEGREE)
    for ending, friction in legs:
        at = len(links)
        ends = ((foot[0], 0.0), (foot[1], 0.0))
        thigh = Link(f"thigh{ending}", 0, (0.0, -0.2), up_down(0.45), 0.05, (), friction=0.9, limits=bent, **hinge)
        leg = Link(
            f"leg{ending}", at, (0.0, -0.45), up_down(0.5), 0.04, ((0.0, 0.0),), friction=0.9, limits=bent, **hinge
        )
        flat = Link(
            f"foot{ending}", at + 1, (0.0, -0.5), (ends,), 0.06, ends, friction=friction, limits=turned, **hinge
        )
        links += [thigh, leg, flat]
    return _of_density(1000.0, *links)


def walker2d() -> Body:
    """The walker: 7 links, 6 motors on two legs; 125 control steps a second.

    Returns:
      The body.
    """
    hinge = dict(armature=0.01, damping=0.1, gear=100.0)
    links = _upright((0.0, 0.2), (("", 0.9), ("_left", 1.9)), **hinge)
    return Body("walker2d", links, height=1.25, substep=0.004, substeps=2)


def hopper() -> Body:
    """The hopper: 4 links, 3 motors on one leg; 125 control steps a second.

    Returns:
      The body.
    """
    hinge = dict(armature=1.0, damping=1.0, gear=200.0)
    return Body("hopper", _upright((-0.13, 0.26), (("", 2.0),), **hinge), height=1.25, substep=0.004, substeps=2)


BODIES = {body.name: body for body in (half_cheetah(), walker2d(), hopper())}
