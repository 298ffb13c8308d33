"""The options of gridnavi: rewards that are paid late, a goal that is seen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl_jax as mrl
from metarl_jax.networks.actions import for_spec
from metarl_jax.records import Policy, Trajectory
from metarl_jax.rollout import rollout


def collected(tasks, actions: np.ndarray) -> Trajectory:
    """``actions [T, N]`` in all tasks of the set."""
    step = lambda params, t, timestep: (t + 1, (1e4 * jax.nn.one_hot(params[t], 5), jnp.zeros(params.shape[1])))
    policy = Policy(lambda key: (), lambda batch: jnp.int32(0), step, None, for_spec(tasks.env.spec))
    return rollout(jax.random.key(0), tasks.env, policy, jnp.asarray(actions), tasks.tasks, len(actions))[1]


@pytest.mark.parametrize("pay_every", [3, 4, 100])
def test_late_payments_are_the_rewards_of_the_steps_before(pay_every):
    """Horizon 8: paid after steps 3, 6, 8 of each episode, or 4, 8, or 8."""
    options = {"size": 4, "horizon": 8, "num_episodes": 3}
    actions = np.random.default_rng(0).integers(5, size=(24, 12))
    at_once, late = (collected(mrl.tasks.gridnavi(**options, pay_every=k), actions) for k in (1, pay_every))
    np.testing.assert_array_equal(late.timestep.observation, at_once.timestep.observation)
    np.testing.assert_array_equal(late.reward, late.mean_reward)
    by_episode = lambda trajectory: np.asarray(trajectory.reward).reshape(3, 8, 12)
    wanted, owed = np.zeros((3, 8, 12)), 0.0
    for t in range(8):
        owed = owed + by_episode(at_once)[:, t]
        if (t + 1) % pay_every == 0 or t == 7:
            wanted[:, t], owed = owed, 0.0
    np.testing.assert_allclose(by_episode(late), wanted, atol=1e-6)
    np.testing.assert_allclose(by_episode(late).sum(1), by_episode(at_once).sum(1), atol=1e-6)


def test_references_of_the_options():
    plain, late, seen, both = (
        mrl.tasks.gridnavi(goal_visible=visible, pay_every=k)
        for visible, k in ((False, 1), (False, 5), (True, 1), (True, 5))
    )
    known = {r.role: r for r in plain.references(plain.tasks, plain.trial_steps)}
    for tasks, roles in (
        (late, {"optimal", "random"}),
        (seen, {"optimal", "random", "bayes", "non_adaptive"}),
        (both, {"optimal", "random", "bayes", "non_adaptive"}),
    ):
        found = {r.role: r for r in tasks.references(tasks.tasks, tasks.trial_steps)}
        assert set(found) == roles
        for role in roles:
            same = known["random" if role == "random" else "optimal"]
            np.testing.assert_array_equal(found[role].trial_return, same.trial_return)
            np.testing.assert_array_equal(found[role].by_episode, same.by_episode)


def test_the_goal_is_seen():
    tasks = mrl.tasks.gridnavi(goal_visible=True)
    env = tasks.env
    seen = np.asarray(jax.vmap(lambda task: env.observe(env.reset((), task), task))(tasks.tasks))
    assert seen.shape == (21, 20)
    cells = np.stack([seen[:, 10:15].argmax(1), seen[:, 15:].argmax(1)])
    np.testing.assert_array_equal(cells[0] * 5 + cells[1], tasks.tasks.goal)
    np.testing.assert_array_equal(seen[:, :10], seen[:1, :10].repeat(21, 0))


def test_wrong_options_are_named():
    with pytest.raises(mrl.ConfigError, match="pay_every=0"):
        mrl.tasks.gridnavi(pay_every=0)


def test_mean_reward_of_random_mdps():
    tasks = mrl.tasks.tabular(mean_reward=-2.0)
    batch = jax.vmap(tasks.sample)(jax.random.split(jax.random.key(0), 500))
    assert abs(float(batch.reward.mean()) + 2.0) < 4 / np.sqrt(500 * 50)
    known = {r.role: r for r in tasks.references(batch, 100)}
    assert known["non_adaptive"].trial_return == -200.0
    plain = mrl.tasks.tabular()
    shifted = {r.role: r for r in plain.references(batch._replace(reward=batch.reward + 3.0), 100)}
    np.testing.assert_allclose(known["optimal"].trial_return + 300.0, shifted["optimal"].trial_return, rtol=1e-4)
