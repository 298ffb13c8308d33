"""VariBAD's parts against brute force: divergences, pairs of beliefs and steps, what gradients reach, bonuses."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

import metarl_jax as mrl
from metarl_jax import algorithms, tasks
from metarl_jax.algorithms.inference import elbo as beliefs
from metarl_jax.algorithms.inference.exploration_bonus import novelty
from metarl_jax.networks import actor, asymmetric_critic, first_timestep, mlp
from metarl_jax.networks.belief import Belief, Decoder, Scale, belief_encoder, on_beliefs
from metarl_jax.networks.policy import actor_critic
from metarl_jax.rollout import rollout
from metarl_jax.tasks.features import vectors
from metarl_jax.tasks.gridnavi import GridTask
from metarl_jax.tasks.navigation import PointTask

L, N = 3, 4


@pytest.fixture(scope="module")
def collected():
    """Random play in a small grid: ``[T, N]``, and its tasks."""
    distribution = tasks.gridnavi(size=3, horizon=4, num_episodes=2)
    policy = actor_critic(distribution.env.spec, "none", 0, (4,), False)
    batch = jax.jit(jax.vmap(distribution.sample))(jax.random.split(jax.random.key(0), N))
    params = jax.jit(policy.init)(jax.random.key(1))
    _, trajectory = played(distribution, policy, params, batch)
    return distribution, batch, trajectory


def played(distribution, policy, params, batch):
    """A trial in each task, in one program."""
    live = lambda params, batch: rollout(
        jax.random.key(2), distribution.env, policy, params, batch, distribution.trial_steps
    )
    return jax.jit(live)(params, batch)


def newborn(algorithm, seed: int):
    """A learner's state, in one program."""
    return jax.jit(algorithm.init, static_argnums=1)(jax.random.key(seed), 1)


def model_of(distribution, costs: beliefs.Costs, num_beliefs: int = 100):
    """The model and all of its parameters."""
    encoder = belief_encoder(distribution.env.spec, "gru", 6, (), L, distribution.trial_steps)
    model = beliefs.belief_model(distribution, encoder, costs, (5,), 7, L, num_beliefs)
    params = jax.jit(model.init)(jax.random.key(3)) | {"encoder": jax.jit(encoder.init)(jax.random.key(4))}
    return encoder, model, params


def test_divergence_from_one_belief_to_the_next_by_integration():
    generator = np.random.default_rng(0)
    mean, log_var = generator.normal(size=(2, 3, 2))
    found = beliefs.divergence(Belief(*(jnp.asarray(x, jnp.float32) for x in (mean, log_var))))
    grid = np.linspace(-25, 25, 40_001)
    for t in range(3):
        wanted = 0.0
        for d in range(2):
            new = scipy.stats.norm(mean[t, d], np.exp(0.5 * log_var[t, d]))
            old = scipy.stats.norm(mean[t - 1, d], np.exp(0.5 * log_var[t - 1, d])) if t else scipy.stats.norm(0, 1)
            wanted += np.trapezoid(new.pdf(grid) * (new.logpdf(grid) - old.logpdf(grid)), grid)
        np.testing.assert_allclose(found[t], wanted, rtol=1e-4)


def test_decoder_is_an_inner_product_of_two_networks():
    decoder = Decoder((5,), 7, 2)
    latents, facts = jax.random.normal(jax.random.key(0), (4, N, L)), jax.random.normal(jax.random.key(1), (6, N, 8))
    params = decoder.init(jax.random.key(2), latents, facts)["params"]
    found = decoder.apply({"params": params}, latents, facts)
    assert found.shape == (4, 6, N, 2)

    def network(name, x):
        layer, output = params[name]["layer_0"], params[name]["output"]
        return np.maximum(x @ layer["kernel"] + layer["bias"], 0) @ output["kernel"] + output["bias"]

    for b, t, n in ((0, 0, 0), (3, 5, 2), (1, 4, 3)):
        wanted = network("latent", latents[b, n]) @ network("facts", facts[t, n]).reshape(7, 2) / np.sqrt(7)
        np.testing.assert_allclose(found[b, t, n], wanted, rtol=1e-5, atol=1e-5)


def test_the_bound_is_a_sum_over_the_whole_trial_from_every_belief(collected):
    distribution, batch, trajectory = collected
    costs = beliefs.Costs(reward=2.0, transition=0.5, task=0.0, kl=0.1)
    encoder, model, params = model_of(distribution, costs)
    # Beliefs all but certain: their latents are their means.
    params["encoder"]["log_var"] = {"kernel": jnp.zeros((6, L)), "bias": jnp.full(L, -12.0)}
    trials = model.trials(trajectory, batch)
    loss, metrics = jax.jit(model.loss)(params, trials, jax.random.key(5))
    held = jax.jit(encoder.unroll)(params["encoder"], None, trajectory.timestep)
    of_reward, of_transition = (
        jax.jit(functools.partial(Decoder((5,), 7, size).apply, {"params": params[name]}))
        for name, size in (("reward", 1), ("transition", 6))
    )
    spec, steps = distribution.env.spec, distribution.trial_steps
    reward, transition = 0.0, 0.0
    action = np.eye(spec.num_actions)[np.asarray(trajectory.action)]
    before, after = np.asarray(trajectory.timestep.observation), np.asarray(trajectory.next_observation)
    mean, rewards = np.asarray(held.mean), np.asarray(trajectory.reward)
    for n in range(N):
        for t in range(steps):
            latent = mean[t, n][None, None]
            for s in range(steps):
                known = np.concatenate([before[s, n], action[s, n]]).astype(np.float32)[None, None]
                fact = np.concatenate([known, after[s, n][None, None]], axis=-1)
                said = of_reward(latent, fact)
                reward += 0.5 * float((said[0, 0, 0, 0] - rewards[s, n]) ** 2)
                said = of_transition(latent, known)
                transition += 0.5 * float(((np.asarray(said[0, 0, 0]) - after[s, n]) ** 2).sum())
    reward, transition = reward / (steps * N), transition / (steps * N)
    np.testing.assert_allclose(metrics["reward_error"], reward, rtol=1e-2)
    np.testing.assert_allclose(metrics["transition_error"], transition, rtol=1e-2)
    kl = float(beliefs.divergence(held).mean())
    wanted = 2.0 * reward + 0.5 * transition + 0.1 * kl + float(metrics["task_error"])
    np.testing.assert_allclose(loss, wanted, rtol=1e-2)


def test_subsampled_beliefs_leave_the_bound_the_same_on_average(collected):
    distribution, batch, trajectory = collected
    costs = beliefs.Costs(reward=1.0, transition=0.0, task=0.0, kl=0.0)
    _, model, params = model_of(distribution, costs)
    _, part, _ = model_of(distribution, costs, num_beliefs=3)
    trials = model.trials(trajectory, batch)
    keys = jax.random.split(jax.random.key(6), 400)
    losses = [jax.jit(jax.vmap(lambda key, m=m: m.loss(params, trials, key)[0]))(keys) for m in (model, part)]
    error = float(losses[1].std() / 20)
    assert error > 0 and abs(float(losses[0].mean() - losses[1].mean())) < 4 * error


@pytest.mark.parametrize("task_cost", [0.0, 1.0])
def test_the_readout_moves_the_encoder_only_when_the_task_is_decoded(task_cost):
    """The whole update, clipping included: a readout that is far off must not slow the encoder."""
    distribution = tasks.gridnavi(size=3, horizon=4, num_episodes=2)
    options = dict(memory_size=4, latent_size=2, actor=(4,), decoder=(4,), heads=4, num_minibatches=1, num_epochs=1)
    agent = algorithms.varibad(**options, model_minibatches=1, model_epochs=1, task_cost=task_cost).build(distribution)
    batch = jax.jit(jax.vmap(distribution.sample))(jax.random.split(jax.random.key(0), 8))
    state, update = newborn(agent, 1), jax.jit(agent.update)
    far = state.params | {"readout": jax.tree.map(lambda x: 30.0 * x + 1.0, state.params["readout"])}
    one, two = (update(jax.random.key(2), start, batch)[0] for start in (state, state._replace(params=far)))
    moments = [optax.tree.get(each.model_optimizer, "mu")["encoder"] for each in (one, two)]
    moved = max(jax.tree.leaves(jax.tree.map(lambda a, b: jnp.abs(a - b).max(), *moments)))
    assert (moved > 1e-6) == bool(task_cost)


@pytest.mark.parametrize("task_cost", [0.0, 1.0])
def test_the_readout_shapes_the_belief_only_when_the_task_is_decoded(collected, task_cost):
    distribution, batch, trajectory = collected
    _, model, params = model_of(distribution, beliefs.Costs(1.0, 0.0, task_cost, 0.1))
    trials = model.trials(trajectory, batch)
    other = params | {"readout": jax.tree.map(lambda x: 3.0 * x + 0.1, params["readout"])}
    gradient = jax.jit(jax.grad(lambda p: model.loss(p, trials, jax.random.key(7))[0]))
    one, two = (gradient(p) for p in (params, other))
    moved = max(jax.tree.leaves(jax.tree.map(lambda a, b: jnp.abs(a - b).max(), one["encoder"], two["encoder"])))
    assert (moved > 1e-4) == bool(task_cost)
    assert max(jnp.abs(leaf).max() for leaf in jax.tree.leaves(one["readout"])) > 1e-4


def test_the_truth_is_the_task_itself(collected):
    distribution, batch, _ = collected
    truth = jax.jit(beliefs.task_readout(distribution).truth)(batch)
    assert truth.shape == (N, 5) and (truth.sum(axis=1) == 1).all()
    np.testing.assert_array_equal(distribution.tasks.goal[truth.argmax(axis=1)], batch.goal)
    bandit = tasks.bandit(num_arms=3)
    some = jax.vmap(bandit.sample)(jax.random.split(jax.random.key(0), N))
    readout = beliefs.task_readout(bandit)
    np.testing.assert_array_equal(readout.truth(some), some.probability)
    said = jnp.concatenate([some.probability, jnp.full((N, 3), -1.0)], axis=1)
    density = scipy.stats.norm(0, np.exp(-0.5)).logpdf(0) + 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(readout.loss(said, some.probability), -3 * density, rtol=1e-5)
    np.testing.assert_array_equal(readout.mean(said), some.probability)


def test_surprise_is_the_error_of_each_step_under_its_own_belief(collected):
    distribution, batch, trajectory = collected
    costs = beliefs.Costs(reward=2.0, transition=0.0, task=0.0, kl=0.1)
    encoder, model, params = model_of(distribution, costs)
    trials = model.trials(trajectory, batch)
    held = encoder.unroll(params["encoder"], None, trajectory.timestep)
    found = model.surprise(params, held, trials)
    every = Decoder((5,), 7, 1).apply({"params": params["reward"]}, held.mean, trials.facts)[..., 0]  # [B, T, N]
    own = jnp.stack([every[t, t] for t in range(distribution.trial_steps)])
    np.testing.assert_allclose(found, (own - trajectory.reward) ** 2, rtol=1e-4, atol=1e-6)


def test_bonuses_start_at_their_cost_and_fade():
    bonus = novelty(3, 0.5, 0.25, 10, rate=1e-2)
    seen, surprise = jax.random.normal(jax.random.key(0), (6, N, 3)), jnp.full((6, N), 2.0)
    state, totals = bonus.init(jax.random.key(1)), []
    update = jax.jit(bonus.update)
    for _ in range(11):
        state, extra, metrics = update(state, seen, surprise)
        np.testing.assert_allclose(metrics["bonus"], np.sum(extra, axis=0).mean(), rtol=1e-5)  # per trial
        totals.append(float(extra.mean()))
    np.testing.assert_allclose(totals[0], 0.75, rtol=1e-5)
    assert totals[10] == 0.0 and all(a > b for a, b in itertools.pairwise(totals))
    share = 1 - 5 / 10
    assert totals[5] < share * 0.75 - 0.01  # it fades faster than its share: what is seen again is known
    again = state._replace(updates=jnp.int32(1))
    familiar, strange = (float(update(again, x, surprise)[1].mean()) for x in (seen, seen + 3.0))
    assert strange > 1.5 * familiar


def test_a_belief_learns_what_a_bandit_pays():
    """Some 40 updates: the decoded means come nearer to Bayes' than the prior's are."""
    distribution = tasks.bandit(num_arms=2, num_pulls=12)
    recipe = algorithms.varibad(memory_size=32, model_epochs=4, learning_rate=1e-3, model_rate=5e-3)
    run = mrl.train(recipe, distribution, num_updates=40, num_tasks=128, quiet=True)
    report = mrl.evaluate(run, num_tasks=500, quiet=True)
    assert report.belief is not None and report.belief["candidates"] == 0
    by_step = {name: np.array(x) for name, x in report.belief["by_step"].items()}
    assert all(len(x) == 11 for x in by_step.values())
    prior = np.sqrt(1 / 12)  # of a uniform chance
    assert by_step["exact_error"][-1] < 0.75 * prior
    assert by_step["error"][-1] < 0.85 * prior and by_step["difference"][-1] < 0.5 * prior
    assert (by_step["error"] > by_step["exact_error"] - 0.01).all()  # nobody beats Bayes


def test_wrong_options_are_told_before_anything_compiles():
    build = functools.partial(lambda **options: algorithms.varibad(**options).build(tasks.gridnavi()))
    for options, word in (
        ({"reward_cost": 0.0}, "decode something"),
        ({"kl_cost": -1.0}, "kl_cost"),
        ({"heads": 0}, "heads"),
        ({"actor": (0,)}, "actor"),
        ({"num_beliefs": 0}, "num_beliefs"),
        ({"memory_size": 0}, "memory_size"),
        ({"novelty_cost": -0.1}, "novelty_cost"),
        ({"bonus_updates": 0}, "bonus_updates"),
        ({"memory_window": 3}, "memory_window"),
        ({"held_noise": -1}, "held_noise"),
        ({"held_noise": 2, "acting": "sample"}, "held_noise"),
        ({"spread": 0.0}, "spread"),
        ({"standardised": True, "acting": "sample"}, "standardised"),
    ):
        with pytest.raises(mrl.ConfigError, match=word):
            build(**options)
    with pytest.raises(mrl.ConfigError, match="model_minibatches"):
        mrl.train(algorithms.varibad(model_minibatches=3), "gridnavi", num_tasks=8, quiet=True)


def test_posterior_sampling_holds_one_draw_through_an_episode():
    distribution = tasks.gridnavi(size=3, horizon=4, num_episodes=3)
    algorithm = algorithms.posterior_sampling(memory_size=8, latent_size=L).build(distribution)
    state = newborn(algorithm, 0)
    # Wide beliefs, so that draws differ.
    state.params["encoder"]["log_var"]["bias"] = jnp.ones(L)
    task = jax.tree.map(lambda x: x[0], distribution.tasks)
    collected = jax.jit(algorithm.adapt, static_argnums=(3, 4))(jax.random.key(1), state, task, 12, False)
    assert collected.timestep.observation.shape == (12, 6) == collected.next_observation.shape
    _, _, held, shown = collected.outputs
    np.testing.assert_array_equal(shown[:, :6], collected.timestep.observation)
    draws = np.asarray(shown[:, 6:]).reshape(3, 4, L)
    assert (draws == draws[:, :1]).all() and (draws[0] != draws[1]).all() and (draws[1] != draws[2]).all()
    noise = (draws[:, 0] - held.mean[::4]) * np.exp(-0.5 * held.log_var[::4])
    assert np.abs(noise).max() < 5 and np.abs(noise).std() > 0.1  # as an episode begins, from the belief held then


HELD = {  # where noise is held, and with which other options
    "grid": (lambda: tasks.gridnavi(size=3, horizon=4, num_episodes=3), {}),
    "grid, the critic sees the task": (
        lambda: tasks.gridnavi(size=3, horizon=4, num_episodes=3),
        {"critic": "task", "actor": ()},
    ),
    "plane, bonuses": (lambda: tasks.sparse_navigation(horizon=4, num_episodes=3), {"novelty_cost": 0.1}),
}


@pytest.mark.parametrize("name", HELD)
def test_held_noise_leads_the_actor_and_tells_the_encoder_nothing(name):
    make, more = HELD[name]
    distribution, size = make(), 2
    options = dict(memory_size=8, latent_size=L, actor=(5,), num_minibatches=2, model_minibatches=2) | more
    algorithm = algorithms.varibad(**options, held_noise=size).build(distribution)
    state = newborn(algorithm, 0)
    batch = jax.jit(jax.vmap(distribution.sample))(jax.random.split(jax.random.key(0), 4))
    task = jax.tree.map(lambda x: x[0], batch)
    collected = jax.jit(algorithm.adapt, static_argnums=(3, 4))(jax.random.key(1), state, task, 12, False)
    width = math.prod(distribution.env.spec.observation_shape)
    assert collected.timestep.observation.shape == (12, width) == collected.next_observation.shape
    parameters, _, told, shown = collected.outputs
    np.testing.assert_array_equal(shown[:, :width], collected.timestep.observation)
    noise = np.asarray(shown[:, -size:]).reshape(3, 4, size)
    assert (noise == noise[:, :1]).all() and (noise[0] != noise[1]).all() and (noise[1] != noise[2]).all()
    encoder = belief_encoder(distribution.env.spec, "gru", 8, (), L, distribution.trial_steps)
    wanted = encoder.unroll(state.params["encoder"], None, jax.tree.map(lambda x: x[:, None], collected.timestep))
    np.testing.assert_allclose(told.mean, wanted.mean[:, 0], rtol=1e-4, atol=1e-5)
    assert np.abs(parameters).max() > 0.1  # others are born indifferent
    new, _ = jax.jit(algorithm.update)(jax.random.key(1), state, batch)
    jax.tree.map(lambda a, b: np.testing.assert_(np.any(a != b)), new.params["actor"], state.params["actor"])


@pytest.mark.parametrize("memory", ["gru", "s5", "transformer"])
def test_acting_is_the_encoder_unrolled_with_any_memory(memory):
    """What the policy said step by step is what encoder and actor say of the record, before and after an update."""
    distribution = tasks.gridnavi(size=3, horizon=4, num_episodes=2)
    spec = distribution.env.spec
    encoder = belief_encoder(spec, memory, 8, (), L, distribution.trial_steps)
    head = actor_critic(spec._replace(observation_shape=(6 + 2 * L,)), "none", 0, (5,), False)
    policy = on_beliefs(encoder, head)
    params = jax.jit(policy.init)(jax.random.key(0))
    batch = jax.jit(jax.vmap(distribution.sample))(jax.random.split(jax.random.key(1), N))
    _, collected = played(distribution, policy, params, batch)
    for found, wanted in zip(
        jax.tree.leaves(collected.outputs),
        jax.tree.leaves(jax.jit(policy.unroll)(params, None, collected.timestep)),
        strict=True,
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    recipe = algorithms.varibad(memory=memory, memory_size=8, num_minibatches=2, model_minibatches=2)
    algorithm = recipe.build(distribution)
    _, outcome = jax.jit(algorithm.update)(jax.random.key(3), newborn(algorithm, 4), batch)
    assert np.isfinite(outcome.metrics["model_reward_error"])


def test_standardised_beliefs_are_seen_in_units_of_their_spread():
    """The scale follows what was believed, no gradient moves it, and the actor sees by it: clipped, of any size."""
    distribution = tasks.sparse_navigation(horizon=4, num_episodes=2)
    options = dict(memory_size=8, latent_size=L, num_minibatches=2, model_minibatches=2, standardised=True)
    algorithm = algorithms.varibad(**options, held_noise=2, bounding="mean").build(distribution)
    batch = jax.jit(jax.vmap(distribution.sample))(jax.random.split(jax.random.key(0), 16))
    state, update = newborn(algorithm, 1), jax.jit(algorithm.update)
    np.testing.assert_array_equal(state.params["scale"].std, np.ones(2 * L))
    key = jax.random.key(2)
    live = jax.jit(jax.vmap(algorithm.adapt, (0, None, 0, None)), static_argnums=3)
    for _ in range(2):
        before, (state, _) = state, update(key, state, batch)
    assert "scale" not in optax.tree.get(state.model_optimizer, "mu")  # no gradient moves it
    scale, old = (jax.tree.map(np.asarray, each.params["scale"]) for each in (state, before))
    collected = live(jax.random.split(key, 16), before, batch, distribution.trial_steps)
    _, _, told, shown = collected.outputs
    vectors_ = np.asarray(told.vector())
    moved = old.mean + 0.1 * (vectors_.mean((0, 1)) - old.mean)
    np.testing.assert_allclose(scale.mean, moved, atol=0.05)  # of another trial in the same tasks
    assert np.abs(scale.mean).max() > 1e-4 and (scale.std < 1).all()
    wanted = np.clip((vectors_ - old.mean) / old.std, -5, 5)
    np.testing.assert_allclose(shown[..., 2 : 2 + 2 * L], wanted, rtol=1e-4, atol=1e-4)
    tight = before.params | {"scale": old._replace(std=jnp.full(2 * L, 1e-4))}
    _, _, _, shown = live(jax.random.split(key, 16), before._replace(params=tight), batch, 8).outputs
    assert np.abs(np.asarray(shown)[..., 2 : 2 + 2 * L]).max() == 5.0


def test_a_scale_moves_a_tenth_of_the_way_to_what_was_believed():
    generator = np.random.default_rng(0)
    belief = Belief(*(jnp.asarray(generator.normal(2.0, 3.0, (5, 7, L)), jnp.float32) for _ in range(2)))
    scale = Scale(jnp.full(2 * L, -1.0), jnp.full(2 * L, 0.5))
    moved, vector = scale.followed(belief), np.asarray(belief.vector()).reshape(-1, 2 * L)
    np.testing.assert_allclose(moved.mean, -0.9 + 0.1 * vector.mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(moved.std, 0.45 + 0.1 * vector.std(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(scale(jnp.full((1, 2 * L), 0.5)), np.full((1, 2 * L), 3.0), rtol=1e-4)


def test_a_critic_may_see_the_task_and_the_actor_does_not():
    """Its values differ with what only it sees, the actions' parameters do not; and in training every leaf moves."""
    distribution = tasks.gridnavi(size=3, horizon=4, num_episodes=2)
    spec = distribution.env.spec._replace(observation_shape=(5,))
    acting, learning = asymmetric_critic(actor(spec, (4,)), mlp(7, (4,), 1), 5)
    params = acting.init(jax.random.key(0))
    seen = first_timestep(spec, (3, 2), jax.random.normal(jax.random.key(1), (3, 2, 5)))
    more = lambda x: seen._replace(observation=jnp.concatenate([seen.observation, jnp.full((3, 2, 2), x)], axis=-1))
    alone, (said, value), (again, other) = (
        acting.unroll(params, (), seen)[0],
        *(learning.unroll(params, (), more(x)) for x in (0.0, 1.0)),
    )
    np.testing.assert_array_equal(said, alone)
    np.testing.assert_array_equal(again, alone)
    assert np.abs(value - other).min() > 1e-4
    algorithm = algorithms.varibad(critic="task", num_minibatches=2, model_minibatches=2, actor=(4,)).build(
        distribution
    )
    state = newborn(algorithm, 0)
    batch = jax.tree.map(lambda x: x[:4], distribution.tasks)
    new, _ = jax.jit(algorithm.update)(jax.random.key(1), state, batch)
    jax.tree.map(lambda a, b: np.testing.assert_(np.any(a != b)), new.params["actor"], state.params["actor"])


def test_task_vectors():
    describe, width, _ = vectors(tasks.gridnavi(size=4, horizon=8))
    codes = np.asarray(jax.vmap(describe)(GridTask(jnp.arange(2, 16))))
    assert codes.shape == (14, width) and set(codes.sum(axis=1)) <= {0.0, 1.0} and codes.sum() == 14
    assert not np.asarray(describe(GridTask(jnp.int32(0)))).any()  # a goal that is never drawn
    describe, width, _ = vectors(tasks.navigation())
    goals = jax.random.uniform(jax.random.key(3), (4000, 2), minval=-0.5, maxval=0.5)
    codes = jax.vmap(describe)(PointTask(goals))
    assert width == 2
    np.testing.assert_allclose(codes.mean(axis=0), 0.0, atol=0.2)
    np.testing.assert_allclose(codes.std(axis=0), 1.0, atol=0.1)
    same = tasks.maze_100()
    describe, width, _ = vectors(same)
    codes = np.asarray(jax.vmap(describe)(same.tasks))  # one layout and one start, left out; a hundred goals
    assert codes.shape == (100, width) and (codes.sum(axis=1) == 1.0).all() and len(np.unique(codes, axis=0)) == 100


def test_numbers_of_a_task_are_one_vector():
    """Those of all its leaves, task by task."""
    some = {"a": jnp.arange(6.0).reshape(3, 2), "b": jnp.asarray([7, 8, 9])}
    np.testing.assert_array_equal(beliefs._flat_tasks(some), [[0, 1, 7], [2, 3, 8], [4, 5, 9]])
