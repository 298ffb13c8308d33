"""A machine as a picture, drawn from the poses of its links."""

import numpy as np

from metarl_jax.physics.dynamics import Pair, absolute, turned
from metarl_jax.physics.model import Body, Physics

SKY, GROUND, MARK, TORSO = (236, 240, 244), (196, 188, 172), (150, 142, 128), (90, 90, 96)
ARROW, BROKEN = (0, 158, 115), (250, 250, 250)
LEGS = ((213, 94, 0), (0, 114, 178))  # of a first and of a second leg
WIDTH, HEIGHT, SCALE, FINER = 200, 130, 62.0, 3  # pixels; pixels a metre; and how many a pixel is drawn with


def picture(body: Body, physics: Physics, position: np.ndarray | None = None, goal: float = 0.0) -> np.ndarray:
    """Draws a machine on its ground.

    The view moves along with it, the ground is turned by the slope, and marks on it stand a metre apart. Links are the
    darker the heavier they are for their kind, and white where their motor is broken.

    Args:
      body: the static structure.
      physics: the constants of one machine.
      position: ``[3 + J]``, as in ``Motion``; None: the standard pose.
      goal: length of an arrow that is drawn, ahead if positive, back if negative; 0: none.

    Returns:
      uint8 RGB ``[130, 200, 3]``.
    """
    from PIL import Image, ImageDraw

    position = np.array([0.0, body.height] + [0.0] * (1 + body.num_hinges)) if position is None else position
    image = Image.new("RGB", (WIDTH * FINER, HEIGHT * FINER), SKY)
    draw = ImageDraw.Draw(image)
    tilt = float(physics.slope)

    def pixel(x: float, z: float) -> tuple[float, float]:
        """Of a point in the ground's frame, which is seen level, to one on the picture, which is not."""
        ahead = x - position[0]
        across, up = ahead * np.cos(tilt) - z * np.sin(tilt), ahead * np.sin(tilt) + z * np.cos(tilt)
        return FINER * (WIDTH / 2 + SCALE * across), FINER * (HEIGHT * 0.85 - SCALE * up)

    far = WIDTH / SCALE
    left, right = position[0] - far, position[0] + far
    draw.polygon([pixel(left, 0.0), pixel(right, 0.0), pixel(right, -far), pixel(left, -far)], fill=GROUND)
    for metre in range(int(np.ceil(left)), int(right) + 1):
        draw.line([pixel(metre, 0.0), pixel(metre, -0.12)], fill=MARK, width=FINER)
    poses = pose(body, physics, position)
    for index in _drawing_order(body):
        link = body.links[index]
        scale = float(physics.length[index]) / link.length
        (origin, turn), paint = poses[index], _colour(body, physics, index)
        width = 2.0 * float(physics.radius[index]) * SCALE * FINER
        for ends in link.capsules:
            dots = [pixel(*(origin + scale * np.array(turned(turn, end)))) for end in ends]
            draw.line(dots, fill=paint, width=round(width))
            for x, z in dots:
                draw.ellipse([x - width / 2, z - width / 2, x + width / 2, z + width / 2], fill=paint)
    if goal:
        start, end = FINER * WIDTH / 2, FINER * (WIDTH / 2 + 25.0 * goal)
        top, head = FINER * 12.0, FINER * (5.0 if goal > 0 else -5.0)
        draw.line([(start, top), (end, top)], fill=ARROW, width=2 * FINER)
        draw.polygon([(end - head, top - abs(head)), (end - head, top + abs(head)), (end + head, top)], fill=ARROW)
    return np.asarray(image.resize((WIDTH, HEIGHT), Image.Resampling.BOX))


def pose(body: Body, physics: Physics, position: np.ndarray) -> list[tuple[np.ndarray, Pair]]:
    """Where links are drawn.

    Args:
      body: the static structure.
      physics: the constants of one machine.
      position: ``[3 + J]``, as in ``Motion``.

    Returns:
      For each link, its origin ``[2]`` in metres, and the cosine and sine of its absolute angle.
    """
    turns: list[Pair] = [(np.cos(angle), np.sin(angle)) for angle in absolute(body, list(position[2:]))]
    origins = [position[:2]]
    for link in body.links[1:]:
        scale = float(physics.length[link.parent]) / body.links[link.parent].length
        origins.append(origins[link.parent] + scale * np.array(turned(turns[link.parent], link.anchor)))
    return list(zip(origins, turns, strict=True))


def _leg_of(body: Body, index: int) -> int:
    """Which of the torso's children a link hangs on; -1 for the torso."""
    if not index:
        return -1
    path = (index, *body.ancestors(index))
    return body.children(0).index(path[-2])


def _drawing_order(body: Body) -> list[int]:
    """The last leg first, behind the others."""
    return sorted(range(len(body.links)), key=lambda index: -_leg_of(body, index) if index else 0)


def _colour(body: Body, physics: Physics, index: int) -> tuple[int, int, int]:
    link = body.links[index]
    if index and link.gear and not float(physics.gear[index - 1]):
        return BROKEN
    plain = np.asarray(LEGS[_leg_of(body, index) % len(LEGS)] if index else TORSO)
    heavy = np.clip(np.log(float(physics.mass[index]) / link.mass) / np.log(4.0), -1.0, 1.0)
    mixed = plain * (1.0 - 0.6 * max(heavy, 0.0)) + (255 - plain) * 0.6 * max(-heavy, 0.0)
    return tuple(int(x) for x in mixed.round())  # type: ignore[return-value]
