"""Points on the plane against their rules in numpy, and their references against played episodes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import tasks

FAMILIES = {
    "dense": tasks.navigation,
    "sparse": tasks.sparse_navigation,
    "progress": tasks.corner_navigation,
    "corner distance": lambda: tasks.corner_navigation(reward="distance"),
}
NUM = 300


def drawn(distribution) -> np.ndarray:
    return np.asarray(jax.jit(jax.vmap(distribution.sample))(jax.random.split(jax.random.key(0), NUM)).goal)


def live(env, goals: np.ndarray, moves: np.ndarray):
    """Rewards ``[T, N]`` and positions ``[T + 1, N, 2]`` of one episode of ``moves [T, N, 2]``."""
    batch = tasks.REGISTRY["navigation"]().sample(jax.random.key(0))._replace(goal=jnp.asarray(goals))
    start = jax.vmap(env.reset, in_axes=(None, 0))((), batch)

    def step(state, move):
        new, reward, terminated, _ = jax.vmap(env.step, in_axes=(None, 0, 0, 0))((), state, move, batch)
        return new, (reward, new.position, terminated)

    rewards, positions, ended = jax.jit(lambda s, m: jax.lax.scan(step, s, m)[1])(start, jnp.asarray(moves))
    assert not ended.any()
    return np.asarray(rewards), np.concatenate([np.zeros((1, NUM, 2)), positions])


def paid(name: str, before: np.ndarray, after: np.ndarray, goal: np.ndarray) -> float:
    left = float(np.hypot(*(after - goal)))
    if name == "sparse":
        return 1 - left if left <= 0.2 else 0.0
    if name == "progress":
        corners = np.array([[-2, -2], [2, -2], [-2, 2], [2, 2]])
        nearest = corners[np.argmin(np.hypot(*(after - corners).T))]
        inside = np.abs(after).sum() >= 0.5 and (nearest == goal).all()
        return float(np.hypot(*(before - goal))) - left if inside else 0.0
    return -left


@pytest.mark.parametrize("name", FAMILIES)
def test_points_move_and_are_paid_by_the_rules(name):
    distribution = FAMILIES[name]()
    env, goals = distribution.env, drawn(distribution)
    speed, generator = env.speed, np.random.default_rng(0)
    drift = np.sign(goals) * generator.uniform(0, speed, (NUM, 1))  # they get about, and to the goals
    moves = (drift + generator.normal(size=(env.horizon, NUM, 2)) * speed).astype(np.float32)
    rewards, positions = live(env, goals, moves)
    arrived, found = np.zeros(NUM, bool), 0
    for t in range(env.horizon):
        wanted = positions[t] + np.where(arrived[:, None], 0.0, np.clip(moves[t], -speed, speed))
        np.testing.assert_allclose(positions[t + 1], wanted, atol=1e-5)
        for n in range(0, NUM, 7):
            pay = 0.0 if arrived[n] else paid(name, positions[t, n], positions[t + 1, n], goals[n])
            np.testing.assert_allclose(rewards[t, n], pay, atol=2e-5)
        arrived |= (name == "dense") & (np.abs(positions[t + 1] - goals) < 0.01).all(-1)
        found += (rewards[t] > 0).sum() + arrived.sum()
    assert found > 20 or name == "corner distance"


@pytest.mark.parametrize("name", FAMILIES)
def test_the_straight_path_earns_its_reference_and_no_walk_more(name):
    distribution = FAMILIES[name]()
    env, goals = distribution.env, drawn(distribution)
    batch = distribution.sample(jax.random.key(0))._replace(goal=jnp.asarray(goals))
    optimal = distribution.references(batch, 3 * env.horizon)[0]
    assert (optimal.role, optimal.kind) == ("optimal", "lower" if name == "progress" else "exact")
    step = np.arange(env.horizon + 1)[:, None, None]
    path = np.sign(goals) * np.minimum(np.abs(goals), env.speed * step)
    earned = live(env, goals, np.diff(path, axis=0).astype(np.float32))[0].sum(axis=0)
    np.testing.assert_allclose(3 * earned, optimal.trial_return, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(optimal.by_episode, np.full(3, optimal.trial_return.mean() / 3))
    generator = np.random.default_rng(0)
    for noise in (0.1, 0.5, 2.0) if optimal.kind == "exact" else ():
        moves = np.diff(path, axis=0) + noise * env.speed * generator.normal(size=(env.horizon, NUM, 2))
        other = live(env, goals, moves.astype(np.float32))[0].sum(axis=0)
        assert (other <= earned + 2e-3).all()
    assert distribution.references(batch, env.horizon + 1) == []


def test_published_reference_values():
    """MAML's goals: -0.506 with the goal known, -38.26 standing still (DESIGN 6)."""
    distribution = tasks.navigation(num_episodes=1)
    side = (np.arange(200) + 0.5) / 200 - 0.5
    goals = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    batch = distribution.sample(jax.random.key(0))._replace(goal=jnp.asarray(goals, jnp.float32))
    optimal, still = distribution.references(batch, 100)
    np.testing.assert_allclose(optimal.trial_return.mean(), -0.506, atol=2e-3)
    np.testing.assert_allclose(still.trial_return.mean(), -38.26, atol=5e-3)
    assert (still.role, still.kind) == ("non_adaptive", "lower")


def test_goals_are_where_they_should_be():
    goals = drawn(tasks.navigation())
    assert (np.abs(goals) <= 0.5).all() and abs(goals.mean()) < 0.05 and (np.abs(goals) > 0.45).any()
    circle = drawn(tasks.sparse_navigation())
    np.testing.assert_allclose(np.hypot(*circle.T), 1.0, rtol=1e-5)
    assert (circle[:, 1] >= 0).all() and (circle[:, 0] < -0.9).any() and (circle[:, 0] > 0.9).any()
    corners = {tuple(goal) for goal in drawn(tasks.corner_navigation()).tolist()}
    assert corners == {(a, b) for a in (-2, 2) for b in (-2, 2)}
