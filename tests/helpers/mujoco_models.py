"""Our bodies as MuJoCo's."""

import numpy as np

from metarl_jax.physics.model import Body, Physics


def mjcf(body: Body, physics: Physics) -> str:
    """The same machine in MuJoCo's language, its masses spread over capsules by volume."""

    def link_text(i: int) -> str:
        link, scale = body.links[i], float(physics.length[i]) / body.links[i].length
        radius, above = float(physics.radius[i]), body.links[i].parent
        place = np.asarray(link.anchor) * (float(physics.length[above]) / body.links[above].length if i else 1.0)
        ends = [(np.asarray(a) * scale, np.asarray(b) * scale) for a, b in link.capsules]
        volumes = np.array([np.pi * radius**2 * (np.linalg.norm(b - a) + 4 / 3 * radius) for a, b in ends])
        masses = volumes / volumes.sum() * float(physics.mass[i])
        joints = (
            '<joint type="slide" axis="1 0 0"/><joint type="slide" axis="0 0 1"/><joint type="hinge" axis="0 1 0"/>'
            if i == 0
            else f'<joint type="hinge" axis="0 {link.axis} 0" armature="{float(physics.armature[i - 1])!r}"/>'
        )
        geoms = "".join(
            f'<geom type="capsule" fromto="{a[0]} 0 {a[1]} {b[0]} 0 {b[1]}" size="{radius!r}" mass="{m!r}"/>'
            for (a, b), m in zip(ends, masses.tolist(), strict=True)
        )
        inside = "".join(link_text(j) for j in body.children(i))
        return f'<body pos="{float(place[0])!r} 0 {float(place[1])!r}">{joints}{geoms}{inside}</body>'

    gravity = float(physics.gravity)
    return (
        f'<mujoco><compiler angle="radian"/><option gravity="0 0 {-gravity!r}"/>'
        f'<default><geom contype="0" conaffinity="0"/></default><worldbody>{link_text(0)}</worldbody></mujoco>'
    )
