"""MAML's outer step: its gradients by finite differences, its Fisher product by an explicit Hessian."""

import functools

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import algorithms, tasks
from metarl_jax.algorithms.gradient import baseline as _baseline
from metarl_jax.algorithms.gradient import inner_loop as adaptation
from metarl_jax.algorithms.gradient import outer_loop as outer
from metarl_jax.config import ConfigError
from metarl_jax.records import TimeStep

NUM_TASKS = 3
FAMILIES = {
    "navigation": lambda: tasks.navigation(horizon=5, num_episodes=6),
    "bandit": lambda: tasks.bandit(num_arms=3, num_pulls=8),
}


def captured(monkeypatch, name: str, **options):
    """The pieces that an update is made of, and a batch that was lived: (inner, actions, loss, meta, batch)."""
    pieces = {}

    def keep(inner, actions, options, meta, windows, clip=None):
        pieces.update(inner=inner, actions=actions, loss=functools.partial(original, inner, actions, options))
        return original(inner, actions, options, meta, windows, clip)

    original = outer.outer_loss
    monkeypatch.setattr(outer, "outer_loss", keep)
    distribution = FAMILIES[name]()
    algorithm = algorithms.maml(encoder=(3,), **options).build(distribution)
    state = jax.jit(algorithm.init, static_argnums=1)(jax.random.key(0), 1)
    batch_tasks = jax.jit(jax.vmap(distribution.sample))(jax.random.split(jax.random.key(1), NUM_TASKS))
    jax.eval_shape(algorithm.update, jax.random.key(2), state, batch_tasks)
    keys = jax.random.split(jax.random.key(3), NUM_TASKS)
    live = jax.vmap(functools.partial(adaptation.lifetime, pieces["inner"]), in_axes=(0, None, None, 0), out_axes=1)
    windows = jax.jit(live)(keys, state.meta, state.baseline, batch_tasks)
    assert (
        len(windows.earned) == pieces["inner"].num_steps + 1
        and algorithm.steps == len(windows.earned) * algorithm.window
    )
    return pieces["inner"], pieces["actions"], pieces["loss"], state.meta, windows


def double(tree):
    floating = lambda x: jnp.issubdtype(x.dtype, jnp.floating)
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x), jnp.float64) if floating(x) else x, tree)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(
    "options", [{}, {"learned_rates": True, "inner_steps": 2}, {"adapted": "head"}, {"adapted": "context"}], ids=str
)
def test_outer_gradient_is_that_of_finite_differences(monkeypatch, name, options):
    _, _, loss, meta, batch = captured(monkeypatch, name, inner_rate=0.5, kl_cost=0.1, **options)
    with jax.enable_x64(True):
        meta, batch = double((meta, batch))
        flat, back = jax.flatten_util.ravel_pytree(meta)
        flat = flat + 0.1 * jnp.asarray(np.random.default_rng(0).normal(size=flat.shape))  # off the batch's own policy
        value = jax.jit(lambda x: loss(back(x), batch)[0])
        gradient = jax.jit(jax.grad(value))(flat)
        generator = np.random.default_rng(1)
        for _ in range(5):
            direction = jnp.asarray(generator.normal(size=flat.shape))
            measured = (value(flat + 1e-5 * direction) - value(flat - 1e-5 * direction)) / 2e-5
            np.testing.assert_allclose(gradient @ direction, measured, rtol=1e-5, atol=1e-8)


def test_promps_inner_step_weighs_actions_by_the_policy_that_collected_them(monkeypatch):
    """Actions that were twice as likely to be collected count half, whatever the parameters are by now."""
    inner, _, _, meta, windows = captured(monkeypatch, "navigation", inner_rate=0.5, credit="lvc")
    window = jax.tree.map(lambda x: x[0, 0], windows)
    step = lambda window: jax.tree.map(jnp.subtract, inner.learn(meta, meta.params, window, 1.0), meta.params)
    once, half = step(window), step(window._replace(log_prob=window.log_prob + np.log(2.0)))
    assert max(np.abs(x).max() for x in jax.tree.leaves(once)) > 1e-3
    jax.tree.map(lambda a, b: np.testing.assert_allclose(0.5 * a, b, atol=1e-5), once, half)


def test_e_mamls_score_credits_every_sampled_action(monkeypatch):
    """``mean_n R_n grad sum log pi(a)``, over the horizon as the surrogate is; R standardised over tasks."""
    gradients = []
    for credit in ("none", "e-maml"):
        inner, _, loss, meta, batch = captured(monkeypatch, "navigation", inner_rate=0.5, credit=credit)
        gradients.append(
            jax.flatten_util.ravel_pytree(jax.jit(jax.grad(lambda m, f=loss, b=batch: f(m, b)[0]))(meta))[0]
        )
    earned = np.asarray(batch.earned[-1])
    standard = (earned - earned.mean()) / earned.std()
    score = jax.jit(jax.grad(lambda params, seen: inner.said(params, seen)[1].sum()))
    wanted = 0.0
    for n in range(NUM_TASKS):
        seen = jax.tree.map(lambda x, n=n: x[0, n], batch)
        total = score(meta.params, seen)
        wanted = wanted - standard[n] / NUM_TASKS / 5 * jax.flatten_util.ravel_pytree(total)[0]
    np.testing.assert_allclose(gradients[1] - gradients[0], wanted, rtol=1e-3, atol=1e-5)
    assert np.abs(wanted).max() > 0.01


def test_first_order_leaves_the_curvature_out(monkeypatch):
    gradients = []
    for second_order in (True, False):
        _, _, loss, meta, batch = captured(monkeypatch, "navigation", inner_rate=0.5, second_order=second_order)
        gradients.append(
            jax.flatten_util.ravel_pytree(jax.jit(jax.grad(lambda m, f=loss, b=batch: f(m, b)[0]))(meta))[0]
        )
    apart = np.linalg.norm(gradients[0] - gradients[1]) / np.linalg.norm(gradients[0])
    assert apart > 0.01


def test_fisher_product_is_the_hessian_of_the_divergence(monkeypatch):
    inner, actions, loss, meta, batch = captured(monkeypatch, "navigation", inner_rate=0.5)
    with jax.enable_x64(True):
        meta, batch = double((meta, batch))
        # The batch's last policies said this, in double precision too.
        told = jax.jit(functools.partial(outer.said_of, inner))(meta, batch).after
        last = lambda all, one: all.at[-1].set(one)
        batch = batch._replace(parameters=last(batch.parameters, told[0]), log_prob=last(batch.log_prob, told[1]))
        flat, back = jax.flatten_util.ravel_pytree(meta)
        hessian = jax.jit(jax.hessian(lambda x: loss(back(x), batch)[1]))(flat)
        fisher = outer.fisher_product(inner, actions, meta, batch)
        vector = jnp.asarray(np.random.default_rng(0).normal(size=flat.shape))
        found = jax.flatten_util.ravel_pytree(jax.jit(fisher)(back(vector)))[0]
        np.testing.assert_allclose(found, hessian @ vector, rtol=1e-6, atol=1e-9)
        assert np.linalg.eigvalsh(hessian).min() > -1e-9


def test_a_context_is_a_bias_with_a_matrix_for_a_rate(monkeypatch):
    """CAVIA in closed form: on the first layer's bias b the step is ``rate W' W db``, with W the context's weights.
    Nothing else moves, and a trial starts from zeros."""
    options = {"adapted": "context", "context_size": 4, "inner_rate": 0.5}
    inner, _, _, meta, batch = captured(monkeypatch, "navigation", **options)
    plain = captured(monkeypatch, "navigation", inner_rate=1.0)[0]
    seen = jax.tree.map(lambda x: x[0, 0], batch)
    start = inner.start(meta)
    assert "context" not in meta.params and not start["context"].any()
    moved = inner.learn(meta, start, seen, 1.0)
    for name, leaf in meta.params.items():
        jax.tree.map(np.testing.assert_array_equal, moved[name], leaf)
    first = meta.params["encoder_0"]
    inputs = first["kernel"].shape[0] - 4
    without = meta.params | {"encoder_0": {"kernel": first["kernel"][:inputs], "bias": first["bias"]}}
    weights = np.asarray(first["kernel"][inputs:])
    step = plain.learn(meta._replace(params=without), without, seen, 1.0)["encoder_0"]["bias"] - first["bias"]
    assert np.abs(step).max() > 1e-5
    np.testing.assert_allclose(moved["context"] @ weights, 0.5 * step @ weights.T @ weights, rtol=1e-3, atol=1e-7)
    biased = without | {"encoder_0": without["encoder_0"] | {"bias": first["bias"] + moved["context"] @ weights}}
    for mine, other in zip(inner.said(moved, seen), plain.said(biased, seen), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5)


def test_exploration_has_its_own_deviation_and_later_steps_are_in_proportion(monkeypatch):
    inner, _, _, meta, batch = captured(monkeypatch, "navigation", exploration_std=2.0, inner_rate=0.5)
    plain = captured(monkeypatch, "navigation", inner_rate=0.5)[0]
    seen = jax.tree.map(lambda x: x[0, 0], batch)
    start = inner.start(meta)
    np.testing.assert_allclose(np.exp(start["log_std"]), 2.0, rtol=1e-6)
    np.testing.assert_array_equal(inner.learn(meta, start, seen, 1.0)["log_std"], meta.params["log_std"])
    for params, factor in ((start, 1.0), (meta.params, 0.5)):  # the policy's own deviation is 1
        bias = lambda tree: tree["encoder_0"]["bias"]
        step, wanted = (bias(each.learn(meta, params, seen, 1.0)) - bias(params) for each in (inner, plain))
        assert np.abs(wanted).max() > 1e-4
        np.testing.assert_allclose(step, factor * wanted, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("inner_steps", [1, 3])
def test_rematerialised_steps_have_the_same_gradient(monkeypatch, inner_steps):
    gradients = []
    for remat in (False, True):
        options = dict(inner_rate=0.5, inner_steps=inner_steps, remat=remat)
        _, _, loss, meta, batch = captured(monkeypatch, "navigation", **options)
        function = jax.grad(lambda meta, f=loss, b=batch: f(meta, b)[0])
        assert ("remat" in str(jax.make_jaxpr(function)(meta))) == remat
        gradients.append(jax.flatten_util.ravel_pytree(jax.jit(function)(meta))[0])
    scale = np.abs(gradients[0]).max()
    np.testing.assert_allclose(gradients[0] / scale, gradients[1] / scale, rtol=0, atol=1e-5)


def test_tasks_in_groups_give_the_same_gradient_and_fisher_product(monkeypatch):
    inner, actions, _, meta, batch = captured(monkeypatch, "navigation", inner_rate=0.5)
    found = []
    for at_once in (0, 1):
        said = functools.partial(outer.said_of, inner._replace(at_once=at_once))
        surrogate = lambda meta, said=said: jnp.mean(said(meta, batch).after[1] * batch.advantage[-1])
        product = outer.fisher_product(inner._replace(at_once=at_once), actions, meta, batch)
        found.append((jax.jit(jax.grad(surrogate))(meta), jax.jit(product)(meta)))
    largest = max(float(jnp.abs(x).max()) for x in jax.tree.leaves(found[0]))
    assert largest > 1e-3
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * largest), *found)


def test_the_critic_regresses_on_returns():
    """On returns that are a function of state and time it explains nearly all of their variance."""
    distribution = tasks.navigation(horizon=20)
    baseline = _baseline.critic(distribution, (32,), 0.01, num_steps=20)
    state = baseline.init(jax.random.key(0))
    observation = jax.random.uniform(jax.random.key(1), (2, 5, 20, 8, 2), minval=-1.0)
    start = jnp.broadcast_to((jnp.arange(20) == 0)[:, None], (2, 5, 20, 8))
    returns = 100.0 * observation[..., 0] * observation[..., 1] - 7.0 * jnp.arange(20.0).reshape(1, 1, 20, 1) + 300.0
    timestep = TimeStep(observation, observation, returns, start, start)
    learn = jax.jit(baseline.learn)
    for _ in range(15):
        state = learn(jax.random.key(2), state, timestep, returns)
    values = baseline.values(state, jax.tree.map(lambda x: x[1, 2], timestep), returns[1, 2])
    assert np.var(returns[1, 2] - values) < 0.1 * np.var(returns[1, 2])


@pytest.mark.parametrize("options", [{"outer": "clip"}, {}, {"bounding": "tanh"}], ids=str)
def test_every_leaf_of_a_learner_with_a_critic_moves(options):
    distribution = FAMILIES["navigation"]()
    algorithm = algorithms.maml(encoder=(3,), baseline="critic", **options).build(distribution)
    state = algorithm.init(jax.random.key(0), 1)
    batch = jax.vmap(distribution.sample)(jax.random.split(jax.random.key(1), NUM_TASKS))
    new, _ = jax.jit(algorithm.update)(jax.random.key(2), state, batch)
    pairs = zip(jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(new), strict=True)
    for (path, old), leaf in pairs:
        assert np.isfinite(leaf).all() and (np.asarray(old) != np.asarray(leaf)).any(), path


def test_a_trial_adapts_after_every_window_and_less_after_the_trained_ones():
    distribution = tasks.bandit(num_arms=3, num_pulls=80)
    algorithm = algorithms.maml(encoder=(3,), episodes=20, inner_rate=1.0, rate_decay=0.5).build(distribution)
    assert algorithm.window == 20  # steps: what the report cuts trials by
    state = algorithm.init(jax.random.key(0), 1)
    task = distribution.sample(jax.random.key(1))
    adapt = jax.jit(algorithm.adapt, static_argnums=(3, 4))
    trajectory = adapt(jax.random.key(2), state, task, 80, False)
    said = np.asarray(trajectory.outputs[0]).reshape(4, 20, 3)
    assert np.abs(said - said[:, :1]).max() < 1e-6  # one policy a window
    moved = np.abs(np.diff(said[:, 0], axis=0)).max(axis=1)
    assert (moved > 1e-3).all()
    forgot = adapt(jax.random.key(2), state, task, 80, True)
    assert np.abs(np.asarray(forgot.outputs[0]) - said[0, :1]).max() < 1e-6
    np.testing.assert_array_equal(forgot.action[:20], trajectory.action[:20])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inner_steps": 0}, "inner_steps=0: must be above 0"),
        ({"second_order": False, "credit": "dice"}, "credit='dice': acts through second_order"),
        ({"outer": "reptile", "learned_rates": True}, "learned_rates=True: Reptile has no"),
        ({"adapted": "context", "context_size": 0}, "context_size=0: must be above 0"),
        ({"outer": "reptile", "adapted": "context"}, "outer='reptile': moves to where"),
        ({"exploration_std": 1.0}, "exploration_std=1.0: actions are discrete"),
        ({"outer": "newton"}, "outer='newton'"),
        ({"bounding": "tanh"}, "bounding='tanh': actions are discrete"),
        ({"encoder": (0,)}, "encoder=.0,.: each layer needs"),
        ({"outer": "clip", "clip": 0.0}, "clip=0.0: must be above 0"),
        ({"outer": "reptile", "credit": "lvc"}, "credit='lvc': Reptile has no"),
        ({"outer": "reptile", "kl_cost": 0.1}, "kl_cost=0.1: Reptile has no"),
        ({"inner_rate": float("inf")}, "inner_rate=inf: must be finite"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        algorithms.maml(**options).build(tasks.bandit())


def test_a_score_needs_tasks_to_compare():
    agent = algorithms.maml(credit="e-maml", outer="clip", num_minibatches=4).build(tasks.bandit())
    agent.check(8)
    with pytest.raises(ConfigError, match="num_tasks=4: E-MAML's score"):
        agent.check(4)
