"""The outer loop of methods that adapt by gradient: collect, adapt, collect again, and improve the meta-parameters.

A method brings an ``Inner`` (how an agent acts and adapts in one task) and its meta-parameters; it gets an Algorithm.
The outer step is a trust region's, epochs of PPO's clipped surrogate, or Reptile's.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl_jax import estimators, meta_gradients
from metarl_jax.algorithms.gradient import inner_loop as adaptation
from metarl_jax.algorithms.gradient.baseline import Baseline
from metarl_jax.config import check, check_all, check_divides
from metarl_jax.records import ActionDistribution, Algorithm, Key, Outcome, PyTree, TaskDistribution


class Meta(NamedTuple):
    """The meta-parameters.

    Attributes:
      params: where adaptation starts.
      log_rates: logarithms of factors of the inner step's size, one for each parameter; ``()`` where these are fixed.
    """

    params: dict[str, PyTree]
    log_rates: PyTree


class LearnerState(NamedTuple):
    """The state of the algorithm.

    Attributes:
      meta: meta-parameters.
      optimizer: state of the outer optimiser, ``()`` for a trust region.
      baseline: state of the baseline.
    """

    meta: Meta
    optimizer: optax.OptState
    baseline: PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class OuterStepConfig:
    """Options of the outer step, by the names under which ``maml`` documents them; ``score`` adds E-MAML's term."""

    outer: str
    max_kl: float
    learning_rate: float
    decay_updates: int
    num_epochs: int
    num_minibatches: int
    clip: float
    kl_cost: float
    score: bool = False

    def check(self) -> None:
        """Raises ConfigError where an option is out of its range."""
        sizes = dict(num_epochs=self.num_epochs, num_minibatches=self.num_minibatches)
        check_all(
            sizes | dict(max_kl=self.max_kl, learning_rate=self.learning_rate), lambda x: x > 0, "must be above 0"
        )
        check(self.clip > 0, "clip", self.clip, "must be above 0")
        costs = dict(kl_cost=self.kl_cost, decay_updates=self.decay_updates)
        check_all(costs, lambda x: x >= 0, "must not be negative")


def meta_learner(
    tasks: TaskDistribution,
    actions: ActionDistribution,
    inner: adaptation.Inner,
    baseline: Baseline,
    init_meta: Callable[[Key], Meta],
    options: OuterStepConfig,
    episodes: int,
    rate_decay: float,
) -> Algorithm:
    """The Algorithm that meta-learns the meta-parameters of an ``Inner``.

    Args:
      tasks: the distribution.
      actions: distribution of the policy's actions.
      inner: how an agent acts and adapts in one task.
      baseline: of the advantages in ``inner``'s windows.
      init_meta: ``(key) -> Meta``.
      options: of the outer step.
      episodes: in each of ``inner``'s windows.
      rate_decay: at meta-test, factor of each inner step's size, to the last one's, beyond those of training.

    Returns:
      The Algorithm.

    Raises:
      ConfigError: where an option is out of its range.
    """
    options.check()
    check(0 <= rate_decay <= 1, "rate_decay", rate_decay, "must lie between 0 and 1")
    steps = options.num_epochs * options.num_minibatches if options.outer == "clip" else 1
    rate = estimators.falling_rate(options.learning_rate, steps * options.decay_updates)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate, eps=1e-5))
    loss = functools.partial(outer_loss, inner, actions, options)
    step = {
        "trust-region": functools.partial(trust_region, inner, actions, loss, options.max_kl),
        "clip": functools.partial(clipped, loss, optimizer, options),
        "reptile": functools.partial(_reptile_step, inner, optimizer),
    }[options.outer]

    def init(key, num_tasks: int):
        del num_tasks
        meta = init_meta(key)
        optimizer_state = () if options.outer == "trust-region" else optimizer.init(meta)
        return LearnerState(meta, optimizer_state, baseline.init(jax.random.fold_in(key, 1)))

    def update(key, state: LearnerState, batch_tasks):
        live_key, step_key = jax.random.split(key)
        fit_key = jax.random.fold_in(key, 1)
        keys = jax.random.split(live_key, jax.tree.leaves(batch_tasks)[0].shape[0])
        live = jax.vmap(functools.partial(adaptation.lifetime, inner), in_axes=(0, None, None, 0), out_axes=1)
        windows = live(keys, state.meta, state.baseline, batch_tasks)
        new, metrics = step(step_key, state, windows)
        new = new._replace(baseline=baseline.learn(fit_key, state.baseline, windows.timestep, windows.returns))
        told = {"return_before": windows.earned[0].mean(), "return_after": windows.earned[-1].mean()}
        trial_return = episodes * windows.earned.sum(axis=0)
        outcome = Outcome(batch_tasks, trial_return, jnp.ones_like(trial_return, bool), metrics | told)
        return new, outcome

    def adapt(key, state: LearnerState, task, trial_steps: int, forget=False, greedy: bool = False, first=None):
        start = (key, state.meta, state.baseline, task, trial_steps)
        return adaptation.trial(inner, rate_decay, *start, forget, greedy, first)

    def check_tasks(num_tasks: int):
        if options.outer == "clip":
            check_divides("num_minibatches", options.num_minibatches, num_tasks)
        side_by_side = num_tasks // (options.num_minibatches if options.outer == "clip" else 1)
        fix = "E-MAML's score compares tasks: give a gradient step at least two"
        check(not options.score or side_by_side > 1, "num_tasks", num_tasks, fix)

    steps = (inner.num_steps + 1) * episodes * tasks.horizon
    return Algorithm(init, update, adapt, steps=steps, check=check_tasks, window=episodes * tasks.horizon)


class Said(NamedTuple):
    """Policies evaluated on a batch while adaptation is recomputed from its windows.

    Each is ``(action parameters, log-probabilities of the actions)``.

    Attributes:
      before: ``[N, K, T, E, ...]``, before each inner step; ``()`` where not asked for.
      after: ``[N, T, E, ...]``, after the last one.
    """

    before: Any
    after: tuple[jax.Array, jax.Array]


def said_of(inner: adaptation.Inner, meta: Meta, windows: adaptation.Window, before: bool = False) -> Said:
    """Recomputes adaptation on a batch and evaluates its policies; differentiable in ``meta``.

    Args:
      inner: the method.
      meta: meta-parameters.
      windows: ``[K + 1, N, T, E, ...]``.
      before: also evaluate the policies before each inner step.

    Returns:
      Said.
    """

    def one(windows):  # [K + 1, T, E, ...]
        first, last = jax.tree.map(lambda x: x[:-1], windows), jax.tree.map(lambda x: x[-1], windows)
        params, told = adaptation.adapt(inner, meta, first, before)
        return Said(told, inner.said(params, last))

    one = jax.checkpoint(one) if inner.remat else one  # with groups of tasks: one group's memory, not that of all
    by_task = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), windows)
    return meta_gradients.over_tasks(one, inner.at_once, by_task)


def outer_loss(
    inner: adaptation.Inner,
    actions: ActionDistribution,
    options: OuterStepConfig,
    meta: Meta,
    windows: adaptation.Window,
    clip: float | None = None,
) -> tuple[jax.Array, jax.Array]:
    """The outer loss of a batch, to minimise.

    Args:
      inner: the method.
      actions: distribution of the policy's actions.
      options: of the outer step.
      meta: meta-parameters.
      windows: ``[K + 1, N, T, E, ...]``.
      clip: of PPO's surrogate; None for the plain one.

    Returns:
      ``(loss, KL)``, scalars: KL divergence of the adapted policies from those that collected the batch.
    """
    told = said_of(inner, meta, windows, before=options.score or options.kl_cost > 0)
    after_parameters, after_log_prob = told.after
    last = jax.tree.map(lambda x: x[-1], windows)
    if clip is None:
        loss = -(jnp.exp(after_log_prob - last.log_prob) * last.advantage).mean()
    else:
        loss = estimators.clipped_surrogate(after_log_prob, last.log_prob, last.advantage, clip).mean()
    if options.score:
        standard = estimators.standardised(last.earned)
        credited = jax.vmap(estimators.sampling_score)(told.before[1], standard)
        loss = loss - credited.mean() / last.log_prob.shape[1]  # by the horizon, as the surrogate is a mean over steps
    if options.kl_cost:
        acted = jnp.moveaxis(windows.parameters[:-1], 0, 1)
        loss = loss + options.kl_cost * actions.kl(acted, told.before[0]).mean()
    return loss, actions.kl(last.parameters, after_parameters).mean()


def fisher_product(inner: adaptation.Inner, actions: ActionDistribution, meta: Meta, windows: adaptation.Window):
    """Products with the Fisher matrix: the Hessian of the mean KL divergence of the adapted policies at ``meta``.

    Adaptation is linearised once: a product is two linear maps, and the (diagonal) Hessian of the divergence between.

    Args:
      inner: the method.
      actions: distribution of the policy's actions.
      meta: meta-parameters.
      windows: ``[K + 1, N, T, E, ...]``.

    Returns:
      ``v -> F v`` for ``v`` as ``meta``.
    """
    told, push = jax.linearize(lambda meta: said_of(inner, meta, windows).after[0], meta)
    pull = jax.linear_transpose(push, meta)
    slope = jax.grad(lambda parameters: actions.kl(told, parameters).mean())
    return lambda v: pull(jax.jvp(slope, (told,), (push(v),))[1])[0]


def trust_region(inner, actions: ActionDistribution, loss, max_kl: float, key, state: LearnerState, windows):
    """An outer step by TRPO on the adapted policies.

    Args:
      inner: the method.
      actions: distribution of the policy's actions.
      loss: ``(meta, windows) -> (loss, KL)``.
      max_kl: size of the step.
      key: not used.
      state: of the algorithm.
      windows: ``[K + 1, N, T, E, ...]``.

    Returns:
      ``(state, metrics)``.
    """
    del key
    fisher = fisher_product(inner, actions, state.meta, windows)
    meta, metrics = estimators.trust_region_step(state.meta, lambda meta: loss(meta, windows), fisher, max_kl)
    return state._replace(meta=meta), metrics


def clipped(loss, optimizer, options: OuterStepConfig, key, state: LearnerState, windows):
    """An outer step by epochs of PPO's clipped surrogate with Adam.

    Args:
      loss: ``(meta, windows, clip) -> (loss, KL)``.
      optimizer: of the meta-parameters.
      options: of the outer step.
      key: PRNG key, of the minibatches.
      state: of the algorithm.
      windows: ``[K + 1, N, T, E, ...]``.

    Returns:
      ``(state, metrics)``.
    """

    def minibatch_loss(meta, minibatch):
        value, kl = loss(meta, minibatch, options.clip)
        return value, {"loss": value, "kl": kl}

    meta, optimizer_state, metrics = estimators.minibatch_epochs(
        key,
        state.meta,
        state.optimizer,
        windows,
        minibatch_loss,
        optimizer,
        num_epochs=options.num_epochs,
        num_minibatches=options.num_minibatches,
    )
    return state._replace(meta=meta, optimizer=optimizer_state), metrics


def _reptile_step(inner: adaptation.Inner, optimizer, key, state: LearnerState, windows):
    """An outer step towards the adapted parameters: ``theta - mean_n theta_n`` is the gradient (Nichol et al. 2018)."""
    del key
    led = jax.vmap(lambda windows: adaptation.adapt(inner, state.meta, windows)[0], in_axes=1)(windows)
    away = jax.tree.map(lambda start, ends: start - ends.mean(axis=0), state.meta.params, led)
    updates, optimizer_state = optimizer.update(Meta(away, ()), state.optimizer, state.meta)
    moved = optax.tree.norm(away)
    params: Any = optax.apply_updates(state.meta.params, updates.params)
    return state._replace(meta=Meta(params, ()), optimizer=optimizer_state), {"gradient_norm": moved}
