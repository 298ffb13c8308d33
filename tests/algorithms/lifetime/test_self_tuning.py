"""Agents that learn in their tasks: wrong options, what is counted, and what becomes of those that diverge."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.linen.initializers import orthogonal

import metarl_jax as mrl
from metarl_jax.algorithms.lifetime import meta_learner as lifetimes
from metarl_jax.networks import variance_scaled_init
from metarl_jax.records import Actor, Inner, MetaGradient, Outcome

EXACT = {"outer_discount": 1.0, "outer_trace": 1.0}  # what the score needs
BANDIT = mrl.tasks.bandit(num_arms=2, num_pulls=64)


def test_environment_steps_of_all_lives_are_counted():
    """Of pairs, of the life that goes on unperturbed beside them, of all members, on the way to a target."""
    options = dict(episodes=2, life=4, window=2)
    steps = lambda recipe: recipe.build(BANDIT).steps
    assert steps(mrl.algorithms.self_tuning(**options)) == 4
    assert steps(mrl.algorithms.self_tuning(gradient="pes", **options)) == 8
    assert steps(mrl.algorithms.self_tuning(gradient="es", **options)) == 12
    assert steps(mrl.algorithms.self_tuning(gradient="es", **options | {"window": 4})) == 16
    assert [steps(mrl.algorithms.self_tuning(target_updates=n, **options | {"life": 12})) for n in (1, 2, 3)] == [
        4,
        6,
        8,
    ]
    assert steps(mrl.algorithms.population(size=5, **options)) == 20
    long = mrl.tasks.navigation(horizon=7, num_episodes=8)
    for size, recipe in ((1, mrl.algorithms.self_tuning(**options)), (5, mrl.algorithms.population(size=5, **options))):
        built = recipe.build(long)
        assert (built.window, built.steps) == (14, size * 28)


def test_a_life_fits_into_a_trial():
    """64 episodes: 16 inner updates of 4, unless said otherwise; the trial lives as many. All may be tuned."""
    names = ("discount", "trace", "entropy_cost", "value_cost", "learning_rate")
    built = mrl.algorithms.self_tuning(tuned=names, entropy_cost=0.1).build(BANDIT)
    assert (built.window, built.steps) == (4, 4)
    state = built.init(jax.random.key(0), 2)
    assert int((state.kept.lives.end + 16).max()) == 16


@pytest.mark.parametrize(("window", "length"), [(1, 15), (2, 12)])
def test_a_life_is_a_multiple_of_a_window_and_the_way_to_a_target(window, length):
    """Of 5 or 6 inner updates, in a trial of 16; of two tasks the second's first life is as short as can be."""
    built, stretch = mrl.algorithms.self_tuning(window=window, target_updates=5).build(BANDIT), window + 4
    state = built.init(jax.random.key(0), 2)
    assert (state.kept.lives.end + length).tolist() == [length, stretch]


def test_a_gradient_that_is_not_finite_is_skipped_and_counted():
    def estimate(key, meta, kept, tasks):
        bad = jnp.where(kept == 1, jnp.nan, 1.0)
        earned = jnp.full(1, 0.5)  # in an episode of a step
        return 3.0 * bad, kept + 1, Outcome(tasks, earned, earned > 0, {})

    estimator = MetaGradient(lambda *_: jnp.int32(0), estimate)
    nothing = Actor(*[lambda *_: None] * 3)
    inner = Inner(lambda key: jnp.zeros(()), lambda *_: None, lambda *_: None)
    learner = lifetimes.lifetime_learner(BANDIT, nothing, inner, estimator, optax.sgd(1.0), 1, 1)
    state, metas = learner.init(jax.random.key(0), 1), []
    for _ in range(3):
        state, outcome = learner.update(jax.random.key(0), state, jnp.zeros(1))
        assert outcome.trial_return == 0.5 * 64
        metas.append((float(state.meta), float(outcome.metrics["meta_gradient_norm"])))
    assert metas == [(-3.0, 3.0), (-3.0, 0.0), (-6.0, 3.0)] and int(outcome.metrics["skipped"]) == 1


def test_steps_on_hyperparameters_fall_to_a_tenth():
    """Adam's first step is as long as its rate, and where gradients keep their size so are the later ones."""
    options = dict(tuned=("learning_rate",), episodes=4, window=1, meta_rate=0.01, encoder=(), outer_critic=False)
    moved = {}
    for updates in (0, 1):
        recipe = mrl.algorithms.self_tuning(decay_updates=updates, **options)
        run = mrl.train(recipe, BANDIT, num_updates=8, num_tasks=2, quiet=True)
        moved[updates] = np.abs(np.diff(np.log(run.metrics["learning_rate"][:, 0])))
    start = moved[0] > 1e-6
    assert start.any() and moved[1][start].sum() < 0.3 * moved[0][start].sum()


def test_a_member_that_diverges_does_not_end_the_search():
    recipe = mrl.algorithms.random_search(size=4, optimizer="sgd", learning_rate=(1e-3, 1e30), episodes=4, encoder=())
    run = mrl.train(recipe, BANDIT, num_updates=30, num_tasks=4, quiet=True)
    diverged = run.metrics["diverged"][-1, 0]
    assert 0 < diverged < 4
    state = jax.tree.map(lambda x: x[0], run.state)
    assert bool(state.sound[int(jnp.argmax(jnp.where(state.sound, state.score, -jnp.inf)))])
    assert run.metrics["learning_rate"][-1, 0] < 1e10


def test_weights_are_as_large_as_orthogonal_ones():
    for shape in ((2, 32), (32, 32), (64, 8)):
        stds = [
            np.std([init(2.0)(jax.random.key(i), shape) for i in range(20)])
            for init in (variance_scaled_init, orthogonal)
        ]
        np.testing.assert_allclose(*stds, rtol=0.1)


@pytest.mark.parametrize(
    ("make", "options", "word"),
    [
        ("self_tuning", {"tuned": ("rate",)}, "tuned.*give at least one of discount"),
        ("self_tuning", {"tuned": ()}, "tuned"),
        ("self_tuning", {"discount": 1.0}, "discount=1.0.*both excluded"),
        ("self_tuning", {"discount": 0.9, "least_discount": 0.95}, "between 0.95 and 1"),
        ("self_tuning", {"trace": 1.5, "tuned": ("discount",)}, "trace=1.5"),
        ("self_tuning", {"life": 5, "window": 2}, "life=5.*window=2"),
        ("self_tuning", {"window": 0}, "window=0"),
        ("self_tuning", {"score": True}, "score=True.*outer_discount=1"),
        ("self_tuning", {"sigma": 0.0}, "sigma=0.0"),
        ("self_tuning", {"target_updates": -1}, "target_updates=-1"),
        ("self_tuning", {"target_updates": 2, "gradient": "pes"}, "target_updates=2.*gradient='backprop'"),
        ("self_tuning", {"target_updates": 1, "score": True} | EXACT, "target_updates=1.*no score"),
        ("self_tuning", {"target_updates": 3, "window": 2, "life": 6}, "life=6.*window=2 and the 2 inner updates"),
        ("self_tuning", {"target_updates": 3, "life": 3}, "life=3.*at least 6"),
        ("self_tuning", {"target_rate": 0.0}, "target_rate=0.0"),
        ("self_tuning", {"target_value_cost": -0.1}, "target_value_cost=-0.1"),
        ("population", {"discount": (0.99, 0.9)}, "discount.*first must not be above"),
        ("population", {"learning_rate": (0.0, 0.1)}, "learning_rate.*above 0"),
        ("population", {"size": 1}, "size=1.*at least 2"),
        ("population", {"replaced": 0.9}, "replaced=0.9"),
        ("grid_search", {"size": 10}, "size=10.*8, say"),
        (
            "grid_search",
            {"discount": (0.9, 0.9), "entropy_cost": (0.1, 0.1), "learning_rate": (0.1, 0.1)},
            "needs two ends",
        ),
    ],
)
def test_wrong_options_are_named(make, options, word):
    with pytest.raises(mrl.ConfigError, match=word):
        getattr(mrl.algorithms, make)(**options).build(BANDIT)
