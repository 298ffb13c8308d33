"""Whole lives of newborn agents that learn by a rule, and those of advantage actor-critics with the best of many
settings."""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import metarl_jax as mrl
from benchmarks.choosing import Choice, Rounds, Setting, choose, tested_on
from benchmarks.sizes import size
from metarl_jax.algorithms.lifetime.actor_critic import NAMES, to_unconstrained
from metarl_jax.algorithms.lifetime.meta_learner import LearnerState
from metarl_jax.config import Recipe
from metarl_jax.records import PyTree, TaskDistribution

BLOCK = 64  # lives side by side
RATES = size(tuple(map(float, np.geomspace(2e-3, 0.3, 8))), (0.1,))  # of RMSprop


class Lives(NamedTuple):
    """What agents live: ``episodes`` side by side, ``steps`` of each (0: all) before each of ``life`` inner updates."""

    tasks: TaskDistribution
    episodes: int
    life: int
    steps: int = 0

    @property
    def length(self) -> int:
        """Steps of an agent's whole life, one after the other."""
        return self.life * (self.steps or self.tasks.horizon)


def held_out(tasks: TaskDistribution) -> tuple[TaskDistribution, TaskDistribution]:
    """(what is learned in, what is tested in): of a finite set every fifth task is held out."""
    count = jax.tree.leaves(tasks.tasks)[0].shape[0]
    tested = np.arange(count) % 5 == 4
    part = lambda which: mrl.tasks.finite(tasks, jax.tree.map(lambda x: x[which], tasks.tasks))
    return part(~tested), part(tested)


Curves = Callable[[jax.Array, PyTree], jax.Array]


def curves(recipe: Recipe, lives: Lives) -> Curves:
    """``(keys [L], meta) -> [L, life]``: the mean reward of a step in each inner update, each life in its own task."""
    algorithm = recipe.build(lives.tasks)
    steps = lives.episodes * lives.length

    def one(meta: PyTree, key: jax.Array) -> jax.Array:
        keys = jax.random.split(key)
        task, state = lives.tasks.sample(keys[0]), LearnerState(meta, (), ())
        return algorithm.adapt(keys[1], state, task, steps).mean_reward.reshape(lives.life, -1).mean(axis=1)

    return jax.jit(lambda keys, meta: jax.lax.map(functools.partial(one, meta), keys, batch_size=BLOCK))


def tested(live: Curves, metas: Sequence[PyTree], seeds: Sequence[int]) -> np.ndarray:
    """Mean curves ``[S, life]``: of each seed's meta-parameters on that seed's own lives."""
    return np.stack([live(tested_on(seed), meta).mean(axis=0) for seed, meta in zip(seeds, metas, strict=True)])


class Baseline(NamedTuple):
    """Advantage actor-critics at the setting that was chosen, and what newborn agents earn with it: ``[S, life]``."""

    choice: Choice
    curve: np.ndarray

    @property
    def areas(self) -> list[float]:
        """Reward a step over a life, by seed."""
        return self.curve.mean(axis=1).tolist()


def grid_of(
    traces: Sequence[float],
    entropy_costs: Sequence[float],
    discounts: Sequence[float] = (1.0,),
    rates: Sequence[float] = RATES,
) -> list[Setting]:
    """All settings of the product."""
    values = dict(discount=discounts, trace=traces, entropy_cost=entropy_costs, learning_rate=rates)
    few = {name: size(tuple(found), tuple(found)[:1]) for name, found in values.items()}
    return [dict(zip(few, map(float, one), strict=True)) for one in itertools.product(*few.values())]


def actor_critics(
    lives: Lives,
    settings: Sequence[Setting],
    seeds: Sequence[int],
    rounds: Rounds | None = None,
    tested_in: Lives | None = None,
    **options: Any,
) -> Baseline:
    """The best of ``settings`` by two rounds, and its lives in the tasks of each seed, which are those of ``tested_in``
    where that is another set. ``options``: of the agents."""
    recipe = mrl.algorithms.self_tuning(episodes=lives.episodes, steps=lives.steps, life=lives.life, **options)
    live = curves(recipe, lives)
    choice = choose(settings, lambda keys, setting: float(live(keys, meta_of(setting)).mean()), rounds)
    live = live if tested_in is None else curves(recipe, tested_in)
    made = Baseline(choice, tested(live, [meta_of(choice.setting)] * len(seeds), seeds))
    print(f"actor-critic on {lives.tasks.name}: {made.curve.mean():.4f} with {choice.told}", flush=True)
    return made


def meta_of(setting: Setting) -> dict[str, jax.Array]:
    """Hyperparameters as ``self_tuning`` holds them."""
    start = setting | {"value_cost": 0.5}
    # 1 - 1e-9 is 1 in single precision: at a discount of 1 a truncation is an end.
    within = {name: float(np.clip(value, 1e-6, 1 - 1e-9)) for name, value in start.items() if name in NAMES[:2]}
    above = {name: max(value, 1e-9) for name, value in start.items() if name not in within}
    return {name: jnp.float32(x) for name, x in to_unconstrained(within | above, NAMES, 0.0).items()}


def optimal(lives: Lives, seed: int) -> float:
    """Reward a step of optimal play over a whole life in the tasks that ``seed`` is tested in; where only bounds are
    known the upper one."""
    tasks = jax.vmap(lambda key: lives.tasks.sample(jax.random.split(key)[0]))(tested_on(seed))
    assert lives.tasks.references is not None
    known = lives.tasks.references(tasks, lives.length)
    value = next(r.trial_return for r in known if r.role == "optimal" and r.kind in ("exact", "upper"))
    return float(np.mean(value)) / lives.length
