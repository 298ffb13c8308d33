"""MAML (Finn et al. 2017) and its family: parameters from which a few gradient steps in a task go far.

One file, since they differ in options: what the outer gradient sees of the inner step, what adapts, how the outer step
is taken.
"""

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl_jax import estimators
from metarl_jax.algorithms import _adaptation as adaptation
from metarl_jax.config import check, check_all, preset, recipe
from metarl_jax.networks import actor
from metarl_jax.types import Algorithm, Outcome, Policy, TaskDistribution

HEAD = ("policy_head", "log_std")


class Meta(NamedTuple):
    """What is meta-learned: where adaptation starts, and how far it steps (``()`` where that is fixed)."""

    params: optax.Params
    log_rates: optax.Params


class LearnerState(NamedTuple):
    meta: Meta
    optimizer: optax.OptState


@recipe("maml")
def maml(
    tasks: TaskDistribution,
    *,
    inner_steps: int = 1,
    inner_rate: float = 0.1,
    episodes: int = 0,
    second_order: bool = True,
    credit: Literal["none", "e-maml", "lvc", "dice"] = "none",
    adapted: Literal["all", "head"] = "all",
    learned_rates: bool = False,
    outer: Literal["trust-region", "clip", "reptile"] = "trust-region",
    max_kl: float = 0.01,
    learning_rate: float = 5e-3,
    num_epochs: int = 5,
    num_minibatches: int = 1,
    clip: float = 0.2,
    kl_cost: float = 0.0,
    discount: float = 0.99,
    trace: float = 1.0,
    encoder: tuple[int, ...] = (64, 64),
    rate_decay: float = 0.5,
) -> Algorithm:
    """MAML: parameters from which a gradient step on some episodes of a task leads to a good policy there.

    An update lives ``episodes`` episodes in each of N tasks, takes an inner step in each, ``inner_steps`` times, lives
    ``episodes`` more, and improves ``theta`` by what those earned: ``mean_n J_n(theta - rate grad L_n(theta))``.

    Args:
      inner_steps: gradient steps in a task during training; at meta-test as many as fit in the trial.
      inner_rate: their size.
      episodes: lived before each inner step (0: those of the trial, divided evenly).
      second_order: differentiate through the inner step (false: FOMAML).
      credit: what the outer gradient sees of how the inner step's samples depend on ``theta``: nothing (the first
        paper), E-MAML's score (a mean over steps, not their sum), the low-variance curvature (ProMP), or DiCE.
      adapted: all parameters, or the last layer alone (ANIL, Raghu et al. 2020).
      learned_rates: meta-learn a step size for each parameter (Meta-SGD, Li et al. 2017; in logarithms, so positive).
      outer: a trust-region step (TRPO, with the whole Fisher matrix of the adapted policies), epochs of PPO's clipped
        surrogate with Adam, or Reptile's mean of where adaptation led (Nichol et al. 2018) with Adam.
      max_kl: of a trust-region step.
      learning_rate: Adam's (``clip``, ``reptile``).
      num_epochs: passes over the batch (``clip``).
      num_minibatches: gradient steps a pass (``clip``); must divide the number of tasks.
      clip: how far a probability ratio may move from 1 (``clip``).
      kl_cost: weight of the KL divergence from the policies that lived the windows before inner steps (ProMP).
      discount: gamma, a step.
      trace: lambda of the generalised advantages, a step.
      encoder: sizes of tanh layers.
      rate_decay: at meta-test, each inner step beyond those of training is this much smaller.
    """
    sizes = dict(inner_steps=inner_steps, num_epochs=num_epochs, num_minibatches=num_minibatches)
    positive = sizes | dict(inner_rate=inner_rate, max_kl=max_kl, learning_rate=learning_rate)
    shares = dict(discount=discount, trace=trace, rate_decay=rate_decay)
    check_all(positive, lambda x: x > 0, "must be above 0")
    check_all(dict(episodes=episodes, kl_cost=kl_cost, clip=clip), lambda x: x >= 0, "must not be negative")
    check_all(shares, lambda x: 0 <= x <= 1, "must lie between 0 and 1")
    check(second_order or credit in ("none", "e-maml"), "credit", credit, "acts through second_order=True")
    check(outer != "reptile" or not learned_rates, "learned_rates", True, "Reptile has no gradient for them")
    policy = actor(tasks.env.spec, encoder)
    count = adaptation.windows_of(tasks, inner_steps + 1, episodes)
    objective = estimators.OBJECTIVES["none" if credit == "e-maml" else credit]

    def learn(meta: Meta, params, seen, scale):
        gradient = adaptation.inner_gradient(policy, objective, params, seen)
        gradient = gradient if second_order else jax.lax.stop_gradient(gradient)
        fixed = adaptation.rates_like(params, inner_rate, None if adapted == "all" else HEAD)
        rates = jax.tree.map(lambda fix, log: fix * jnp.exp(log), fixed, meta.log_rates) if learned_rates else fixed
        return adaptation.descend(params, gradient, rates, scale)

    inner = adaptation.Inner(
        live=functools.partial(adaptation.live, tasks, policy, count),
        window=functools.partial(adaptation.window, policy, discount, trace),
        learn=learn,
        start=lambda meta: meta.params,
        num_steps=inner_steps,
    )
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(learning_rate, eps=1e-5))

    def init(key):
        params = policy.init(key)
        meta = Meta(params, optax.tree.zeros_like(params) if learned_rates else ())
        return LearnerState(meta, () if outer == "trust-region" else optimizer.init(meta))

    surrogate = functools.partial(outer_loss, inner, policy, credit == "e-maml", kl_cost)
    step = {
        "trust-region": functools.partial(trust_region, inner, policy, surrogate, max_kl),
        "clip": functools.partial(clipped, surrogate, optimizer, (num_epochs, num_minibatches), clip),
        "reptile": functools.partial(reptile_step, inner, policy, optimizer),
    }[outer]

    def update(key, state: LearnerState, batch_tasks):
        live_key, step_key = jax.random.split(key)
        keys = jax.random.split(live_key, jax.tree.leaves(batch_tasks)[0].shape[0])
        live = jax.vmap(functools.partial(adaptation.lifetime, inner), in_axes=(0, None, 0), out_axes=1)
        batch = live(keys, state.meta, batch_tasks)  # [K + 1, N, T, E, ...]
        new, metrics = step(step_key, state, batch)
        told = {"return_before": batch.earned[0].mean(), "return_after": batch.earned[-1].mean()}
        trial_return = count * batch.earned.sum(axis=0)
        outcome = Outcome(batch_tasks, trial_return, jnp.ones_like(trial_return, bool), metrics | told)
        return new, outcome

    def adapt(key, state: LearnerState, task, trial_steps: int, forget: bool = False, greedy: bool = False):
        return adaptation.trial(inner, rate_decay, key, state.meta, task, trial_steps, forget, greedy)

    def check_tasks(num_tasks: int):
        fits = outer != "clip" or num_tasks % num_minibatches == 0
        check(fits, "num_minibatches", num_minibatches, f"must divide num_tasks={num_tasks}")

    return Algorithm(init, update, adapt, steps=(inner_steps + 1) * count * tasks.horizon, check=check_tasks)


class Said(NamedTuple):
    """What policies say of the batch when adaptation is lived again from its windows: (action parameters,
    log-probabilities), ``before [N, K, T, E, ...]`` each inner step, and ``after [N, T, E, ...]`` the last one."""

    before: tuple[jax.Array, jax.Array]
    after: tuple[jax.Array, jax.Array]


def said_of(inner: adaptation.Inner, policy: Policy, meta: Meta, batch: adaptation.Window) -> Said:
    """Differentiable in ``meta``; ``batch [K + 1, N, T, E, ...]``."""

    def one(windows):
        first, last = jax.tree.map(lambda x: x[:-1], windows), jax.tree.map(lambda x: x[-1], windows)
        params, before = adaptation.adapt(inner, policy, meta, first)
        return Said(before, adaptation.said(policy, params, last))

    return jax.vmap(one, in_axes=1)(batch)


def outer_loss(
    inner: adaptation.Inner, policy: Policy, score: bool, kl_cost: float, meta: Meta, batch, clip: float | None = None
) -> tuple[jax.Array, jax.Array]:
    """(loss, KL of the adapted policies from those that lived the batch); without ``clip`` the plain surrogate."""
    ((parameters, log_prob), (after_parameters, after_log_prob)) = said_of(inner, policy, meta, batch)
    last = jax.tree.map(lambda x: x[-1], batch)
    if clip is None:
        loss = -(jnp.exp(after_log_prob - last.log_prob) * last.advantage).mean()
    else:
        loss = estimators.clipped_surrogate(after_log_prob, last.log_prob, last.advantage, clip).mean()
    if score:
        standard = (last.earned - last.earned.mean()) / (last.earned.std() + 1e-8)
        credited = jax.vmap(estimators.sampling_score)(log_prob, standard)
        loss = loss - credited.mean() / last.log_prob[0].size  # a mean over steps: a sum wrecks the policy
    if kl_cost:
        lived = jnp.moveaxis(batch.parameters[:-1], 0, 1)
        loss = loss + kl_cost * policy.actions.kl(lived, parameters).mean()
    return loss, policy.actions.kl(last.parameters, after_parameters).mean()


def fisher_product(inner: adaptation.Inner, policy: Policy, meta: Meta, batch: adaptation.Window):
    """``v -> F v``, the Hessian of the mean KL divergence of the adapted policies at ``meta``.

    Adaptation is linearised once: a product is two linear maps, and the (diagonal) Hessian of the divergence between.
    """
    told, push = jax.linearize(lambda meta: said_of(inner, policy, meta, batch).after[0], meta)
    pull = jax.linear_transpose(push, meta)
    slope = jax.grad(lambda parameters: policy.actions.kl(told, parameters).mean())
    return lambda v: pull(jax.jvp(slope, (told,), (push(v),))[1])[0]


def trust_region(inner, policy: Policy, loss, max_kl: float, key, state: LearnerState, batch):
    """A TRPO step on the adapted policies."""
    del key
    fisher = fisher_product(inner, policy, state.meta, batch)
    meta, metrics = estimators.trust_region_step(state.meta, lambda meta: loss(meta, batch), fisher, max_kl)
    return LearnerState(meta, ()), metrics


def clipped(loss, optimizer, passes: tuple[int, int], clip: float, key, state: LearnerState, batch):
    """Epochs of the clipped surrogate with Adam."""

    def minibatch_loss(meta, minibatch, key):
        del key
        value, kl = loss(meta, minibatch, clip)
        return value, {"loss": value, "kl": kl}

    meta, optimizer_state, metrics = estimators.minibatch_epochs(
        key, state.meta, state.optimizer, batch, minibatch_loss, optimizer, *passes
    )
    return LearnerState(meta, optimizer_state), metrics


def reptile_step(inner, policy: Policy, optimizer, key, state: LearnerState, batch):
    """Towards where adaptation led: ``theta - mean_n theta_n`` as a gradient."""
    del key
    led = jax.vmap(lambda windows: adaptation.adapt(inner, policy, state.meta, windows)[0], in_axes=1)(batch)
    away = jax.tree.map(lambda start, ends: start - ends.mean(axis=0), state.meta.params, led)
    updates, optimizer_state = optimizer.update(Meta(away, ()), state.optimizer, state.meta)
    moved = optax.tree.norm(away)
    params = optax.apply_updates(state.meta.params, updates.params)
    return LearnerState(Meta(params, ()), optimizer_state), {"gradient_norm": moved}


fomaml = preset("fomaml", maml, "First-order MAML: the inner step counts as a constant.", second_order=False)
e_maml = preset("e-maml", maml, "E-MAML: credit for the samples that the inner step learned from.", credit="e-maml")
promp = preset("promp", maml, "ProMP: low-variance curvature, clipped.", credit="lvc", outer="clip", kl_cost=5e-4)
meta_sgd = preset("meta-sgd", maml, "Meta-SGD: MAML with a learned step size a parameter.", learned_rates=True)
anil = preset("anil", maml, "ANIL: only the last layer adapts.", adapted="head")
reptile = preset("reptile", maml, "Reptile: towards the mean of the adapted parameters.", outer="reptile")
