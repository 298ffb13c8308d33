"""Whole lives of newborn agents that learn by a rule, and those of advantage actor-critics with the best of many
settings, on tasks that no rule was learned on."""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import metarl_jax as mrl
from metarl_jax.algorithms._actor_critics import NAMES, unbounded
from metarl_jax.algorithms._lifetimes import LearnerState
from metarl_jax.config import Recipe
from metarl_jax.types import PyTree, TaskDistribution

BLOCK = 64  # lives side by side
TUNING, TESTING = 64, 256  # lives, of which settings are chosen, and of which scores are made
RATES = np.geomspace(2e-3, 0.3, 8)  # of RMSprop
SETTINGS: tuple[str, ...] = ("discount", "trace", "entropy_cost", "learning_rate")


class Lives(NamedTuple):
    """What agents live: ``episodes`` side by side, ``steps`` of each (0: all) before each of ``life`` inner updates."""

    tasks: TaskDistribution
    episodes: int
    life: int
    steps: int = 0


def curves(recipe: Recipe, lives: Lives) -> Callable[[jax.Array, PyTree], jax.Array]:
    """``(keys [L], meta) -> [L, life]``: the mean reward of a step in each inner update, each life in its own task."""
    algorithm = recipe.build(lives.tasks)
    steps = lives.life * lives.episodes * (lives.steps or lives.tasks.horizon)

    def one(meta: PyTree, key: jax.Array) -> jax.Array:
        keys = jax.random.split(key)
        task, state = lives.tasks.sample(keys[0]), LearnerState(meta, (), ())
        return algorithm.adapt(keys[1], state, task, steps).mean_reward.reshape(lives.life, -1).mean(axis=1)

    return jax.jit(lambda keys, meta: jax.lax.map(functools.partial(one, meta), keys, batch_size=BLOCK))


def chosen_on(count: int = TUNING) -> jax.Array:
    return jax.random.split(jax.random.key(101), count)


def tested_on(count: int = TESTING) -> jax.Array:
    return jax.random.split(jax.random.key(202), count)


class Tuned(NamedTuple):
    """The best setting of advantage actor-critics, and what newborn agents earn with it, ``[life]``."""

    setting: dict[str, Any]
    curve: np.ndarray


def actor_critics(
    lives: Lives,
    traces: tuple[float, ...],
    entropy_costs: tuple[float, ...],
    discounts: tuple[float, ...] = (1.0,),
    count: int = TUNING,
    **options: Any,
) -> list[tuple[float, dict[str, Any]]]:
    """``(area under the curve, setting)`` of each, on ``count`` lives that are not those tested."""
    live, found = curves(recipe_of(lives, options), lives), []
    for values in itertools.product(discounts, traces, entropy_costs, RATES):
        setting: dict[str, Any] = dict(zip(SETTINGS, map(float, values), strict=True))
        found.append((float(live(chosen_on(count), meta_of(setting)).mean()), setting))
    return found


def finalists(
    lives: Lives, found: list[tuple[float, dict[str, Any]]], first: int = 8, **options: Any
) -> list[tuple[float, dict[str, Any]]]:
    """The ``first`` of what was found on few lives, on all that settings are chosen of."""
    live = curves(recipe_of(lives, options), lives)
    leading = sorted(found, key=lambda pair: -pair[0])[:first]
    return [(float(live(chosen_on(), meta_of(setting)).mean()), setting) for _, setting in leading]


def best(lives: Lives, found: list[tuple[float, dict[str, Any]]], **options: Any) -> Tuned:
    setting = max(found, key=lambda pair: pair[0])[1]
    live = curves(recipe_of(lives, options), lives)
    return Tuned(setting, np.asarray(live(tested_on(), meta_of(setting)).mean(axis=0)))


def recipe_of(lives: Lives, options: dict[str, Any]) -> Recipe:
    return mrl.algorithms.self_tuning(episodes=lives.episodes, steps=lives.steps, life=lives.life, **options)


def meta_of(setting: dict[str, Any]) -> dict[str, jax.Array]:
    """Hyperparameters as ``self_tuning`` holds them."""
    start = setting | {"value_cost": 0.5}
    within = {name: float(np.clip(value, 1e-6, 1 - 1e-6)) for name, value in start.items() if name in NAMES[:2]}
    above = {name: max(value, 1e-9) for name, value in start.items() if name not in within}
    return {name: jnp.float32(x) for name, x in unbounded(within | above, NAMES, 0.0).items()}
