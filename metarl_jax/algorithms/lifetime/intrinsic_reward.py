"""Agents that learn from an intrinsic reward, which is learned so that they do well on the task's own (LIRPG, Zheng et
al. 2018; over whole lives, Zheng et al. 2020)."""

import functools
from typing import Literal

import jax.numpy as jnp

from metarl_jax.algorithms.lifetime.actor_critic import (
    Assigned,
    Credit,
    Hyperparameters,
    fixed_hyperparameters,
    generalised,
)
from metarl_jax.algorithms.lifetime.outer_loop import MetaOptimizerConfig, OuterLossConfig, credit_assignment_learner
from metarl_jax.config import check, check_all, recipe
from metarl_jax.learned import intrinsic_reward_rule as intrinsic
from metarl_jax.networks import Bounding, num_inputs, step_inputs
from metarl_jax.records import ActionEvaluation, Algorithm, PyTree, Spec, TaskDistribution, Trajectory


@recipe("intrinsic-reward")
def intrinsic_reward(
    tasks: TaskDistribution,
    *,
    hidden: tuple[int, ...] = (32,),
    memory_size: int = 0,
    bonus: float = 1.0,
    extrinsic: float = 1.0,
    discount: float = 0.95,
    trace: float = 0.9,
    entropy_cost: float = 0.01,
    value_cost: float = 0.5,
    learning_rate: float = 1e-2,
    optimizer: Literal["sgd", "rmsprop", "adam"] = "rmsprop",
    encoder: tuple[int, ...] = (32,),
    bounding: Bounding = "clip",
    episodes: int = 0,
    steps: int = 0,
    life: int = 0,
    window: int = 5,
    gradient: Literal["backprop", "es", "pes", "snes", "sep-cma-es"] = "pes",
    meta_rate: float = 5e-3,
    decay_updates: int = 0,
    outer_discount: float = 0.99,
    outer_trace: float = 0.95,
    outer_entropy_cost: float = 0.0,
    outer_encoder: tuple[int, ...] = (32,),
    outer_critic_rate: float = 1e-2,
    score: bool = False,
    sigma: float = 0.07,
    members: int = 16,
    remat: bool | None = None,
    block: int = 0,
) -> Algorithm:
    """Advantage actor-critic agents, born and trained in each task, that learn from
    ``extrinsic * r + bonus * r_in(o, a)``, ``r_in`` a network in ``[-1, 1]`` that all of them share.

    It is learned so that they do well on ``r`` alone, and generalises over what they see. By persistent evolution
    strategies, which see whole lives, unless asked otherwise: the papers back-propagate through a few updates. With a
    memory it sees what the agent lived, from birth on, the task's rewards included, and can reward exploring.

    Args:
      hidden: sizes of the reward's tanh layers.
      memory_size: units of a GRU that goes through an agent's whole life (0: rewards of a single step).
      bonus: weight of the intrinsic reward.
      extrinsic: weight of the task's own (0: agents never learn from it).
      discount, trace, entropy_cost, value_cost, learning_rate, optimizer: of the agents, whose values are of the sum.
      encoder, bounding, episodes, steps, life, window, gradient: see ``self_tuning``.
      meta_rate: Adam's learning rate of the reward's weights.
      outer_encoder: sizes of the tanh layers of the outer critic.
      decay_updates, outer_discount, outer_trace, outer_entropy_cost, outer_critic_rate, score: see ``self_tuning``.
      sigma, members, remat, block: see ``self_tuning``.

    Returns:
      The Algorithm.
    """
    check(all(size > 0 for size in hidden), "hidden", hidden, "each layer needs at least one unit")
    check_all(dict(memory_size=memory_size, extrinsic=extrinsic), lambda x: x >= 0, "must not be negative")
    check(bonus > 0, "bonus", bonus, "must be above 0")
    numbers = fixed_hyperparameters(
        discount=discount,
        trace=trace,
        entropy_cost=entropy_cost,
        value_cost=value_cost,
        learning_rate=learning_rate,
    )
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
        critic=True,
        critic_rate=outer_critic_rate,
        score=score,
        remat=remat,
    )
    spec = tasks.env.spec
    meta = functools.partial(intrinsic.init, features=num_inputs(spec), hidden=hidden, memory_size=memory_size)
    start = lambda episodes: jnp.zeros((episodes, memory_size)) if memory_size else ()
    assign = functools.partial(mixed, spec, extrinsic, bonus)
    credit = lambda episodes: Credit(functools.partial(start, episodes), assign)
    return credit_assignment_learner(
        tasks,
        meta,
        credit,
        numbers=numbers,
        optimizer=optimizer,
        encoder=encoder,
        bounding=bounding,
        episodes=episodes,
        steps=steps,
        life=life,
        window=window,
        meta_optimizer=meta_optimizer,
        outer_loss=outer_loss,
        critic_encoder=outer_encoder,
    )


def mixed(
    spec: Spec,
    extrinsic: float,
    bonus: float,
    meta: PyTree,
    numbers: Hyperparameters,
    memory: PyTree,
    trajectory: Trajectory,
    told: ActionEvaluation,
) -> Assigned:
    """Generalised advantages of the task's reward and the intrinsic one.

    Args:
      spec: of the environment.
      extrinsic: weight of the task's reward.
      bonus: weight of the intrinsic one.
      meta: its weights.
      numbers: the agent's hyperparameters.
      memory: of the intrinsic reward.
      trajectory: ``[T, E]``.
      told: the agent's values.

    Returns:
      What the agent learns from.
    """
    ended = trajectory.terminated | trajectory.truncated
    memory, own = intrinsic.rewarded(meta, memory, step_inputs(spec, trajectory), trajectory.reward, ended)
    found = generalised(extrinsic * trajectory.reward + bonus * own, numbers, trajectory, told)
    return Assigned(*found, memory)
