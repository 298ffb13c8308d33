"""Agents of a small MDP whose meta-gradients are found by enumeration of all that can happen."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.algorithms.lifetime.actor_critic import (
    NAMES,
    OPTIMIZERS,
    actor_critic_inner,
    as_numbers,
    hyperparameters,
    to_unconstrained,
)
from metarl_jax.algorithms.lifetime.meta_learner import Agent, said
from metarl_jax.meta_gradients import Critic, OuterLoss, backprop, fixed_critic
from metarl_jax.networks import actor_critic, variance_scaled_init
from metarl_jax.records import Actor, Inner, Policy, Spec, TimeStep, Trajectory

LENGTH, STATES, ACTIONS = 2, 2, 2
POLICY = actor_critic(Spec((STATES,), ACTIONS), "none", 0, (), False, scaled=variance_scaled_init)


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
    trajectory = Trajectory(
        timestep, action.astype(np.int32), earned, earned, last, last & False, following, (), (), (none, none)
    )
    return jax.tree.map(jnp.asarray, trajectory), np.array([row[2] for row in rows])


def scripted(policy: Policy = POLICY) -> Actor:
    """Lives what its task says, ``[K, T, E]``, whatever the agent; its place counts episodes."""

    def act(key, agent, place, task):
        return place + 1, jax.tree.map(lambda x: x[place], task)

    return Actor(lambda key, task: jnp.int32(0), act, functools.partial(said, policy))


def inner(optimizer: str) -> Inner:
    """The actor-critic of ``self-tuning``, all of its hyperparameters tuned, born in double precision."""
    start = dict(zip(NAMES, (0.8, 0.7, 0.05, 0.5, 0.6), strict=True))
    values_of = functools.partial(hyperparameters, as_numbers(start), 0.0)
    meta = functools.partial(as_numbers, to_unconstrained(start, NAMES, 0.0))
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
    trajectory, chance = episodes()
    index = np.array(list(itertools.product(range(len(chance)), repeat=num_updates + 1)))
    return jax.tree.map(lambda x: x[index], trajectory), jnp.asarray(chance[index].prod(axis=1))


NO_VALUES = fixed_critic(lambda trajectory: (jnp.zeros_like(trajectory.reward), jnp.zeros_like(trajectory.reward)))


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


def frozen(made: Inner, num_updates: int, policy: Policy = POLICY):
    """Of one life that was sampled once: the estimator's ``meta -> gradient``, and the ``meta -> loss`` that it
    differentiates, written out."""
    trajectory, _ = episodes()
    index = np.random.default_rng(0).integers(0, len(trajectory.reward), num_updates + 1)
    task = jax.tree.map(lambda x: x[index], trajectory)

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
