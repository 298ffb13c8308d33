"""The transformer's attention against loops in numpy; what its window and its positions mean."""

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.networks.transformer import NUM_HEADS, Transformer, positions, rotate

T, H, F, WINDOW = 10, 16, 5, 4
D = H // NUM_HEADS


def norm(x, p):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6) * p["scale"] + p["bias"]


def dense(x, p):
    return x @ p["kernel"] + p.get("bias", 0.0)


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def rotated(vector, position):
    """Pairs (i, i + D/2) as complex numbers, turned."""
    turned = (vector[: D // 2] + 1j * vector[D // 2 :]) * np.exp(1j * position * 1e4 ** (-np.arange(D // 2) / (D // 2)))
    return np.concatenate([turned.real, turned.imag])


def by_hand(params, x, resets):
    """One trial after the other, one step, one head, one pair of steps after the other."""
    x, starts = dense(x, params["input"]), np.maximum.accumulate(np.where(resets, np.arange(T), 0))
    for name in ("block_0", "block_1"):
        p, attended = params[name], np.zeros((T, H))
        q, k, v = (dense(norm(x, p["attention_norm"]), p[part]) for part in ("query", "key", "value"))
        for t in range(T):
            seen = range(max(starts[t], t - WINDOW + 1), t + 1)
            for head in range(NUM_HEADS):
                part = slice(head * D, (head + 1) * D)
                query = rotated(q[t, part], t - starts[t])
                scores = np.array([query @ rotated(k[s, part], s - starts[t]) for s in seen]) / np.sqrt(D)
                weights = np.exp(scores) / np.exp(scores).sum()
                attended[t, part] = weights @ v[list(seen), part]
        x = x + dense(attended, p["out"])
        x = x + dense(gelu(dense(norm(x, p["mlp_norm"]), p["up"])), p["down"])
    return norm(x, params["norm"])


def test_equals_loops():
    module, x = Transformer(H, WINDOW), jax.random.normal(jax.random.key(0), (T, F))
    init = jax.jit(lambda key: module.init(key, module.carry(()), x[0], jnp.bool_(True), method="step"))
    params = jax.tree.map(
        lambda p: p + 0.3 * np.random.default_rng(p.size).normal(size=p.shape), init(jax.random.key(1))
    )
    params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), params)
    resets = jnp.zeros(T, bool).at[0].set(True).at[6].set(True)
    found = jax.jit(lambda x: module.apply(params, None, x, resets, method="unroll"))(x)
    double = jax.tree.map(lambda p: np.asarray(p, np.float64), params["params"])
    np.testing.assert_allclose(found, by_hand(double, np.asarray(x, np.float64), np.asarray(resets)), atol=1e-4)


def test_positions_count_from_the_start_of_the_trial():
    resets = jnp.zeros((6, 2), bool).at[2, 0].set(True).at[5, 0].set(True)
    found = positions(resets, jnp.array([4, 9], jnp.int32))
    np.testing.assert_array_equal(found[:, 0], [4, 5, 0, 1, 2, 0])
    np.testing.assert_array_equal(found[:, 1], [9, 10, 11, 12, 13, 14])


def test_rotation_leaves_only_distances():
    q, k = jax.random.normal(jax.random.key(0), (2, NUM_HEADS, 8))
    product = lambda s, t: (rotate(q, jnp.int32(s)) * rotate(k, jnp.int32(t))).sum(-1)
    np.testing.assert_allclose(product(3, 1), product(1003, 1001), rtol=1e-3, atol=1e-3)
    assert np.abs(product(3, 1) - product(3, 2)).max() > 0.1


def test_begins_close_to_the_identity():
    """What reaches the heads at first is all but the input alone: the policy can learn to react before it remembers."""
    module, x = Transformer(64, 32), jax.random.normal(jax.random.key(0), (32, 8))
    init = jax.jit(lambda key: module.init(key, module.carry(()), x[0], jnp.bool_(True), method="step"))
    params = init(jax.random.key(1))
    found = jax.jit(lambda x: module.apply(params, None, x, jnp.arange(32) == 0, method="unroll"))(x)
    plain = dense(np.asarray(x), jax.tree.map(np.asarray, params["params"]["input"]))
    alone = norm(plain, jax.tree.map(np.asarray, params["params"]["norm"]))
    difference = np.sqrt(np.mean((found - alone) ** 2))
    assert 1e-3 < difference < 0.3
