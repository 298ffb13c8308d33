"""Exact beliefs against Bayes' rule by brute force: every candidate lived again, step by step, in plain Python."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import tasks
from metarl_jax.algorithms.inference.elbo import task_readout
from metarl_jax.beliefs import candidate_posterior, exact_belief
from metarl_jax.evaluation.belief_scores import described, scores
from metarl_jax.networks import actor_critic
from metarl_jax.records import ExactBelief
from metarl_jax.rollout import rollout

HUNT = "#######\n#T...T#\n#P#.#.#\n#MS.C.#\n#.#.#.#\n#T...T#\n#######"
TWO = ("#####\n#S..#\n#.#.#\n#...#\n#####", "#####\n#S#.#\n#...#\n#...#\n#####")
FAMILIES = {
    "gridnavi": lambda: tasks.gridnavi(size=4, horizon=6, num_episodes=3),
    "maze": lambda: tasks.maze(horizon=40, trial_steps=100),
    "two layouts": lambda: tasks.maze(layouts=TWO, view=3, horizon=9, trial_steps=40),
    "treasure": lambda: tasks.treasure(layout=HUNT, horizon=5, num_episodes=4),
    "navigation-corners": lambda: tasks.corner_navigation(horizon=12, num_episodes=2),
}


@functools.cache
def collected(name: str, steps: int | None = None, forget: bool = False):
    """Random play in every task of the set: ``(distribution, trajectory [T, G], posterior [G, T, G])``."""
    distribution = FAMILIES[name]()
    policy = actor_critic(distribution.env.spec, "none", 4, (), True)
    steps = steps or distribution.trial_steps
    live = functools.partial(rollout, env=distribution.env, policy=policy, num_steps=steps, forget=forget)
    params = policy.init(jax.random.key(0))
    _, trajectory = jax.jit(lambda key: live(key, params=params, tasks=distribution.tasks))(jax.random.key(1))
    posterior = jax.jit(jax.vmap(exact_belief(distribution).posterior, in_axes=1))(trajectory)
    return distribution, jax.device_get(trajectory), np.asarray(posterior)


def by_brute_force(distribution, trajectory, n: int) -> np.ndarray:
    """``[T, G]``: each candidate in turn lived in gymnax's own loop and compared with the record of trial ``n``."""
    env, spec = distribution.env, distribution.env.spec
    steps, num = trajectory.reward.shape[0], jax.tree.leaves(distribution.tasks)[0].shape[0]
    agrees = np.ones((steps, num), bool)
    reset, step = (jax.jit(getattr(env.as_gymnax(), name)) for name in ("reset_env", "step_env"))
    key = jax.random.key(0)
    for g in range(num):
        task = jax.tree.map(lambda x: x[g], distribution.tasks)  # noqa: B023
        seen, state = reset(key, task)
        alike = bool(np.allclose(seen, trajectory.timestep.observation[0, n]))
        for t in range(steps):
            action = jnp.asarray(trajectory.action[t, n])
            if spec.num_actions is None:  # bounds are symmetric here
                action = spec.action_high * jnp.clip(action, -1, 1)
            seen, state, reward, terminated, _ = step(key, state, action, task)
            done = bool(terminated) or int(state.time) == distribution.horizon
            alike &= bool(np.isclose(reward, trajectory.reward[t, n], atol=1e-4))
            alike &= done == bool(trajectory.terminated[t, n] | trajectory.truncated[t, n])
            if done:
                seen, state = reset(key, task)
            if t + 1 < steps:
                alike &= bool(np.allclose(seen, trajectory.timestep.observation[t + 1, n]))
            elif not done:
                alike &= bool(np.allclose(seen, trajectory.next_observation[t, n]))
            agrees[t, g] = alike
    return agrees / agrees.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("name", FAMILIES)
def test_is_bayes_rule(name):
    distribution, trajectory, posterior = collected(name)
    num = posterior.shape[0]
    for n in range(0, num, max(1, num // 2)):
        np.testing.assert_allclose(posterior[n], by_brute_force(distribution, trajectory, n), atol=1e-6)


@pytest.mark.parametrize("name", FAMILIES)
def test_sums_to_one_never_leaves_the_truth_and_only_narrows(name):
    distribution, _, posterior = collected(name)
    truth = np.asarray(jax.vmap(exact_belief(distribution).truth)(distribution.tasks))
    np.testing.assert_array_equal(truth, np.eye(len(truth)))
    np.testing.assert_allclose(posterior.sum(-1), 1.0, rtol=1e-5)
    of_truth = np.einsum("ntg,ng->nt", posterior, truth)
    assert (of_truth > 0).all() and (np.diff(of_truth, axis=1) >= 0).all()
    assert of_truth[:, 0].min() < 1 and of_truth[:, -1].mean() > 1.5 / len(truth)  # something was learned


@pytest.mark.parametrize(("name", "reward"), [("gridnavi", 1.0), ("maze", 1.0), ("treasure", 1.0)])
def test_all_mass_is_on_the_goal_once_it_is_found(name, reward):
    _, trajectory, posterior = collected(name)
    found = np.maximum.accumulate(trajectory.reward == reward, axis=0).T  # [G, T]
    truth = posterior[np.arange(len(posterior)), :, np.arange(len(posterior))]
    assert found.any() and not found.all()
    np.testing.assert_allclose(truth[found], 1.0)
    if name == "gridnavi":  # until then one cell visited is one candidate less, the others are alike
        goals = np.asarray(FAMILIES[name]().tasks.goal)
        for n in range(len(goals)):
            visited = np.cumsum(trajectory.next_env_state.cell[:, n, None] == goals, axis=0) > 0
            wanted = ~visited / (~visited).sum(axis=1, keepdims=True)
            np.testing.assert_allclose(posterior[n][~found[n]], wanted[~found[n]], atol=1e-6)


@pytest.mark.parametrize("rows", [(0, 0), (2, 0, 2, 2, 1)])
def test_a_task_held_twice_is_one_task_of_twice_the_weight(rows):
    """The chance of each goal is the share of the rows of it that agree, each row lived again by itself."""
    distribution = tasks.gridnavi(size=3, horizon=6, num_episodes=2)
    distribution = tasks.finite(distribution, jax.tree.map(lambda x: x[np.array(rows)], distribution.tasks))
    belief, goals = exact_belief(distribution), np.asarray(distribution.tasks.goal)
    distinct = list(dict.fromkeys(goals.tolist()))
    truth = np.asarray(jax.vmap(belief.truth)(distribution.tasks))
    np.testing.assert_array_equal(truth, goals[:, None] == distinct)
    assert belief.candidates == len(distinct) == task_readout(distribution).size
    np.testing.assert_array_equal(task_readout(distribution).truth(distribution.tasks), truth)
    np.testing.assert_allclose(belief.prior, [(goals == goal).mean() for goal in distinct])
    policy = actor_critic(distribution.env.spec, "none", 4, (), True)
    _, trajectory = rollout(
        jax.random.key(2), distribution.env, policy, policy.init(jax.random.key(0)), distribution.tasks, 12
    )
    posterior = np.asarray(jax.vmap(belief.posterior, in_axes=1)(trajectory))
    for n in range(len(rows)):
        by_row = by_brute_force(distribution, jax.device_get(trajectory), n)
        wanted = np.stack([by_row[:, goals == goal].sum(axis=1) for goal in distinct], axis=1)
        np.testing.assert_allclose(posterior[n], wanted, atol=1e-6)
    loss = scores(belief, jax.tree.map(lambda x: x[0], distribution.tasks), at(trajectory, 0), posterior[0])
    if len(distinct) == 1:
        np.testing.assert_array_equal(loss["exact_log_loss"], 0.0)


def test_scores_of_beliefs_by_hand():
    exact, said = np.array([[0.2, 0.5, 0.3], [0.0, 0.9, 0.1]]), np.array([[0.6, 0.3, 0.1], [0.1, 0.7, 0.2]])
    with_last = lambda x: jnp.asarray(
        np.concatenate([x, np.ones((1, 3))]), jnp.float32
    )  # said before step 0 or after T
    belief = ExactBelief(lambda task: jnp.eye(3)[task], lambda collected: with_last(exact), 3, (1.0, 1.0, 1.0))
    decoded = jnp.concatenate([jnp.ones((1, 3)), jnp.asarray(said, jnp.float32)])
    found = scores(belief, jnp.int32(1), None, decoded)
    logs = np.log(np.maximum(exact, 1e-12)) - np.log(said)
    wanted = {
        "right": [0.0, 1.0],
        "confidence": [0.6, 0.7],
        "log_loss": -np.log([0.3, 0.7]),
        "best": [0.5, 0.9],
        "exact_log_loss": -np.log([0.5, 0.9]),
        "divergence": (exact * logs).sum(axis=1),
    }
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)
    numbers = scores(belief._replace(candidates=0), jnp.int32(1), None, decoded)
    for name, off in (
        ("error", said - np.eye(3)[1]),
        ("exact_error", exact - np.eye(3)[1]),
        ("difference", said - exact),
    ):
        np.testing.assert_allclose(numbers[name], np.sqrt(np.square(off).mean(axis=1)), rtol=1e-5, err_msg=name)


def test_beliefs_are_described_by_step_by_episode_and_by_confidence():
    """Two trials of three steps: one has two episodes, the other one that takes all three."""
    scored = {"right": [[1.0, 0.0], [1.0, 1.0]], "confidence": [[0.55, 0.95], [0.95, 0.95]]}
    found = described(scored, [[False, True, True], [False, False, True]], 4)
    np.testing.assert_allclose(found["by_step"]["right"], [1.0, 0.5])
    np.testing.assert_allclose(found["by_step"]["calibration_error"], [(0.45 + 0.05) / 2, (2 * 0.95 - 1) / 2])
    np.testing.assert_allclose(found["by_episode"]["right"], [0.5, 0.0])
    np.testing.assert_allclose(found["calibration_error"], (0.45 + 3 * 0.95 - 2) / 4)
    wanted = {"share": {5: 0.25, 9: 0.75}, "confidence": {5: 0.55, 9: 0.95}, "right": {5: 1.0, 9: 2 / 3}}
    for name, by_tenth in wanted.items():
        nothing = 0.0 if name == "share" else np.nan
        np.testing.assert_allclose(found["calibration"][name], [by_tenth.get(i, nothing) for i in range(10)])


def test_what_is_shown_in_other_units_tells_as_much():
    """Rewards 100 times as large: what is the same differs by rounding, of numbers above 1 too."""
    distribution, trajectory, posterior = collected("gridnavi")

    class Loud:
        def __getattr__(self, name):
            return getattr(distribution.env, name)

        def step(self, *inputs):
            state, reward, terminated, info = distribution.env.step(*inputs)
            return state, 100.0 * reward, terminated, info

    num = len(posterior)
    loud = candidate_posterior(Loud(), distribution.tasks, np.full(num, 1 / num))
    record = at(trajectory, 0)
    np.testing.assert_allclose(loud(record._replace(reward=100.0 * record.reward)), posterior[0], atol=1e-6)


def at(trajectory, n: int):
    return jax.tree.map(lambda x: x[:, n], trajectory)


def test_a_map_tells_all_unless_the_episode_ends_on_it():
    """With a horizon of two steps the peak is only ever reached at an episode's end: nothing is seen from it."""
    _, trajectory, posterior = collected("treasure")
    at_peak = (trajectory.timestep.observation[..., 14:].sum(-1) > 0)[1:].T  # acted upon at t + 1: shown after step t
    truth = posterior[np.arange(4), :, np.arange(4)][:, :-1]
    assert at_peak.any()
    np.testing.assert_allclose(truth[at_peak], 1.0)
    distribution = tasks.treasure(layout=HUNT, horizon=2, num_episodes=2)
    climb = (4, 1, 4, 1)  # left, up: the peak, twice
    one = jax.tree.map(lambda x: x[0, None], distribution.tasks)
    policy = actor_critic(distribution.env.spec, "none", 4, (), True)
    _, record = rollout(jax.random.key(0), distribution.env, policy, policy.init(jax.random.key(0)), one, 4)
    record = scripted(distribution, record, climb)
    np.testing.assert_allclose(exact_belief(distribution).posterior(record), 0.25)


def scripted(distribution, like, actions):
    """One trial of ``actions`` in the first task, as ``like``, its fields filled in by gymnax's loop."""
    env, task = distribution.env.as_gymnax(), jax.tree.map(lambda x: x[0], distribution.tasks)
    key = jax.random.key(0)
    shown, state = env.reset_env(key, task)
    observations, rewards, ends, after = [], [], [], []
    for action in actions:
        observations.append(shown)
        shown, state, reward, _, _ = env.step_env(key, state, jnp.int32(action), task)
        after.append(shown)
        rewards.append(reward)
        ends.append(int(state.time) == distribution.horizon)
        if ends[-1]:
            shown, state = env.reset_env(key, task)
    like = jax.tree.map(lambda x: x[:, 0], like)
    return like._replace(
        timestep=like.timestep._replace(observation=jnp.stack(observations)),
        action=jnp.asarray(actions, jnp.int32),
        reward=jnp.stack(rewards),
        truncated=jnp.asarray(ends),
        next_observation=jnp.stack(after),
    )


def test_starts_anew_where_a_trial_does():
    """What forgets at each episode: its belief is that of the episode alone."""
    distribution, trajectory, posterior = collected("gridnavi", forget=True)
    horizon, goals = distribution.horizon, np.asarray(distribution.tasks.goal)
    assert trajectory.timestep.trial_start[::horizon].all()
    for start in range(0, len(trajectory.reward), horizon):
        cells = trajectory.next_env_state.cell[start : start + horizon]
        for n in (0, 5):
            visited = np.cumsum(cells[:, n, None] == goals, axis=0) > 0
            found = visited[:, n]
            wanted = np.where(found[:, None], np.eye(len(goals))[n], ~visited / (~visited).sum(1, keepdims=True))
            np.testing.assert_allclose(posterior[n, start : start + horizon], wanted, atol=1e-6)


def test_bandits_have_beta_means():
    distribution = tasks.bandit(num_arms=3, num_pulls=12)
    belief = exact_belief(distribution)
    policy = actor_critic(distribution.env.spec, "none", 4, (), True)
    batch = jax.vmap(distribution.sample)(jax.random.split(jax.random.key(0), 3000))
    _, trajectory = rollout(
        jax.random.key(1), distribution.env, policy, policy.init(jax.random.key(0)), batch, distribution.trial_steps
    )
    means = np.asarray(jax.vmap(belief.posterior, in_axes=1)(trajectory))
    truth = np.asarray(jax.vmap(belief.truth)(batch))
    assert means.shape == (3000, 12, 3)
    for n in range(3):
        wins, pulls = np.zeros(3), np.zeros(3)
        for t in range(12):
            arm = int(trajectory.action[t, n])
            wins[arm], pulls[arm] = wins[arm] + trajectory.reward[t, n], pulls[arm] + 1
            # The posterior is proportional to p^wins (1 - p)^losses: its mean by quadrature.
            p = (np.arange(2000) + 0.5)[:, None] / 2000
            density = p**wins * (1 - p) ** (pulls - wins)
            np.testing.assert_allclose(means[n, t], (p * density).sum(0) / density.sum(0), atol=1e-5)
    error = truth - means[:, -1]  # calibrated: what is left is not explained by the mean itself
    assert abs((error * (means[:, -1] - 0.5)).mean()) < 4 * (error * (means[:, -1] - 0.5)).std() / 3000**0.5


@pytest.mark.parametrize("make", [tasks.tabular, tasks.navigation, tasks.random_maze, tasks.dependent_bandit])
def test_others_have_none(make):
    assert exact_belief(make()) is None


def test_a_task_outside_the_set_is_no_candidate():
    distribution = FAMILIES["gridnavi"]()
    outside = distribution.tasks._replace(goal=jnp.int32(0))
    assert np.asarray(exact_belief(distribution).truth(outside)).sum() == 0
