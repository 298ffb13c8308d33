"""How the meta-parameters of learning agents are learned: what the outer loops of several methods have in common.

A method brings its agents (an Actor and an Inner) and its options; it gets an Algorithm.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from metarl_jax import estimators, meta_gradients
from metarl_jax.algorithms.lifetime import meta_learner as lifetimes
from metarl_jax.algorithms.lifetime.actor_critic import (
    OPTIMIZERS,
    Credit,
    Hyperparameters,
    make_agents,
    resolve_lifetime,
)
from metarl_jax.config import check, check_all
from metarl_jax.networks import Bounding
from metarl_jax.records import Actor, Algorithm, Inner, Key, MetaGradient, PyTree, TaskDistribution


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetaOptimizerConfig:
    """Options of every outer loop, as ``self_tuning`` documents them."""

    gradient: str
    meta_rate: float
    decay_updates: int
    sigma: float
    members: int
    block: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class OuterLossConfig:
    """Options of back-propagation: those that ``self_tuning`` calls ``outer_*``, ``score`` and ``remat``."""

    discount: float
    trace: float
    entropy_cost: float
    critic: bool
    critic_rate: float
    score: bool = False
    remat: bool | None = None
    max_gradient_norm: float = 0.0
    normalisation: float = 0.0
    max_life_norm: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class LifetimeConfig:
    """``horizon``: the longest episode; ``episodes`` lived side by side before an inner update; ``length``: inner
    updates of a life; ``window``: an outer update; ``between``: those after a window that are lived for the sake of a
    target."""

    horizon: int
    episodes: int
    length: int
    window: int
    between: int = 0


def check_meta_optimizer(meta_optimizer: MetaOptimizerConfig) -> None:
    """Raises where an option of the outer optimiser is out of its range.

    Args:
      meta_optimizer: the options.
    """
    check_all(dict(sigma=meta_optimizer.sigma, meta_rate=meta_optimizer.meta_rate), lambda x: x > 0, "must be above 0")
    check(meta_optimizer.decay_updates >= 0, "decay_updates", meta_optimizer.decay_updates, "must not be negative")


def check_outer_loss(meta_optimizer: MetaOptimizerConfig, outer_loss: OuterLossConfig) -> None:
    """``check_meta_optimizer``, and the same of back-propagation's options.

    Args:
      meta_optimizer: the options of the outer optimiser.
      outer_loss: those of back-propagation.
    """
    check_meta_optimizer(meta_optimizer)
    shares = dict(outer_discount=outer_loss.discount, outer_trace=outer_loss.trace)
    check_all(shares, lambda x: 0 <= x <= 1, "must lie between 0 and 1")
    backprop = meta_optimizer.gradient == "backprop"
    whole = outer_loss.discount == outer_loss.trace == 1 and backprop
    check(
        not outer_loss.score or whole,
        "score",
        outer_loss.score,
        "needs gradient='backprop', outer_discount=1 and outer_trace=1",
    )
    check(not outer_loss.remat or backprop, "remat", outer_loss.remat, "needs gradient='backprop'")
    check(outer_loss.critic_rate > 0, "outer_critic_rate", outer_loss.critic_rate, "must be above 0")
    norms = dict(max_gradient_norm=outer_loss.max_gradient_norm, max_life_gradient_norm=outer_loss.max_life_norm)
    check_all(norms, lambda x: x >= 0, "must not be negative (0: gradients of any size)")
    check(outer_loss.entropy_cost >= 0, "outer_entropy_cost", outer_loss.entropy_cost, "must not be negative")
    scale = outer_loss.normalisation
    check(scale >= 0, "outer_normalisation", scale, "must not be negative (0: advantages as they are)")
    check(not (scale and outer_loss.score), "outer_normalisation", scale, "score=True counts advantages as they are: 0")


def meta_learner(
    tasks: TaskDistribution,
    actor: Actor,
    inner: Inner,
    *,
    meta_optimizer: MetaOptimizerConfig,
    outer_loss: OuterLossConfig | None,
    lifetime: LifetimeConfig,
    critic_encoder: tuple[int, ...],
    metrics_of: Callable[[PyTree], dict[str, jax.Array]] = lambda meta: {},
    target: meta_gradients.Target | None = None,
    alike: Mapping[str, Any] | None = None,
) -> Algorithm:
    """The Algorithm that meta-learns ``inner.meta``.

    Args:
      tasks: what agents live in.
      actor: how they act.
      inner: how they learn.
      meta_optimizer: how the outer gradient is estimated and followed.
      outer_loss: None where nothing is back-propagated.
      lifetime: how long agents live, and what an update of training sees of it.
      critic_encoder: layers of the outer critic, if there is one.
      metrics_of: ``meta -> metrics``, what metrics show of it.
      target: a bootstrapped one, see ``meta_gradients.backprop``.
      alike: of a method whose meta-parameters do not depend on the tasks' spaces, see ``TaskAgnostic``.

    Returns:
      The Algorithm.
    """
    remat: bool | None = False
    alike = None if alike is None else {**alike, "gradient": meta_optimizer.gradient}
    if meta_optimizer.gradient == "backprop":
        assert outer_loss is not None
        remat = outer_loss.remat
        estimator = _backprop_estimator(
            tasks, actor, inner, outer_loss, lifetime, meta_optimizer.block, critic_encoder, target
        )
        optimizer, largest = adam(meta_optimizer), outer_loss.max_gradient_norm
        optimizer = optax.chain(optax.clip_by_global_norm(largest), optimizer) if largest else optimizer
    else:
        estimator, optimizer = _es_estimator(actor, inner, meta_optimizer, lifetime)
    updates = lifetime.window + lifetime.between
    made = lifetimes.lifetime_learner(
        tasks, actor, inner, estimator, optimizer, lifetime.episodes, updates, metrics_of, alike
    )
    return lifetimes.in_blocks(made, meta_optimizer.block, remat)


def _backprop_estimator(
    tasks: TaskDistribution,
    actor: Actor,
    inner: Inner,
    outer_loss: OuterLossConfig,
    lifetime: LifetimeConfig,
    block: int,
    encoder: tuple[int, ...],
    target: meta_gradients.Target | None,
) -> MetaGradient:
    loss = meta_gradients.OuterLoss(
        discount=outer_loss.discount,
        trace=outer_loss.trace,
        entropy_cost=outer_loss.entropy_cost,
        score=outer_loss.score,
        normalisation=outer_loss.normalisation,
        max_norm=outer_loss.max_life_norm,
    )
    critic = None
    if outer_loss.critic:
        critic = lifetimes.outer_critic(
            tasks.env.spec, encoder, outer_loss.critic_rate, lifetime.horizon, outer_loss.discount
        )
    remat = bool(outer_loss.remat)
    return meta_gradients.backprop(actor, inner, lifetime.length, lifetime.window, loss, critic, remat, target, block)


def adam(meta_optimizer: MetaOptimizerConfig) -> optax.GradientTransformation:
    """Adam, with a learning rate that may fall.

    Args:
      meta_optimizer: its options.

    Returns:
      optax's GradientTransformation.
    """
    return optax.adam(estimators.falling_rate(meta_optimizer.meta_rate, meta_optimizer.decay_updates))


def _es_estimator(
    actor: Actor, inner: Inner, meta_optimizer: MetaOptimizerConfig, lifetime: LifetimeConfig
) -> tuple[MetaGradient, optax.GradientTransformation]:
    """(the estimator that ``meta_optimizer.gradient`` names, the outer optimiser: Adam, or a strategy's own step)."""
    gradient, sigma, block = meta_optimizer.gradient, meta_optimizer.sigma, meta_optimizer.block
    if gradient in meta_gradients.STRATEGIES:
        own = f"gradient={gradient!r} takes its own steps"
        check(meta_optimizer.decay_updates == 0, "decay_updates", meta_optimizer.decay_updates, own)
        whole = f"must be {lifetime.length}, a whole life, for gradient={gradient!r}"
        check(lifetime.window == lifetime.length, "window", lifetime.window, whole)
        made = meta_gradients.strategy(gradient, actor, inner, lifetime.length, meta_optimizer.members, sigma, block)
        return made, optax.sgd(1.0)
    made = meta_gradients.evolution(actor, inner, lifetime.length, lifetime.window, sigma, gradient == "pes", block)
    return made, adam(meta_optimizer)


def credit_assignment_learner(
    tasks: TaskDistribution,
    meta: Callable[[Key], PyTree],
    credit: Callable[[int], Credit],
    *,
    numbers: Hyperparameters,
    optimizer: str,
    encoder: tuple[int, ...],
    bounding: Bounding,
    episodes: int,
    steps: int,
    life: int,
    window: int,
    meta_optimizer: MetaOptimizerConfig,
    outer_loss: OuterLossConfig,
    critic_encoder: tuple[int, ...],
) -> Algorithm:
    """Advantage actor-critic agents of settled hyperparameters, whose credit assignment is meta-learned.

    Args:
      tasks: what agents live in.
      meta: draws the meta-parameters.
      credit: the credit assignment, by the number of episodes side by side.
      numbers: the agents' hyperparameters.
      optimizer: theirs, by its name.
      encoder: layers of their networks.
      bounding: how continuous actions keep to their bounds, see ``rl2``.
      episodes: see ``self_tuning``, as of ``steps``, ``life`` and ``window``.
      steps: of an episode before an inner update.
      life: inner updates of an agent.
      window: inner updates an outer one.
      meta_optimizer: how the outer gradient is estimated and followed.
      outer_loss: options of back-propagation.
      critic_encoder: layers of the outer critic.

    Returns:
      The Algorithm.
    """
    check_outer_loss(meta_optimizer, outer_loss)
    horizon, tasks = tasks.horizon, lifetimes.with_rollout_length(tasks, steps)
    episodes, length = resolve_lifetime(tasks, episodes, life, window)
    made = credit(episodes)
    _, actor, inner = make_agents(
        tasks, meta, lambda meta: numbers, lambda meta: OPTIMIZERS[optimizer](), encoder, bounding, episodes, made
    )
    return meta_learner(
        tasks,
        actor,
        inner,
        meta_optimizer=meta_optimizer,
        outer_loss=outer_loss,
        lifetime=LifetimeConfig(horizon=horizon, episodes=episodes, length=length, window=window),
        critic_encoder=critic_encoder,
    )
