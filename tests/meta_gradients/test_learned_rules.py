"""Meta-gradients of learned credit assignment against the exact ones: all lives in a small MDP, in double precision."""

import functools
from collections.abc import Callable

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.enumeration import (
    ACTIONS,
    LENGTH,
    POLICY,
    STATES,
    episodes,
    errors_of,
    far_from_uniform,
    frozen,
    life_reward,
)

from metarl_jax import tasks
from metarl_jax.algorithms.lifetime import meta_learner as lifetimes
from metarl_jax.algorithms.lifetime.actor_critic import OPTIMIZERS, Credit, actor_critic_inner, fixed_hyperparameters
from metarl_jax.algorithms.lifetime.intrinsic_reward import mixed
from metarl_jax.algorithms.lifetime.lpg import Costs, lpg_agents
from metarl_jax.algorithms.lifetime.meta_learner import said
from metarl_jax.algorithms.lifetime.pairwise_credit import pairs
from metarl_jax.learned import intrinsic_reward_rule as intrinsic
from metarl_jax.learned import pairwise_credit_rule as pairwise
from metarl_jax.meta_gradients import evolution
from metarl_jax.records import Inner, Policy, Spec, TaskDistribution
from metarl_jax.tasks.tabular import TabularEnv

SPEC, FEATURES = Spec((STATES,), ACTIONS), STATES + ACTIONS


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def born_alike(made: Inner, policy: Policy) -> Inner:
    """With one birth, in double precision and far from uniform; and meta-parameters twice as large as usual."""
    doubled = lambda x: 2.0 * jnp.asarray(x, float)
    params = far_from_uniform(policy)
    return made._replace(
        meta=jax.jit(lambda key: jax.tree.map(doubled, made.meta(key))),
        init=lambda key, meta, task: made.init(key, meta, task)._replace(params=params),
    )


def credited(born: Callable, credit: Credit) -> tuple[Inner, Policy]:
    """Actor-critic agents without an optimiser's state."""
    numbers = fixed_hyperparameters(discount=0.8, trace=0.7, entropy_cost=0.05, value_cost=0.5, learning_rate=0.6)
    speak = functools.partial(said, POLICY)
    made = actor_critic_inner(POLICY, speak, born, lambda meta: numbers, lambda meta: OPTIMIZERS["sgd"](), credit)
    return born_alike(made, POLICY), POLICY


def rewarding(memory_size: int) -> tuple[Inner, Policy]:
    def born(key):
        weights = intrinsic.init(key, FEATURES, (3,), memory_size)
        last = weights["reward"]["layer_1"]  # nearly zero at birth
        weights["reward"]["layer_1"] = last | {"kernel": 20.0 * last["kernel"]}
        return weights

    start = lambda: jnp.zeros((1, memory_size)) if memory_size else ()
    return credited(born, Credit(start, functools.partial(mixed, SPEC, 0.5, 1.0)))


def weighing(errors: bool) -> tuple[Inner, Policy]:
    born = functools.partial(pairwise.init, features=FEATURES, hidden=(3,), size=2, weight=0.6)
    return credited(born, Credit(lambda: (), functools.partial(pairs, SPEC, errors)))


def ruled(lifetime: bool) -> tuple[Inner, Policy]:
    policy, made = lpg_agents(
        SPEC,
        encoder=(),
        bounding="clip",
        memory_size=3,
        predictions=4,
        optimizer="sgd",
        learning_rate=2.0,
        costs=Costs(agent=0.5, entropy=0.0, push=0.0, prediction=0.0),
        length=3 if lifetime else 0,
    )
    return born_alike(made, policy), policy


METHODS = {
    "lpg": lambda: ruled(False),
    "lpg, told its age": lambda: ruled(True),
    "intrinsic reward": lambda: rewarding(0),
    "intrinsic reward of a life": lambda: rewarding(3),
    "weights of errors": lambda: weighing(True),
    "weights of rewards": lambda: weighing(False),
}


# The others, which are kin to these and held to finite differences as well, with ``-m slow``.
EXACT = (
    (1, "intrinsic reward of a life"),
    (2, "lpg, told its age"),
    (2, "intrinsic reward of a life"),
    (2, "weights of errors"),
    (2, "weights of rewards"),
)
EVOLVED = ((False, "lpg"), (True, "lpg"), (True, "intrinsic reward"), (False, "weights of errors"))


def often(cases, numbers, names):
    """All pairs of a number and a name; but for ``cases`` they are slow."""
    pairs = [(number, name) for number in numbers for name in names]
    return [pytest.param(*pair, marks=() if pair in cases else (pytest.mark.slow,)) for pair in pairs]


@pytest.mark.parametrize(("num_updates", "name"), often(EXACT, (1, 2), METHODS))
def test_with_the_score_the_meta_gradient_is_exact(name, num_updates):
    """And without it, it is for one update from a fixed birth, but not for two."""
    made, policy = METHODS[name]()
    errors = errors_of(made, num_updates, policy)
    print(f"{name}, {num_updates} updates: relative error {errors[True]:.1e}, without the score {errors[False]:.1e}")
    assert errors[True] < 1e-9
    assert errors[False] < 1e-9 if num_updates == 1 else errors[False] > 1e-3


@pytest.mark.parametrize("name", METHODS)
def test_meta_gradients_are_finite_differences_on_frozen_data(name, num_updates=3):
    """Of ``-mean log pi G``, the sampled lives being constants; every parameter has a say."""
    made, policy = METHODS[name]()
    flat, unravel = jax.flatten_util.ravel_pytree(made.meta(jax.random.key(0)))
    gradient, loss = frozen(made, num_updates, policy)
    found, small = jax.flatten_util.ravel_pytree(gradient(unravel(flat)))[0], 1e-5
    moved = jax.jit(jax.vmap(lambda step: loss(unravel(flat + step))))
    steps = small * jnp.eye(flat.size)
    wanted = (moved(steps) - moved(-steps)) / (2 * small)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6 * float(jnp.abs(wanted).max()))
    for path, group in jax.tree_util.tree_leaves_with_path(unravel(found)):
        assert jnp.abs(group).max() > 0, jax.tree_util.keystr(path)


class Ending(TabularEnv):
    """Whose last step ends the MDP, as in ``episodes``."""

    def step(self, noise, state, action, task):
        state, reward, _, info = super().step(noise, state, action, task)
        return state, reward, state.time == self.horizon, info


def world() -> TaskDistribution:
    """The MDP that ``episodes`` enumerates, as tasks to live in."""
    trajectory, _ = episodes()
    random = np.random.default_rng(3)
    transition, reward = random.dirichlet(np.ones(2), (2, 2)), 2 * random.normal(size=(2, 2))
    distribution = tasks.from_arrays(transition[None], reward[None], horizon=LENGTH)
    seen = np.asarray(trajectory.timestep.observation.argmax(axis=-1))
    np.testing.assert_allclose(trajectory.reward, reward[seen, np.asarray(trajectory.action)])
    return distribution._replace(env=Ending(STATES, ACTIONS, LENGTH))


SIGMA = 0.3


@functools.cache
def smoothed(name: str, length: int):
    """(meta-parameters, a direction, the slope of minus the mean reward of a life along it, smoothed by Gaussian
    noise), the latter by quadrature of the exact mean."""
    made, policy = METHODS[name]()
    origin = made.meta(jax.random.key(0))
    loss = jax.jit(lambda meta: -life_reward(made, length - 1, meta, policy))
    direction = jax.grad(loss)(origin)
    norm = jnp.sqrt(sum(jnp.square(x).sum() for x in jax.tree.leaves(direction)))
    direction = jax.tree.map(lambda x: x / norm, direction)
    nodes, weights = np.polynomial.hermite_e.hermegauss(15)
    along = jax.jit(jax.vmap(lambda x: loss(jax.tree.map(lambda o, d: o + x * d, origin, direction))))
    slope = (weights * nodes / SIGMA * along(jnp.asarray(SIGMA * nodes))).sum() / weights.sum()
    return origin, direction, float(slope)


@pytest.mark.parametrize(
    ("persistent", "name"), often(EVOLVED, (False, True), ("lpg", "intrinsic reward", "weights of errors"))
)
def test_evolution_strategies_find_it(name, persistent, length=3, count=8192, cycles=8):
    """Along one direction of the meta-parameters, within the sampling error; lives are really lived."""
    origin, direction, exact = smoothed(name, length)
    with jax.enable_x64(False):  # as rollouts are
        mean, error = evolved(name, *single((origin, direction)), persistent, length, count, cycles)
    print(f"{name}: {mean:.4f} +- {error:.4f}, exact {exact:.4f}")
    assert error < 0.15 * exact and abs(mean - exact) < 4 * error


def single(tree):
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x), jnp.float32), tree)


def evolved(name: str, origin, direction, persistent: bool, length: int, count: int, cycles: int):
    """(mean, standard error) of the estimates along ``direction``."""
    made, policy = METHODS[name]()
    moved = lambda x: jax.tree.map(lambda o, d: o + x * d, origin, direction)
    along = made._replace(
        meta=lambda key: jnp.zeros(()),
        init=lambda key, x, task: made.init(key, moved(x), task),
        learn=lambda key, x, agent, trajectory: made.learn(key, moved(x), agent, trajectory),
    )
    world_tasks = world()
    actor = lifetimes.actor_of(world_tasks, policy, 1)
    estimator = evolution(actor, along, length, 1 if persistent else length, SIGMA, persistent)
    many = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], (count, *x.shape[1:])), world_tasks.tasks)
    kept = estimator.init(jax.random.key(0), jax.tree.map(lambda x: x[0], many), count)
    step, found = jax.jit(estimator.estimate), []
    for i in range((cycles + 1) * (length if persistent else 1)):
        gradient, kept, _ = step(jax.random.key(i), jnp.zeros(()), kept, many)
        found.append(float(gradient))
    means = np.reshape(found, (cycles + 1, -1)).mean(axis=1)[1:]
    return means.mean(), means.std(ddof=1) / cycles**0.5
