"""MAESN: what is held through an episode, what an inner step does, and what meta-training sees of tasks."""

import functools
import importlib
import math
from types import SimpleNamespace

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import algorithms, tasks
from metarl_jax.algorithms.gradient import maesn_inner as structured
from metarl_jax.algorithms.gradient import maesn_outer as _latent_learning
from metarl_jax.algorithms.gradient.maesn_inner import Agent, Latent
from metarl_jax.config import ConfigError
from metarl_jax.networks import first_timestep, held
from metarl_jax.networks.actions import normal_divergence, normal_log_prob
from metarl_jax.rollout import rollout
from metarl_jax.tasks.navigation import PointTask
from metarl_jax.wrappers import episode_noise as _held_noise

Z, HORIZON = 3, 4
FAMILIES = {
    "navigation": lambda: tasks.navigation(horizon=HORIZON, num_episodes=3),
    "bandit": lambda: tasks.bandit(num_arms=3, num_pulls=4),
    "maze": lambda: tasks.REGISTRY["maze-random"](rows=5, columns=5, horizon=30, trial_steps=60),
}


def numbers(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def collected(name: str, num_tasks: int = 5, steps: int = 60):
    """Random agents in a wrapped environment: (distribution, policy, agent, trajectory [T, N])."""
    distribution = FAMILIES[name]()
    env = _held_noise.EpisodeNoiseWrapper(distribution.env, Z)
    policy = structured.latent_actor(distribution.env.spec, Z, (8,), 1.0)
    agent = Agent(policy.init(jax.random.key(0)), Latent(0.3 * numbers(Z), 0.2 * numbers(Z, seed=1)))
    batch = jax.vmap(distribution.sample)(jax.random.split(jax.random.key(1), num_tasks))
    live = jax.jit(functools.partial(rollout, env=env, policy=policy, num_steps=steps))
    return distribution, policy, agent, live(jax.random.key(2), params=agent, tasks=batch)[1]


@pytest.mark.parametrize("name", FAMILIES)
def test_noise_is_held_through_an_episode_and_drawn_anew_at_the_next(name):
    distribution, _, _, trajectory = collected(name)
    _, noise = held(np.asarray(trajectory.timestep.observation), Z)
    _, following = held(np.asarray(trajectory.next_observation), Z)
    start = np.asarray(trajectory.timestep.episode_start)
    np.testing.assert_array_equal(following, noise)  # what followed a step is still its episode's
    same = (noise[1:] == noise[:-1]).all(axis=-1)
    np.testing.assert_array_equal(same, ~start[1:])
    assert start[1:].any() and (distribution.horizon == 1 or same.any())
    drawn = noise[start]
    assert len(np.unique(drawn[:, 0])) == len(drawn)


@pytest.mark.parametrize("name, encoder", [("navigation", (16, 16)), ("maze", (16,)), ("maze", ()), ("bandit", (2,))])
def test_at_birth_latents_all_around_lead_all_around(name, encoder):
    spec = FAMILIES[name]().env.spec
    policy = structured.latent_actor(spec, 2, encoder, spread=0.7)
    params, size = policy.init(jax.random.key(3)), spec.num_actions or spec.action_size
    nothing = first_timestep(spec, (), jnp.zeros(math.prod(spec.observation_shape) + 2))
    told = lambda z: policy.step(Agent(params, Latent(z, jnp.zeros(2))), (), nothing)[1][0][:size]
    slope = np.asarray(jax.jacobian(told)(jnp.zeros(2)))  # [A, Z]
    if spec.num_actions is not None:
        slope = slope - slope.mean(axis=0)  # all that a softmax sees
    np.testing.assert_allclose(slope.T @ slope, 0.49 * np.eye(2), atol=0.02)


def test_turning_noise_goes_on_through_an_episode_and_starts_again_at_the_next():
    """In a maze, where episodes end at the goal, in the midst of what is lived."""
    distribution, period = FAMILIES["maze"](), 12
    env = _held_noise.SweptLatentWrapper(distribution.env, 2, period)
    policy = structured.latent_actor(distribution.env.spec, 2, (8,), 0.5)
    agent = Agent(policy.init(jax.random.key(0)), structured.standard_normal(2))
    lanes = jax.tree.map(lambda x: jnp.stack([x] * 6), distribution.sample(jax.random.key(1)))
    _, seen = jax.jit(functools.partial(rollout, env=env, policy=policy, num_steps=200))(
        jax.random.key(2), params=agent, tasks=lanes
    )
    _, noise = held(np.asarray(seen.timestep.observation), 2)
    angle, start = np.arctan2(noise[..., 1], noise[..., 0]), np.asarray(seen.timestep.episode_start)
    turn = np.diff(angle, axis=0) % (2 * np.pi)
    assert start[1:].any() and not start.all()
    np.testing.assert_allclose(turn[~start[1:]], np.pi / period, rtol=1e-2)
    place = (angle * 6 / (2 * np.pi)) % 6 - np.arange(6)  # of each start in its lane's share of the turn
    assert place[start].min() > -1e-3 and place[start].max() < 1.0 + 1e-3
    drawn = [x[starts] for x, starts in zip(place, start, strict=True) if starts.any()]
    assert max(np.ptp(x) for x in drawn) < 1e-4 and np.std([x[0] for x in drawn]) > 0.1  # one draw for all that begin


def turning(size: int, period: int, shape: tuple[int, ...]) -> np.ndarray:
    """Noise as it is shown at each step of an episode: ``[period + 1, *shape, size]``."""
    env = _held_noise.SweptLatentWrapper(FAMILIES["navigation"]().env, size, period)
    show = lambda noise, age: env.shown(_held_noise.HeldState((), noise, jnp.int32(age)))
    for _ in shape:
        show = jax.vmap(show, in_axes=(0, None))
    noise = env.noise(jax.random.key(0), shape)
    return np.asarray(jnp.stack([show(noise, age) for age in range(period + 1)]))


def test_noise_makes_half_a_turn_and_episodes_side_by_side_are_apart():
    shown = turning(2, 6, (500, 4))
    angle = np.unwrap(np.arctan2(shown[..., 1], shown[..., 0]), axis=0)
    np.testing.assert_allclose(np.linalg.norm(shown, axis=-1), 2**0.5, rtol=1e-5)
    np.testing.assert_allclose(np.diff(angle, axis=0), np.pi / 6, rtol=1e-3)  # as far each step
    between = np.diff(np.unwrap(angle[0], axis=-1), axis=-1)
    np.testing.assert_allclose(between, np.pi / 2, rtol=1e-3)  # as far from one to the next
    first = angle[0, :, 0] % (2 * np.pi)
    assert 0.0 <= first.min() < 0.05 and np.pi / 2 - 0.05 < first.max() <= np.pi / 2  # moved on by up to that space


@pytest.mark.parametrize("size", [2, 4, 5])
def test_turning_noise_has_the_mean_and_covariance_of_a_standard_normal_over_a_turn(size):
    shown = turning(size, 8, (1, 2))[:-1].reshape(-1, size)  # two episodes: the two halves of a turn
    np.testing.assert_allclose(shown.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(shown.T @ shown / len(shown), np.eye(size), atol=1e-5)


def test_noise_is_standard_normal():
    env = _held_noise.EpisodeNoiseWrapper(FAMILIES["navigation"]().env, 2)
    state = jax.vmap(lambda noise: env.reset(noise, PointTask(jnp.ones(2))))(
        env.sample_noise(jax.random.key(0), (20_000,))
    )
    np.testing.assert_allclose(state.noise.mean(axis=0), 0.0, atol=0.03)
    np.testing.assert_allclose(np.cov(np.asarray(state.noise).T), np.eye(2), atol=0.03)


@pytest.mark.parametrize("name", FAMILIES)
def test_without_noise_a_trajectory_is_the_environments_own(name):
    distribution, _, _, trajectory = collected(name)
    spec = distribution.env.spec
    plain = _held_noise.without_noise(trajectory, spec.observation_shape, Z)
    task = jax.vmap(distribution.sample)(jax.random.split(jax.random.key(1), 5))
    observe = jax.vmap(jax.vmap(distribution.env.observe), in_axes=(0, None))
    np.testing.assert_array_equal(plain.timestep.observation, observe(plain.env_state, task))
    np.testing.assert_array_equal(plain.next_observation, observe(plain.next_env_state, task))


def test_an_inner_step_comes_after_so_many_steps():
    """What the report cuts trials by."""
    distribution = tasks.sparse_navigation(horizon=20)
    assert algorithms.maesn(episodes=3).build(distribution).window == 60


@pytest.mark.parametrize("name", ["navigation", "bandit"])
def test_adapt_returns_what_other_algorithms_return(name):
    distribution = FAMILIES[name]()
    shapes = []
    for recipe in (algorithms.maesn(latents=2, encoder=(4,)), algorithms.maml(encoder=(4,))):
        built = recipe.build(distribution)
        state = jax.eval_shape(functools.partial(built.init, num_tasks=1), jax.random.key(0))
        task = jax.eval_shape(distribution.sample, jax.random.key(0))
        adapt = functools.partial(built.adapt, trial_steps=7)
        shapes.append(jax.eval_shape(adapt, jax.random.key(0), state, task))
    typed = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
    assert typed(shapes[0]) == typed(shapes[1])


def an_inner_step(name: str, **changes):
    """(``learn`` of mean and log std, the window, the agent, what paid by hand) with some of the step's numbers set."""
    _, policy, agent, trajectory = collected(name, num_tasks=4, steps=HORIZON if name == "navigation" else 1)
    seen = structured.window(policy, (), trajectory)._replace(reward=numbers(*trajectory.reward.shape, seed=3))
    step = structured.first_step(Z)._replace(**changes)
    meta = structured.Meta(agent.params, step, ())
    learn = lambda latent: structured.learn(policy, 0.9, meta, Agent(agent.params, latent), seen, 0.5).latent
    reward, returns = np.asarray(seen.reward), np.zeros(seen.reward.shape)
    for t in reversed(range(len(reward))):
        returns[t] = reward[t] + (0.9 * returns[t + 1] if t + 1 < len(reward) else 0.0)
    above = np.maximum(returns - returns.mean(), 0.0)
    credit = above / (above + np.exp(step.log_scale))
    return learn, seen, agent, policy, jnp.asarray(credit / (credit.sum() + 1e-3), jnp.float32)


@pytest.mark.parametrize("name", ["navigation", "bandit"])
def test_draws_move_by_the_natural_gradient_of_their_density(name):
    learn, seen, agent, _, weight = an_inner_step(name, actions=jnp.zeros((Z, Z)), narrowing=jnp.float32(0.0))
    latent, (_, noise) = agent.latent, held(seen.timestep.observation, Z)
    spread = lambda x: x.reshape(1, 1, Z)
    z = spread(latent.mean) + jnp.exp(spread(latent.log_std)) * noise
    density = lambda x: normal_log_prob(spread(x.mean), spread(x.log_std), z)
    gradient = jax.grad(lambda x: (weight * density(x)).sum())(latent)
    flat, back = jax.flatten_util.ravel_pytree(latent)
    fisher = jax.hessian(lambda x: normal_divergence(*latent, *back(x)))(flat)
    direction = back(np.linalg.solve(fisher, jax.flatten_util.ravel_pytree(gradient)[0]))
    found = learn(latent)
    np.testing.assert_allclose(found.mean, latent.mean + 0.5 * direction.mean, rtol=1e-4, atol=1e-5)
    expected = np.clip(latent.log_std + 0.5 * direction.log_std, *structured.LOG_STD)
    np.testing.assert_allclose(found.log_std, expected, rtol=1e-4, atol=1e-5)


def test_narrowing_where_it_paid():
    learn, _, agent, _, weight = an_inner_step("bandit", narrowing=jnp.float32(2.0))
    base, _, _, _, _ = an_inner_step("bandit", narrowing=jnp.float32(0.0))
    start = agent.latent._replace(log_std=jnp.full(Z, -1.5))
    moved = learn(start).log_std - base(start).log_std
    np.testing.assert_allclose(moved, np.full(Z, -0.5 * 2.0 * weight.sum()), rtol=1e-4)


@pytest.mark.parametrize("name", ["navigation", "bandit"])
def test_actions_move_by_natural_gradients_of_their_likelihood(name, monkeypatch):
    """The gradient by central differences, the metric as the Hessian of the KL divergence, the step by NumPy."""
    monkeypatch.setattr(structured, "CORRECTIONS", 1)
    curvature = numbers(Z, Z, seed=5)
    learn, seen, agent, policy, weight = an_inner_step(name, actions=curvature, draws=jnp.zeros((Z, Z)))
    latent = agent.latent
    observation, _ = held(seen.timestep.observation, Z)

    def said(mean):
        told = jnp.concatenate([observation, jnp.broadcast_to(mean[None, None], (*observation.shape[:-1], Z))], axis=-1)
        layer, head = agent.params["encoder_0"], agent.params["policy_head"]
        return jnp.tanh(told @ layer["kernel"] + layer["bias"][None, None]) @ head["kernel"] + head["bias"][None, None]

    likelihood = lambda mean: (weight * policy.actions.log_prob(said(mean), seen.action)).sum()
    units = 1e-2 * np.eye(Z, dtype=np.float32)
    gradient = [(likelihood(latent.mean + unit) - likelihood(latent.mean - unit)) / 2e-2 for unit in units]
    before = said(latent.mean)
    fisher = jax.hessian(lambda mean: (weight * policy.actions.kl(before, said(mean))).sum())(latent.mean)
    direction = np.linalg.solve(np.asarray(fisher) + np.eye(Z), np.asarray(gradient))
    direction = direction / np.sqrt(1.0 + np.square(direction).sum())
    assert np.abs(direction).max() > 1e-2
    np.testing.assert_allclose(learn(latent).mean, latent.mean + 0.5 * direction @ curvature, rtol=2e-2, atol=2e-3)


def test_where_all_earned_the_same_nothing_is_learned():
    policy = structured.latent_actor(FAMILIES["navigation"]().env.spec, Z, (8,), 1.0)
    _, _, agent, trajectory = collected("navigation", steps=HORIZON)
    seen = structured.window(policy, (), trajectory)._replace(reward=jnp.zeros_like(trajectory.reward))
    meta = structured.Meta(agent.params, structured.first_step(Z), ())
    after = structured.learn(policy, 0.9, meta, agent, seen, 1.0)
    before = agent.latent._replace(log_std=jnp.clip(agent.latent.log_std, *structured.LOG_STD))
    jax.tree.map(np.testing.assert_array_equal, after.latent, before)


def test_a_window_ends_where_episodes_do():
    """By termination or by truncation, each by itself."""
    policy = SimpleNamespace(actions=SimpleNamespace(log_prob=lambda parameters, action: action))
    terminated, truncated = jnp.asarray([True, False, False]), jnp.asarray([False, False, True])
    trajectory = SimpleNamespace(
        outputs=((),), action=jnp.zeros(3), timestep=(), reward=(), terminated=terminated, truncated=truncated
    )
    np.testing.assert_array_equal(structured.window(policy, (), trajectory).ended, [True, False, True])


def a_window(*shape: int, seed: int = 0) -> structured.Window:
    return structured.Window((), (), (), numbers(*shape, seed=seed), jnp.zeros(shape, bool))


def test_a_task_tells_of_its_windows_and_of_who_knew_it(monkeypatch):
    """A window of episodes side by side earned what one of them did, on average."""
    windows, informed, options = a_window(3, HORIZON, 2), a_window(HORIZON, 5, seed=1), (0.0, 0.0, 0.0, 0.2, 0.9)
    monkeypatch.setattr(_latent_learning.adaptation, "lifetime", lambda *_: windows)
    monkeypatch.setattr(_latent_learning, "proposed", lambda *_: None)
    inner = SimpleNamespace(window=lambda baseline, collected: collected)
    parts = _latent_learning.Parts(inner, lambda *_: informed, None, _latent_learning.Options(*options), None)
    batch, earned = _latent_learning.live_one(
        parts, lambda task: task, jax.random.key(0), structured.Meta(*[()] * 3), 7
    )
    np.testing.assert_allclose(earned, np.asarray(windows.reward).sum(axis=1).mean(axis=1), rtol=1e-5)
    assert batch.task == 7 and batch.informed is informed
    np.testing.assert_allclose(batch.advantage[1], structured.returns_of(jax.tree.map(lambda x: x[1], windows), 0.9))


def test_what_an_update_says_is_per_episode(monkeypatch):
    maesn = importlib.import_module("metarl_jax.algorithms.gradient.maesn")  # a function of that name stands before it
    earned, informed = numbers(5, 3), numbers(5, HORIZON, 2)

    def live_one(parts, describe, key, meta, task):
        window = a_window(HORIZON, 2)._replace(reward=informed[task["x"]])
        return _latent_learning.Batch((), (), window, (), ()), earned[task["x"]]

    monkeypatch.setattr(_latent_learning, "live_one", live_one)
    monkeypatch.setattr(_latent_learning, "standardised", lambda options, batch: batch)
    monkeypatch.setattr(maesn.estimators, "minibatch_epochs", lambda key, meta, state, *_, **__: (meta, state, {}))
    built = algorithms.maesn(latents=2, encoder=(4,), episodes=4).build(FAMILIES["navigation"]())
    _, outcome = built.update(jax.random.key(0), built.init(jax.random.key(1), 5), {"x": jnp.arange(5)})
    np.testing.assert_allclose(outcome.trial_return, 4 * np.asarray(earned).sum(axis=1), rtol=1e-5)
    wanted = {
        "return_before": np.mean(earned[:, 0]),
        "return_after": np.mean(earned[:, -1]),
        "return_informed": np.asarray(informed).sum(axis=1).mean(),
    }
    assert {name: np.shape(x) for name, x in outcome.metrics.items()} == dict.fromkeys(wanted, ())
    for name, value in wanted.items():
        np.testing.assert_allclose(outcome.metrics[name], value, rtol=1e-5)


def test_where_nothing_was_earned_advantages_are_nothing():
    options, zero = _latent_learning.Options(1.0, 1.0, 0.0, 0.2, 0.9), jnp.zeros((2, 3, HORIZON, 4))
    windows = a_window(*zero.shape)._replace(reward=zero)
    batch = _latent_learning.standardised(options, _latent_learning.Batch(windows, zero, (), zero[:, 0], ()))
    np.testing.assert_array_equal(batch.advantage, 0.0)
    np.testing.assert_array_equal(batch.informed_advantage, 0.0)


def test_windows_count_after_something_was_earned():
    reward = jnp.zeros((4, HORIZON, 2)).at[1, 2, 0].set(-1.0)
    np.testing.assert_array_equal(_latent_learning.after_a_find(reward), [False, False, True, True])
    assert not _latent_learning.after_a_find(jnp.zeros_like(reward)).any()


@pytest.mark.parametrize("payoffs", [[0.0, 0.3, 1.0], [-0.2, -0.1, -0.7], [0.0, 0.0, 1.0]])
def test_what_lanes_add_is_the_gradient_of_the_best_among_them(payoffs):
    """Three lanes of two steps, each with one of three payoffs: all outcomes, weighed by their chance."""
    discount, lanes, steps = 0.6, 3, 2
    logits = jnp.asarray([[0.4, 0.1, -0.5], [-0.3, 0.0, 0.2]])  # [T, actions]
    grid = jnp.meshgrid(*[jnp.arange(3)] * (lanes * steps), indexing="ij")
    outcomes = jnp.stack(grid, axis=-1).reshape(-1, steps, lanes)
    rewards = jnp.asarray(payoffs)[outcomes]  # [outcomes, T, E]
    scores = lambda logits: jnp.stack([jax.nn.log_softmax(logits[t])[outcomes[:, t]] for t in range(steps)], axis=1)
    chance = lambda logits: jnp.exp(scores(logits).sum(axis=(1, 2)))
    best = (rewards * jnp.asarray([1.0, discount])[None, :, None]).sum(axis=1).max(axis=1)
    wanted = jax.grad(lambda logits: (chance(logits) * best).sum())(logits)
    advantage = jax.vmap(functools.partial(_latent_learning.added, discount=discount))(rewards)
    weight = chance(logits)[:, None, None] * advantage
    told = jax.grad(lambda logits: (weight * scores(logits)).sum())(logits)
    np.testing.assert_allclose(told, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"informed": 1}, "informed=1: must be at least 2"),
        ({"episodes": 1}, "episodes=1: must be at least 2"),
        ({"latents": 1}, "latents=1: must be at least 2"),
        ({"search_weight": -1.0}, "search_weight=-1.0: must not be negative"),
        ({"prior_cost": -1.0}, "prior_cost=-1.0: must not be negative"),
        ({"inner_discount": 1.5}, "inner_discount=1.5: must lie between 0 and 1"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        algorithms.maesn(**options).build(tasks.bandit())
