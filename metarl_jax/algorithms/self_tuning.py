"""Agents that tune their own hyperparameters by meta-gradients (Xu et al. 2018; Zahavy et al. 2020, STAC)."""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl_jax import estimators
from metarl_jax.algorithms import _lifetimes as lifetimes
from metarl_jax.algorithms._lifetimes import Agent
from metarl_jax.config import check, check_all, recipe
from metarl_jax.networks import Bounding, actor_critic, by_variance
from metarl_jax.rollout import replay
from metarl_jax.types import Algorithm, Inner, Policy, PyTree, Said, TaskDistribution, Trajectory

NAMES = ("discount", "trace", "entropy_cost", "value_cost", "learning_rate")
OPTIMIZERS = {
    "sgd": optax.identity,
    # A root of zero has no derivative: `eps_root` keeps meta-gradients finite where an agent's gradient is zero.
    "rmsprop": functools.partial(optax.scale_by_rms, decay=0.99, eps=1e-5, eps_in_sqrt=True),
    "adam": functools.partial(optax.scale_by_adam, eps=1e-5, eps_root=1e-8),
}


class Hyperparameters(NamedTuple):
    """Of an actor-critic agent."""

    discount: jax.Array
    trace: jax.Array
    entropy_cost: jax.Array
    value_cost: jax.Array
    learning_rate: jax.Array


@recipe("self-tuning")
def self_tuning(
    tasks: TaskDistribution,
    *,
    tuned: tuple[str, ...] = NAMES,
    discount: float = 0.95,
    trace: float = 0.9,
    entropy_cost: float = 0.01,
    value_cost: float = 0.5,
    learning_rate: float = 1e-2,
    least_discount: float = 0.0,
    optimizer: Literal["sgd", "rmsprop", "adam"] = "rmsprop",
    encoder: tuple[int, ...] = (32,),
    bounding: Bounding = "clip",
    copies: int = 16,
    steps: int = 0,
    life: int = 0,
    window: int = 1,
    gradient: Literal["backprop", "es", "pes"] = "backprop",
    meta_rate: float = 1e-2,
    outer_discount: float = 0.99,
    outer_trace: float = 0.95,
    outer_entropy_cost: float = 0.0,
    outer_critic: bool = True,
    outer_critic_rate: float = 1e-3,
    score: bool = False,
    sigma: float = 0.1,
    remat: bool = False,
) -> Algorithm:
    """Advantage actor-critic agents, born and trained in each task, whose hyperparameters are meta-learned on the way.

    In each of N tasks an agent lives ``life`` inner updates, each from ``copies * steps`` steps, and is followed by the
    next one. An update of training is ``window`` inner updates of every life, and a step on the hyperparameters, which
    all of them share. ``discount`` and ``trace`` are tuned as ``1 / (1 + exp(-x))``, the others as ``exp(x)``.

    Args:
      tuned: the hyperparameters that are meta-learned; the others stay as given.
      discount: gamma of the agents, at first.
      trace: lambda of their generalised advantages, at first.
      entropy_cost: weight of their entropy bonus, at first.
      value_cost: weight of their value loss, at first.
      learning_rate: of their optimiser, at first.
      least_discount: the discount is tuned between this and 1.
      optimizer: the agents'.
      encoder: sizes of the agents' tanh layers (none: a linear policy and values).
      bounding: how continuous actions keep to their bounds, see ``rl2``.
      copies: of an agent, side by side in its task.
      steps: that a copy lives before an inner update (0: the task's horizon).
      life: inner updates of an agent (0: as many as its steps fit into a trial, at least two windows).
      window: inner updates an outer one.
      gradient: back-propagation through a window; evolution strategies on truncated lives (on whole ones where
        ``window`` is ``life``); or persistent evolution strategies.
      meta_rate: Adam's learning rate of the hyperparameters.
      outer_discount: gamma of what the hyperparameters are tuned for.
      outer_trace: lambda of the outer advantages.
      outer_entropy_cost: weight of an entropy bonus in the outer loss.
      outer_critic: outer advantages are over values of an own critic of the outer discount, shared by all tasks (Bonnet
        et al. 2022); else over the agents' values, whose discount is another: that favours myopic agents.
      outer_critic_rate: Adam's learning rate of that critic.
      score: credit for the samples that inner updates learned from: exact on average, and far noisier.
      sigma: standard deviation of the perturbations of evolution strategies.
      remat: compute inner updates again for the outer gradient instead of keeping what they computed.
    """
    start: dict[str, float] = dict(zip(NAMES, (discount, trace, entropy_cost, value_cost, learning_rate), strict=True))
    for name in tuned:
        check(name in NAMES, "tuned", tuned, f"choose from {', '.join(NAMES)}")
        bounded = name in ("discount", "trace")
        low = least_discount if name == "discount" else 0.0
        fix = f"is tuned: must lie between {low:g} and 1, both excluded" if bounded else "is tuned: must be above 0"
        check(low < start[name] < (1.0 if bounded else math.inf), name, start[name], fix)
    check(len(tuned) > 0 and len(set(tuned)) == len(tuned), "tuned", tuned, "give at least one, and each once")
    check_all(dict(discount=discount, trace=trace), lambda x: 0 <= x <= 1, "must lie between 0 and 1")
    check_all(dict(entropy_cost=entropy_cost, value_cost=value_cost), lambda x: x >= 0, "must not be negative")
    positive = dict(copies=copies, window=window, meta_rate=meta_rate, learning_rate=learning_rate, sigma=sigma)
    check_all(positive | dict(outer_critic_rate=outer_critic_rate), lambda x: x > 0, "must be above 0")
    check_all(dict(steps=steps, life=life), lambda x: x >= 0, "must not be negative")
    check_all(dict(outer_discount=outer_discount, outer_trace=outer_trace), lambda x: 0 <= x <= 1, "between 0 and 1")
    check(0 <= least_discount < 1, "least_discount", least_discount, "must be at least 0 and below 1")
    check(outer_entropy_cost >= 0, "outer_entropy_cost", outer_entropy_cost, "must not be negative")
    steps = steps or tasks.horizon
    fits = window * max(2, tasks.trial_steps // (copies * steps * window))
    whole = life == 0 or (life >= 2 and life % window == 0)
    check(whole, "life", life, f"must be a multiple of window={window}, and at least 2")
    length = life or fits

    policy = actor_critic(tasks.env.spec, "none", 0, encoder, False, bounding=bounding, scaled=by_variance)
    actor = lifetimes.actor_of(tasks, policy, copies, steps)
    fixed = {name: jnp.asarray(value, float) for name, value in start.items()}
    values_of = functools.partial(hyperparameters, fixed, least_discount)
    said = functools.partial(lifetimes.said, policy)
    first = unbounded(start, tuned, least_discount)
    inner = actor_critic_inner(policy, said, OPTIMIZERS[optimizer](), values_of, first)
    if gradient == "backprop":
        loss = estimators.OuterLoss(outer_discount, outer_trace, outer_entropy_cost, score)
        critic = lifetimes.outer_critic(tasks, encoder, outer_critic_rate) if outer_critic else None
        estimator = estimators.backprop(actor, inner, length, window, loss, critic, remat)
    else:
        estimator = estimators.evolution(actor, inner, length, window, sigma, persistent=gradient == "pes")
    told = lambda meta: {name: getattr(values_of(meta), name) for name in tuned}
    return lifetimes.lifetime_learner(
        tasks, actor, inner, estimator, optax.adam(meta_rate), copies, steps, window, told
    )


def unbounded(start: dict[str, float], tuned: tuple[str, ...], least_discount: float) -> dict[str, float]:
    """The meta-parameters at which hyperparameters are as in ``start``."""
    logit = lambda x: math.log(x) - math.log1p(-x)
    inverses = dict.fromkeys(NAMES, math.log) | {
        "discount": lambda x: logit((x - least_discount) / (1 - least_discount)),
        "trace": logit,
    }
    return {name: inverses[name](start[name]) for name in tuned}


def hyperparameters(fixed: dict[str, jax.Array], least_discount: float, meta: dict[str, jax.Array]) -> Hyperparameters:
    ways = dict.fromkeys(NAMES, jnp.exp) | {
        "discount": lambda x: least_discount + (1 - least_discount) * jax.nn.sigmoid(x),
        "trace": jax.nn.sigmoid,
    }
    return Hyperparameters(**fixed | {name: ways[name](x) for name, x in meta.items()})


def actor_critic_inner(
    policy: Policy,
    said: Callable[[Any, Trajectory], Said],
    optimizer: optax.GradientTransformation,
    values_of: Callable[[PyTree], Hyperparameters],
    start: dict[str, float],
) -> Inner:
    """Advantage actor-critic: ``theta - rate * optimizer(grad L)`` with the loss
    ``L = -log pi A + value_cost (V - G)^2 / 2 - entropy_cost H``, a mean over steps and copies.

    ``said`` gives the values that advantages ``A`` and lambda returns ``G`` are made of. Both are computed outside the
    gradient by ``theta``, since they carry what the loss owes to discount and trace; so nothing here is stopped.
    """

    def meta(key):
        del key
        return {name: jnp.asarray(value, float) for name, value in start.items()}

    def init(key, meta, task):
        del meta, task
        params = policy.init(key)
        return Agent(params, optimizer.init(params))

    def learn(key, meta, agent, lived: Trajectory):
        del key
        numbers, told = values_of(meta), said(agent, lived)
        going_on = 1.0 - lived.terminated.astype(told.value.dtype)
        traces = numbers.trace * (1.0 - (lived.terminated | lived.truncated).astype(told.value.dtype))
        advantage = estimators.generalised_advantages(
            lived.reward, told.value, told.next_value, numbers.discount * going_on, traces
        )
        target = advantage + told.value

        def loss(params: PyTree):
            parameters, value = replay(policy, params, lived.timestep)
            gain = policy.actions.log_prob(parameters, lived.action) * advantage
            gain += numbers.entropy_cost * policy.actions.entropy(parameters)
            return (numbers.value_cost * estimators.squared_error(value, target) - gain).mean()

        updates, moments = optimizer.update(jax.grad(loss)(agent.params), agent.optimizer, agent.params)
        params = jax.tree.map(lambda p, u: p - numbers.learning_rate * u, agent.params, updates)
        return agent._replace(params=params, optimizer=moments), jnp.zeros(())

    return Inner(meta, init, learn)
