"""Learned rules as functions of a trajectory: identities, what they may see, files."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl_jax as mrl
from metarl_jax.estimators import generalised_advantages
from metarl_jax.evaluation.evaluate import living_in
from metarl_jax.learned import intrinsic_reward_rule as intrinsic
from metarl_jax.learned import lpg_rule as lpg
from metarl_jax.learned import pairwise_credit_rule as pairwise

T, E, F, M = 7, 3, 4, 5
ENDED = np.zeros((T, E), bool)
ENDED[2, 0] = ENDED[4, 1] = ENDED[5, 1] = True
rewarded, read = jax.jit(intrinsic.rewarded), jax.jit(lpg.read)


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def seen(**changed) -> lpg.RuleInputs:
    y, following = (jax.nn.softmax(normal(T, E, M, seed=i)) for i in (1, 2))
    chance, none = jax.nn.sigmoid(normal(T, E, seed=3)), jnp.zeros(())
    made = lpg.RuleInputs(normal(T, E), jnp.ones((T, E)), jnp.asarray(ENDED), chance, y, following, none, none)
    return made._replace(**changed)


def test_weights_that_fall_off_are_generalised_advantages():
    reward, value, following = (normal(T, E, seed=i) for i in range(3))
    discount, trace = 0.9, 0.8
    gap = np.arange(T)[None] - np.arange(T)[:, None]
    falling = np.where(gap >= 0, (discount * trace) ** np.maximum(gap, 0), 0.0)
    before = np.cumsum(ENDED, axis=0) - ENDED
    weights = jnp.asarray(falling[..., None] * (before[:, None] == before[None]), jnp.float32)
    errors = reward + discount * following - value
    wanted = generalised_advantages(
        reward, value, following, jnp.full((T, E), discount), jnp.asarray(trace * ~ENDED, jnp.float32)
    )
    np.testing.assert_allclose(pairwise.credited(weights, errors), wanted, rtol=1e-5, atol=1e-5)


def test_pairs_count_within_an_episode_and_forwards_alone():
    weights = pairwise.init(jax.random.key(0), F, (8,), 4, 0.7)
    found = np.asarray(pairwise.pair_weights(weights, normal(T, E, F), jnp.asarray(ENDED)))
    before = np.cumsum(ENDED, axis=0) - ENDED
    wanted = (before[:, None] == before[None]) & (np.arange(T)[:, None] <= np.arange(T)[None])[..., None]
    np.testing.assert_array_equal(found > 0, wanted)
    assert (found <= 1).all() and abs(found[wanted].mean() - 0.7) < 0.15


def test_a_pairs_weight_is_a_sigmoid_of_likeness_and_of_the_time_between():
    weights, x = pairwise.init(jax.random.key(0), F, (), 2, 0.7), np.asarray(normal(T, E, F), float)
    weights["gap"]["kernel"] = 3.0 * normal(3, 1, seed=4)
    of = lambda layer, x: x @ np.asarray(layer["kernel"]) / np.sqrt(x.shape[-1]) + np.asarray(layer["bias"])
    acting, earning = (of(weights[side]["layer_0"], x) for side in ("acting", "earning"))
    found = pairwise.pair_weights(weights, jnp.asarray(x, jnp.float32), jnp.zeros((T, E), bool))
    for t in range(T):
        for u in range(t, T):
            time = np.array([np.exp(t - u), np.exp((t - u) / 5), np.log(1 + u - t) / 3])
            logit = (acting[t] * earning[u]).sum(axis=-1) / np.sqrt(2) + of(weights["gap"], time)
            np.testing.assert_allclose(found[t, u], 1 / (1 + np.exp(-logit)), rtol=1e-4)


def test_an_intrinsic_reward_of_a_step_sees_that_step_and_one_of_a_life_all_before():
    x, reward, ended = normal(T, E, F), normal(T, E, seed=1), jnp.asarray(ENDED)
    for memory_size in (0, 6):
        weights = intrinsic.init(jax.random.key(0), F, (8,), memory_size)
        start = jnp.zeros((E, memory_size)) if memory_size else ()
        _, found = rewarded(weights, start, x, reward, ended)
        _, other = rewarded(weights, start, x.at[2].add(1.0), reward.at[2].add(1.0), ended)
        differs = np.asarray(found != other).any(axis=1)
        np.testing.assert_array_equal(differs, [t == 2 or (t > 2 and memory_size > 0) for t in range(T)])
        assert np.abs(found).max() <= 1
        # In two parts, and what is remembered in between.
        memory, first = rewarded(weights, start, x[:3], reward[:3], ended[:3])
        _, second = rewarded(weights, memory, x[3:], reward[3:], ended[3:])
        np.testing.assert_allclose(jnp.concatenate([first, second]), found, rtol=1e-5, atol=1e-6)


def test_an_update_rule_reads_backwards_and_starts_anew_with_each_episode():
    weights = lpg.init(jax.random.key(0), 8, M)
    found = read(weights, seen())
    other = read(weights, seen(reward=seen().reward.at[4].add(1.0)))
    differs = np.asarray(found.push != other.push)
    before = np.cumsum(ENDED, axis=0) - ENDED
    np.testing.assert_array_equal(differs, (before == before[4][None]) & (np.arange(T) <= 4)[:, None])


@pytest.mark.parametrize("field", lpg.RuleInputs._fields)
def test_an_update_rule_sees_everything(field):
    weights = lpg.init(jax.random.key(0), 8, M)
    value = getattr(seen(), field)
    changed = ~value if field == "ended" else value + (normal(*value.shape, seed=9) if value.ndim else 0.5)
    found, other = read(weights, seen()), read(weights, seen(**{field: changed}))
    assert not np.allclose(found.push, other.push, atol=1e-6)
    assert not np.allclose(found.prediction, other.prediction, atol=1e-6)


def test_the_agents_loss_is_a_policy_gradient_and_a_divergence():
    wanted = lpg.RuleTargets(normal(T, E), normal(T, E, M, seed=1))
    logits, action = normal(T, E, 3, seed=2), np.random.default_rng(3).integers(0, 3, (T, E))

    def loss(logits, y):
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.asarray(action)[..., None], axis=-1)[..., 0]
        return lpg.agent_loss(wanted, chosen, y, 0.5)

    y = normal(T, E, M, seed=4)
    by_logits, by_y = jax.grad(loss, argnums=(0, 1))(logits, y)
    onehot = np.eye(3)[action]
    np.testing.assert_allclose(
        by_logits, -(onehot - jax.nn.softmax(logits)) * wanted.push[..., None] / (T * E), rtol=1e-4, atol=1e-6
    )
    p, q = (np.asarray(jax.nn.softmax(x), float) for x in (y, wanted.prediction))
    score = np.log(p) - np.log(q)
    np.testing.assert_allclose(by_y, 0.5 * p * (score - (p * score).sum(-1, keepdims=True)) / (T * E), atol=1e-6)


SMALL = dict(life=4, window=2, encoder=(), optimizer="sgd", gradient="pes")  # little to compile
RUNS = {
    "lpg": SMALL | dict(memory_size=4, predictions=3),
    "intrinsic-reward": SMALL | dict(hidden=(4,)),
    "intrinsic-reward, of lives": SMALL | dict(hidden=(4,), memory_size=3),
    "pairwise-weights": SMALL | dict(hidden=(4,), size=2),
}


@functools.cache
def learned(name: str):
    return trained(name, "tabular")


def trained(name: str, tasks):
    recipe = mrl.algorithms.REGISTRY[name.partition(",")[0]](**RUNS[name])
    return mrl.train(recipe, tasks, num_updates=2, num_tasks=2, num_seeds=2, quiet=True)


@pytest.mark.parametrize("name", RUNS)
def test_what_is_saved_is_what_is_loaded(name, tmp_path):
    run = learned(name)
    mrl.learned.rules.save(run, tmp_path / "rule.json", member=1)
    weights = mrl.learned.rules.read(tmp_path / "rule.json")["weights"]
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[1], y), run.state.meta, weights)
    assert mrl.learned.rules.read(tmp_path / "rule.json")["config"]["seed"] == 1
    rule, alike = mrl.learned.rules.load(tmp_path / "rule.json"), jax.tree.map(lambda x: x[1], run.state.meta)
    if name == "lpg":
        y = jax.nn.softmax(normal(T, E, 3))
        told = seen(prediction=y, next_prediction=y)
        found, wanted = rule(told), lpg.read(alike, told)
    elif name == "pairwise-weights":
        x = normal(T, E, 15)
        found, wanted = rule(x, jnp.asarray(ENDED)), pairwise.pair_weights(alike, x, jnp.asarray(ENDED))
    else:
        memory = jnp.zeros((E, 3)) if "lives" in name else ()
        told = memory, normal(T, E, 15), normal(T, E), jnp.asarray(ENDED)
        found, wanted = rule(*told), intrinsic.rewarded(alike, *told)
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


def test_files_that_hold_no_rule_are_refused(tmp_path):
    run = learned("lpg")
    mrl.learned.rules.save(run, tmp_path / "rule.json")
    known = json.loads((tmp_path / "rule.json").read_text())
    for part, wrong in (("heads", {}), ("embedding", None), ("recurrent", known["weights"]["inputs"])):
        (tmp_path / "a.json").write_text(json.dumps(known | {"weights": known["weights"] | {part: wrong}}))
        with pytest.raises(mrl.ConfigError, match="holds no learned rule"):
            mrl.learned.rules.load(tmp_path / "a.json")
    named = known["config"] | {"algorithm": known["config"]["algorithm"] | {"name": "pairwise-weights"}}
    (tmp_path / "b.json").write_text(json.dumps(known | {"config": named}))
    with pytest.raises(mrl.ConfigError, match="holds no learned rule"):
        mrl.learned.rules.load(tmp_path / "b.json")
    with pytest.raises(mrl.ConfigError, match="no such file"):
        mrl.learned.rules.load(tmp_path / "nothing.json")
    with pytest.raises(mrl.ConfigError, match="max_gradient_norm=-1"):
        mrl.algorithms.lpg(max_gradient_norm=-1.0).build(mrl.tasks.tabular())
    recipe = mrl.algorithms.ppo(encoder=(4,), num_minibatches=1, num_epochs=1)
    other = mrl.train(recipe, "bandit", num_updates=1, num_tasks=2, quiet=True)
    with pytest.raises(mrl.ConfigError, match="give a run of lpg"):
        mrl.learned.rules.save(other, tmp_path / "c.json")


def test_a_rule_lives_in_tasks_of_other_spaces_and_a_reward_does_not():
    other = mrl.tasks.tabular(num_states=3, num_actions=2, horizon=4, num_episodes=8)
    report = mrl.evaluate(learned("lpg"), other, num_tasks=4, quiet=True)
    assert np.isfinite(report.mean) and report.name["tasks"] == "tabular" and report.name["horizon"] == 4
    late = functools.partial(mrl.tasks.gridnavi, goal_visible=True, num_episodes=16)
    run = trained("pairwise-weights", late(pay_every=15))
    state, task = jax.tree.map(lambda x: x[0], run.state), jax.tree.map(lambda x: x[0], run.tasks.tasks)
    for every in (1, 15):  # of one shape: it lives in those asked about, whatever it was trained in
        tasks = late(pay_every=every)
        trajectory = jax.jit(living_in(run, tasks).adapt, static_argnums=3)(jax.random.key(0), state, task, 30)
        assert (trajectory.reward != 0).sum() == 30 // every
    assert np.isfinite(mrl.evaluate(run, late(pay_every=1), trials_per_task=1, quiet=True).mean)
    with pytest.raises(mrl.ConfigError, match="must have the run's spaces"):
        mrl.evaluate(learned("intrinsic-reward"), other, num_tasks=4, quiet=True)
