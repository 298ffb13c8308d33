"""A treasure hunt in which looking for information costs reward, after HyperX's treasure mountain."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax import planning
from metarl_jax.config import check, check_all, family
from metarl_jax.records import Reference, Spec, TaskDistribution
from metarl_jax.tasks.environment import Environment, episode_after_episode, one_hot_cell, one_of
from metarl_jax.tasks.layouts import reachable, successors
from metarl_jax.tasks.priors import of_these, prior_of

# Two rooms of six alleys, each with a site at its end; between them the start, a camp and a mountain.
TWO_ROOMS = """
#############
#T#T#T#T#T#T#
#.#.#.#.#.#.#
#.#.#.#.#.#.#
#...........#
#####...#####
####PMS.C####
#####...#####
#...........#
#.#.#.#.#.#.#
#.#.#.#.#.#.#
#T#T#T#T#T#T#
#############
"""
NUM_ACTIONS = 5  # stay, up, right, down, left
MOST_SITES = 14  # that the planner over beliefs can hold
COLOURS = {"#": (40, 44, 52), "S": (140, 170, 200), "M": (170, 150, 130), "P": (120, 95, 75), "C": (240, 200, 90)}
FLOOR, SITE, TREASURE, AGENT = (236, 236, 232), (190, 220, 205), (0, 158, 115), (213, 94, 0)


class TreasureTask(NamedTuple):
    """Where the treasure is.

    Attributes:
      treasure: the site that holds it, a cell, row-major int32.
    """

    treasure: jax.Array


class TreasureState(NamedTuple):
    """Where the agent is.

    Attributes:
      cell: row-major int32.
      time: steps since the episode began.
    """

    cell: jax.Array
    time: jax.Array


class TreasureEnv(Environment):
    """Episodes of ``horizon`` steps from the start; +1 on the treasure, which ends nothing; ``pay [cells]`` elsewhere.

    The observation is the position, one-hot by row and by column, and the treasure's likewise: on a peak only, zeros
    everywhere else.
    """

    def __init__(self, letters: np.ndarray, horizon: int, climb_cost: float, camp_reward: float):
        self.letters, self.horizon = letters, horizon
        self.rows, self.columns = letters.shape
        self.spec = Spec(observation_shape=(2 * (self.rows + self.columns),), num_actions=NUM_ACTIONS)
        flat = letters.ravel()
        self.start, self.sites, self.peak = int(np.argmax(flat == "S")), np.flatnonzero(flat == "T"), flat == "P"
        pay = np.select([np.isin(flat, ["M", "P"]), flat == "C"], [-climb_cost, camp_reward], 0.0)
        self.pay = pay.astype(np.float32)
        stay = np.arange(flat.size, dtype=np.int32)[:, None]
        self.next_state = np.concatenate([stay, np.asarray(successors(jnp.asarray(letters == "#")))], axis=1)

    def reset(self, noise, task: TreasureTask):
        return TreasureState(jnp.int32(self.start), jnp.int32(0))

    def step(self, noise, state: TreasureState, action, task: TreasureTask):
        cell = jnp.asarray(self.next_state)[state.cell, action]
        reward = jnp.where(cell == task.treasure, 1.0, jnp.asarray(self.pay)[cell])
        return TreasureState(cell, state.time + 1), reward, jnp.bool_(False), {}

    def observe(self, state: TreasureState, task: TreasureTask) -> jax.Array:
        here, there = (one_hot_cell(cell, self.rows, self.columns) for cell in (state.cell, task.treasure))
        return jnp.concatenate([here, jnp.where(jnp.asarray(self.peak)[state.cell], there, 0.0)])

    def picture(self, task: TreasureTask, state: TreasureState | None = None) -> np.ndarray:
        """Draws the layout, one pixel a cell: walls, start, mountain, camp, sites, the treasure, and the agent's cell.

        Args:
          task: the treasure.
          state: where the agent is; None: not drawn.

        Returns:
          uint8 RGB ``[rows, columns, 3]``.
        """
        image = np.array([COLOURS.get(letter, FLOOR) for letter in self.letters.ravel()], np.uint8)
        image[self.sites], image[int(task.treasure)] = SITE, TREASURE
        if state is not None:
            image[int(state.cell)] = AGENT
        return image.reshape(self.rows, self.columns, 3)


@family("treasure")
def treasure(
    *,
    layout: str = TWO_ROOMS,
    horizon: int = 18,
    num_episodes: int = 4,
    climb_cost: float = 1.0,
    camp_reward: float = 0.02,
) -> TaskDistribution:
    """A treasure at one of many sites, and a mountain from whose peak its place can be seen: at a cost.

    The idea is the treasure mountain of HyperX (Zintgraf et al. 2021): the Bayes-optimal agent climbs first, looks,
    and from then on goes straight to the treasure; one that shuns the mountain searches site by site, which costs
    nothing at first and is worse in total. Ours is a grid, not a plane, so that the optima are exact: sites lie at the
    ends of alleys (theirs on a circle around the mountain), being away from the treasure is free, the mountain costs
    the same at each step, and a camp next to the start that pays a little is a second local optimum.

    The tasks are all sites, equally likely. References (all exact): treasure known; Bayes-optimal by dynamic
    programming over beliefs; the same without the map (``without_map``: what cannot be seen from a peak must be
    searched); the best without memory between episodes; random. Above 14 sites only the first and the last. By
    default: 44 a trial, 38 (5 in the first episode, then 11 each), 18.2 (1.5 in the first), 20, -8.7.

    Args:
      layout: ASCII: ``#`` wall (the whole border), ``S`` start, ``T`` site, ``M`` slope, ``P`` peak, ``C`` camp, ``.``
        or space floor.
      horizon: steps in an episode.
      num_episodes: episodes in a trial.
      climb_cost: reward lost at each step on a slope or a peak.
      camp_reward: reward of each step in a camp.

    Returns:
      The distribution of treasures, a finite set.
    """
    check_all(dict(horizon=horizon, num_episodes=num_episodes), lambda x: x >= 1, "must be at least 1", "treasure")
    check(climb_cost >= 0, "treasure: climb_cost", climb_cost, "must not be negative")
    check(0 <= camp_reward < 1, "treasure: camp_reward", camp_reward, "must be at least 0 and below the treasure's 1")
    env = TreasureEnv(parse(layout), horizon, climb_cost, camp_reward)
    tasks = TreasureTask(jnp.asarray(env.sites, jnp.int32))

    def mutate(key, task: TreasureTask):
        """The site before or after this one, in reading order."""
        index = jnp.argmax(tasks.treasure == task.treasure) + 2 * jax.random.bernoulli(key) - 1
        return TreasureTask(tasks.treasure[index % len(env.sites)])

    return TaskDistribution(
        name="treasure",
        env=env,
        sample=functools.partial(one_of, tasks),
        horizon=horizon,
        trial_steps=horizon * num_episodes,
        tasks=tasks,
        references=functools.partial(references, env),
        mutate=mutate,
        optimum=functools.partial(optimum, env),
    )


def parse(text: str) -> np.ndarray:
    """Reads an ASCII layout.

    Args:
      text: the layout, a line a row.

    Returns:
      Letters ``[rows, columns]``.

    Raises:
      ConfigError: ragged lines, an open border, no start or several, an unknown letter, too few sites, or one out of
        reach.
    """
    lines = text.strip("\r\n").splitlines()
    widths = {len(line) for line in lines}
    check(len(widths) == 1, "treasure: layout", text, f"give lines of one length, these have {sorted(widths)}")
    letters = np.array([list(line) for line in lines])
    unknown = sorted(set(letters.ravel().tolist()) - set("#STMPC. "))
    check(not unknown, "treasure: layout", text, f"unknown letters {unknown}: use '#', 'S', 'T', 'M', 'P', 'C', '.'")
    walls = letters == "#"
    border = np.concatenate([walls[0], walls[-1], walls[:, 0], walls[:, -1]])
    check(bool(border.all()), "treasure: layout", text, "the whole border must be walls ('#')")
    starts, sites = (np.flatnonzero(letters == letter) for letter in "ST")
    check(len(starts) == 1, "treasure: layout", text, f"must have exactly one start 'S', has {len(starts)}")
    check(len(sites) >= 2, "treasure: layout", text, "must have at least two sites 'T'")
    reached = np.asarray(reachable(jnp.asarray(walls), starts[0]))
    check(bool(reached[letters == "T"].all()), "treasure: layout", text, "every site 'T' must be reachable")
    return letters


def references(
    env: TreasureEnv, tasks: TreasureTask, trial_steps: int, prior: TreasureTask | None = None
) -> list[Reference]:
    """Reference values for trials of whole episodes; none for others.

    Args:
      env: the environment.
      tasks: leaves ``[N, ...]``.
      trial_steps: steps in a trial.
      prior: leaves ``[M, ...]``, each row equally likely; None: all sites.

    Returns:
      Optimal and random play of each task, and where the sites are few what is Bayes-optimal, with and without the map,
      and what is not adaptive.
    """
    episodes, rest = divmod(trial_steps, env.horizon)
    if rest:
        return []
    prior = TreasureTask(jnp.asarray(env.sites, jnp.int32)) if prior is None else prior
    known, drift = _known_and_random(env, np.asarray(tasks.treasure))
    repeat = np.ones(episodes)
    simple = [
        Reference("optimal", "exact", known * episodes, known.mean() * repeat, "treasure known"),
        Reference("random", "exact", drift * episodes, drift.mean() * repeat, "uniform over the actions"),
    ]
    candidates, weight, _ = prior_of(prior)
    if len(weight) > MOST_SITES:
        return simple
    bayes, blind, single = _belief_returns(env, tuple(candidates.treasure.tolist()), tuple(weight), episodes)
    planned = [
        Reference("bayes", "exact", bayes.sum(), bayes, "dynamic programming over beliefs"),
        Reference("without_map", "exact", blind.sum(), blind, "the same, nothing to be seen from a peak"),
        Reference("non_adaptive", "exact", single * episodes, single * repeat, "the best single episode, repeated"),
    ]
    return [*simple, *of_these(planned, tasks, prior)]


def optimum(env: TreasureEnv, task: TreasureTask, trial_steps: int) -> jax.Array:
    """The optimal return with the treasure known, by backward induction.

    Args:
      env: the environment.
      task: the treasure.
      trial_steps: steps in a trial.

    Returns:
      A scalar.
    """
    table = jnp.asarray(env.next_state)
    pay = jnp.where(jnp.arange(env.pay.size) == task.treasure, 1.0, jnp.asarray(env.pay))
    value = planning.table_backward_induction(table, pay[table], jnp.ones(table.shape), env.horizon).value
    return episode_after_episode(lambda steps: value[env.horizon - steps, env.start], env.horizon, trial_steps)


def rewards(env: TreasureEnv, treasures: np.ndarray) -> np.ndarray:
    """What entering a cell pays, for each place of the treasure.

    Args:
      env: the environment.
      treasures: ``[G]``, cells.

    Returns:
      ``[G, cells]``.
    """
    return np.where(np.arange(env.pay.size) == treasures[:, None], np.float32(1.0), env.pay)


def _known_and_random(env: TreasureEnv, treasures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return of an episode with the treasure known, and by random play; each ``[N]``."""
    places, of = np.unique(treasures, return_inverse=True)
    table, entered = jnp.asarray(env.next_state), jnp.asarray(rewards(env, places)[:, env.next_state])  # [G, cells, A]
    lasting, uniform = jnp.ones(table.shape), jnp.full(table.shape, 1 / NUM_ACTIONS)
    best = jax.vmap(lambda r: planning.table_backward_induction(table, r, lasting, env.horizon).value)
    drift = jax.vmap(lambda r: planning.table_policy_value(table, r, lasting, uniform, env.horizon))
    known, random = (np.asarray(values(entered), float)[:, 0, env.start] for values in (best, drift))
    return known[of], random[of]


@functools.lru_cache(maxsize=8)
def _belief_returns(
    env: TreasureEnv, treasures: tuple[int, ...], weight: tuple[float, ...], episodes: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """The best return by episode ``[E]`` with the map and without it, and the best of a single episode. Seconds."""
    paid = rewards(env, np.array(treasures))
    seen = np.where(env.peak, np.arange(1, len(treasures) + 1)[:, None], 0)  # [G, cells]: which one, from a peak
    solve = functools.partial(planning.hidden_task_return, env.next_state, env.start, paid, weight=np.array(weight))
    bayes, blind = (solve(signal, env.horizon, episodes) for signal in (seen, 0 * seen))
    return bayes, blind, solve(seen, env.horizon, 1)[0]
