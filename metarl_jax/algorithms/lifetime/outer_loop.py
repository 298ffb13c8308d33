"""How the meta-parameters of learning agents are learned: what the outer loops of several methods have in common.

A method brings its agents (an Actor and an Inner) and its options; it gets an Algorithm.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

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


class MetaOptimizerConfig(NamedTuple):
    """Options of every outer loop, as ``self_tuning`` documents them."""

    gradient: str
    meta_rate: float
    decay_updates: int
    sigma: float
    members: int
    block: int


class OuterLossConfig(NamedTuple):
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


class LifetimeConfig(NamedTuple):
    """``horizon``: the longest episode; ``episodes`` lived side by side before an inner update; ``length``: inner
    updates of a life; ``window``: an outer update; ``between``: those after a window that are lived for the sake of a
    target."""

    horizon: int
    episodes: int
    length: int
    window: int
    between: int = 0


def check_search(search: MetaOptimizerConfig) -> None:
    check_all(dict(sigma=search.sigma, meta_rate=search.meta_rate), lambda x: x > 0, "must be above 0")
    check(search.decay_updates >= 0, "decay_updates", search.decay_updates, "must not be negative")


def check_judgement(search: MetaOptimizerConfig, judgement: OuterLossConfig) -> None:
    """``check_search``, and what is to be checked of back-propagation's options."""
    check_search(search)
    shares = dict(outer_discount=judgement.discount, outer_trace=judgement.trace)
    check_all(shares, lambda x: 0 <= x <= 1, "must lie between 0 and 1")
    backprop = search.gradient == "backprop"
    whole = judgement.discount == judgement.trace == 1 and backprop
    check(
        not judgement.score or whole,
        "score",
        judgement.score,
        "needs gradient='backprop', outer_discount=1 and outer_trace=1",
    )
    check(not judgement.remat or backprop, "remat", judgement.remat, "needs gradient='backprop'")
    check(judgement.critic_rate > 0, "outer_critic_rate", judgement.critic_rate, "must be above 0")
    norms = dict(max_gradient_norm=judgement.max_gradient_norm, max_life_gradient_norm=judgement.max_life_norm)
    check_all(norms, lambda x: x >= 0, "must not be negative (0: gradients of any size)")
    check(judgement.entropy_cost >= 0, "outer_entropy_cost", judgement.entropy_cost, "must not be negative")
    scale = judgement.normalisation
    check(scale >= 0, "outer_normalisation", scale, "must not be negative (0: advantages as they are)")
    check(not (scale and judgement.score), "outer_normalisation", scale, "score=True counts advantages as they are: 0")


def meta_learner(
    tasks: TaskDistribution,
    actor: Actor,
    inner: Inner,
    search: MetaOptimizerConfig,
    judgement: OuterLossConfig | None,
    span: LifetimeConfig,
    encoder: tuple[int, ...],
    told: Callable[[PyTree], dict[str, jax.Array]] = lambda meta: {},
    target: meta_gradients.Target | None = None,
    alike: Mapping[str, Any] | None = None,
) -> Algorithm:
    """The Algorithm that meta-learns ``inner.meta``.

    Args:
      judgement: none where nothing is back-propagated.
      encoder: of the outer critic, if there is one.
      told: ``meta -> metrics``, what is to be seen of it.
      target: a bootstrapped one, see ``meta_gradients.backprop``.
      alike: of a method whose meta-parameters do not depend on the tasks' spaces, see ``Portable``.
    """
    remat: bool | None = False
    alike = None if alike is None else {**alike, "gradient": search.gradient}
    if search.gradient == "backprop":
        assert judgement is not None
        remat = judgement.remat
        estimator = _backprop_estimator(tasks, actor, inner, judgement, span, search.block, encoder, target)
        optimizer, largest = adam(search), judgement.max_gradient_norm
        optimizer = optax.chain(optax.clip_by_global_norm(largest), optimizer) if largest else optimizer
    else:
        estimator, optimizer = _es_estimator(actor, inner, search, span)
    made = lifetimes.lifetime_learner(
        tasks, actor, inner, estimator, optimizer, span.episodes, span.window + span.between, told, alike
    )
    return lifetimes.in_blocks(made, search.block, remat)


def _backprop_estimator(
    tasks: TaskDistribution,
    actor: Actor,
    inner: Inner,
    judgement: OuterLossConfig,
    span: LifetimeConfig,
    block: int,
    encoder: tuple[int, ...],
    target: meta_gradients.Target | None,
) -> MetaGradient:
    loss = meta_gradients.OuterLoss(
        judgement.discount,
        judgement.trace,
        judgement.entropy_cost,
        judgement.score,
        judgement.normalisation,
        judgement.max_life_norm,
    )
    valued = tasks.env.spec, encoder, judgement.critic_rate, span.horizon, judgement.discount
    critic = lifetimes.outer_critic(*valued) if judgement.critic else None
    remat = bool(judgement.remat)
    return meta_gradients.backprop(actor, inner, span.length, span.window, loss, critic, remat, target, block)


def adam(search: MetaOptimizerConfig) -> optax.GradientTransformation:
    return optax.adam(estimators.falling_rate(search.meta_rate, search.decay_updates))


def _es_estimator(
    actor: Actor, inner: Inner, search: MetaOptimizerConfig, span: LifetimeConfig
) -> tuple[MetaGradient, optax.GradientTransformation]:
    """(the estimator that ``search.gradient`` names, the outer optimiser: Adam, or a strategy's own step)."""
    gradient, sigma, block = search.gradient, search.sigma, search.block
    if gradient in meta_gradients.STRATEGIES:
        own = f"gradient={gradient!r} takes its own steps"
        check(search.decay_updates == 0, "decay_updates", search.decay_updates, own)
        whole = f"must be {span.length}, a whole life, for gradient={gradient!r}"
        check(span.window == span.length, "window", span.window, whole)
        made = meta_gradients.strategy(gradient, actor, inner, span.length, search.members, sigma, block)
        return made, optax.sgd(1.0)
    made = meta_gradients.evolution(actor, inner, span.length, span.window, sigma, gradient == "pes", block)
    return made, adam(search)


def credit_assignment_learner(
    tasks: TaskDistribution,
    meta: Callable[[Key], PyTree],
    credit: Callable[[int], Credit],
    numbers: Hyperparameters,
    optimizer: str,
    encoder: tuple[int, ...],
    bounding: Bounding,
    trajectory: tuple[int, int, int, int],
    search: MetaOptimizerConfig,
    judgement: OuterLossConfig,
    outer_encoder: tuple[int, ...],
) -> Algorithm:
    """Advantage actor-critic agents of settled hyperparameters, whose credit assignment is meta-learned.

    Args:
      credit: made of the number of episodes lived side by side.
      lived: ``episodes, steps, life, window``, as ``self_tuning`` documents them.
      outer_encoder: of the outer critic.
    """
    check_judgement(search, judgement)
    episodes, steps, *rest = trajectory
    horizon = tasks.horizon
    tasks = lifetimes.with_rollout_length(tasks, steps)
    episodes, length = resolve_lifetime(tasks, episodes, *rest)
    made = credit(episodes)
    _, actor, inner = make_agents(
        tasks, meta, lambda meta: numbers, lambda meta: OPTIMIZERS[optimizer](), encoder, bounding, episodes, made
    )
    spent = LifetimeConfig(horizon, episodes, length, trajectory[-1])
    return meta_learner(tasks, actor, inner, search, judgement, spent, outer_encoder)
