"""Hyperparameters by population, all agents in one compiled program: a grid, random search, and population-based
training (Jaderberg et al. 2017)."""

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax import meta_gradients
from metarl_jax.algorithms.lifetime import meta_learner as lifetimes
from metarl_jax.algorithms.lifetime.actor_critic import (
    MOST,
    NAMES,
    OPTIMIZERS,
    as_numbers,
    check_ranges,
    hyperparameters,
    make_agents,
    resolve_lifetime,
    to_unconstrained,
)
from metarl_jax.config import check, preset, recipe
from metarl_jax.networks import Bounding
from metarl_jax.records import Algorithm, Key, Outcome, PyTree, TaskDistribution

Range = tuple[float, float]


class PopulationState(NamedTuple):
    """Members of a population in their tasks.

    Attributes:
      lives: lifetimes ``[N, P]``.
      meta: ``[P]``, hyperparameters (``()`` where they never change).
      score: ``[P]``, mean reward a step.
      sound: ``[P]`` bool, whose numbers are finite; the others stay where they diverged.
      count: updates so far.
    """

    lives: meta_gradients.Lifetime
    meta: PyTree
    score: jax.Array
    sound: jax.Array
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
    episodes: int = 0,
    steps: int = 0,
    life: int = 0,
    window: int = 1,
    block: int = 0,
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
      optimizer, encoder, bounding, episodes, steps, life, window, block: see ``self_tuning``.

    Returns:
      The Algorithm.
    """
    ranges: dict[str, Range] = dict(zip(NAMES, (discount, trace, entropy_cost, value_cost, learning_rate), strict=True))
    check_ranges(ranges, tuned=False)
    searched = tuple(name for name, (low, high) in ranges.items() if low < high)
    check(len(searched) > 0, ", ".join(ranges), tuple(ranges.values()), "one of them at least needs two ends")
    least_size = 2 if method == "pbt" else 1
    check(least_size <= size <= MOST, "size", size, f"must be at least {least_size}, and at most {MOST}")
    check(interval > 0, "interval", interval, "must be above 0")
    check(draw >= 0, "draw", draw, "must not be negative")
    check(0 < replaced <= 0.5, "replaced", replaced, "must be above 0 and at most 0.5")
    check(spread > 0, "spread", spread, "must be above 0")
    least, most = (to_unconstrained({n: ends[i] for n, ends in ranges.items()}, searched, 0.0) for i in (0, 1))
    points = grid(least, most, size) if method == "grid" else drawn(least, most, size, draw)
    tasks = lifetimes.with_rollout_length(tasks, steps)
    episodes, length = resolve_lifetime(tasks, episodes, life, window)
    fixed = as_numbers({name: low for name, (low, _) in ranges.items()})
    values_of = functools.partial(hyperparameters, fixed, 0.0)
    optimizer_of = lambda meta: OPTIMIZERS[optimizer]()
    _, actor, inner = make_agents(
        tasks, functools.partial(as_numbers, least), values_of, optimizer_of, encoder, bounding, episodes
    )
    live = functools.partial(meta_gradients.live_window, actor, inner, length, window)
    over_members = jax.vmap(live, in_axes=(None, 0, 0, None))  # in a task all share its randomness
    select = functools.partial(selected, max(1, int(replaced * size)), spread, least, most)

    def initial():
        return {name: jnp.asarray(x) for name, x in points.items()}

    def init(key, num_tasks):
        del key
        task = jax.eval_shape(tasks.sample, jax.random.key(0))
        lives = meta_gradients.empty_lifetimes(actor, inner, task, num_tasks, length, window)
        lives = jax.tree.map(lambda x: jnp.repeat(x[:, None], size, axis=1), lives)
        return PopulationState(
            lives, initial() if method == "pbt" else (), jnp.zeros(size), jnp.ones(size, bool), jnp.int32(0)
        )

    def update(key, state: PopulationState, batch_tasks):
        live_key, select_key = jax.random.split(key)
        meta = state.meta or initial()
        keys = jax.random.split(live_key, state.lives.age.shape[0])
        in_task = lambda key, lives, task: over_members(key, meta, lives, task)
        new, rewards = meta_gradients.over_tasks(in_task, block, keys, state.lives, batch_tasks)
        sound = state.sound & meta_gradients.finite(new)
        lives = jax.tree.map(functools.partial(_of_members, sound), new, state.lives)
        rewards = jnp.where(sound[None], rewards, 0.0)
        memory = jnp.minimum(state.count + 1, interval) if method == "pbt" else state.count + 1
        score = state.score + (rewards.mean(axis=0) - state.score) / memory
        ranked = jnp.where(sound, score, -jnp.inf)
        best = jnp.argmax(ranked)
        task, earned, age, end = jax.tree.map(lambda x: x[:, best], (lives.task, lives.earned, lives.age, lives.end))
        told = jax.tree.map(lambda x: x[best], meta)
        metrics = {name: getattr(values_of(told), name) for name in searched}
        metrics |= {"step_reward": rewards.mean(), "best_step_reward": score[best]}
        earned = earned / age * tasks.trial_steps / tasks.horizon
        outcome = Outcome(task, earned, age >= end, metrics | {"diverged": (~sound).sum()})
        count = state.count + 1
        if method != "pbt":
            return PopulationState(lives, (), score, sound, count), outcome
        source, explored = select(select_key, meta, ranked)
        due = count % interval == 0
        source = jnp.where(due, source, jnp.arange(size))
        lives = jax.tree.map(lambda x: x[:, source], lives)
        meta = jax.tree.map(lambda new, old: jnp.where(due, new, old), explored, meta)
        return PopulationState(lives, meta, score[source], sound[source], count), outcome

    def adapt(key, state: PopulationState, task, trial_steps: int, forget=False, greedy: bool = False, first=None):
        best = jnp.argmax(jnp.where(state.sound, state.score, -jnp.inf))
        best = jax.tree.map(lambda x: x[best], state.meta or initial())
        return lifetimes.trial(tasks, actor, inner, key, best, task, trial_steps, episodes, forget, greedy, first)

    steps = episodes * tasks.horizon
    made = Algorithm(init, update, adapt, size * window * steps, lambda num_tasks: None, window=steps)
    return lifetimes.in_blocks(made, block)


def grid(least: dict[str, float], most: dict[str, float], size: int) -> dict[str, np.ndarray]:
    """All combinations of evenly spaced points, ends included.

    Args:
      least: lower ends by name.
      most: upper ends by name.
      size: how many combinations.

    Returns:
      ``[size]`` by name.

    Raises:
      ConfigError: no grid has as many points.
    """
    each = round(size ** (1 / len(least)))
    fix = f"a grid over {', '.join(least)} has as many points a side, at least 2: {max(2, each) ** len(least)}, say"
    check(each >= 2 and each ** len(least) == size, "size", size, fix)
    axes = np.meshgrid(*(np.linspace(least[name], most[name], each) for name in least), indexing="ij")
    return {name: axis.reshape(-1).astype(np.float32) for name, axis in zip(least, axes, strict=True)}


def drawn(least: dict[str, float], most: dict[str, float], size: int, draw: int) -> dict[str, np.ndarray]:
    """Uniform draws between the ends.

    Args:
      least: lower ends by name.
      most: upper ends by name.
      size: how many.
      draw: seed of the draws.

    Returns:
      ``[size]`` by name.
    """
    random = np.random.default_rng(draw)
    return {name: random.uniform(least[name], most[name], size).astype(np.float32) for name in least}


def _of_members(chosen: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    """``where(chosen [P], new, old)`` of leaves ``[N, P, ...]``."""
    return jnp.where(chosen.reshape(1, -1, *(1,) * (new.ndim - 2)), new, old)


def selected(
    count: int,
    spread: float,
    least: dict[str, float],
    most: dict[str, float],
    key: Key,
    meta: PyTree,
    score: jax.Array,
) -> tuple[jax.Array, PyTree]:
    """Population-based training's exploit and explore.

    The ``count`` worst go on from agents of the ``count`` best, whose hyperparameters are moved a little and kept
    within their ranges.

    Args:
      count: of members that are replaced.
      spread: standard deviation of the moves.
      least: lower ends by name.
      most: upper ends by name.
      key: of choices and moves.
      meta: hyperparameters, ``[P]`` by name.
      score: ``[P]``.

    Returns:
      Whose agents each member goes on from, ``[P]``, and its hyperparameters.
    """
    keys = jax.random.split(key)
    order = jnp.argsort(score)
    source = jnp.arange(score.shape[0]).at[order[:count]].set(jax.random.permutation(keys[0], order[-count:]))
    noise = dict(zip(meta, jax.random.split(keys[1], len(meta)), strict=True))
    moved = source != jnp.arange(score.shape[0])

    def explored(name: str, values: jax.Array) -> jax.Array:
        step = spread * jax.random.normal(noise[name], values.shape)
        return jnp.where(moved, jnp.clip(values[source] + step, least[name], most[name]), values)

    return source, {name: explored(name, values) for name, values in meta.items()}


random_search = preset(
    "random-search", population, "Random search: as many random hyperparameters at once, and the best.", method="random"
)
grid_search = preset(
    "grid-search", population, "Grid search: all points of a grid of hyperparameters at once.", method="grid", size=64
)
