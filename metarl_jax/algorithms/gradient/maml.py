"""MAML (Finn et al. 2017) and its family: parameters from which a few gradient steps in a task go far.

One file, since they differ in options: what the outer gradient sees of the inner step, what adapts, how the outer step
is taken.
"""

import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from metarl_jax import estimators, meta_gradients
from metarl_jax.algorithms.gradient import inner_loop as adaptation
from metarl_jax.algorithms.gradient.baseline import critic, linear
from metarl_jax.algorithms.gradient.outer_loop import Meta, OuterStepConfig, meta_learner
from metarl_jax.config import check, check_all, preset, recipe
from metarl_jax.networks import Bounding, actor
from metarl_jax.networks.actions import MOST_LOG_STD
from metarl_jax.records import Algorithm, TaskDistribution

WIDEST = math.exp(MOST_LOG_STD)
ADAPTED = {"all": None, "head": ("policy_head", "log_std"), "context": ("context",)}


@recipe("maml")
def maml(
    tasks: TaskDistribution,
    *,
    inner_steps: int = 1,
    inner_rate: float = 0.1,
    episodes: int = 0,
    second_order: bool = True,
    credit: Literal["none", "e-maml", "lvc", "dice"] = "none",
    adapted: Literal["all", "head", "context"] = "all",
    context_size: int = 5,
    learned_rates: bool = False,
    outer: Literal["trust-region", "clip", "reptile"] = "trust-region",
    max_kl: float = 0.01,
    learning_rate: float = 5e-3,
    decay_updates: int = 0,
    num_epochs: int = 5,
    num_minibatches: int = 1,
    clip: float = 0.2,
    kl_cost: float = 0.0,
    discount: float = 0.99,
    trace: float = 1.0,
    baseline: Literal["linear", "critic"] = "linear",
    encoder: tuple[int, ...] = (64, 64),
    bounding: Bounding = "clip",
    exploration_std: float = 0.0,
    rate_decay: float = 0.5,
    tasks_at_once: int = 0,
    remat: bool | None = None,
) -> Algorithm:
    """MAML: parameters from which a gradient step on some episodes of a task leads to a good policy there.

    An update collects ``episodes`` episodes in each of N tasks, takes an inner step in each, ``inner_steps`` times,
    collects ``episodes`` more, and improves ``theta`` by their return: ``mean_n J_n(theta - rate grad L_n(theta))``.

    Args:
      inner_steps: gradient steps in a task during training; at meta-test as many as fit in the trial.
      inner_rate: their size.
      episodes: lived before each inner step (0: those of the trial, divided evenly).
      second_order: differentiate through the inner step (false: FOMAML).
      credit: what the outer gradient sees of how the inner step's samples depend on ``theta``: nothing (the first
        paper), E-MAML's score (over the horizon, as the surrogate is a mean over steps), the low-variance curvature
        (ProMP: actions are weighted by ``pi / pi_data``, so that inner steps stay right while ``outer="clip"`` makes
        several gradient steps on one batch; elsewhere they count as the moved policy's own), or DiCE.
      adapted: all parameters, the last layer alone (ANIL, Raghu et al. 2020), or a context that the encoder sees beside
        the observation, zeros at the start of every trial (CAVIA, Zintgraf et al. 2019).
      context_size: entries of that context (``context``).
      learned_rates: meta-learn a step size for each parameter (Meta-SGD, Li et al. 2017; in logarithms, so positive).
      outer: a trust-region step (TRPO, with the whole Fisher matrix of the adapted policies), epochs of PPO's clipped
        surrogate with Adam, or Reptile's mean of where adaptation led (Nichol et al. 2018) with Adam.
      max_kl: of a trust-region step.
      learning_rate: Adam's (``clip``, ``reptile``).
      decay_updates: updates over which it falls linearly to a tenth (0: constant).
      num_epochs: passes over the batch (``clip``).
      num_minibatches: gradient steps a pass (``clip``); must divide the number of tasks.
      clip: how far a probability ratio may move from 1 (``clip``).
      kl_cost: weight of the KL divergence from the policies that lived the windows before inner steps (ProMP).
      discount: gamma, a step.
      trace: lambda of the generalised advantages, a step.
      baseline: a linear fit to each window, as in the papers, or a critic: an own network of ``encoder``'s sizes, never
        in the inner loss, regressed on returns in the outer loop (``num_epochs`` steps of Adam an update).
      encoder: sizes of tanh layers.
      bounding: how continuous actions keep to their bounds: a clipped Gaussian (``clip``), one whose mean is a tanh
        besides (``mean``), or the tanh of a Gaussian (``tanh``).
      exploration_std: standard deviation of continuous actions before the first inner step of a trial; after it comes
        the policy's own, which is free to shrink then, and inner steps are in proportion to it (the score
        ``z / std`` grows as it shrinks). 0: one for both, and inner steps adapt it (the papers). Our addition.
      rate_decay: at meta-test, each inner step beyond those of training is this much smaller.
      tasks_at_once: in the outer step, this many tasks side by side, the others after them (0: as many as memory
        allows; all where it does not divide their number). Few stay in a CPU's caches, all fill an accelerator; the
        same numbers.
      remat: compute tasks and inner steps again for the outer gradient instead of keeping what they computed (by
        default, where memory is too small without): less memory, most of all with few ``tasks_at_once``, and the same
        numbers. Less is read again, too: on a CPU it can be the faster way (``python -m benchmarks.speed adaptation``).

    Returns:
      The algorithm.
    """
    check_all(dict(inner_steps=inner_steps, inner_rate=inner_rate), lambda x: x > 0, "must be above 0")
    check(adapted != "context" or context_size > 0, "context_size", context_size, "must be above 0")
    check_all(dict(episodes=episodes, tasks_at_once=tasks_at_once), lambda x: x >= 0, "must not be negative")
    check_all(dict(discount=discount, trace=trace), lambda x: 0 <= x <= 1, "must lie between 0 and 1")
    check(second_order or credit in ("none", "e-maml"), "credit", credit, "acts through second_order=True")
    check(outer != "reptile" or not learned_rates, "learned_rates", True, "Reptile has no gradient for them")
    explores = exploration_std > 0
    continuous = tasks.env.spec.num_actions is None
    check(exploration_std >= 0, "exploration_std", exploration_std, "must not be negative")
    check(not explores or continuous, "exploration_std", exploration_std, "actions are discrete: leave it at 0")
    check(exploration_std <= WIDEST, "exploration_std", exploration_std, f"must be at most {WIDEST:.2f}")
    check(outer != "reptile" or credit == "none", "credit", credit, "Reptile has no gradient for it")
    check(outer != "reptile" or kl_cost == 0, "kl_cost", kl_cost, "Reptile has no loss for it")
    check(all(size > 0 for size in encoder), "encoder", encoder, "each layer needs at least one unit")
    check(not explores or outer != "reptile", "exploration_std", exploration_std, "needs an outer gradient")
    check(outer != "reptile" or adapted != "context", "outer", outer, "moves to where adaptation led: a context resets")
    policy = actor(tasks.env.spec, encoder, context_size if adapted == "context" else 0, bounding)
    home = tasks.trained_on or tasks
    count = adaptation.windows_of(home, inner_steps + 1, episodes)
    values = linear() if baseline == "linear" else critic(home, encoder, learning_rate, num_epochs)
    said = functools.partial(adaptation.said, policy)
    objective = estimators.OBJECTIVES["none" if credit == "e-maml" else credit]

    names = ADAPTED[adapted]

    def adapting_of(params):
        left_out = ("log_std",) if explores else ()
        return {name: x for name, x in params.items() if name not in left_out and (names is None or name in names)}

    def learn(meta: Meta, params, seen, scale):
        adapting, own_std = adapting_of(params), {}
        if explores:
            own_std = {"log_std": meta.params["log_std"]}
            scale = scale * jnp.exp(params["log_std"].mean()) / exploration_std
        gradient = adaptation.inner_gradient(said, objective, params, adapting, seen)
        gradient = gradient if second_order else jax.lax.stop_gradient(gradient)
        rates = optax.tree.full_like(adapting, inner_rate)
        rates = jax.tree.map(lambda fix, log: fix * jnp.exp(log), rates, meta.log_rates) if learned_rates else rates
        return params | adaptation.descend(adapting, gradient, rates, scale) | own_std

    def start(meta: Meta):
        context = {"context": jnp.zeros(context_size)} if adapted == "context" else {}
        wide = {"log_std": jnp.full_like(meta.params["log_std"], math.log(exploration_std))} if explores else {}
        return meta.params | context | wide

    inner = adaptation.Inner(
        live=functools.partial(adaptation.live, tasks, policy, count),
        window=functools.partial(adaptation.window, policy.actions, values, discount, trace),
        said=said,
        learn=learn,
        start=start,
        num_steps=inner_steps,
        at_once=tasks_at_once,
        remat=bool(remat),
    )

    def init_meta(key):
        params = policy.init(key)
        log_rates = optax.tree.zeros_like(adapting_of(params)) if learned_rates else ()
        return Meta({name: leaf for name, leaf in params.items() if name != "context"}, log_rates)

    options = OuterStepConfig(
        outer=outer,
        max_kl=max_kl,
        learning_rate=learning_rate,
        decay_updates=decay_updates,
        num_epochs=num_epochs,
        num_minibatches=num_minibatches,
        clip=clip,
        kl_cost=kl_cost,
        score=credit == "e-maml",
    )
    made = meta_learner(tasks, policy.actions, inner, values, init_meta, options, count, rate_decay)
    if outer == "reptile":
        return made
    side_by_side = num_minibatches if outer == "clip" else 1
    open_of = functools.partial(meta_gradients.memory_options, "tasks_at_once", tasks_at_once, remat)
    return made._replace(memory_options=lambda num_tasks, devices: open_of(num_tasks // side_by_side, devices))


fomaml = preset("fomaml", maml, "First-order MAML: the inner step counts as a constant.", second_order=False)
e_maml = preset("e-maml", maml, "E-MAML: credit for the samples that the inner step learned from.", credit="e-maml")
promp = preset("promp", maml, "ProMP: low-variance curvature, clipped.", credit="lvc", outer="clip", kl_cost=5e-4)
meta_sgd = preset("meta-sgd", maml, "Meta-SGD: MAML with a learned step size a parameter.", learned_rates=True)
cavia = preset("cavia", maml, "CAVIA: only a context beside the observation adapts.", adapted="context", inner_rate=1.0)
anil = preset("anil", maml, "ANIL: only the last layer adapts.", adapted="head")
reptile = preset("reptile", maml, "Reptile: towards the mean of the adapted parameters.", outer="reptile")
