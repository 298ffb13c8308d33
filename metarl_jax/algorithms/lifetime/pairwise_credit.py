"""Agents whose credit assignment is learned as a weight for each pair of steps (Zheng et al. 2022)."""

import functools
from typing import Literal

from metarl_jax.algorithms.lifetime.actor_critic import (
    Assigned,
    Credit,
    Hyperparameters,
    fixed_hyperparameters,
    generalised,
    going_on,
)
from metarl_jax.algorithms.lifetime.outer_loop import MetaOptimizerConfig, OuterLossConfig, credit_assignment_learner
from metarl_jax.config import check, check_counts, recipe
from metarl_jax.learned import pairwise_credit_rule as pairwise
from metarl_jax.networks import Bounding, num_inputs, step_inputs
from metarl_jax.records import ActionEvaluation, Algorithm, PyTree, Spec, TaskDistribution, Trajectory


@recipe("pairwise-weights")
def pairwise_weights(
    tasks: TaskDistribution,
    *,
    hidden: tuple[int, ...] = (32,),
    size: int = 16,
    weight: float = 0.1,
    weighted: Literal["errors", "rewards"] = "rewards",
    discount: float = 1.0,
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
    window: int = 1,
    gradient: Literal["backprop", "es", "pes", "snes", "sep-cma-es"] = "backprop",
    meta_rate: float = 1e-2,
    decay_updates: int = 0,
    outer_discount: float = 1.0,
    outer_trace: float = 0.95,
    outer_entropy_cost: float = 0.0,
    outer_encoder: tuple[int, ...] = (32,),
    outer_critic_rate: float = 1e-2,
    score: bool = False,
    sigma: float = 0.1,
    members: int = 16,
    remat: bool | None = None,
    block: int = 0,
) -> Algorithm:
    """Advantage actor-critic agents, born and trained in each task, whose advantages are
    ``sum_{u >= t} w(x_t, x_u, u - t) d_u``, with ``d`` the errors of temporal differences (PWTD) or the rewards (PWR).

    ``x`` is what a step looked like and what was done. Weights ``(discount lambda)^(u - t)`` of errors are those of
    generalised advantages. With rewards nothing is counted after what was lived before an inner update: let it be whole
    episodes. Values are of the lambda return with errors, and of the weighted sum with rewards. The weights are a
    picture: ``viz.draw_credit``. The paper's see states alone.

    Args:
      hidden: sizes of the tanh layers of the two networks whose product is the weight.
      size: of what they make of a step.
      weight: of all pairs, at first. From a low one, only pairs that matter rise.
      weighted: ``errors`` (PWTD) or ``rewards`` (PWR).
      discount, trace: of the agents' errors and of their values' targets; with rewards only the weights discount.
      entropy_cost, value_cost, learning_rate, optimizer: of the agents.
      encoder, bounding, episodes, steps, life, window, gradient: see ``self_tuning``.
      meta_rate: Adam's learning rate of the weights' networks.
      outer_encoder: sizes of the tanh layers of the outer critic.
      decay_updates, outer_discount, outer_trace, outer_entropy_cost, outer_critic_rate, score: see ``self_tuning``.
      sigma, members, remat, block: see ``self_tuning``.

    Returns:
      The Algorithm.
    """
    check(all(units > 0 for units in hidden), "hidden", hidden, "each layer needs at least one unit")
    check_counts(dict(size=size))
    check(0 < weight < 1, "weight", weight, "must lie between 0 and 1, both excluded")
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
    meta = functools.partial(pairwise.init, features=num_inputs(spec), hidden=hidden, size=size, weight=weight)
    credit = lambda episodes: Credit(lambda: (), functools.partial(pairs, spec, weighted == "errors"))
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


def pairs(
    spec: Spec,
    errors: bool,
    meta: PyTree,
    numbers: Hyperparameters,
    memory: PyTree,
    trajectory: Trajectory,
    told: ActionEvaluation,
) -> Assigned:
    """Weighted sums of errors, with lambda returns for the values' targets; or of rewards, over values of these.

    Args:
      spec: of the environment.
      errors: of errors, not of rewards.
      meta: the weights' networks.
      numbers: the agent's hyperparameters.
      memory: of the lifetime; not used.
      trajectory: ``[T, E]``.
      told: the agent's values.

    Returns:
      What the agent learns from.
    """
    ended = trajectory.terminated | trajectory.truncated
    weights = pairwise.pair_weights(meta, step_inputs(spec, trajectory), ended)
    if not errors:
        target = pairwise.credited(weights, trajectory.reward)
        return Assigned(target - told.value, target, memory)
    _, target = generalised(trajectory.reward, numbers, trajectory, told)
    found = trajectory.reward + going_on(numbers, trajectory) * told.next_value - told.value
    return Assigned(pairwise.credited(weights, found), target, memory)
