"""Walkers, for the table of ``speed``: how fast, how stable, how true.

Peers of speed: Brax's ``spring`` half-cheetah, and MuJoCo's C library, whose rollouts run on all cores. They are left
out where not installed: ``pip install mujoco brax``.
"""

import functools
import importlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import metarl_jax as mrl
from benchmarks.record import beside, row
from benchmarks.sizes import size
from benchmarks.stepping import ours, random_actions, steps_per_second
from benchmarks.timing import mesh_of, shortest
from metarl_jax.physics import BODIES, Motion, control_step, dynamics, randomize_dynamics, standard
from metarl_jax.tasks.locomotion import WalkerTask

STEPS, FRAME_SKIP = size(200, 2), 5
BATCHES = size((256, 1024), (4,))
BRAX_BAR, MUJOCO_BAR = 10.0, 1.0
TESTED = size(BODIES, {"hopper": BODIES["hopper"]})


def different_bodies() -> mrl.records.TaskDistribution:
    """The half-cheetah of ``cheetah-dir``, each with dynamics of its own."""
    sample = lambda key: WalkerTask(randomize_dynamics(key, standard(BODIES["half-cheetah"]), 3.0), jnp.ones(()))
    return mrl.tasks.cheetah_dir()._replace(sample=sample, tasks=None)


def speed_rows() -> list[dict[str, Any]]:
    """Control steps a second (0.05 s each) under random controls, ours and the peers' in turn."""
    rows = []
    for batch in BATCHES:
        loop = ours(different_bodies(), batch, STEPS, mesh_of(batch))
        rate = steps_per_second(loop, batch, STEPS)
        rows.append(row(f"half-cheetah, {batch} different bodies: k control steps/s", rate / 1e3, "k steps/s"))
        for peer, (measure, bar) in PEERS.items():
            try:
                other = measure(batch)
            except ImportError as error:
                print(f"without {peer}: {error}")
                continue
            name, names = f"half-cheetah, {batch} bodies, against {peer}: ratio", ("k steps/s, ours", f"of {peer}")
            rows.append(beside(name, rate / 1e3, other / 1e3, names, at_least=bar))
    return rows


def brax_rate(batch: int, steps: int = 20) -> float:
    envs: Any = importlib.import_module("brax.envs")
    env = envs.get_environment("halfcheetah", backend="spring")

    @jax.jit
    def loop(key):
        state = jax.vmap(env.reset)(jax.random.split(key, batch))
        actions = random_actions(key, (steps, batch), None, env.action_size)
        step = lambda state, action: (jax.vmap(env.step)(state, action), None)
        return jax.lax.scan(step, state, actions)[0].reward.sum()

    return steps_per_second(loop, batch, steps, repeats=3)


def mujoco_rate(batch: int, steps: int = STEPS) -> float:
    """The same model (as Brax ships it), ``FRAME_SKIP`` steps of 0.01 s a control step, on all cores."""
    brax, mujoco, rollout = (importlib.import_module(name) for name in ("brax", "mujoco", "mujoco.rollout"))
    file = Path(str(brax.__file__)).parent / "envs" / "assets" / "half_cheetah.xml"
    model = mujoco.MjModel.from_xml_path(str(file))
    model.opt.timestep = 0.05 / FRAME_SKIP
    count = len(jax.devices()) if jax.default_backend() == "cpu" else 16
    data = [mujoco.MjData(model) for _ in range(count)]
    size = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS)
    start, generator = np.zeros((batch, size)), np.random.default_rng(0)
    mujoco.mj_getState(model, data[0], start[0], mujoco.mjtState.mjSTATE_FULLPHYSICS)
    start[:] = start[0]
    control = generator.uniform(-1, 1, (batch, steps, model.nu)).repeat(FRAME_SKIP, axis=1)
    with rollout.Rollout(nthread=count) as pool:
        seconds = shortest(lambda: pool.rollout([model] * batch, data, start, control), 3)
    return batch * steps / seconds


PEERS = {"Brax spring": (brax_rate, BRAX_BAR), "MuJoCo C": (mujoco_rate, MUJOCO_BAR)}


@functools.partial(jax.jit, static_argnums=(0, 3))
def random_play(name: str, key: jax.Array, physics: Any, steps: int) -> tuple[jax.Array, ...]:
    """(all finite, lowest and highest torso, greatest speed) of ``[N]`` machines, never restarted."""
    body, count = BODIES[name], physics.gravity.shape[0]
    position = jnp.zeros((count, body.num_hinges + 3)).at[:, 1].set(body.height)
    start = Motion(position, jnp.zeros_like(position))

    def step(motion, key):
        controls = jax.random.uniform(key, (count, body.num_hinges), minval=-1.0)
        motion = jax.vmap(functools.partial(control_step, body))(physics, motion, controls)
        finite = jnp.isfinite(motion.position).all() & jnp.isfinite(motion.velocity).all()
        height, speed = motion.position[:, 1], jnp.abs(motion.velocity)
        return motion, (finite, height.min(), height.max(), speed.max())

    finite, low, high, speed = jax.lax.scan(step, start, jax.random.split(key, steps))[1]
    return finite.all(), low.min(), high.max(), speed.max()


def stability_rows(count: int = size(1000, 2), steps: int = size(1000, 2)) -> list[dict[str, Any]]:
    """A million random control steps of each body, with the widest dynamics of ``walker-dynamics``."""
    rows = []
    for name in TESTED:
        physics = jax.vmap(randomize_dynamics, (0, None, None))(
            jax.random.split(jax.random.key(0), count), standard(BODIES[name]), 3.0
        )
        finite, low, high, speed = (float(x) for x in random_play(name, jax.random.key(1), physics, steps))
        what = f"{name}, {count * steps:,} random control steps, widest dynamics"
        heights = {"lowest": low, "highest": high}
        rows.append(row(f"{what}: all finite", finite, "share", at_least=1.0))
        rows.append(row(f"{what}: highest torso, m", high, "m", at_most=5.0, parts=heights))
        rows.append(row(f"{what}: greatest speed, m/s or rad/s", speed, "m/s or rad/s", at_most=200.0))
    return rows


@functools.partial(jax.jit, static_argnums=(0, 3, 4))
def play_freely(name: str, physics: Any, motion: Motion, substeps: int, steps: int) -> Motion:
    still = jnp.zeros(BODIES[name].num_hinges)
    step = lambda motion, _: (control_step(BODIES[name], physics, motion, still, substeps), None)
    return jax.lax.scan(step, motion, length=steps)[0]


def drift_rows(steps: int = size(1000, 2)) -> list[dict[str, Any]]:
    """Free flight without gravity, damping, springs or limits, in float64: relative drift of the kinetic energy at the
    body's substep, at half and at a quarter of it."""
    rows = []
    for name, body in TESTED.items():
        with jax.enable_x64(True):
            none, generator = jnp.zeros(body.num_hinges), np.random.default_rng(0)
            free = dict(damping=none, stiffness=none, lower=none - 1e6, upper=none + 1e6, gravity=jnp.zeros(()))
            physics = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), standard(body)._replace(**free))
            position = jnp.asarray(0.3 * generator.normal(size=body.num_hinges + 3)).at[1].set(1e4)
            start = Motion(position, jnp.asarray(generator.normal(size=position.shape)).at[:2].set(0.0))
            ends = [play_freely(name, physics, start, body.substeps * finer, steps) for finer in (1, 2, 4)]
            before, *after = (float(kinetic_energy(body, physics, motion)) for motion in (start, *ends))
        drifts = [abs(energy / before - 1.0) for energy in after]
        title = f"{name}: drift of energy in free flight, {steps:,} control steps (substep, its half, its quarter)"
        parts = dict(zip(("substep", "its half", "its quarter"), drifts, strict=True))
        rows.append(row(title, drifts[0], "share", parts=parts))
    return rows


def kinetic_energy(body, physics, motion: Motion) -> jax.Array:
    """``v M v / 2`` in MuJoCo's coordinates."""
    const = dynamics.constants(body, physics)
    x_speed, z_speed, *turning = motion.velocity
    at = dynamics.pose(body, const, dynamics.absolute(body, list(motion.position[2:])))
    speed = [*dynamics.absolute(body, turning), x_speed, z_speed]
    total = 0.5 * jnp.sum(physics.armature * motion.velocity[3:] ** 2)
    for (k, p), value in dynamics.mass_matrix(body, const, at).items():
        total = total + (0.5 if k == p else 1.0) * value * speed[k] * speed[p]
    return total


def rows() -> list[dict[str, Any]]:
    return [*stability_rows(), *drift_rows(), *speed_rows()]
