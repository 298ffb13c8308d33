"""Single parts of the algorithms against NumPy: means over the right axes, episodes' ends, terms and their signs."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import algorithms, tasks
from metarl_jax.algorithms.gradient import baseline as _baseline
from metarl_jax.algorithms.gradient import inner_loop as adaptation
from metarl_jax.algorithms.gradient import outer_loop as outer
from metarl_jax.algorithms.gradient.baseline import Baseline
from metarl_jax.algorithms.inference.exploration_bonus import Novelty
from metarl_jax.algorithms.lifetime import meta_learner as lifetimes
from metarl_jax.algorithms.recurrent import ppo as ppo
from metarl_jax.learned import rules
from metarl_jax.networks import actor_critic
from metarl_jax.records import Actor, Inner, Spec, TimeStep, Trajectory

# Functions of these names stand before the modules.
lpg, population, varibad = (
    importlib.import_module(f"metarl_jax.algorithms.{name}")
    for name in ("lifetime.lpg", "lifetime.population", "inference.varibad")
)
SPEC = Spec((2,), num_actions=3)
POLICY = actor_critic(SPEC, "none", 0, (), False)


def trajectory(steps: int, lanes: int, seed: int = 0, **changes) -> Trajectory:
    """Random steps ``[T, N]`` in which nothing ends, but for ``changes``."""
    rng = np.random.default_rng(seed)
    real = lambda *shape: jnp.asarray(rng.normal(size=(steps, lanes, *shape)), jnp.float32)
    never = jnp.zeros((steps, lanes), bool)
    action = jnp.asarray(rng.integers(3, size=(steps, lanes)), jnp.int32)
    timestep = TimeStep(real(2), action, real(), never, never)
    made = Trajectory(timestep, action, real(), real(), never, never, real(2), (), (), (real(3), real()))
    return made._replace(**changes)


def at(steps: int, lanes: int, *places) -> jax.Array:
    """True at ``places``, pairs (step, lane)."""
    found = np.zeros((steps, lanes), bool)
    for place in places:
        found[place] = True
    return jnp.asarray(found)


def test_ppo_standardises_advantages_over_the_whole_batch():
    """Not step by step: which steps of a trial matter is what advantages are for."""
    steps = trajectory(4, 5)
    advantages = jnp.asarray(np.random.default_rng(1).normal(size=(4, 5)) + 10.0 * np.arange(4)[:, None], jnp.float32)
    found = np.asarray(ppo.learning_batch(POLICY, steps, advantages).advantage)
    wanted = (advantages - np.mean(advantages)) / np.std(advantages)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert found.mean(axis=1).std() > 0.5


def test_ppo_loses_what_the_paper_says():
    """``-min(rho A, clip(rho) A) + value_cost value_loss - entropy_cost entropy``, in NumPy."""
    rng, steps = np.random.default_rng(5), trajectory(4, 5)
    params = POLICY.init(jax.random.key(0))
    (layer,) = (params[name] for name in params if name.startswith("policy"))
    (value,) = (params[name] for name in params if name.startswith("value"))
    seen = np.asarray(steps.timestep.observation, float)
    logits, values = (seen @ np.asarray(x["kernel"]) + np.asarray(x["bias"]) for x in (layer, value))
    log_all = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    log_prob = np.take_along_axis(log_all, np.asarray(steps.action)[..., None], axis=-1)[..., 0]
    old, advantage, target = log_prob + rng.normal(size=(4, 5)), rng.normal(size=(4, 5)), rng.normal(size=(4, 5)) + 3.0
    ratio = np.exp(log_prob - old)
    surrogate = -np.minimum(ratio * advantage, np.clip(ratio, 0.8, 1.2) * advantage).mean()
    of_values = 0.5 * np.square(values[..., 0] - target).mean() / (target.var() + 1e-4 * np.square(target).mean())
    entropy = -(np.exp(log_all) * log_all).sum(axis=-1).mean()
    numbers = dict(discount=0.9, trace=0.9, learning_rate=0.1, decay_updates=0, num_epochs=1, num_minibatches=1)
    config = ppo.PPOConfig(
        **numbers, clip=0.2, entropy_cost=0.3, entropy_updates=0, value_cost=0.7, max_gradient_norm=1.0
    )
    single = lambda x: jnp.asarray(x, jnp.float32)
    batch = ppo.Batch(steps.timestep, steps.action, single(old), single(advantage), single(target))
    loss, metrics = ppo.ppo_loss(POLICY, config, params, batch)
    assert of_values < 5.0  # the bound of the value loss
    np.testing.assert_allclose(loss, surrogate + 0.7 * of_values - 0.3 * entropy, rtol=1e-5)
    found = [metrics[name] for name in ("policy_loss", "value_loss", "entropy", "kl")]
    np.testing.assert_allclose(found, [surrogate, of_values, entropy, (old - log_prob).mean()], rtol=1e-5)


@pytest.mark.parametrize("kind", ["terminated", "truncated"])
def test_advantages_of_an_adapting_agent_end_with_the_episode(kind):
    """The double sum over the steps of an episode, standardised over the window."""
    ends, values, discount, trace = (2, 0), np.random.default_rng(2).normal(size=(5, 2)), 0.9, 0.7
    steps = trajectory(5, 2, **{kind: at(5, 2, ends)})
    known = lambda state, timestep, returns: jnp.asarray(values, jnp.float32)
    baseline = Baseline(init=lambda key: (), values=known, learn=lambda *_: ())
    found = adaptation.window(POLICY.actions, baseline, discount, trace, (), steps)
    reward, wanted, returns = np.asarray(steps.reward, float), np.zeros((5, 2)), np.zeros((5, 2))
    for lane in range(2):
        last = 2 if lane == 0 else 4
        for begin, end in ((0, last), (last + 1, 4)):
            for t in range(begin, end + 1):
                for k in range(t, end + 1):
                    after = values[k + 1, lane] if k < end else 0.0
                    delta = reward[k, lane] + discount * after - values[k, lane]
                    wanted[t, lane] += (discount * trace) ** (k - t) * delta
                    returns[t, lane] += discount ** (k - t) * reward[k, lane]
    np.testing.assert_allclose(found.returns, returns, rtol=1e-5)
    assert found.earned == pytest.approx(np.asarray(steps.mean_reward, float).sum() / 2, rel=1e-5)  # two side by side
    assert found.earned.shape == ()
    rounding = 1e-3 * np.sqrt(np.square(returns).mean()) + 1e-8
    np.testing.assert_allclose(found.advantage, (wanted - wanted.mean()) / (wanted.std() + rounding), rtol=1e-4)


def test_inner_steps_beyond_those_of_training_shrink_from_the_first_one_on():
    """Two steps of training, then 0.5, 0.25, ...: the parameters say the sum of the scales so far."""
    live = lambda key, params, task, greedy=False: trajectory(2, 1)._replace(reward=jnp.full((2, 1), params))
    inner = adaptation.Inner(
        live=live,
        window=lambda baseline, collected: collected,
        said=lambda params, seen: ((), ()),
        learn=lambda meta, params, seen, scale: params + scale,
        start=lambda meta: jnp.float32(0.0),
        num_steps=2,
    )
    collected = adaptation.trial(inner, 0.5, jax.random.key(0), (), (), (), 12, forget=False, greedy=False)
    np.testing.assert_allclose(collected.reward[::2], np.cumsum([0.0, 1.0, 1.0, 0.5, 0.25, 0.125]))
    collected = adaptation.trial(inner, 0.5, jax.random.key(0), (), (), (), 12, forget=True, greedy=False)
    np.testing.assert_array_equal(collected.reward, 0.0)
    windows = jax.tree.map(
        lambda x: jnp.stack([x[None]] * 3), trajectory(2, 1)
    )  # two inner steps, then the last window
    inner = inner._replace(said=lambda params, seen: (params, seen.reward))
    told = outer.said_of(inner, (), windows, before=True)
    np.testing.assert_array_equal(told.before[0][0], [0.0, 1.0])
    np.testing.assert_array_equal(told.after[0], [2.0])


def test_the_outer_loss_holds_new_policies_to_those_that_collected(monkeypatch):
    """KL(collected || now), by hand; the other way round is another number."""
    collected, now, later = np.array([0.7, 0.2, 0.1]), np.array([0.2, 0.3, 0.5]), np.array([0.6, 0.3, 0.1])
    logits = lambda p: jnp.broadcast_to(jnp.log(jnp.asarray(p, jnp.float32)), (1, 1, 1, 1, 3))
    told = outer.Said((logits(now), jnp.zeros((1, 1, 1, 1))), (logits(now)[0], jnp.full((1, 1, 1), np.log(3.0))))
    monkeypatch.setattr(outer, "said_of", lambda *_, **__: told)
    zero = jnp.zeros((2, 1, 1, 1))
    windows = adaptation.Window(
        timestep=(),
        action=zero,
        parameters=jnp.concatenate([logits(collected), logits(later)]),
        log_prob=zero,
        advantage=zero,
        returns=zero,
        earned=jnp.zeros((2, 1)),
    )
    numbers = dict(outer="clip", max_kl=0.1, learning_rate=0.1, decay_updates=0, num_epochs=1, num_minibatches=1)
    options = outer.OuterStepConfig(**numbers, clip=0.2, kl_cost=1.0)
    loss, kl = outer.outer_loss(None, POLICY.actions, options, None, windows, 0.2)
    divergence = lambda p, q: (p * np.log(p / q)).sum()
    assert divergence(now, collected) != pytest.approx(divergence(collected, now), rel=0.02)
    np.testing.assert_allclose([loss, kl], [divergence(collected, now), divergence(later, now)], rtol=1e-5)
    loss, _ = outer.outer_loss(None, POLICY.actions, options, None, windows._replace(advantage=zero + 0.5))
    np.testing.assert_allclose(loss, divergence(collected, now) - 3.0 * 0.5, rtol=1e-5)  # three times as likely now


def test_a_critics_units_are_means_over_all_of_the_first_updates():
    """Then they forget: with a memory of 0.8 the fifth update's count a fifth, and so do those after it."""
    bandit = tasks.bandit(num_arms=2, num_pulls=3)
    critic = _baseline.critic(bandit, (), 0.01, num_steps=1, memory=0.8)
    state, learn, means = critic.init(jax.random.key(0)), jax.jit(critic.learn), []
    timestep = trajectory(3, 2).timestep
    timestep = timestep._replace(observation=jnp.zeros((3, 2, *bandit.env.spec.observation_shape)))
    for update in range(7):
        returns = jnp.asarray([[1.0, 2.0], [3.0, 4.0], [5.0, 9.0]]) * (update + 1)
        state = learn(jax.random.key(1), state, timestep, returns)
        means.append(float(state.mean))
    wanted = np.cumsum(4.0 * np.arange(1, 8)) / np.arange(1, 8)
    for update in (5, 6):
        wanted[update] = 0.8 * wanted[update - 1] + 0.2 * 4.0 * (update + 1)
    np.testing.assert_allclose(means, wanted, rtol=1e-5)


def test_bonuses_are_of_what_each_step_led_to_and_no_part_of_the_return(monkeypatch):
    """Novelty that says what it sees: what PPO learns from has at each step the reward and what the next step shows."""
    learned, make = {}, varibad.proximal

    def spying(*parts):
        made = make(*parts)

        def improve(key, params, state, known):
            learned["reward"] = known.reward
            return made.improve(key, params, state, known)

        return made._replace(improve=improve)

    def novelty(size, *_):
        def update(state, seen, surprise):
            learned["surprise"] = surprise
            return state, 100.0 * seen.sum(axis=-1), {}

        return Novelty(lambda key: (), update)

    monkeypatch.setattr(varibad, "proximal", spying)
    monkeypatch.setattr(varibad, "novelty", novelty)
    distribution = tasks.gridnavi(size=3, horizon=3, num_episodes=2)
    options = dict(memory_size=4, latent_size=2, encoder=(), actor=(), decoder=(4,), num_minibatches=1)
    agent = algorithms.varibad(**options, model_minibatches=1, novelty_cost=1.0, num_epochs=1, model_epochs=1)
    agent = agent.build(distribution)
    batch = jax.vmap(distribution.sample)(jax.random.split(jax.random.key(0), 4))
    state = jax.jit(agent.init, static_argnums=1)(jax.random.key(2), 4)
    outcome, learned = jax.jit(lambda *parts: (agent.update(*parts)[1], learned))(jax.random.key(1), state, batch)
    np.testing.assert_allclose(outcome.trial_return, outcome.trajectory.mean_reward.sum(axis=0), rtol=1e-6)
    shown = outcome.trajectory.outputs[-1]
    np.testing.assert_allclose(
        learned["reward"][:-1], outcome.trajectory.reward[:-1] + 100.0 * shown[1:].sum(axis=-1), rtol=1e-4
    )


def test_learning_rates_of_model_and_policy_fall_by_their_own_numbers_of_steps(monkeypatch):
    """An update takes a step of the optimiser for each minibatch of each epoch."""
    falls = []
    monkeypatch.setattr(varibad.estimators, "falling_rate", lambda rate, steps: falls.append((rate, steps)) or rate)
    model = dict(model_rate=0.002, model_epochs=3, model_minibatches=2)
    policy = dict(learning_rate=0.001, num_epochs=5, num_minibatches=4)
    algorithms.varibad(**model, **policy, decay_updates=10).build(tasks.bandit(num_arms=2, num_pulls=3))
    assert sorted(falls) == [(0.001, 200), (0.002, 60)]


def test_a_rule_is_told_of_truncation_as_a_pause_and_of_what_followed():
    """``going_on`` is 0 where the MDP ended alone; predictions are of the state and of what followed it."""
    parts = dict(encoder=(), bounding="clip", memory_size=4, predictions=3, optimizer="sgd", learning_rate=0.1)
    costs = lpg.Costs(agent=0.5, entropy=0.3, push=0.2, prediction=0.1)
    policy, inner = lpg.lpg_agents(SPEC, **parts, costs=costs, length=0)
    meta = inner.meta(jax.random.key(0))
    agent = inner.init(jax.random.key(1), meta, ())
    steps = trajectory(4, 2, terminated=at(4, 2, (1, 0)), truncated=at(4, 2, (2, 1)))
    predictor = lpg.mlp(2, (), 3, scaled=lpg.variance_scaled_init)
    seen = lpg.seen_by_rule(policy, predictor, agent, steps, 0)
    np.testing.assert_array_equal(seen.going_on, 1.0 - np.asarray(steps.terminated))
    np.testing.assert_array_equal(seen.ended, np.asarray(steps.terminated) | np.asarray(steps.truncated))
    (layer,) = jax.tree.leaves(agent.params["critic"], is_leaf=lambda x: isinstance(x, dict) and "kernel" in x)
    pairs = (seen.prediction, steps.timestep.observation), (seen.next_prediction, steps.next_observation)
    for found, observation in pairs:
        wanted = jax.nn.softmax(observation @ layer["kernel"] + layer["bias"][None, None])
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
    older, penalty = inner.learn(jax.random.key(2), meta, agent, steps)
    said = rules.lpg.read(meta, seen)
    y = np.asarray(seen.prediction, float)
    entropy = -(y * np.log(y)).sum(axis=-1).mean()
    wanted = 0.2 * np.square(said.push).mean() + 0.1 * np.square(said.prediction).mean() - 0.3 * entropy
    np.testing.assert_allclose(penalty, wanted, rtol=1e-4)
    assert penalty.shape == ()
    assert older.memory == agent.memory + 1


def test_an_intrinsic_reward_remembers_across_episodes():
    """What was seen before an episode's end changes what is paid after it."""
    weights = rules.intrinsic.init(jax.random.key(0), 3, (4,), memory_size=4)
    steps, ended = trajectory(5, 1), at(5, 1, (1, 0))
    x = jnp.concatenate([steps.timestep.observation, steps.reward[..., None]], axis=-1)
    memory = jnp.zeros((1, 4))
    _, paid = rules.intrinsic.rewarded(weights, memory, x, steps.reward, ended)
    _, other = rules.intrinsic.rewarded(weights, memory, x.at[0].add(3.0), steps.reward, ended)
    assert (np.abs(np.asarray(paid - other))[2:] > 0).all()


def test_the_worst_go_on_from_the_best():
    score = jnp.asarray([3.0, -jnp.inf, 5.0, 1.0, 4.0, 2.0])
    meta, ends = {"x": jnp.arange(6.0)}, ({"x": 0.0}, {"x": 10.0})
    source, moved = population.selected(2, 0.1, *ends, jax.random.key(0), meta, score)
    assert set(np.asarray(source)[[1, 3]].tolist()) == {2, 4}
    np.testing.assert_array_equal(np.asarray(source)[[0, 2, 4, 5]], [0, 2, 4, 5])
    stays = np.asarray([0, 2, 4, 5])
    np.testing.assert_array_equal(moved["x"][stays], stays)
    for member in (1, 3):
        assert 0 < abs(float(moved["x"][member]) - float(source[member])) < 1.0


def test_scores_of_a_population_are_running_means_of_its_rewards():
    bandit = tasks.bandit(num_arms=2, num_pulls=4)
    agent = algorithms.random_search(size=3, episodes=2, life=4).build(bandit)
    state = jax.jit(agent.init, static_argnums=1)(jax.random.key(0), 2)
    batch = jax.vmap(bandit.sample)(jax.random.split(jax.random.key(1), 2))
    rewards = []
    update = jax.jit(agent.update)
    for i in range(3):
        before = state.lives.earned
        state, outcome = update(jax.random.key(i + 2), state, batch)
        rewards.append(float(outcome.metrics["step_reward"]))
        np.testing.assert_allclose(float(state.score.mean()), np.mean(rewards), rtol=1e-5)
    assert before.shape == (2, 3) and np.asarray(state.score).std() > 0


@pytest.mark.parametrize("make", [algorithms.population, algorithms.random_search])
def test_the_best_sound_member_is_told_of_and_acts(monkeypatch, make):
    """Scores: means over all updates, or of the last ``interval`` ones (PBT), which here are 4."""
    rewards, pbt = jnp.asarray([[1.0, 2.0, 3.0], [5.0, 4.0, 9.0]]), make is algorithms.population
    over_tasks = lambda one, block, keys, lives, tasks: (lives, rewards)
    monkeypatch.setattr(population.meta_gradients, "over_tasks", over_tasks)
    distribution = tasks.navigation(horizon=5, num_episodes=6)
    options = {"interval": 4} if pbt else {}
    agent = make(size=3, episodes=2, life=3, **options).build(distribution)
    state = agent.init(jax.random.key(0), 2)
    lives = state.lives._replace(earned=jnp.asarray([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), age=jnp.full((2, 3), 2))
    sound, score = jnp.asarray([True, True, False]), jnp.asarray([0.0, 5.0, 99.0])
    state = state._replace(lives=lives, score=score, sound=sound, count=jnp.int32(5))
    new, outcome = jax.jit(agent.update)(jax.random.key(1), state, jax.tree.map(lambda x: x[:, 0], lives.task))
    mean = np.array([3.0, 3.0, 0.0])  # who diverged earns nothing any more
    np.testing.assert_allclose(new.score, score + (mean - score) / (4 if pbt else 6), rtol=1e-6)
    np.testing.assert_allclose(outcome.trial_return, [2.0 / 2 * 30 / 5, 5.0 / 2 * 30 / 5], rtol=1e-6)
    np.testing.assert_allclose(outcome.metrics["best_step_reward"], new.score[1])
    assert outcome.metrics["diverged"] == 1
    monkeypatch.setattr(lifetimes, "trial", lambda tasks, actor, inner, key, meta, *rest: meta)
    acting = agent.adapt(jax.random.key(2), new, (), 30)
    np.testing.assert_allclose(np.exp(acting["learning_rate"]), outcome.metrics["learning_rate"], rtol=1e-6)


def test_a_grid_is_searched_where_a_grid_was_asked_for(monkeypatch):
    bandit, refuse = tasks.bandit(num_arms=2, num_pulls=8), lambda *_: pytest.fail("not these points")
    for make, other in ((algorithms.grid_search, "drawn"), (algorithms.random_search, "grid")):
        with monkeypatch.context() as patched:
            patched.setattr(population, other, refuse)
            make(size=4, discount=(0.9, 0.9), entropy_cost=(0.1, 0.1)).build(bandit)


@pytest.mark.parametrize("forget", [False, True])
def test_a_control_of_agents_that_learn_learns_nothing(forget):
    """An agent that counts its inner updates: the control's count stays at nought."""
    one = lambda agent: trajectory(2, 1)._replace(reward=jnp.full((2, 1), agent))
    act = lambda key, agent, place, task, greedy=False: (place, one(agent))
    actor = Actor(lambda key, task: (), act, lambda agent, collected: None)
    inner = Inner(lambda key: (), lambda *_: jnp.float32(0.0), lambda key, meta, agent, collected: (agent + 1.0, 0.0))
    distribution = tasks.bandit(num_arms=2, num_pulls=8)._replace(horizon=2)
    collected = lifetimes.trial(distribution, actor, inner, jax.random.key(0), (), (), 8, 1, forget, False)
    np.testing.assert_array_equal(collected.reward, 0.0 if forget else np.repeat(np.arange(4.0), 2))
    np.testing.assert_array_equal(collected.truncated, np.arange(8) % 2 == 1)


def test_advantages_of_memory_within_an_episode_end_with_it_and_the_last_value_is_what_an_unfinished_one_is_worth():
    """Rewards 1, 2, 8 and values 10, 20, 40 at discount 1/2, trace 1: an episode of one step, then one cut off."""
    policy = actor_critic(SPEC, "gru", 2, (), False)
    ended = jnp.asarray([[True], [False], [False]])
    values = jnp.asarray([[10.0], [20.0], [40.0]])
    told = trajectory(3, 1, reward=jnp.asarray([[1.0], [2.0], [8.0]]), outputs=((), values))
    for kind in ("terminated", "truncated"):
        advantage = ppo.advantages_of(policy, 0.5, 1.0, False, (), told._replace(**{kind: ended}))
        np.testing.assert_allclose(advantage[:, 0], [1 - 10, 2 + 0.5 * 40 - 20, 0], atol=1e-5)


def test_a_trial_of_two_tasks_starts_in_the_first_and_changes_at_half_of_the_inner_updates():
    """Rewards are the task's number: that of ``first`` for two of four inner updates; the place is made anew then."""
    act = lambda key, agent, place, task, greedy=False: (
        place,
        trajectory(2, 1)._replace(reward=jnp.full((2, 1), task), mean_reward=jnp.full((2, 1), place)),
    )
    actor = Actor(lambda key, task: 10.0 * task, act, lambda agent, collected: None)
    inner = Inner(lambda key: (), lambda *_: (), lambda key, meta, agent, collected: (agent, 0.0))
    distribution = tasks.bandit(num_arms=2, num_pulls=8)._replace(horizon=2)
    task, first = jnp.float32(1.0), jnp.float32(2.0)
    told = lifetimes.trial(distribution, actor, inner, jax.random.key(0), (), task, 8, 1, False, False, first)
    np.testing.assert_array_equal(told.reward, [2, 2, 2, 2, 1, 1, 1, 1])
    np.testing.assert_array_equal(told.mean_reward, [20, 20, 20, 20, 10, 10, 10, 10])
