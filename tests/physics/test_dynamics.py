"""Mass matrix, bias forces and contact geometry of the machines against MuJoCo's C library and against energy."""

import functools

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from helpers.mujoco_models import mjcf

from metarl_jax.physics import BODIES, standard
from metarl_jax.physics import dynamics as dyn
from metarl_jax.physics.model import Body, Physics

NAMES = list(BODIES)
MASSES = {  # kg, of Gymnasium's models as MuJoCo compiles them
    "half-cheetah": [6.2502, 1.5435, 1.5874, 1.0954, 1.4381, 1.2008, 0.8845],
    "walker2d": [3.6652, 4.0579, 2.7814, 3.1667, 4.0579, 2.7814, 3.1667],
    "hopper": [3.6652, 4.0579, 2.7814, 5.3156],
}
INERTIAS = {  # kg m^2, likewise
    "half-cheetah": [0.89712, 0.01684, 0.01827, 0.00635, 0.01374, 0.00822, 0.00353],
    "walker2d": [0.06925, 0.0933, 0.0723, 0.024, 0.0933, 0.0723, 0.024],
    "hopper": [0.06925, 0.0933, 0.0723, 0.10352],
}


def varied(body: Body, seed: int) -> Physics:
    """No constant as published, so that none can be forgotten."""
    generator = np.random.default_rng(seed)
    return jax.tree.map(
        lambda x: jnp.asarray(np.asarray(x, np.float64) * generator.uniform(0.6, 1.6, np.shape(x))), standard(body)
    )._replace(inertia=jnp.ones(len(body.links)), slope=jnp.zeros(()))


def generalised(body: Body, physics: Physics, position, velocity):
    """``(M, bias - gravity)`` in MuJoCo's coordinates: x, z, pitch, hinges."""
    const = dyn.constants(body, physics)
    _, _, *angle = position
    _, _, *turning = velocity
    at, speed = dyn.pose(body, const, dyn.absolute(body, angle)), dyn.absolute(body, turning)
    matrix = dyn.with_armature(body, dyn.mass_matrix(body, const, at), physics.armature)
    size = len(body.links) + 2
    full = jnp.zeros((size, size))
    for (k, p), value in matrix.items():
        full = full.at[k % size, p % size].set(value).at[p % size, k % size].set(value)
    forces = zip(dyn.bias(body, at, speed), dyn.gravity(const, at, (0.0, -physics.gravity)), strict=True)
    rest = jnp.stack([fictitious - weight for fictitious, weight in forces])
    # Absolute velocities [links, x, z] by MuJoCo's [x, z, pitch, hinges].
    to_links = jax.jacobian(lambda angle: jnp.stack(dyn.absolute(body, list(angle))))(jnp.zeros(size - 2))
    change = jnp.zeros((size, size)).at[: size - 2, 2:].set(to_links).at[size - 2, 0].set(1).at[size - 1, 1].set(1)
    return change.T @ full @ change, change.T @ rest


@pytest.mark.parametrize("name", NAMES)
def test_mass_matrix_and_bias_are_mujocos(name):
    """1,000 random states in float64, of machines with constants of their own."""
    with jax.enable_x64(True):
        body = BODIES[name]
        size, generator = len(body.links) + 2, np.random.default_rng(0)
        worst = [0.0, 0.0]
        ours = jax.jit(jax.vmap(functools.partial(generalised, body), (None, 0, 0)))
        for seed in range(4):
            physics = varied(body, seed)
            model = mujoco.MjModel.from_xml_string(mjcf(body, physics))
            data = mujoco.MjData(model)
            position, velocity = generator.normal(size=(250, size)) * 2, generator.normal(size=(250, size)) * 5
            matrices, biases = ours(physics, jnp.asarray(position), jnp.asarray(velocity))
            for i in range(250):
                data.qpos[:], data.qvel[:] = position[i], velocity[i]
                mujoco.mj_forward(model, data)
                full = np.zeros((size, size))
                mujoco.mj_fullM(model, data, full)
                for n, (found, wanted) in enumerate(((matrices[i], full), (biases[i], data.qfrc_bias))):
                    worst[n] = max(worst[n], np.abs(found - wanted).max() / np.abs(wanted).max())
        print(f"{name}: mass matrix {worst[0]:.1e}, bias {worst[1]:.1e} relative")
        assert max(worst) < 1e-12


@pytest.mark.parametrize("name", NAMES)
def test_masses_and_inertias_are_the_published_ones(name):
    body, physics = BODIES[name], standard(BODIES[name])
    np.testing.assert_allclose(physics.mass, MASSES[name], atol=1e-4)
    found = [dyn.mass_of(link, physics, i, 1.0)[1] for i, link in enumerate(body.links)]
    np.testing.assert_allclose(found, INERTIAS[name], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_elimination_solves(name):
    """Against numpy, for a matrix that has everything which contacts and hinges may add."""
    with jax.enable_x64(True):
        body, generator = BODIES[name], np.random.default_rng(1)
        size = len(body.links) + 2
        full, matrix = np.zeros((size, size)), {}
        for k, above in dyn.order(body):
            for p in (k, *above):
                value = generator.normal() + (8.0 if p == k else 0.0)
                matrix[k, p] = value
                full[k, p] = full[p, k] = value
        right = generator.normal(size=size)
        found = dyn.substitute(body, *dyn.eliminate(body, matrix, list(right)))
        np.testing.assert_allclose(np.asarray(found, float), np.linalg.solve(full, right), rtol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_relative_undoes_absolute(name):
    body, angles = BODIES[name], np.random.default_rng(2).normal(size=len(BODIES[name].links))
    np.testing.assert_allclose(dyn.relative(body, dyn.absolute(body, list(angles))), angles, rtol=1e-6, atol=1e-6)
