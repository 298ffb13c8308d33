"""Hyperparameters by population, all agents in one compiled program: a grid, random search, and population-based
training (Jaderberg et al. 2017)."""

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax import estimators
from metarl_jax.algorithms import _lifetimes as lifetimes
from metarl_jax.algorithms._actor_critics import NAMES, check_ranges, hyperparameters, learners, unbounded
from metarl_jax.config import check, check_all, preset, recipe
from metarl_jax.networks import Bounding
from metarl_jax.types import Algorithm, Key, Outcome, PyTree, TaskDistribution

Range = tuple[float, float]


class PopulationState(NamedTuple):
    """``lives [N, P]``; ``meta [P]`` (``()`` where it never changes); ``score [P]``: mean reward a step; ``count``:
    updates so far."""

    lives: estimators.Life
    meta: PyTree
    score: jax.Array
    count: jax.Array


@recipe("population")
def population(
    tasks: TaskDistribution,
    *,
    method: Literal["pbt", "random", "grid"] = "pbt",
    size: int = 16,
    discount: tuple[float, float] = (0.9, 0.999),
    trace: tuple[float, float] = (0.9, 0.9),
    entropy_cost: tuple[float, float] = (1e-3, 3e-2),
    value_cost: tuple[float, float] = (0.5, 0.5),
    learning_rate: tuple[float, float] = (1e-3, 3e-2),
    draw: int = 0,
    interval: int = 10,
    replaced: float = 0.25,
    spread: float = 0.3,
    optimizer: Literal["sgd", "rmsprop", "adam"] = "rmsprop",
    encoder: tuple[int, ...] = (32,),
    bounding: Bounding = "clip",
    copies: int = 16,
    steps: int = 0,
    life: int = 0,
    window: int = 1,
) -> Algorithm:
    """Population-based training: actor-critic agents under many hyperparameters at once, and the best of these.

    ``size`` members, each with hyperparameters of its own, live in every one of the N tasks, as agents of
    ``self-tuning`` do; one is better than another by its agents' mean reward over all tasks. At meta-test an agent is
    born and learns under the best member's. Environment steps are counted for all members.

    Args:
      method: ``pbt``: every ``interval`` updates the worst members go on from the agents of the best, under their
        hyperparameters, moved a little; ``random``: points drawn once; ``grid``: all of a grid.
      size: members; of a grid the points, a whole power of the number of ranges.
      discount, trace, entropy_cost, value_cost, learning_rate: ranges that are searched (ends alike: fixed), evenly in
        ``log(x / (1 - x))`` of the first two and in ``log(x)`` of the others.
      draw: of the points of random search, and of the first ones of ``pbt``.
      interval: updates between two selections (``pbt``).
      replaced: the share of the members that is replaced then (``pbt``).
      spread: standard deviation of the moves, in those logarithms (``pbt``).
      optimizer, encoder, bounding, copies, steps, life, window: see ``self_tuning``.
    """
    ranges: dict[str, Range] = dict(zip(NAMES, (discount, trace, entropy_cost, value_cost, learning_rate), strict=True))
    check_ranges(ranges, tuned=False)
    searched = tuple(name for name, (low, high) in ranges.items() if low < high)
    check(len(searched) > 0, "ranges", ranges, "at least one must have two ends")
    check_all(dict(size=size, interval=interval), lambda x: x > 0, "must be above 0")
    check(draw >= 0, "draw", draw, "must not be negative")
    check(0 < replaced <= 0.5, "replaced", replaced, "must be above 0 and at most 0.5")
    check(spread > 0, "spread", spread, "must be above 0")
    least, most = (unbounded({n: ends[i] for n, ends in ranges.items()}, searched, 0.0) for i in (0, 1))
    points = grid(least, most, size) if method == "grid" else drawn(least, most, size, draw)
    fixed = {name: jnp.asarray(low, float) for name, (low, _) in ranges.items()}
    values_of = functools.partial(hyperparameters, fixed, 0.0)
    living = (optimizer, encoder, bounding, copies, steps, life, window)
    actor, inner, steps, length = learners(tasks, values_of, least, *living)
    live = functools.partial(estimators.live_window, actor, inner, length, window)
    over_members = jax.vmap(live, in_axes=(None, 0, 0, None))  # in a task all share its randomness
    select = functools.partial(selected, max(1, int(replaced * size)), spread, least, most)

    def first():
        return {name: jnp.asarray(x) for name, x in points.items()}

    def init(key, num_tasks):
        del key
        task = jax.eval_shape(tasks.sample, jax.random.key(0))
        lives = estimators.unborn(actor, inner, task, num_tasks, length, window)
        lives = jax.tree.map(lambda x: jnp.repeat(x[:, None], size, axis=1), lives)
        return PopulationState(lives, first() if method == "pbt" else (), jnp.zeros(size), jnp.int32(0))

    def update(key, state: PopulationState, batch_tasks):
        live_key, select_key = jax.random.split(key)
        meta = state.meta if method == "pbt" else first()
        keys = jax.random.split(live_key, state.lives.age.shape[0])
        lives, rewards = jax.vmap(over_members, in_axes=(0, None, 0, 0))(keys, meta, state.lives, batch_tasks)
        since = state.count % interval if method == "pbt" else state.count
        score = state.score + (rewards.mean(axis=0) - state.score) / (since + 1.0)
        best = jnp.argmax(score)
        lived = jax.tree.map(lambda x: x[:, best], (lives.task, lives.earned, lives.age, lives.end))
        told = jax.tree.map(lambda x: x[best], meta)
        metrics = {name: getattr(values_of(told), name) for name in searched}
        metrics |= {"step_reward": rewards.mean(), "best_step_reward": score[best]}
        outcome = Outcome(lived[0], lived[1], lived[2] >= lived[3], metrics)
        count = state.count + 1
        if method == "pbt":
            new_lives, new_meta = select(select_key, lives, meta, score)
            due = count % interval == 0
            choose = lambda new, old: jnp.where(due, new, old)
            lives, meta = jax.tree.map(choose, (new_lives, new_meta), (lives, meta))
        return PopulationState(lives, meta if method == "pbt" else (), score, count), outcome

    def adapt(key, state: PopulationState, task, trial_steps: int, forget: bool = False, greedy: bool = False):
        meta = state.meta if method == "pbt" else first()
        best = jax.tree.map(lambda x: x[jnp.argmax(state.score)], meta)
        return lifetimes.trial(tasks, actor, inner, key, best, task, trial_steps, copies, steps, forget, greedy)

    spent = size * window * copies * steps
    return Algorithm(init, update, adapt, spent, lambda num_tasks: None, window=copies * steps)


def grid(least: dict[str, float], most: dict[str, float], size: int) -> dict[str, np.ndarray]:
    """All combinations of evenly spaced points ``[size]``, ends included."""
    each = round(size ** (1 / len(least)))
    fix = (
        f"a grid over {', '.join(least)} needs {len(least)} equal sides of at least 2: {max(2, each) ** len(least)} say"
    )
    check(each >= 2 and each ** len(least) == size, "size", size, fix)
    axes = np.meshgrid(*(np.linspace(least[name], most[name], each) for name in least), indexing="ij")
    return {name: axis.reshape(-1).astype(np.float32) for name, axis in zip(least, axes, strict=True)}


def drawn(least: dict[str, float], most: dict[str, float], size: int, draw: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(draw)
    return {name: random.uniform(least[name], most[name], size).astype(np.float32) for name in least}


def selected(
    count: int,
    spread: float,
    least: dict[str, float],
    most: dict[str, float],
    key: Key,
    lives: estimators.Life,
    meta: PyTree,
    score: jax.Array,
) -> tuple[estimators.Life, PyTree]:
    """The ``count`` worst members become ones of the ``count`` best, in agents and, moved a little and kept within
    their ranges, in hyperparameters."""
    keys = jax.random.split(key)
    order = jnp.argsort(score)
    source = jnp.arange(score.shape[0]).at[order[:count]].set(jax.random.permutation(keys[0], order[-count:]))
    noise = dict(zip(meta, jax.random.split(keys[1], len(meta)), strict=True))
    moved = source != jnp.arange(score.shape[0])

    def explored(name: str, values: jax.Array) -> jax.Array:
        step = spread * jax.random.normal(noise[name], values.shape)
        return jnp.where(moved, jnp.clip(values[source] + step, least[name], most[name]), values)

    members: Any = jax.tree.map(lambda x: x[:, source], lives)
    return members, {name: explored(name, values) for name, values in meta.items()}


random_search = preset(
    "random-search", population, "Random search: as many random hyperparameters at once, and the best.", method="random"
)
grid_search = preset(
    "grid-search", population, "Grid search: all points of a grid of hyperparameters at once.", method="grid", size=64
)
