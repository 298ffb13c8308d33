"""The planners of known MDPs against linear solves, exhaustive enumeration and each other."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import planning


def random_mdps(seed, num_tasks, states=10, actions=5):
    """RL^2's: rows from Dirichlet(1), which is exponentials over their sum, and mean rewards from N(1, 1)."""
    rng = np.random.default_rng(seed)
    transition = rng.exponential(size=(num_tasks, states, actions, states)).astype(np.float32)
    reward = rng.normal(1, 1, size=(num_tasks, states, actions)).astype(np.float32)
    return jnp.asarray(transition / transition.sum(axis=-1, keepdims=True)), jnp.asarray(reward)


def random_tables(seed, states=7, actions=3):
    rng = np.random.default_rng(seed)
    next_state = rng.integers(states, size=(states, actions)).astype(np.int32)
    reward = rng.normal(size=(states, actions)).astype(np.float32)
    discount = np.where(rng.random((states, actions)) < 0.2, 0.0, 0.9).astype(np.float32)
    return jnp.asarray(next_state), jnp.asarray(reward), jnp.asarray(discount)


def as_dense(next_state, discount, states):
    """The table as a dense MDP with one more, absorbing and worthless, state for what ends."""
    transition = np.zeros((states + 1, next_state.shape[1], states + 1), np.float32)
    transition[states, :, states] = 1
    for s, a in itertools.product(range(states), range(next_state.shape[1])):
        transition[s, a, next_state[s, a] if discount[s, a] > 0 else states] = 1
    return jnp.asarray(transition)


def test_value_iteration_solves_the_bellman_equation():
    transition, reward = random_mdps(0, 20)
    solution = jax.vmap(planning.value_iteration, (0, 0, None))(transition, reward, 0.95)
    for p, r, value, policy in zip(transition, reward, solution.value, solution.policy, strict=True):
        p, r = np.asarray(p, np.float64), np.asarray(r, np.float64)
        rows, chosen = np.arange(10), np.asarray(policy)
        exact = np.linalg.solve(np.eye(10) - 0.95 * p[rows, chosen], r[rows, chosen])
        np.testing.assert_allclose(value, exact, rtol=2e-5)
        assert np.all(r + 0.95 * p @ exact <= exact[:, None] + 1e-3), "another action is better"


@pytest.mark.parametrize("tolerance", [0.5, 1e-2, 1e-9])
def test_value_iteration_stops_where_the_change_bounds_the_error(tolerance):
    """A reward of 1 for ever is worth ``(1 - 0.9 ** k) / 0.1`` after k sweeps: the last adds 0.9 ** (k - 1)."""
    value = float(planning.value_iteration(jnp.ones((1, 1, 1)), jnp.ones((1, 1)), 0.9, tolerance=tolerance).value[0])
    exact = 0.0
    for sweep in range(200):
        exact, change = 1 + 0.9 * exact, 0.9**sweep
        if change <= max(tolerance * 0.1, 2 * np.finfo(np.float32).eps) * (1 + exact):
            break
    # the value returned is one sweep further, as it is that of the actions' values
    np.testing.assert_allclose(value, 1 + 0.9 * exact, rtol=1e-6)
    assert abs(10 - value) <= max(tolerance, 1e-5) * (1 + value)


def test_table_planners_equal_dense_ones():
    next_state, reward, discount = random_tables(1)
    transition = as_dense(np.asarray(next_state), np.asarray(discount), 7)
    padded = jnp.pad(reward, ((0, 1), (0, 0)))
    table = planning.table_value_iteration(next_state, reward, discount)
    dense = planning.value_iteration(transition, padded, 0.9)
    np.testing.assert_allclose(table.value, dense.value[:7], atol=1e-4)

    ends = jnp.where(discount > 0, 1.0, 0.0)
    table = planning.table_backward_induction(next_state, reward, ends, 6)
    dense = planning.backward_induction(transition, padded, 6)
    np.testing.assert_allclose(table.value, dense.value[:, :7], atol=1e-5)
    policy = jax.nn.softmax(jax.random.normal(jax.random.key(0), (6, 8, 3)))
    table = planning.table_policy_value(next_state, reward, ends, policy[:, :7], 6)
    dense = planning.policy_value(transition, padded, policy, 6)
    np.testing.assert_allclose(table, dense[:, :7], atol=1e-5)


def test_backward_induction_against_all_action_sequences():
    next_state, reward, discount = random_tables(2)
    discount = jnp.where(discount > 0, 1.0, 0.0)
    best = -np.inf
    for actions in itertools.product(range(3), repeat=6):
        state, total, alive = 0, 0.0, 1.0
        for action in actions:
            total += alive * float(reward[state, action])
            alive *= float(discount[state, action])
            state = int(next_state[state, action])
        best = max(best, total)
    solution = planning.table_backward_induction(next_state, reward, discount, 6)
    assert solution.value.shape == (7, 7) and solution.q.shape == (6, 7, 3) and solution.policy.shape == (6, 7)
    assert solution.policy.dtype == jnp.int32
    np.testing.assert_allclose(solution.value[0, 0], best, rtol=1e-5)


def test_policy_value_of_the_optimal_policy_is_optimal():
    transition, reward = (x[0] for x in random_mdps(3, 1))
    solution = planning.backward_induction(transition, reward, 10)
    greedy = jax.nn.one_hot(solution.policy, 5)
    np.testing.assert_allclose(planning.policy_value(transition, reward, greedy, 10), solution.value, rtol=1e-5)
    uniform = jnp.full((10, 5), 0.2)
    value = planning.policy_value(transition, reward, uniform, 10)
    assert jnp.all(value[:-1] < solution.value[:-1])
    np.testing.assert_allclose(value, planning.policy_value(transition, reward, jnp.stack([uniform] * 10), 10))


def test_random_mdp_reference():
    transition, reward = random_mdps(4, 20_000)
    solve = jax.jit(jax.vmap(lambda p, r: planning.backward_induction(p, r, 10).value[0, 0]))
    values = solve(transition, reward)
    error = float(jnp.std(values)) / 20_000**0.5
    assert abs(float(jnp.mean(values)) - 21.82) < 3 * error + 0.01 and error < 0.02
    uniform = jnp.full((10, 5), 0.2)
    random = jax.vmap(lambda p, r: planning.policy_value(p, r, uniform, 10)[0, 0])(transition, reward)
    assert abs(float(jnp.mean(random)) - 10.0) < 0.06


def test_shortest_paths_on_a_grid_with_a_wall():
    # 0 1 2     cell 4 is a wall with no moves; 7 can be entered from 8 but not left
    next_state = np.array([[1, 3], [2, 0], [5, 1], [6, 0], [4, 4], [8, 2], [6, 3], [7, 7], [7, 5]], np.int32)
    every = jax.vmap(planning.shortest_paths, (None, 0))(jnp.asarray(next_state), jnp.arange(9))
    assert every.dtype == jnp.int32
    np.testing.assert_array_equal(every[0], [0, 1, 2, 1, planning.UNREACHABLE, 3, 2, 5, 4])
    assert np.all(np.asarray(every)[7, [0, 1, 2, 3, 4, 5, 6, 8]] == planning.UNREACHABLE) and every[7, 7] == 0


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="must share"):
        planning.value_iteration(jnp.zeros((3, 2, 4)), jnp.zeros((3, 2)), 0.9)
    with pytest.raises(ValueError, match="policy"):
        planning.policy_value(jnp.zeros((3, 2, 3)), jnp.zeros((3, 2)), jnp.zeros((2, 3)), 4)
