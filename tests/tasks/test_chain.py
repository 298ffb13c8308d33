"""The discounting chain is gymnax's, and its references are what simulated players reach."""

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl_jax as mrl


def test_it_is_gymnaxs():
    """Rewards and observations of whole episodes, bsuite's mapping seed 3."""
    tasks = mrl.tasks.discounting_chain(best=(3,))
    env, task = tasks.env, tasks.sample(jax.random.key(0))
    for action in range(5):
        other, params = gymnax.make("DiscountingChain-bsuite")
        other.mapping_seed = 3
        seen, theirs = other.reset_env(jax.random.key(0), params)
        ours = env.reset((), task)
        step, their_step = jax.jit(env.step), jax.jit(other.step_env)
        for t in range(100):
            np.testing.assert_allclose(env.observe(ours, task), seen, atol=1e-6)
            chosen = jnp.int32(action if t == 0 else (action + t) % 5)
            ours, reward, terminated, _ = step((), ours, chosen, task)
            seen, theirs, their_reward, *_ = their_step(jax.random.key(0), theirs, chosen, params)
            np.testing.assert_allclose(reward, their_reward, atol=1e-6)
            assert not terminated
        assert bool(env.is_truncated(ours, task))


def test_bayes_optimal_is_what_trying_out_reaches():
    tasks = mrl.tasks.discounting_chain(num_episodes=7)
    known = {r.role: r for r in tasks.references(tasks.tasks, tasks.trial_steps)}
    rewards = np.asarray(tasks.tasks.reward)
    earned = np.zeros((5, 7))
    for n, reward in enumerate(rewards):
        best = None
        for episode in range(7):
            chain = best if best is not None else min(episode, 4)
            earned[n, episode] = reward[chain]
            best = chain if reward[chain] > 1 else best
    np.testing.assert_allclose(known["bayes"].by_episode, earned.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(known["bayes"].trial_return, earned.sum(axis=1).mean(), rtol=1e-6)


def test_wrong_options_are_named():
    for options, word in (
        ({"best": ()}, "best"),
        ({"best": (5,)}, "from 0 to 4"),
        ({"delays": (0, 1)}, "delays"),
        ({"bonus": 0.0}, "bonus=0.0"),
        ({"num_episodes": 0}, "num_episodes=0"),
    ):
        with pytest.raises(mrl.ConfigError, match=word):
            mrl.tasks.discounting_chain(**options)
