"""An optimiser that is meta-learned over the lives of agents (OPEN, Goldie et al. 2024; Optim4RL, Lan et al. 2024)."""

import functools
from typing import Literal

import jax.numpy as jnp

from metarl_jax.algorithms.lifetime.actor_critic import fixed_hyperparameters, make_agents, resolve_lifetime
from metarl_jax.algorithms.lifetime.meta_learner import with_rollout_length
from metarl_jax.algorithms.lifetime.outer_loop import (
    LifetimeConfig,
    MetaOptimizerConfig,
    check_meta_optimizer,
    meta_learner,
)
from metarl_jax.config import check, recipe
from metarl_jax.learned.optimizers import init, scale_by_learned
from metarl_jax.networks import Bounding
from metarl_jax.records import Algorithm, TaskDistribution


@recipe("learned-optimizer")
def learned_optimizer(
    tasks: TaskDistribution,
    *,
    hidden: tuple[int, ...] = (16, 16),
    learning_rate: float = 0.03,
    discount: float = 0.95,
    trace: float = 0.9,
    entropy_cost: float = 0.01,
    value_cost: float = 0.5,
    encoder: tuple[int, ...] = (32,),
    bounding: Bounding = "clip",
    episodes: int = 0,
    steps: int = 0,
    life: int = 0,
    window: int = 0,
    gradient: Literal["es", "pes", "snes", "sep-cma-es"] = "es",
    sigma: float = 0.1,
    members: int = 16,
    meta_rate: float = 0.02,
    decay_updates: int = 0,
    block: int = 0,
) -> Algorithm:
    """Advantage actor-critic agents, born and trained in each task, whose optimiser is a small network that all share.

    It is meta-learned by evolution strategies on what whole lives earn. ``metarl_jax.learned.optimizers`` says what it
    sees, and makes an optax transformation of it, for training loops of any kind. OPEN perturbs the optimiser once for
    many tasks and ranks what came of it; here every task has a pair of its own.

    Args:
      hidden: sizes of its layers.
      learning_rate: of Adam, which it is at first.
      discount, trace, entropy_cost, value_cost: of the agents, see ``self_tuning``.
      encoder, bounding, episodes, steps, life: of the agents and their lives, see ``self_tuning``.
      window: inner updates an outer one (0: a whole life).
      gradient: evolution strategies on whole lives (on truncated ones where ``window`` is less), or persistent ones;
        or a strategy of evosax on whole lives, which takes its own steps.
      sigma: standard deviation of the perturbations (evosax's: at first).
      members: of evosax's populations; each lives in all tasks.
      meta_rate: Adam's learning rate of the optimiser's weights (evosax's strategies have none).
      decay_updates: updates over which that falls linearly to a tenth (0: constant).
      block: see ``self_tuning``.

    Returns:
      The Algorithm.
    """
    check(all(size > 0 for size in hidden), "hidden", hidden, "each layer needs at least one unit")
    check(learning_rate > 0, "learning_rate", learning_rate, "must be above 0")
    values = fixed_hyperparameters(  # steps have their own rate
        discount=discount, trace=trace, entropy_cost=entropy_cost, value_cost=value_cost, learning_rate=1.0
    )
    meta_optimizer = MetaOptimizerConfig(
        gradient=gradient,
        meta_rate=meta_rate,
        decay_updates=decay_updates,
        sigma=sigma,
        members=members,
        block=block,
    )
    check_meta_optimizer(meta_optimizer)
    check(window >= 0, "window", window, "must not be negative")
    horizon, tasks = tasks.horizon, with_rollout_length(tasks, steps)
    episodes, length = resolve_lifetime(tasks, episodes, life, window or 1)
    optimizer_of = functools.partial(scale_by_learned, total_updates=length)
    meta = functools.partial(init, sizes=hidden, rate=learning_rate)
    _, actor, inner = make_agents(tasks, meta, lambda meta: values, optimizer_of, encoder, bounding, episodes)
    return meta_learner(
        tasks,
        actor,
        inner,
        meta_optimizer=meta_optimizer,
        outer_loss=None,
        lifetime=LifetimeConfig(horizon=horizon, episodes=episodes, length=length, window=window or length),
        critic_encoder=encoder,
        metrics_of=lambda meta: {"learning_rate": jnp.exp(meta["log_rate"])},
        alike={"algorithm": "learned-optimizer"},
    )
