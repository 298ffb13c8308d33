"""Delayed credit: the references are what simulated players reach; what is paid when."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl_jax as mrl
from metarl_jax.tasks import key_to_door, umbrella


def trial(tasks, player, seeds: int = 40):
    """``player(task index, forecast, memory) -> (action, memory)``, told the last reward of each episode: returns
    without the noise by task, seed and episode, ``[N, seeds, E]``, and all rewards ``[N, seeds, E, T]``."""
    env, episodes = tasks.env, tasks.trial_steps // tasks.horizon
    advance = jax.jit(env.step)
    count = len(tasks.tasks.action)
    mean, paid = np.zeros((count, seeds, episodes)), np.zeros((count, seeds, episodes, env.horizon))
    for n in range(count):
        task = jax.tree.map(lambda x, n=n: x[n], tasks.tasks)
        for seed in range(seeds):
            noise = env.sample_noise(jax.random.key(seed), (episodes, env.horizon))
            tried: list = []
            for episode in range(episodes):
                state = env.reset(noise[episode, -1], task)
                action = player(n, float(state.forecast), tried)
                for t in range(env.horizon):
                    state, reward, terminated, info = advance(noise[episode, t], state, jnp.int32(action), task)
                    mean[n, seed, episode] += info["mean_reward"]
                    paid[n, seed, episode, t] = reward
                    assert not terminated and bool(env.is_truncated(state, task)) == (t == env.horizon - 1)
                tried.append((float(state.forecast), action, paid[n, seed, episode, -1]))
    return mean, paid


def known(tasks) -> dict:
    return {r.role: r for r in tasks.references(tasks.tasks, tasks.trial_steps)}


def test_the_key_is_found_by_trying():
    tasks = key_to_door(num_actions=3, length=2, num_episodes=5)

    def tries(n, forecast, tried):
        good = [action for _, action, reward in tried if reward > 0]
        return good[0] if good else min(len(tried), 2)

    for role, player in (
        ("bayes", tries),
        ("optimal", lambda n, forecast, tried: n),
        ("non_adaptive", lambda n, forecast, tried: 1),
    ):
        mean, _ = trial(tasks, player, seeds=1)
        np.testing.assert_allclose(mean.mean((0, 1)), known(tasks)[role].by_episode, rtol=1e-6, err_msg=role)
        np.testing.assert_allclose(mean.sum(-1).mean(), np.mean(known(tasks)[role].trial_return), rtol=1e-6)


def test_one_episode_tells_how_to_take_the_umbrella():
    tasks = umbrella(length=1, num_episodes=3, prize=2.0)

    def learns(n, forecast, tried):
        if not tried:
            return 0
        (wanted, action, reward) = tried[0]
        takes = action if (wanted > 0) == (reward > 0) else 1 - action
        return takes if forecast > 0 else 1 - takes

    mean, _ = trial(tasks, learns)
    np.testing.assert_array_equal(mean[..., 1:], 2.0)
    assert abs(mean[..., 0].mean()) < 4 * 2 / np.sqrt(mean[..., 0].size)
    assert known(tasks)["bayes"].by_episode.tolist() == [0.0, 2.0, 2.0]
    mean, _ = trial(tasks, lambda n, forecast, tried: n if forecast > 0 else 1 - n, seeds=4)
    np.testing.assert_array_equal(mean, 2.0)
    assert known(tasks)["optimal"].trial_return.tolist() == [6.0, 6.0]


@pytest.mark.parametrize("name", ["key-to-door", "umbrella"])
def test_what_is_paid_when(name):
    """Nothing for the choice, noise on the way whatever is done, the prize alone at the end."""
    tasks = mrl.tasks.REGISTRY[name](length=6, noise=0.5, prize=3.0, num_episodes=4)
    _, paid = trial(tasks, lambda n, forecast, tried: 0)
    assert (paid[..., 0] == 0).all()
    way = paid[..., 1:-1]
    assert abs(way.mean()) < 4 * 0.5 / np.sqrt(way.size)
    np.testing.assert_array_equal(way[0], way[-1])  # the same noise in every task
    if name == "umbrella":
        assert set(np.unique(way)) == {-0.5, 0.5} and set(np.unique(paid[..., -1])) == {-3.0, 3.0}
    else:
        assert abs(way.std() - 0.5) < 4 * 0.5 / np.sqrt(2 * way[0].size)
        assert (paid[0, ..., -1] == 3).all() and (paid[1:, ..., -1] == 0).all()


def test_what_is_seen():
    tasks, hidden = key_to_door(length=2), key_to_door(length=2, key_visible=False)
    task = jax.tree.map(lambda x: x[2], tasks.tasks)
    for action in (1, 2):
        for some in (tasks, hidden):
            state = some.env.step(jnp.float32(0), some.env.reset(jnp.float32(0), task), jnp.int32(action), task)[0]
            wanted = [0, 1, 0, 0, action == 2][: some.env.spec.observation_shape[0]]
            np.testing.assert_array_equal(some.env.observe(state, task), wanted)
    rain = umbrella(length=1)
    task, noise = jax.tree.map(lambda x: x[0], rain.tasks), jnp.array([1.0, -1.0])
    np.testing.assert_array_equal(rain.env.observe(rain.env.reset(noise, task), task), [1, 0, 0, 0, -1])


def test_a_trial_that_ends_inside_an_episode_has_no_references():
    for tasks in (key_to_door(), umbrella()):
        assert tasks.references(tasks.tasks, tasks.trial_steps + 1) == []


def test_wrong_options_are_named():
    for make, options, word in (
        (key_to_door, {"num_actions": 1}, "num_actions=1"),
        (key_to_door, {"length": 0}, "key-to-door: length=0"),
        (umbrella, {"prize": 0.0}, "umbrella: prize=0.0"),
        (umbrella, {"noise": -1.0}, "noise=-1.0"),
        (umbrella, {"num_episodes": 0}, "num_episodes=0"),
    ):
        with pytest.raises(mrl.ConfigError, match=word):
            make(**options)
