"""Motion in time: conservation, contact, gradients against finite differences, and MuJoCo's own trajectory."""

import functools
import itertools

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from helpers.mujoco_models import mjcf

from metarl_jax.physics import BODIES, Motion, at_rest, control_step, randomize_dynamics, standard
from metarl_jax.physics import dynamics as dyn
from metarl_jax.physics import integrator as motion
from metarl_jax.records import ConfigError

NAMES = list(BODIES)


def in_full(*names: str) -> pytest.MarkDecorator:
    """Each body, but only these without ``-m slow``: the code is one, and each body compiles for a while."""
    return pytest.mark.parametrize(
        "name", [pytest.param(n, marks=() if n in names else pytest.mark.slow) for n in NAMES]
    )


def free(physics, **more):
    """Nothing that takes energy or gives it, but gravity."""
    none = jnp.zeros_like(physics.damping)
    return physics._replace(damping=none, stiffness=none, lower=none - 1e3, upper=none + 1e3, **more)


def high_up(body, seed: int = 0) -> Motion:
    generator = np.random.default_rng(seed)
    position = generator.normal(size=body.num_hinges + 3)
    return Motion(jnp.asarray(position).at[1].set(1e3), jnp.asarray(generator.normal(size=position.shape)))


def conserved(body, physics, motion: Motion) -> dict[str, jax.Array]:
    """Energy, momentum along x and angular momentum about the centre of mass."""
    const = dyn.constants(body, physics)
    _, z, *angle = motion.position
    speed_x, speed_z, *turning = motion.velocity
    at, spin = dyn.pose(body, const, dyn.absolute(body, angle)), dyn.absolute(body, turning)
    rotors = jnp.sum(physics.armature * motion.velocity[3:] ** 2)
    matrix, speed = dyn.mass_matrix(body, const, at), [*spin, speed_x, speed_z]
    momentum = [0.0] * len(speed)
    for (k, p), value in matrix.items():
        momentum[k] = momentum[k] + value * speed[p]
        if p % len(speed) != k % len(speed):
            momentum[p] = momentum[p] + value * speed[k]
    centre = [z * const.mass + sum(first[1] for first in at.first), sum(first[0] for first in at.first)]
    kinetic = 0.5 * sum(p * v for p, v in zip(momentum, speed, strict=True)) + 0.5 * rotors
    # About the root, then moved to the centre of mass: L - c^ . p.
    c_x, c_z = centre[1] / const.mass, centre[0] / const.mass - z
    angular = sum(momentum[: len(body.links)]) - (c_z * momentum[-2] - c_x * momentum[-1])
    return {"energy": kinetic + physics.gravity * centre[0], "momentum": momentum[-2], "angular": angular}


@in_full("hopper")
def test_free_flight_conserves_energy_and_momentum_at_the_order_of_the_integrator(name):
    """Half the substep, half the error."""
    with jax.enable_x64(True):
        body = BODIES[name]
        physics = free(standard(body), gravity=jnp.asarray(0.0))
        start, drifts = high_up(body), []
        before = conserved(body, physics, start)
        for finer in (1, 2, 4):
            step = jax.jit(functools.partial(control_step, body, substeps=16 * finer))
            motion = start
            for _ in range(20):
                motion = step(physics, motion, jnp.zeros(body.num_hinges))
            after = conserved(body, physics, motion)
            drifts.append([float(abs(after[k] / before[k] - 1)) for k in before])
        print(f"{name}: relative drift of {', '.join(before)} over 20 control steps {drifts}")
        for coarse, fine in itertools.pairwise(drifts):
            assert (np.asarray(fine) < 0.65 * np.asarray(coarse)).all()
        assert max(drifts[-1]) < 2e-2


@in_full("half-cheetah")
def test_trajectories_are_mujocos(name):
    """0.4 s in the air, springs and dampers at work: ours converges to MuJoCo's Runge-Kutta."""
    with jax.enable_x64(True):
        body = BODIES[name]
        physics = standard(body)
        wide = jnp.full(body.num_hinges, 1e3)
        physics = physics._replace(lower=-wide, upper=wide)
        text = mjcf(body, physics).replace("<option ", '<option integrator="RK4" timestep="0.0005" ')
        for link in body.links[1:]:  # their springs and dampers, one by one
            plain, more = f'armature="{link.armature!r}"', f'damping="{link.damping}" stiffness="{link.stiffness}"'
            text = text.replace(plain, f'armature="{link.armature} " {more}', 1)
        model = mujoco.MjModel.from_xml_string(text)
        data, start = mujoco.MjData(model), high_up(body)
        data.qpos[:], data.qvel[:] = start.position, start.velocity
        mujoco.mj_step(model, data, 800)
        away, count = [], round(0.4 / body.control_seconds)
        for substeps in (64, 128):
            step = jax.jit(functools.partial(control_step, body, substeps=substeps))
            motion = start
            for _ in range(count):
                motion = step(physics, motion, jnp.zeros(body.num_hinges))
            away.append(np.abs(motion.position - data.qpos).max())
        assert away[1] < 0.6 * away[0] and away[1] < 2e-2


@in_full("walker2d")
def test_the_ground_carries_and_holds(name):
    """Left alone it comes to rest on the ground: not through it, not sliding; on ice on a slope it slides down."""
    body = BODIES[name]
    start = at_rest(body)
    rest = control = jnp.zeros(body.num_hinges)

    @jax.jit
    def later(physics):
        steps = round(10 / body.control_seconds)
        return jax.lax.scan(lambda m, _: (control_step(body, physics, m, control), m), start, length=steps)

    physics = standard(body)._replace(stiffness=200.0 + rest, damping=5.0 + rest, armature=0.1 + rest)
    end, path = later(physics)
    assert np.abs(end.velocity).max() < 0.02 and np.isfinite(path.position).all()
    const = dyn.constants(body, physics)
    at = dyn.pose(body, const, dyn.absolute(body, list(end.position[2:])))
    heights, lowest = {0: end.position[1]}, []
    for i, link in enumerate(body.links):
        if i:
            heights[i] = heights[link.parent] + at.anchor[i][1]
        lowest += [heights[i] + dyn.turned(at.turn[i], point)[1] - physics.radius[i] for point in const.contacts[i]]
    assert -0.02 < float(min(lowest)) < 0.0
    icy = physics._replace(friction=0.0 * physics.friction, slope=jnp.asarray(0.2))
    slid, held = (
        path.position[-1, 0] - path.position[len(path.position) // 2, 0]
        for _, path in (later(icy), later(physics._replace(slope=jnp.asarray(0.1))))
    )
    assert slid < -10.0 and abs(held) < 0.2


@in_full("hopper")
def test_the_ground_only_pushes(name):
    """One substep without gravity, feet in the ground, every hinge driven either way: momentum never goes down, and it
    goes up for all who are not leaving anyway."""
    body, generator, count = BODIES[name], np.random.default_rng(5), 400
    physics = standard(body)._replace(gravity=jnp.zeros(()))
    const = dyn.constants(body, physics)
    depth, rise = generator.uniform(0.0, 0.02, count), generator.uniform(-1.0, 10.0, count)
    lowest = resting_height(body, physics)
    position = jnp.zeros((count, body.num_hinges + 3)).at[:, 1].set(lowest - depth)
    velocity = jnp.zeros_like(position).at[:, 1].set(rise)
    controls = jnp.asarray(generator.choice([-1.0, 1.0], (count, body.num_hinges)), jnp.float32)

    @jax.jit
    @jax.vmap
    def impulse(position, velocity, control):
        short = body._replace(substeps=1)
        after = control_step(short, physics, Motion(position, velocity), control)
        return momentum(body, const, after) - momentum(body, const, Motion(position, velocity))

    found = np.asarray(impulse(position, velocity, controls))
    assert found.min() > -1e-2, "it pulls"
    assert (found[rise < 0] > 0).all() and (found < 1e-2).any()


def resting_height(body, physics) -> float:
    """Of link 0 in the standard pose, its lowest point on the ground."""
    const = dyn.constants(body, physics)
    at = dyn.pose(body, const, [0.0] * len(body.links))
    heights, lowest = [0.0], []
    for i, link in enumerate(body.links):
        if i:
            heights.append(heights[link.parent] + float(at.anchor[i][1]))
        lowest += [heights[i] + float(point[1]) - float(physics.radius[i]) for point in const.contacts[i]]
    return -min(lowest)


def momentum(body, const, motion: Motion):
    """Along z."""
    at = dyn.pose(body, const, dyn.absolute(body, list(motion.position[2:])))
    spin = dyn.absolute(body, list(motion.velocity[2:]))
    return const.mass * motion.velocity[1] + sum(dyn.hat(first)[1] * w for first, w in zip(at.first, spin, strict=True))


def test_limits_only_push_outwards():
    """0.1 rad past a limit and leaving it, slowly and fast: pushed, or let go; never held back."""
    body = BODIES["hopper"]
    physics = standard(body)._replace(damping=jnp.zeros(3), gravity=jnp.zeros(()))
    position = jnp.zeros(6).at[1].set(10.0).at[3:].set(physics.upper + jnp.array([-0.3, -0.3, 0.1]))
    step = jax.jit(functools.partial(control_step, body._replace(substeps=1)))
    for speed in (2.0, 0.0, -1.0, -5.0, -20.0):
        motion = Motion(position, jnp.zeros(6).at[5].set(speed))
        with_limits = step(physics, motion, jnp.zeros(3))
        freely = step(physics._replace(upper=physics.upper + 10.0), motion, jnp.zeros(3))
        held = with_limits.velocity[3:] - freely.velocity[3:]
        assert float(held[2]) < 1e-4 and (speed < -2.0 or float(held[2]) < -0.01)


@in_full("hopper")
def test_gradients_are_finite_differences(name):
    """Of what a walk on the ground ends in, by every control and every physical constant."""
    with jax.enable_x64(True):
        body, generator = BODIES[name], np.random.default_rng(3)
        size = body.num_hinges + 3
        position = jnp.asarray(0.05 * generator.normal(size=size)).at[1].set(body.height - 0.06)
        start = Motion(position, jnp.asarray(0.5 * generator.normal(size=size)))
        weights = jnp.asarray(generator.normal(size=(2, size)))
        controls = jnp.asarray(generator.uniform(-0.9, 0.9, (4, body.num_hinges)))
        physics = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), standard(body))
        # Limits that bind, a slope, and everything away from 0.
        limits = dict(lower=jnp.full(size - 3, -0.02), upper=jnp.full(size - 3, 0.03))
        physics = physics._replace(slope=jnp.asarray(0.05), stiffness=physics.stiffness + 1.0, **limits)

        @jax.jit
        def end(inputs):
            controls, physics = inputs
            last, path = jax.lax.scan(lambda m, c: (control_step(body, physics, m, c),) * 2, start, controls)
            return jnp.sum(weights[0] * last.position + weights[1] * 0.1 * path.velocity.sum(axis=0))

        inputs = (controls, physics)
        gradient = jax.jit(jax.grad(end))(inputs)
        leaves, structure = jax.tree.flatten(inputs)
        for i, (path, found) in enumerate(jax.tree_util.tree_leaves_with_path(gradient)):
            direction, step = generator.normal(size=found.shape), 1e-6 * (1.0 + float(np.abs(leaves[i]).max()))
            moved = [[*leaves[:i], leaves[i] + sign * step * direction, *leaves[i + 1 :]] for sign in (1, -1)]
            up, down = (float(end(jax.tree.unflatten(structure, each))) for each in moved)
            wanted = (up - down) / (2 * step)
            name_of = jax.tree_util.keystr(path)
            assert np.abs(wanted) > 1e-9, f"{name_of} has no effect here"
            np.testing.assert_allclose(np.sum(found * direction), wanted, rtol=1e-3, err_msg=name_of)


def test_wrong_shapes_are_named():
    body, other = BODIES["hopper"], BODIES["walker2d"]
    start, step = at_rest(body), functools.partial(control_step, body)
    for physics, at, control, substeps, word in (
        (standard(body), start, jnp.zeros(4), None, r"control=\(4,\).*\(3,\)"),
        (standard(body), start, jnp.zeros(()), None, "control"),
        (standard(body), at_rest(other), jnp.zeros(3), None, r"position=\(9,\)"),
        (standard(other), start, jnp.zeros(3), None, "gear"),
        (standard(body), start, jnp.zeros(3), 0, "substeps=0"),
        (standard(body), start, jnp.zeros(3), 2.5, "substeps=2.5"),
    ):
        with pytest.raises(ConfigError, match=word):
            step(physics, at, control, substeps)


@in_full("half-cheetah")
def test_random_play_stays_finite_whatever_the_machine(name):
    """The widest dynamics that tasks are drawn from (a million steps: ``python -m benchmarks.speed walking``)."""
    body, count = BODIES[name], 64
    physics = jax.vmap(randomize_dynamics, (0, None, None))(
        jax.random.split(jax.random.key(0), count), standard(body), 3.0
    )
    start = Motion(*jnp.zeros((2, count, body.num_hinges + 3)))
    start = start._replace(position=start.position.at[:, 1].set(body.height))
    controls = jax.random.uniform(jax.random.key(1), (200, count, body.num_hinges), minval=-1.0)
    step = jax.vmap(functools.partial(control_step, body))
    path = jax.jit(lambda c: jax.lax.scan(lambda m, c: (step(physics, m, c),) * 2, start, c)[1])(controls)
    assert np.isfinite(path.position).all() and np.abs(path.velocity).max() < 200.0
    assert path.position[..., 1].max() < 5.0


def test_stages_change_nothing(monkeypatch):
    """What is stored between stages on CPUs is what one fused program computes, as other backends run it."""
    body = BODIES["hopper"]
    physics, start = standard(body), Motion(jnp.zeros(6).at[1].set(body.height - 0.05), jnp.ones(6))
    control = jnp.array([0.5, -1.0, 0.3])
    staged = control_step(body, physics, start, control)
    monkeypatch.setattr(motion, "fusion_barrier", lambda true, function, *args: function(*args))
    whole = control_step(body, physics, start, control)
    for found, wanted in zip(staged, whole, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
