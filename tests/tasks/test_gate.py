"""The point mass and its gate: against the rules, written again in numpy, and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import tasks
from metarl_jax.tasks.gate import GateState, GateTask

ENV = tasks.gate().env


def stepped(body, action, noise, position, width):
    """As the literature's environment has it."""
    body, action = np.array(body, float), np.clip(action, -10, 10)
    for jolt in noise:
        slope = np.array([body[1], 1.5 * action[0] + jolt[0], body[3], 1.5 * action[1] + jolt[1]])
        after = np.clip(body + 0.01 * slope, [-4, -np.inf, -4, -np.inf], [4, np.inf, 4, np.inf])
        if body[2] >= 0 > after[2] or body[2] <= 0 < after[2]:
            share = -body[2] / (after[2] - body[2])
            x = share * after[0] + (1 - share) * body[0]
            if abs(x - position) > 0.5 * width:
                return np.array([x, 0, 0, 0]), True
        body = after
    return body, False


def test_steps_are_those_of_the_rules():
    rng, crashes, passed = np.random.default_rng(0), 0, 0
    advance = jax.jit(ENV.step)
    for trial in range(40):
        position, width = rng.uniform(-4, 4), rng.uniform(0.5, 8)
        task, body = GateTask(jnp.float32(position), jnp.float32(width)), np.array([0.0, 0, 3, 0])
        state = ENV.reset((), task)
        np.testing.assert_array_equal(state.body, body)
        for _ in range(30):
            action = rng.normal(size=2) * 8 + np.array([0, -4 if trial % 2 else 3])
            noise = 0.05 * rng.normal(size=(10, 2))
            wanted, crash = stepped(body, action, noise, position, width)
            state, reward, terminated, _ = advance(jnp.float32(noise), state, jnp.float32(action), task)
            np.testing.assert_allclose(state.body, wanted, atol=2e-4)
            assert bool(terminated) == crash
            assert float(reward) == pytest.approx(np.exp(-0.6 * np.hypot(wanted[0], wanted[2] + 3)), rel=1e-3)
            crashes += crash
            passed += body[2] > 0 > wanted[2] and not crash
            if crash:
                break
            body = np.asarray(state.body, float)
    assert crashes > 5 and passed > 5


def test_noise_is_drawn_for_each_substep():
    noise = np.asarray(ENV.sample_noise(jax.random.key(0), (5000,)))
    assert noise.shape == (5000, 10, 2)
    assert noise.std() == pytest.approx(0.05, rel=0.01) and abs(noise.mean()) < 1e-3


def test_gates():
    batch = jax.vmap(tasks.gate().sample)(jax.random.split(jax.random.key(0), 4000))
    assert -4 <= batch.position.min() < -3.9 and 3.9 < batch.position.max() <= 4
    assert 0.5 <= batch.width.min() < 0.6 and 7.9 < batch.width.max() <= 8
    narrow = tasks.gate(gates="target")
    assert sorted(np.asarray(narrow.tasks.position).tolist()) == [-3.0, 3.0]
    np.testing.assert_array_equal(narrow.tasks.width, 0.5)
    seen = ENV.observe(GateState(jnp.arange(4.0), jnp.int32(0)), GateTask(jnp.float32(-3), jnp.float32(0.5)))
    np.testing.assert_array_equal(seen, [0, 1, 2, 3, -3, 0.5])
    assert tasks.gate(gate_visible=False).env.spec.observation_shape == (4,)
