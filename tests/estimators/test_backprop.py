"""Meta-gradients of whole learning agents against the exact ones: all lives in a small MDP, in double precision.

Axis letters: ``[P]`` lives, ``[K]`` episodes of a life, ``[T]`` steps, ``[E]`` copies (one).
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metarl_jax.algorithms._actor_critics import (
    NAMES,
    OPTIMIZERS,
    actor_critic_inner,
    as_numbers,
    hyperparameters,
    unbounded,
)
from metarl_jax.algorithms._lifetimes import Agent, said
from metarl_jax.estimators import Critic, OuterLoss, backprop, fixed_critic
from metarl_jax.estimators.backprop import surrogate
from metarl_jax.estimators.lives import Window
from metarl_jax.networks import actor_critic, by_variance
from metarl_jax.types import Actor, Inner, Policy, Said, Spec, TimeStep, Trajectory

LENGTH, STATES, ACTIONS = 2, 2, 2
POLICY = actor_critic(Spec((STATES,), ACTIONS), "none", 0, (), False, scaled=by_variance)


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def episodes() -> tuple[Trajectory, np.ndarray]:
    """All episodes ``[Q, T, 1]`` from state 0, and the chance of their moves ``[Q]``."""
    random = np.random.default_rng(3)
    transition, reward = random.dirichlet(np.ones(2), (2, 2)), 2 * random.normal(size=(2, 2))
    rows = [
        ((0, second), actions, transition[0, actions[0], second])
        for second in range(STATES)
        for actions in itertools.product(range(ACTIONS), repeat=LENGTH)
    ]
    state, action = (np.array([row[i] for row in rows])[..., None] for i in (0, 1))
    seen, none = np.eye(STATES)[state], np.zeros(state.shape)
    last = np.broadcast_to(np.array([[False], [True]]), state.shape)
    following = np.concatenate([seen[:, 1:], seen[:, :1]], axis=1)
    start = ~last
    timestep = TimeStep(seen, none.astype(np.int32), none, start, start)
    earned = reward[state, action]
    lived = Trajectory(
        timestep, action.astype(np.int32), earned, earned, last, last & False, following, (), (), (none, none)
    )
    return jax.tree.map(jnp.asarray, lived), np.array([row[2] for row in rows])


def scripted(policy: Policy = POLICY) -> Actor:
    """Lives what its task says, ``[K, T, E]``, whatever the agent; its place counts episodes."""

    def act(key, agent, place, task):
        return place + 1, jax.tree.map(lambda x: x[place], task)

    return Actor(lambda key, task: jnp.int32(0), act, functools.partial(said, policy))


def inner(optimizer: str) -> Inner:
    """The actor-critic of ``self-tuning``, all of its hyperparameters tuned, born in double precision."""
    start = dict(zip(NAMES, (0.8, 0.7, 0.05, 0.5, 0.6), strict=True))
    values_of = functools.partial(hyperparameters, as_numbers(start), 0.0)
    meta = functools.partial(as_numbers, unbounded(start, NAMES, 0.0))
    optimizer_of = lambda meta: OPTIMIZERS[optimizer]()
    made = actor_critic_inner(POLICY, functools.partial(said, POLICY), meta, values_of, optimizer_of)
    params = far_from_uniform(POLICY)
    return made._replace(init=lambda *_: Agent(params, OPTIMIZERS[optimizer]().init(params)))


def far_from_uniform(policy: Policy):
    """Parameters of it, in double precision."""
    init = jax.jit(lambda key: jax.tree.map(lambda x: 30.0 * x.astype(float) + 0.3, policy.init(key)))
    return init(jax.random.key(1))


def lives(num_updates: int) -> tuple[Trajectory, jax.Array]:
    """All lives ``[P, K, T, 1]`` of ``num_updates`` after a first episode, and the chance of their moves ``[P]``."""
    lived, chance = episodes()
    index = np.array(list(itertools.product(range(len(chance)), repeat=num_updates + 1)))
    return jax.tree.map(lambda x: x[index], lived), jnp.asarray(chance[index].prod(axis=1))


NO_VALUES = fixed_critic(lambda lived: (jnp.zeros_like(lived.reward), jnp.zeros_like(lived.reward)))


VALUES = fixed_critic(  # of the state alone, so that advantages are unbiased
    lambda lived: (0.3 + lived.timestep.observation[..., 1], 7.0 + lived.next_observation[..., 1])
)


def estimates(made: Inner, num_updates: int, score: bool, critic: Critic = NO_VALUES, policy: Policy = POLICY):
    """The estimator's gradient of each life ``[P]``, as ``meta -> gradients``."""
    estimator = backprop(scripted(policy), made, num_updates + 1, num_updates + 1, OuterLoss(score=score), critic)
    tasks, _ = lives(num_updates)
    kept = estimator.init(jax.random.key(0), jax.tree.map(lambda x: x[0], tasks), 1)

    def gradient(meta, task):
        return estimator.estimate(jax.random.key(0), meta, kept, jax.tree.map(lambda x: x[None], task))[0]

    return jax.jit(jax.vmap(gradient, in_axes=(None, 0))), tasks


def chances(made: Inner, num_updates: int, meta, cut: bool = False, policy: Policy = POLICY):
    """The chance of each life under its agents as they learn ``[P]``, and what it earns in all ``[P]``."""
    tasks, moves = lives(num_updates)
    tasks = cut_short(tasks) if cut else tasks

    def one(task):
        agent, log_prob = made.init(jax.random.key(0), meta, None), 0.0
        for k in range(num_updates + 1):
            episode = at(task, k)
            log_prob += said(policy, agent, episode).log_prob.sum()
            agent, _ = made.learn(jax.random.key(0), meta, agent, episode)
        return log_prob

    return moves * jnp.exp(jax.vmap(one)(tasks)), tasks.reward.sum(axis=(1, 2, 3))


def cut_short(tasks: Trajectory) -> Trajectory:
    return tasks._replace(terminated=tasks.truncated, truncated=tasks.terminated)


def at(task: Trajectory, k: int) -> Trajectory:
    return jax.tree.map(lambda x: x[k], task)


def error(estimate, exact) -> float:
    """Relative, of the whole gradient."""
    norm = lambda tree: math.sqrt(sum(float(np.square(x).sum()) for x in jax.tree.leaves(tree)))
    return norm(jax.tree.map(lambda x, y: np.asarray(x) - np.asarray(y), estimate, exact)) / norm(exact)


def life_reward(made: Inner, num_updates: int, meta, policy: Policy = POLICY) -> jax.Array:
    """The mean reward of a step of a life, exactly."""
    chance, total = chances(made, num_updates, meta, policy=policy)
    return mean_reward(chance, total, num_updates)


def mean_reward(chance: jax.Array, total: jax.Array, num_updates: int) -> jax.Array:
    return chance @ total / (LENGTH * (num_updates + 1))


def errors_of(made: Inner, num_updates: int, policy: Policy = POLICY) -> dict[bool, float]:
    """Relative errors of the mean of the estimates, with the score and without."""
    meta = made.meta(jax.random.key(0))

    def loss(meta):
        chance, total = chances(made, num_updates, meta, policy=policy)
        return -mean_reward(chance, total, num_updates), chance

    exact, chance = jax.jit(jax.grad(loss, has_aux=True))(meta)
    np.testing.assert_allclose(chance.sum(), 1.0, rtol=1e-12)
    errors = {}
    for score in (True, False):
        gradient, tasks = estimates(made, num_updates, score, policy=policy)
        errors[score] = error(jax.tree.map(lambda g: np.tensordot(chance, g, 1), gradient(meta, tasks)), exact)
    return errors


slow = pytest.mark.slow  # every optimiser is also held to finite differences


@pytest.mark.parametrize("optimizer", ["sgd", pytest.param("rmsprop", marks=slow), pytest.param("adam", marks=slow)])
@pytest.mark.parametrize("num_updates", [1, 2])
def test_with_the_score_the_meta_gradient_is_exact(optimizer, num_updates):
    """And without it, it is for one update from a fixed birth, but not for two."""
    errors = errors_of(inner(optimizer), num_updates)
    print(
        f"{optimizer}, {num_updates} updates: relative error {errors[True]:.1e}, without the score {errors[False]:.1e}"
    )
    assert errors[True] < 1e-9
    assert errors[False] < 1e-9 if num_updates == 1 else errors[False] > 1e-3


def frozen(made: Inner, num_updates: int, policy: Policy = POLICY):
    """Of one life that was sampled once: the estimator's ``meta -> gradient``, and the ``meta -> loss`` that it
    differentiates, written out."""
    lived, _ = episodes()
    index = np.random.default_rng(0).integers(0, len(lived.reward), num_updates + 1)
    task = jax.tree.map(lambda x: x[index], lived)

    def loss(meta):
        agent, total = made.init(jax.random.key(0), meta, None), 0.0
        for k in range(num_updates + 1):
            episode = at(task, k)
            to_go = jnp.flip(jnp.cumsum(jnp.flip(episode.reward, 0), 0), 0)
            total -= (said(policy, agent, episode).log_prob * to_go).mean()
            agent, _ = made.learn(jax.random.key(0), meta, agent, episode)
        return total / (num_updates + 1)

    estimator = backprop(scripted(policy), made, num_updates + 1, num_updates + 1, OuterLoss(), NO_VALUES)
    kept = estimator.init(jax.random.key(0), task, 1)
    batch = jax.tree.map(lambda x: x[None], task)
    estimate = lambda meta: estimator.estimate(jax.random.key(0), meta, kept, batch)[0]
    return jax.jit(estimate), jax.jit(loss)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_meta_gradients_are_finite_differences_on_frozen_data(optimizer, num_updates=3):
    """Of ``-mean log pi G`` by every hyperparameter, the sampled lives being constants."""
    made = inner(optimizer)
    meta = made.meta(jax.random.key(0))
    gradient, loss = frozen(made, num_updates)
    gradient = gradient(meta)
    small = 1e-5
    for name, value in meta.items():
        moved = [loss(meta | {name: value + sign * small}) for sign in (1, -1)]
        np.testing.assert_allclose(gradient[name], (moved[0] - moved[1]) / (2 * small), rtol=1e-6, atol=1e-9)
        # Optimisers that normalise make the scale of the value loss irrelevant to values that share no parameter.
        assert abs(gradient[name]) > 1e-6 or (name == "value_cost" and optimizer != "sgd"), name


def test_with_the_score_nothing_is_counted_twice():
    """A critic changes no mean, and what it says of the time after an inner update does not come on top of what is
    earned then: episodes that are cut short, and values of one state that are no other's next values."""
    made = inner("sgd")
    meta = made.meta(jax.random.key(0))
    chance = jax.jit(lambda meta: chances(made, 1, meta, cut=True)[0])(meta)
    means = []
    for critic in (NO_VALUES, VALUES):
        valued = functools.partial(critic.values, (), time=None)
        consistent = lambda lived, valued=valued: (
            (now := valued(lived)[0]),
            jnp.concatenate([now[1:], valued(lived)[1][-1:]]),
        )
        gradient, tasks = estimates(made, 1, True, fixed_critic(consistent))
        means.append(jax.tree.map(lambda g: chance @ g, gradient(meta, cut_short(tasks))))
    assert error(means[1], means[0]) < 1e-9


def test_a_window_judges_only_what_it_differentiates():
    """Two windows of one update in place of one of two: the second is Xu et al.'s, blind to the first."""
    made = inner("sgd")
    meta = made.meta(jax.random.key(0))
    lived, _ = episodes()
    task = jax.tree.map(lambda x: x[np.array([1, 6, 3])], lived)
    batch = jax.tree.map(lambda x: x[None], task)
    estimator = backprop(scripted(), made, 3, 1, OuterLoss(), NO_VALUES)
    kept, gradients, estimate = estimator.init(jax.random.key(0), task, 1), [], jax.jit(estimator.estimate)
    for _ in range(3):
        gradient, kept, outcome = estimate(jax.random.key(0), meta, kept, batch)
        gradients.append(gradient)
    assert bool(outcome.ended[0]) and math.isclose(float(outcome.trial_return[0]), float(task.reward.sum()) / 3)
    assert optax.tree.norm(gradients[0]) == 0  # a newborn has learned nothing yet
    learn = jax.jit(functools.partial(made.learn, jax.random.key(0)))

    @jax.jit
    @jax.grad
    def wanted(meta, before, episode, following):
        after, _ = made.learn(jax.random.key(0), meta, before, episode)
        to_go = jnp.flip(jnp.cumsum(jnp.flip(following.reward, 0), 0), 0)
        return -(said(POLICY, after, following).log_prob * to_go).mean()

    agent = made.init()
    for k in range(2):
        assert error(gradients[k + 1], wanted(meta, agent, at(task, k), at(task, k + 1))) < 1e-12
        agent, _ = learn(meta, agent, at(task, k))


def test_normalised_outer_advantages_are_those_of_rewards_of_any_size():
    lived, _ = episodes()
    zero = jnp.zeros(lived.reward.shape)

    def slopes(scale: float, normalisation: float) -> jax.Array:
        """Of the outer loss, by each log-probability."""
        paid = lived._replace(reward=scale * lived.reward)
        loss = lambda log_prob: surrogate(
            OuterLoss(0.9, 0.8, normalisation=normalisation), Window(paid, Said(log_prob, zero, zero, zero), zero, zero)
        )
        return jax.grad(loss)(zero)

    plain = slopes(1.0, 0.0)
    spread = (plain * plain.size).std()  # the advantages' own: the loss is a mean
    np.testing.assert_allclose(slopes(1.0, 0.5), plain / (spread + 0.5), rtol=1e-12)
    np.testing.assert_allclose(slopes(1000.0, 1e-12), slopes(1.0, 1e-12), rtol=1e-9)
    assert np.abs(slopes(1000.0, 0.0)).max() > 900 * np.abs(plain).max() > 0


def test_each_lifes_gradient_is_cut_before_the_mean():
    made = inner("sgd")
    meta = made.meta(jax.random.key(0))
    lived, _ = episodes()
    tasks = jax.tree.map(lambda x: x[np.array([[1, 6, 3], [0, 2, 5], [7, 4, 1]])], lived)
    first = jax.tree.map(lambda x: x[0], tasks)

    @functools.partial(jax.jit, static_argnums=1)
    def estimate(batch, max_norm: float = 0.0):
        estimator = backprop(scripted(), made, 3, 3, OuterLoss(max_norm=max_norm), NO_VALUES)
        kept = estimator.init(jax.random.key(0), first, len(batch.reward))
        gradient, _, outcome = estimator.estimate(jax.random.key(0), meta, kept, batch)
        return gradient, outcome.metrics

    alone = [estimate(jax.tree.map(lambda x, i=i: x[i : i + 1], tasks))[0] for i in range(3)]
    norms = [float(optax.tree.norm(gradient)) for gradient in alone]
    least, middle, most = sorted(norms)
    assert 0 < least < middle < most
    for largest, share in ((middle, 1 / 3), (least / 2, 1.0), (0.0, None)):
        shares = [min(1.0, largest / norm) if largest else 1.0 for norm in norms]
        cut = [jax.tree.map(functools.partial(jnp.multiply, x), g) for x, g in zip(shares, alone, strict=True)]
        gradient, metrics = estimate(tasks, largest)
        assert error(gradient, jax.tree.map(lambda *x: sum(x) / 3, *cut)) < 1e-12
        assert share is None or math.isclose(float(metrics["gradients_cut"]), share, rel_tol=1e-6)
