"""PPO's schedules: what falls over training is, update by update, what a constant would be."""

import jax
import numpy as np

from metarl_jax import algorithms, tasks


def test_the_entropy_bonus_falls_linearly_to_a_tenth():
    distribution = tasks.bandit(num_arms=3, num_pulls=5)
    batch = jax.vmap(distribution.sample)(jax.random.split(jax.random.key(0), 4))

    def updates(**options):
        algorithm = algorithms.rl2(memory_size=4, num_minibatches=2, num_epochs=1, **options).build(distribution)
        return algorithm.init(jax.random.key(1)), jax.jit(algorithm.update)

    state, falling = updates(entropy_cost=0.5, entropy_updates=2)
    for i, cost in enumerate((0.5, 0.275, 0.05, 0.05)):
        _, constant = updates(entropy_cost=cost)
        key = jax.random.key(i + 2)
        (state, _), (wanted, _) = falling(key, state, batch), constant(key, state, batch)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), state, wanted)
    _, other = updates(entropy_cost=0.5)
    differs = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), other(key, state, batch)[0], wanted)
    assert max(jax.tree.leaves(differs)) > 1e-4
