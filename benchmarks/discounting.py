"""The discounting chain, for the table of ``quality``: a discount that tunes itself, and what it is judged by.

As Bonnet et al. 2022 ("Debiasing meta-gradient reinforcement learning by learning the outer value function"): bsuite's
chain of mapping seed 3, where the chain that pays 1.1 pays after 30 steps and one that pays 1 after the first. A linear
policy, advantages of one step over values that are exact for the policy at hand, so that only the discounts of the
values differ: the agent's own, or the outer one's. One agent, 128 copies of it, one life of 50,000 inner updates.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import metarl_jax as mrl
from benchmarks.record import Clock, seeded, slowest, timed
from benchmarks.sizes import size
from metarl_jax import meta_gradients
from metarl_jax.algorithms.lifetime import meta_learner as lifetimes
from metarl_jax.algorithms.lifetime.actor_critic import (
    NAMES,
    actor_critic_inner,
    as_numbers,
    hyperparameters,
    to_unconstrained,
)
from metarl_jax.config import recipe
from metarl_jax.networks import actor_critic, variance_scaled_init
from metarl_jax.records import ActionEvaluation, Algorithm, Policy, TaskDistribution, Trajectory

UPDATES, COPIES, LAST = size((50_000, 128, 1000), (2, 2, 1))
START = dict(discount=0.95, trace=0.0, entropy_cost=0.005, value_cost=0.0, learning_rate=0.5)
assert set(START) == set(NAMES)


class ValuingAgent(NamedTuple):
    """``discount``: of its values."""

    params: Any
    optimizer: Any
    memory: Any
    discount: jax.Array


def exact_values(tasks: TaskDistribution, logits: jax.Array, discount, observation: jax.Array) -> jax.Array:
    """Of observations ``[T, E, 2]``, for the policy whose first action's ``logits`` are ``[A]``."""
    assert tasks.tasks is not None
    reward, delay = tasks.tasks.reward[0], tasks.tasks.delay[0]
    chain, time = observation[..., 0].astype(jnp.int32), jnp.round(observation[..., 1] * tasks.horizon)
    wait = delay[chain] - 1.0 - time
    chosen = jnp.where(wait >= 0, reward[chain] * discount ** jnp.maximum(wait, 0.0), 0.0)
    return jnp.where(chain < 0, jax.nn.softmax(logits) @ (reward * discount ** (delay - 1.0)), chosen)


def said(tasks: TaskDistribution, policy: Policy, agent: ValuingAgent, trajectory: Trajectory) -> ActionEvaluation:
    told = lifetimes.said(policy, agent, trajectory)
    valued = functools.partial(exact_values, tasks, trajectory.outputs[0][0, 0], agent.discount)
    values = valued(trajectory.timestep.observation), valued(trajectory.next_observation)
    value, following = jax.lax.stop_gradient(values)
    return told._replace(value=value, next_value=following)


@recipe("discounting")
def discounting(tasks: TaskDistribution, *, outer_critic: bool = True, meta_rate: float = 0.1) -> Algorithm:
    """``outer_critic``: the outer advantages' values have the outer discount, 1; else the agent's."""
    policy = actor_critic(tasks.env.spec, "none", 0, (), False, scaled=variance_scaled_init)
    numbers = functools.partial(hyperparameters, as_numbers(START), 0.9)
    speak = functools.partial(said, tasks, policy)
    meta = functools.partial(as_numbers, to_unconstrained(START, ("discount",), 0.9))
    inner = actor_critic_inner(policy, speak, meta, numbers, lambda meta: optax.identity())

    def valuing(agent, meta) -> ValuingAgent:
        discount = jax.lax.stop_gradient(numbers(meta).discount)
        return ValuingAgent(agent.params, agent.optimizer, agent.memory, discount)

    def init(key, meta, task):
        return valuing(inner.init(key, meta, task), meta)

    def learn(key, meta, agent: ValuingAgent, trajectory):
        learned, told = inner.learn(key, meta, valuing(agent, meta), trajectory)
        return valuing(learned, meta), told

    def values(trajectory: Trajectory):
        valued = functools.partial(exact_values, tasks, trajectory.outputs[0][0, 0], 1.0)
        return valued(trajectory.timestep.observation), valued(trajectory.next_observation)

    actor = lifetimes.actor_of(tasks, policy, COPIES)._replace(said=speak)
    critic = meta_gradients.fixed_critic(values) if outer_critic else None
    loss = meta_gradients.OuterLoss(discount=1.0, trace=0.0, entropy_cost=START["entropy_cost"])
    learning = inner._replace(init=init, learn=learn)
    estimator = meta_gradients.backprop(actor, learning, UPDATES, 1, loss, critic)
    told = lambda meta: {"discount": numbers(meta).discount}
    return lifetimes.lifetime_learner(tasks, actor, learning, estimator, optax.adam(meta_rate), COPIES, 1, told)


def rows(seeds: list[int]) -> list[dict[str, Any]]:
    tasks, found = mrl.tasks.discounting_chain(best=(3,)), []
    for outer_critic, name in ((False, "inner"), (True, "outer")):
        returns, discounts, seconds = [], [], []
        for seed in seeds:
            algorithm = discounting(outer_critic=outer_critic)
            with Clock() as clock:
                run = mrl.train(algorithm, tasks, num_updates=UPDATES, num_tasks=1, seed=seed, quiet=True)
            seconds.append(round(clock.seconds, 1))
            returns.append(float(tasks.horizon * np.mean(run.metrics["step_reward"][-LAST:])))
            discounts.append(float(np.mean(run.metrics["discount"][-LAST:])))
            told = f"{returns[-1]:.4f}, discount {discounts[-1]:.4f}, {clock.seconds:.0f} s"
            print(f"values of the {name} discount, seed {seed}: {told}", flush=True)
        where = f"discounting chain, values of the {name} discount"
        bar: dict[str, Any] = dict(at_least=1.07) if outer_critic else {}
        rows = [
            seeded(f"{where}: return of an episode", returns, "return", **bar),
            seeded(f"{where}: discount", discounts, "discount"),
            slowest(f"{where}: minutes", seconds, at_most=5.0),
        ]
        found += timed(rows, seconds)
    return found
