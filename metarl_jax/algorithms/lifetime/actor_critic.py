"""Advantage actor-critic agents whose hyperparameters are numbers of an outer loop: tuned, drawn or laid on a grid."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl_jax import estimators
from metarl_jax.algorithms.lifetime import meta_learner as lifetimes
from metarl_jax.algorithms.lifetime.meta_learner import Agent
from metarl_jax.config import check, check_all
from metarl_jax.networks import Bounding, actor_critic, variance_scaled_init
from metarl_jax.records import ActionEvaluation, Actor, Inner, Key, Policy, PyTree, TaskDistribution, Trajectory
from metarl_jax.rollout import replay

NAMES = ("discount", "trace", "entropy_cost", "value_cost", "learning_rate")
OPTIMIZERS = {
    "sgd": optax.identity,
    # A root of zero has no derivative: `eps_root` keeps meta-gradients finite where an agent's gradient is zero.
    "rmsprop": functools.partial(optax.scale_by_rms, decay=0.99, eps=1e-5, eps_in_sqrt=True),
    "adam": functools.partial(optax.scale_by_adam, eps=1e-5, eps_root=1e-8),
}
INNER_UPDATES, MOST = 16, 10**6  # inner updates of a life, where nothing else is said, and the most of anything


class Hyperparameters(NamedTuple):
    """Of an actor-critic agent; scalars.

    Attributes:
      discount: gamma, a step.
      trace: lambda, a step.
      entropy_cost: weight of the entropy bonus.
      value_cost: weight of the value loss.
      learning_rate: of all parameters.
    """

    discount: jax.Array
    trace: jax.Array
    entropy_cost: jax.Array
    value_cost: jax.Array
    learning_rate: jax.Array


class Assigned(NamedTuple):
    """What an inner update learns from.

    Attributes:
      advantage: ``[T, E]``.
      target: ``[T, E]``, of values.
      memory: of the lifetime, for the next update.
    """

    advantage: jax.Array
    target: jax.Array
    memory: PyTree


class Credit(NamedTuple):
    """How rewards are credited to actions.

    Attributes:
      start: ``() -> memory`` of a new agent.
      assign: ``(meta, numbers, memory, Trajectory [T, E], ActionEvaluation) -> Assigned``.
    """

    start: Callable[[], PyTree]
    assign: Callable[[PyTree, Hyperparameters, PyTree, Trajectory, ActionEvaluation], Assigned]


def going_on(numbers: Hyperparameters, trajectory: Trajectory) -> jax.Array:
    """Discounts of what followed each step: gamma, or 0 after termination.

    Agents that do not see the time value a state that a truncation leaves as any other. At a discount of 1 such values
    have no bound: there a truncation is an end.

    Args:
      numbers: the agent's hyperparameters.
      trajectory: ``[T, E]``.

    Returns:
      ``[T, E]``.
    """
    ended = trajectory.terminated | (trajectory.truncated & (numbers.discount >= 1.0))
    return numbers.discount * (1.0 - ended.astype(trajectory.reward.dtype))


def generalised(reward: jax.Array, numbers: Hyperparameters, trajectory: Trajectory, told: ActionEvaluation):
    """Generalised advantages ``A`` of some rewards, and lambda returns ``A + V``.

    Args:
      reward: ``[T, E]``.
      numbers: the agent's hyperparameters.
      trajectory: ``[T, E]``, where episodes end.
      told: the agent's values.

    Returns:
      The two, ``[T, E]``.
    """
    traces = numbers.trace * (1.0 - (trajectory.terminated | trajectory.truncated).astype(told.value.dtype))
    advantage = estimators.generalised_advantages(
        reward, told.value, told.next_value, going_on(numbers, trajectory), traces
    )
    return advantage, advantage + told.value


def _of_rewards(
    meta: PyTree, numbers: Hyperparameters, memory: PyTree, trajectory: Trajectory, told: ActionEvaluation
) -> Assigned:
    """Generalised advantages of the task's rewards."""
    del meta
    return Assigned(*generalised(trajectory.reward, numbers, trajectory, told), memory)


REWARDS = Credit(start=lambda: (), assign=_of_rewards)


def resolve_lifetime(
    tasks: TaskDistribution, episodes: int, life: int, window: int, between: int = 0
) -> tuple[int, int]:
    """How long an agent learns, of options as ``self_tuning`` documents them.

    Args:
      tasks: for the length of a trial.
      episodes: side by side (0: open).
      life: inner updates (0: open).
      window: inner updates an outer one.
      between: inner updates between a window and the next.

    Returns:
      Episodes before an inner update, inner updates of a lifetime.

    Raises:
      ConfigError: they do not fit together.
    """
    in_trial = tasks.trial_steps // tasks.horizon
    check(0 < window <= MOST, "window", window, "must lie between 1 and a million")
    check_all(dict(episodes=episodes, life=life), lambda x: 0 <= x <= MOST, "must lie between 0 and a million")
    episodes = episodes or max(1, in_trial // INNER_UPDATES)
    every = window + between
    least = 2 if window == 1 else 1  # a newborn's first update learns nothing
    whole = life == 0 or (life >= least * every and life % every == 0)
    told = f"window={window}" + (f" and the {between} inner updates between windows" if between else "")
    check(whole, "life", life, f"must be a multiple of {told}, and at least {max(2, least * every)}")
    return episodes, life or every * max(least, in_trial // (episodes * every))


def make_agents(
    tasks: TaskDistribution,
    meta: Callable[[Key], PyTree],
    values_of: Callable[[PyTree], Hyperparameters],
    optimizer_of: Callable[[PyTree], optax.GradientTransformation],
    encoder: tuple[int, ...],
    bounding: Bounding,
    episodes: int,
    credit: Credit = REWARDS,
) -> tuple[Policy, Actor, Inner]:
    """Agents of ``actor_critic_inner``, with their policy.

    Args:
      tasks: for their spaces.
      meta: draws the meta-parameters.
      values_of: ``meta -> Hyperparameters``.
      optimizer_of: ``meta -> optimiser``.
      encoder: see ``self_tuning``, as of the next two.
      bounding: of continuous actions.
      episodes: side by side.
      credit: how rewards are credited to actions.

    Returns:
      The Policy, the Actor and the Inner.
    """
    check(all(size > 0 for size in encoder), "encoder", encoder, "each layer needs at least one unit")
    policy = actor_critic(tasks.env.spec, "none", 0, encoder, False, bounding=bounding, scaled=variance_scaled_init)
    actor = lifetimes.actor_of(tasks, policy, episodes)
    said = functools.partial(lifetimes.said, policy)
    return policy, actor, actor_critic_inner(policy, said, meta, values_of, optimizer_of, credit)


def check_ranges(ranges: dict[str, tuple[float, float]], tuned: bool, least_discount: float = 0.0) -> None:
    """Raises unless hyperparameters lie where they must, each between its two ends.

    Args:
      ranges: (low, high) by name.
      tuned: they are tuned, so that ends are excluded.
      least_discount: below which none may lie.

    Raises:
      ConfigError: one does not.
    """
    for name, (low, high) in ranges.items():
        shown = low if low == high else (low, high)
        bounded = name in ("discount", "trace")
        least = least_discount if name == "discount" else 0.0
        check(low <= high, name, shown, "the first must not be above the second")
        if tuned or low < high or name == "learning_rate":
            fix = f"must lie between {least:g} and 1, both excluded" if bounded else "must be above 0"
            check(least < low and high < (1.0 if bounded else math.inf), name, shown, fix)
        else:
            fix = "must lie between 0 and 1" if bounded else "must not be negative"
            check(0 <= low <= (1.0 if bounded else math.inf), name, shown, fix)


def fixed_hyperparameters(**numbers: float) -> Hyperparameters:
    """Hyperparameters that nothing tunes, checked.

    Args:
      **numbers: all of them by name.

    Returns:
      The Hyperparameters.
    """
    for name, value in numbers.items():
        check_ranges({name: (value, value)}, tuned=False)
    return hyperparameters(as_numbers(numbers), 0.0, {})


def to_unconstrained(start: dict[str, float], tuned: tuple[str, ...], least_discount: float) -> dict[str, float]:
    """The meta-parameters at which hyperparameters are as in ``start``.

    Args:
      start: values by name.
      tuned: which are meta-parameters.
      least_discount: where the discount's range begins.

    Returns:
      Real numbers by name.
    """
    logit = lambda x: math.log(x) - math.log1p(-x)
    inverses = dict.fromkeys(NAMES, math.log) | {
        "discount": lambda x: logit((x - least_discount) / (1 - least_discount)),
        "trace": logit,
    }
    return {name: inverses[name](start[name]) for name in tuned}


def as_numbers(values: dict[str, float], key: Key | None = None) -> dict[str, jax.Array]:
    """Values as meta-parameters, whatever the key.

    Args:
      values: by name.
      key: not used.

    Returns:
      Arrays by name.
    """
    del key
    return {name: jnp.asarray(value, float) for name, value in values.items()}


def hyperparameters(fixed: dict[str, jax.Array], least_discount: float, meta: dict[str, jax.Array]) -> Hyperparameters:
    """The hyperparameters of some meta-parameters; the inverse of ``to_unconstrained``.

    Args:
      fixed: those that are not tuned, by name.
      least_discount: where the discount's range begins.
      meta: real numbers by name.

    Returns:
      The Hyperparameters.
    """
    ways = dict.fromkeys(NAMES, jnp.exp) | {
        "discount": lambda x: least_discount + (1 - least_discount) * jax.nn.sigmoid(x),
        "trace": jax.nn.sigmoid,
    }
    return Hyperparameters(**fixed | {name: ways[name](x) for name, x in meta.items()})


def actor_critic_inner(
    policy: Policy,
    said: Callable[[Any, Trajectory], ActionEvaluation],
    meta: Callable[[Key], PyTree],
    values_of: Callable[[PyTree], Hyperparameters],
    optimizer_of: Callable[[PyTree], optax.GradientTransformation],
    credit: Credit = REWARDS,
) -> Inner:
    """Advantage actor-critic: ``theta - rate * optimizer(grad L)``.

    ``L = -log pi A + value_cost (V - G)^2 / 2 - entropy_cost H``, a mean over steps and episodes. Advantages ``A`` and
    targets ``G`` are computed outside the gradient by ``theta``, since they carry what the loss owes to discount and
    trace; so nothing here is stopped.

    Args:
      policy: of the agents.
      said: ``(agent, Trajectory [T, E]) -> ActionEvaluation``, the values that ``credit`` makes ``A`` and ``G`` of.
      meta: draws the meta-parameters.
      values_of: ``meta -> Hyperparameters``.
      optimizer_of: ``meta -> optimiser``.
      credit: how rewards are credited to actions.

    Returns:
      The Inner.
    """

    def init(key, meta, task):
        del task
        params = policy.init(key)
        return Agent(params, optimizer_of(meta).init(params), credit.start())

    def learn(key, meta, agent, trajectory: Trajectory):
        del key
        numbers, told = values_of(meta), said(agent, trajectory)
        found = credit.assign(meta, numbers, agent.memory, trajectory, told)
        loss = functools.partial(_actor_critic_loss, policy, numbers, trajectory, found.advantage, found.target)
        updates, moments = optimizer_of(meta).update(jax.grad(loss)(agent.params), agent.optimizer, agent.params)
        params = jax.tree.map(lambda p, u: p - numbers.learning_rate * u, agent.params, updates)
        return Agent(params, moments, found.memory), jnp.zeros(())

    return Inner(meta, init, learn)


def _actor_critic_loss(
    policy: Policy,
    numbers: Hyperparameters,
    trajectory: Trajectory,
    advantage: jax.Array,
    target: jax.Array,
    params: PyTree,
) -> jax.Array:
    """``L`` of ``actor_critic_inner``."""
    parameters, value = replay(policy, params, trajectory.timestep)
    gain = policy.actions.log_prob(parameters, trajectory.action) * advantage
    gain += numbers.entropy_cost * policy.actions.entropy(parameters)
    return (numbers.value_cost * estimators.squared_error(value, target) - gain).mean()
