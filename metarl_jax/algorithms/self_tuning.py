"""Agents that tune their own hyperparameters by meta-gradients (Xu et al. 2018; Zahavy et al. 2020, STAC)."""

import functools
from typing import Literal

import jax.numpy as jnp
import optax

from metarl_jax import estimators
from metarl_jax.algorithms import _lifetimes as lifetimes
from metarl_jax.algorithms._actor_critics import NAMES, check_ranges, hyperparameters, learners, unbounded
from metarl_jax.config import check, check_all, recipe
from metarl_jax.networks import Bounding
from metarl_jax.types import Algorithm, TaskDistribution


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
    episodes: int = 0,
    life: int = 0,
    window: int = 1,
    gradient: Literal["backprop", "es", "pes"] = "backprop",
    meta_rate: float = 1e-2,
    decay_updates: int = 0,
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

    In each of N tasks an agent lives ``life`` inner updates, each from ``episodes`` episodes, and is followed by the
    next one. An update of training is ``window`` inner updates of every life, and a step on the hyperparameters, which
    all of them share. ``discount`` and ``trace`` are tuned as ``1 / (1 + exp(-x))``, the others as ``exp(x)``.

    Args:
      tuned: the hyperparameters that are meta-learned; the others stay as given.
      discount: gamma of the agents, at first.
      trace: lambda of their generalised advantages, at first.
      entropy_cost: weight of their entropy bonus, at first.
      value_cost: weight of their value loss, at first.
      learning_rate: of their optimiser, at first.
      least_discount: the discount, where it is tuned, stays between this and 1.
      optimizer: the agents'.
      encoder: sizes of the agents' tanh layers (none: a linear policy and values).
      bounding: how continuous actions keep to their bounds, see ``rl2``.
      episodes: lived side by side before an inner update (0: a sixteenth of a trial's, at least one).
      life: inner updates of an agent (0: as many as fit into a trial, at least a window and two updates).
      window: inner updates an outer one.
      gradient: back-propagation through a window (``outer_*``, ``score`` and ``remat`` are its options); evolution
        strategies on truncated lives (on whole ones where ``window`` is ``life``); or persistent evolution strategies.
      meta_rate: Adam's learning rate of the hyperparameters.
      decay_updates: updates over which it falls linearly to a tenth (0: constant).
      outer_discount: gamma of what the hyperparameters are tuned for.
      outer_trace: lambda of the outer advantages.
      outer_entropy_cost: weight of an entropy bonus in the outer loss.
      outer_critic: outer advantages are over values of an own critic of the outer discount, shared by all tasks (Bonnet
        et al. 2022); else over the agents' values, whose discount is another: that favours myopic agents.
      outer_critic_rate: Adam's learning rate of that critic.
      score: credit for the samples that inner updates learned from: with ``window`` as long as ``life``, discount and
        trace 1, the gradient is exact on average, and far noisier.
      sigma: standard deviation of the perturbations of evolution strategies.
      remat: compute inner updates again for the outer gradient instead of keeping what they computed.
    """
    start: dict[str, float] = dict(zip(NAMES, (discount, trace, entropy_cost, value_cost, learning_rate), strict=True))
    known = len(set(tuned)) == len(tuned) > 0 and set(tuned) <= set(NAMES)
    check(known, "tuned", tuned, f"give at least one of {', '.join(NAMES)}, and each once")
    check(0 <= least_discount < 1, "least_discount", least_discount, "must be at least 0 and below 1")
    for name, value in start.items():
        check_ranges({name: (value, value)}, name in tuned, least_discount)
    check_all(
        dict(outer_discount=outer_discount, outer_trace=outer_trace), lambda x: 0 <= x <= 1, "must lie between 0 and 1"
    )
    whole = outer_discount == outer_trace == 1 and gradient == "backprop"
    check(not score or whole, "score", score, "needs gradient='backprop', outer_discount=1 and outer_trace=1")
    positive = dict(meta_rate=meta_rate, sigma=sigma, outer_critic_rate=outer_critic_rate)
    check_all(positive, lambda x: x > 0, "must be above 0")
    check(decay_updates >= 0, "decay_updates", decay_updates, "must not be negative")
    check(outer_entropy_cost >= 0, "outer_entropy_cost", outer_entropy_cost, "must not be negative")
    fixed = {name: jnp.asarray(value, float) for name, value in start.items()}
    values_of = functools.partial(hyperparameters, fixed, least_discount)
    first = unbounded(start, tuned, least_discount)
    living = (optimizer, encoder, bounding, episodes, life, window)
    actor, inner, episodes, length = learners(tasks, values_of, first, *living)
    if gradient == "backprop":
        loss = estimators.OuterLoss(outer_discount, outer_trace, outer_entropy_cost, score)
        critic = lifetimes.outer_critic(tasks, encoder, outer_critic_rate) if outer_critic else None
        estimator = estimators.backprop(actor, inner, length, window, loss, critic, remat)
    else:
        estimator = estimators.evolution(actor, inner, length, window, sigma, persistent=gradient == "pes")
    told = lambda meta: {name: getattr(values_of(meta), name) for name in tuned}
    adam = optax.adam(estimators.falling_rate(meta_rate, decay_updates))
    return lifetimes.lifetime_learner(tasks, actor, inner, estimator, adam, episodes, window, told)
