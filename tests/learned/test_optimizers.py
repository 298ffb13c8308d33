"""Learned optimisers: what they are at birth, what they do not depend on, files, and a training loop of others."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metarl_jax as mrl
from metarl_jax.learned.optimizer_rule import FEATURES, LARGEST, SQUARES, constants
from metarl_jax.learned.optimizers import init, scale_by_learned

PARAMS = {"a": jnp.arange(6.0).reshape(3, 2), "b": jnp.ones(2)}
PERTURBED = jax.tree.map(lambda x: x + 0.3, init(jax.random.key(1), (8,), 0.01))


def gradients(i: int, scale: float = 1.0):
    keys = jax.random.split(jax.random.key(i))
    return {"a": scale * jax.random.normal(keys[0], (3, 2)), "b": scale * jax.random.normal(keys[1], (2,))}


def steps(optimizer: optax.GradientTransformation, count: int, scale: float = 1.0) -> list:
    state, taken, update = optimizer.init(PARAMS), [], jax.jit(optimizer.update)
    for i in range(count):
        step, state = update(gradients(i, scale), state, PARAMS)
        taken.append(step)
    return taken


def test_at_birth_it_is_adam():
    adam = optax.chain(optax.scale_by_adam(0.9, SQUARES, eps=0.0), optax.scale(0.02))
    for own, known in zip(
        steps(scale_by_learned(init(jax.random.key(0), (8, 8), 0.02), 10), 5), steps(adam, 5), strict=True
    ):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), own, known)


def test_steps_do_not_depend_on_the_gradients_scale():
    optimizer = scale_by_learned(PERTURBED, 10)
    for one, hundred in zip(steps(optimizer, 4), steps(optimizer, 4, scale=100.0), strict=True):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), one, hundred)


def test_steps_are_bounded_and_finite_whatever_comes():
    wild = jax.tree.map(lambda x: 1e4 * x, PERTURBED) | {"log_rate": jnp.log(0.01)}
    optimizer = scale_by_learned(wild, 2)
    for scale in (0.0, 1e-12, 1e12, 1e30):
        for step in steps(optimizer, 4, scale):
            assert all(np.isfinite(x).all() and np.abs(x).max() < 0.01 * np.e**3 * 12 for x in jax.tree.leaves(step))


def test_features_know_place_kind_and_spread():
    place, kind, spread = constants(PARAMS)
    np.testing.assert_array_equal(place, [0] * 6 + [1] * 2)
    np.testing.assert_array_equal(kind, [1] * 6 + [0] * 2)
    np.testing.assert_allclose(spread, [3**-0.5] * 6 + [1] * 2)


@pytest.mark.parametrize("feature", range(FEATURES))
def test_every_feature_reaches_the_step(feature):
    """A network of one layer that looks at one feature: it changes with what that feature tells, and only so."""
    kernel = jnp.zeros((FEATURES, 2)).at[feature, 0].set(1.0)
    weights = {"layers": [{"kernel": kernel, "bias": jnp.zeros(2)}], "log_rate": jnp.float32(0.0)}
    plain = weights | {"layers": [{"kernel": jnp.zeros((FEATURES, 2)), "bias": jnp.zeros(2)}]}
    seen, blind = (steps(scale_by_learned(w, 40), 3)[-1] for w in (weights, plain))
    moved = np.concatenate([(seen[name] - blind[name]).ravel() for name in PARAMS])
    assert np.abs(moved).max() > 1e-3
    share = np.concatenate([np.full(6, 3.0**-0.5), np.ones(2)])
    # Place, kind, time, time left, beginning.
    known = {6: [0] * 6 + [1] * 2, 7: [1] * 6 + [0] * 2, 8: [0.05] * 8, 9: [0.95] * 8, 10: [np.exp(-1)] * 8}
    known[5] = np.concatenate([np.arange(6.0), np.ones(2)]) / share  # the parameter, in units of its spread
    if feature in known:
        inside = np.clip(np.asarray(known[feature], float), -LARGEST, LARGEST) / np.sqrt(FEATURES)
        np.testing.assert_allclose(moved, np.tanh(inside), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kind", [jnp.float16, jnp.bfloat16])
def test_half_precision_takes_the_same_steps_in_its_own_type(kind):
    halves = {name: x.astype(kind) for name, x in PARAMS.items()}
    optimizer = optax.apply_if_finite(scale_by_learned(PERTURBED, 10), 2)

    def body(state, i):
        small = jax.tree.map(lambda x: (1e-4 * jnp.ones(x.shape)).astype(kind), halves)
        step, state = optimizer.update(small, state, halves)
        return state, step

    _, taken = jax.jit(lambda: jax.lax.scan(body, optimizer.init(halves), jnp.arange(3)))()
    assert all(x.dtype == kind and np.abs(x.astype(float)).max() < 1.0 for x in jax.tree.leaves(taken))


def test_odd_leaves_are_taken():
    params = {"none": jnp.zeros((0, 3)), "number": 1.0, "scalar": jnp.ones(())}
    optimizer = scale_by_learned(PERTURBED, 10)
    step, _ = optimizer.update(jax.tree.map(jnp.ones_like, params), optimizer.init(params), params)
    assert jax.tree.map(jnp.shape, step) == {"none": (0, 3), "number": (), "scalar": ()}


@pytest.fixture(scope="module")
def run():
    recipe = mrl.algorithms.learned_optimizer(episodes=2, life=4, hidden=(4,))
    return mrl.train(recipe, mrl.tasks.bandit(num_arms=2, num_pulls=8), num_updates=2, num_tasks=2, quiet=True)


def test_a_run_is_saved_and_read_as_it_was(run, tmp_path):
    mrl.learned.optimizers.save(run, tmp_path / "own.json")
    found = mrl.learned.optimizers.read(tmp_path / "own.json")
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b[0]), found["weights"], run.state.meta)
    assert found["config"]["algorithm"]["options"]["hidden"] == [4] and len(found["curve"]) == 2
    own = mrl.learned.optimizers.load(tmp_path / "own.json", total_updates=10)
    meta = jax.tree.map(lambda x: jnp.asarray(x[0]), run.state.meta)
    for a, b in zip(steps(own, 3), steps(scale_by_learned(meta, 10), 3), strict=True):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, -y, rtol=1e-6), a, b)


def test_wrong_files_and_runs_are_refused(run, tmp_path):
    with pytest.raises(mrl.ConfigError, match="no such file"):
        mrl.learned.optimizers.load("nowhere", 10)
    with pytest.raises(mrl.ConfigError, match="total_updates=0"):
        mrl.learned.optimizers.load("nowhere", 0)
    for wrong in ("a", 2.5, True):
        with pytest.raises(mrl.ConfigError, match="total_updates"):
            mrl.learned.optimizers.load("nowhere", wrong)
    with pytest.raises(mrl.ConfigError, match="name=3"):
        mrl.learned.optimizers.load(3, 10)
    known = json.loads((mrl.learned.optimizers.SHIPPED / f"{mrl.learned.optimizers.available()[0]}.json").read_text())
    for part, wrong in (("layers", []), ("layers", known["weights"]["layers"][1:]), ("log_rate", None)):
        (tmp_path / "d.json").write_text(json.dumps(known | {"weights": known["weights"] | {part: wrong}}))
        with pytest.raises(mrl.ConfigError, match="holds no learned optimiser"):
            mrl.learned.optimizers.load(tmp_path / "d.json", 10)
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(mrl.ConfigError, match="holds no learned optimiser"):
        mrl.learned.optimizers.load(tmp_path / "a.json", 10)
    (tmp_path / "b.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(mrl.ConfigError, match="format=99"):
        mrl.learned.optimizers.load(tmp_path / "b.json", 10)
    with pytest.raises(mrl.ConfigError, match="member=1"):
        mrl.learned.optimizers.save(run, tmp_path / "c.json", member=1)
    recipe = mrl.algorithms.ppo(encoder=(4,), num_minibatches=1, num_epochs=1)
    other = mrl.train(recipe, "bandit", num_updates=1, num_tasks=2, quiet=True)
    with pytest.raises(mrl.ConfigError, match="learned-optimizer"):
        mrl.learned.optimizers.save(other, tmp_path / "c.json")


@pytest.mark.parametrize("name", mrl.learned.optimizers.available())
def test_shipped_ones_train_in_a_loop_of_others(name):
    """Policy gradient on a contextual bandit, in plain JAX: no part of this package but the optimiser."""
    best = jnp.asarray([2, 0, 1, 3])

    def policy(params, context):
        return jnp.tanh(context @ params["w1"] + params["b1"][None]) @ params["w2"] + params["b2"][None]

    def loss(params, key):
        keys = jax.random.split(key)
        which = jax.random.randint(keys[0], (32,), 0, 4)
        logits = jax.nn.log_softmax(policy(params, jax.nn.one_hot(which, 4)))
        action = jax.random.categorical(keys[1], jax.lax.stop_gradient(logits))
        reward = (action == best[which]).astype(jnp.float32)
        chosen = jnp.take_along_axis(logits, action[:, None], axis=1)[:, 0]
        return -(chosen * (reward - reward.mean())).mean(), reward.mean()

    keys = jax.random.split(jax.random.key(0))
    params = {"w1": jax.random.normal(keys[0], (4, 16)) / 2, "w2": jax.random.normal(keys[1], (16, 4)) / 4}
    params |= {"b1": jnp.zeros(16), "b2": jnp.zeros(4)}
    optimizer = mrl.learned.optimizers.load(name, total_updates=200)

    @jax.jit
    def step(params, state, key):
        gradient, reward = jax.grad(loss, has_aux=True)(params, key)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, reward

    state, rewards = optimizer.init(params), []
    for i in range(200):
        params, state, reward = step(params, state, jax.random.key(i))
        rewards.append(float(reward))
    assert np.mean(rewards[:5]) < 0.5 and np.mean(rewards[-20:]) > 0.9


def test_shipped_ones_are_small_and_say_what_made_them():
    assert mrl.learned.optimizers.available()
    for name in mrl.learned.optimizers.available():
        assert (mrl.learned.optimizers.SHIPPED / f"{name}.json").stat().st_size < 2**20
        found = mrl.learned.optimizers.read(name)
        assert found["config"]["algorithm"]["name"] == "learned-optimizer"
        assert len(found["curve"]) == found["config"]["num_updates"]
