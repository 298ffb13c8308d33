"""Agents that tune their own hyperparameters by meta-gradients (Xu et al. 2018; Zahavy et al. 2020, STAC; Flennerhag
et al. 2022, BMG)."""

import functools
from typing import Literal

from metarl_jax import meta_gradients
from metarl_jax.algorithms.lifetime import meta_learner as lifetimes
from metarl_jax.algorithms.lifetime.actor_critic import (
    MOST,
    NAMES,
    OPTIMIZERS,
    as_numbers,
    check_ranges,
    hyperparameters,
    make_agents,
    resolve_lifetime,
    to_unconstrained,
)
from metarl_jax.algorithms.lifetime.outer_loop import (
    LifetimeConfig,
    MetaOptimizerConfig,
    OuterLossConfig,
    check_outer_loss,
    meta_learner,
)
from metarl_jax.config import check, recipe
from metarl_jax.networks import Bounding
from metarl_jax.records import Algorithm, TaskDistribution


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
    steps: int = 0,
    life: int = 0,
    window: int = 1,
    gradient: Literal["backprop", "es", "pes", "snes", "sep-cma-es"] = "backprop",
    meta_rate: float = 1e-2,
    decay_updates: int = 0,
    outer_discount: float = 0.99,
    outer_trace: float = 0.95,
    outer_entropy_cost: float = 0.0,
    outer_critic: bool = True,
    outer_critic_rate: float = 1e-2,
    score: bool = False,
    target_updates: int = 0,
    target_rate: float = 0.1,
    target_value_cost: float = 0.0,
    sigma: float = 0.1,
    members: int = 16,
    remat: bool | None = None,
    block: int = 0,
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
      steps: of each of them before an inner update; episodes that are longer go on after it (0: all).
      life: inner updates of an agent (0: as many as fit into a trial, at least a window and two updates).
      window: inner updates an outer one.
      gradient: back-propagation through a window (``outer_*``, ``score``, ``target_*`` and ``remat`` are its options);
        evolution strategies on truncated lives (on whole ones where ``window`` is ``life``); or persistent evolution
        strategies; or a strategy of evosax on whole lives (``window`` is ``life``), which takes its own steps.
      meta_rate: Adam's learning rate of the hyperparameters (evosax's strategies have none).
      decay_updates: updates over which it falls linearly to a tenth (0: constant).
      outer_discount: gamma of what the hyperparameters are tuned for, an episode's return (its time limit ends it).
      outer_trace: lambda of the outer advantages.
      outer_entropy_cost: weight of an entropy bonus in the outer loss.
      outer_critic: outer advantages are over values of an own critic of the outer discount, which sees observation and
        time left, shared by all tasks (Bonnet et al. 2022); else over the agents' values, whose discount is another:
        that favours myopic agents.
      outer_critic_rate: Adam's learning rate of that critic, whose targets are standardised.
      score: credit for the samples that inner updates learned from: with ``window`` as long as ``life``, discount and
        trace 1, the gradient is exact on average, and far noisier.
      target_updates: L of a bootstrapped target (0: none). The outer loss is then ``KL(pi_target || pi)`` of the agent
        at its window's end; the target is what it becomes by ``L - 1`` more inner updates, which an update of training
        lives as well (``life`` is a multiple of ``window + L - 1``), and by a step on the plain outer loss, which is
        only imagined: agents never live as targets, and no environment step is taken for a target alone.
      target_rate: learning rate of that step, plain gradient descent whatever ``optimizer`` is.
      target_value_cost: weight of how far the agent's values are from the target's, squared and halved, beside the KL.
      sigma: standard deviation of the perturbations of evolution strategies (evosax's: at first).
      members: of evosax's populations; each lives in all tasks.
      remat: compute inner updates again for the outer gradient instead of keeping what they computed (by default, where
        memory is too small without).
      block: tasks whose lives are computed at a time, a divisor of their number (0: as many as memory allows).

    Returns:
      The Algorithm.
    """
    start: dict[str, float] = dict(zip(NAMES, (discount, trace, entropy_cost, value_cost, learning_rate), strict=True))
    known = len(set(tuned)) == len(tuned) > 0 and set(tuned) <= set(NAMES)
    check(known, "tuned", tuned, f"give at least one of {', '.join(NAMES)}, and each once")
    check(0 <= least_discount < 1, "least_discount", least_discount, "must be at least 0 and below 1")
    for name, value in start.items():
        check_ranges({name: (value, value)}, name in tuned, least_discount)
    meta_optimizer = MetaOptimizerConfig(
        gradient=gradient,
        meta_rate=meta_rate,
        decay_updates=decay_updates,
        sigma=sigma,
        members=members,
        block=block,
    )
    outer_loss = OuterLossConfig(
        discount=outer_discount,
        trace=outer_trace,
        entropy_cost=outer_entropy_cost,
        critic=outer_critic,
        critic_rate=outer_critic_rate,
        score=score,
        remat=remat,
    )
    check_outer_loss(meta_optimizer, outer_loss)
    check(0 <= target_updates <= MOST, "target_updates", target_updates, "must lie between 0 and a million")
    alone = gradient == "backprop" and not score
    check(alone or target_updates == 0, "target_updates", target_updates, "needs gradient='backprop' and no score")
    check(target_value_cost >= 0, "target_value_cost", target_value_cost, "must not be negative")
    check(target_rate > 0, "target_rate", target_rate, "must be above 0")
    between = max(0, target_updates - 1)
    horizon, tasks = tasks.horizon, lifetimes.with_rollout_length(tasks, steps)
    episodes, length = resolve_lifetime(tasks, episodes, life, window, between)
    values_of = functools.partial(hyperparameters, as_numbers(start), least_discount)
    meta = functools.partial(as_numbers, to_unconstrained(start, tuned, least_discount))
    optimizer_of = lambda meta: OPTIMIZERS[optimizer]()
    policy, actor, inner = make_agents(tasks, meta, values_of, optimizer_of, encoder, bounding, episodes)
    match = functools.partial(lifetimes.divergence, policy, target_value_cost)
    target = meta_gradients.Target(updates=target_updates, rate=target_rate, match=match) if target_updates else None
    return meta_learner(
        tasks,
        actor,
        inner,
        meta_optimizer=meta_optimizer,
        outer_loss=outer_loss,
        lifetime=LifetimeConfig(horizon=horizon, episodes=episodes, length=length, window=window, between=between),
        critic_encoder=encoder,
        metrics_of=lambda meta: {name: getattr(values_of(meta), name) for name in tuned},
        target=target,
        alike={"algorithm": "self-tuning", "tuned": tuned, "least_discount": least_discount},
    )
