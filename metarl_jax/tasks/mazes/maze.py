"""Mazes: two layouts or two thousand, each task its own walls, start and goal. The step is one table look-up."""

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax import planning
from metarl_jax.config import check, check_all, family, preset
from metarl_jax.records import Spec, TaskDistribution
from metarl_jax.tasks.environment import Environment, one_hot_cell, one_of
from metarl_jax.tasks.layouts import COLUMNS, MOVES, PILLARS, choose_cell, generate, parse_all, reachable, successors
from metarl_jax.tasks.mazes.references import references

WALL, FLOOR, START, GOAL, AGENT = (40, 44, 52), (236, 236, 232), (140, 170, 200), (0, 158, 115), (213, 94, 0)


class MazeTask(NamedTuple):
    """A maze.

    Attributes:
      walls: bool ``[rows, columns]``, True on the whole border.
      start: the cell where episodes begin, row-major int32.
      goal: a cell, row-major int32.
    """

    walls: jax.Array
    start: jax.Array
    goal: jax.Array


class MazeState(NamedTuple):
    """Where the agent is.

    Attributes:
      cell: row-major int32.
      time: steps since the episode began.
    """

    cell: jax.Array
    time: jax.Array


class MazeEnv(Environment):
    """Four moves (up, right, down, left); a wall means staying. The goal gives reward 1 and ends the episode.

    The observation is the position, one-hot by row and by column; with ``view`` = k also the k x k walls around the
    agent (k odd), and with ``goal_observable`` the goal's position likewise.
    """

    def __init__(self, rows: int, columns: int, horizon: int, view: int = 0, goal_observable: bool = False):
        self.rows, self.columns, self.horizon = rows, columns, horizon
        self.view, self.goal_observable = view, goal_observable
        size = (rows + columns) * (2 if goal_observable else 1) + view * view
        self.spec = Spec(observation_shape=(size,), num_actions=len(MOVES))

    def reset(self, noise, task: MazeTask):
        return MazeState(task.start, jnp.zeros_like(task.start))

    def step(self, noise, state: MazeState, action, task: MazeTask):
        offsets = jnp.asarray([row * self.columns + column for row, column in MOVES], jnp.int32)
        ahead = state.cell + offsets[action]
        cell = jnp.where(task.walls.reshape(-1)[ahead], state.cell, ahead)
        found = cell == task.goal
        return MazeState(cell, state.time + 1), found.astype(jnp.float32), found, {}

    def observe(self, state: MazeState, task: MazeTask) -> jax.Array:
        parts = [one_hot_cell(state.cell, self.rows, self.columns)]
        if self.goal_observable:
            parts.append(one_hot_cell(task.goal, self.rows, self.columns))
        if self.view:
            padded = jnp.pad(task.walls, self.view // 2, constant_values=True)
            corner = (state.cell // self.columns, state.cell % self.columns)
            seen = jax.lax.dynamic_slice(padded, corner, (self.view, self.view))
            parts.append(seen.reshape(-1).astype(jnp.float32))
        return jnp.concatenate(parts) if len(parts) > 1 else parts[0]

    def distance(self, task: MazeTask) -> jax.Array:
        """Length of the shortest path from the start to the goal.

        Args:
          task: the maze.

        Returns:
          A number of steps; ``planning.UNREACHABLE`` where there is no path.
        """
        return planning.shortest_paths(successors(task.walls), task.start)[task.goal]

    def picture(self, task: MazeTask, state: MazeState | None = None) -> np.ndarray:
        """Draws the maze, one pixel a cell: walls, floor, start, goal, and the agent's cell.

        Args:
          task: the maze.
          state: where the agent is; None: not drawn.

        Returns:
          uint8 RGB ``[rows, columns, 3]``.
        """
        image = np.where(np.asarray(task.walls)[..., None], WALL, FLOOR).astype(np.uint8)
        cells = image.reshape(-1, 3)
        cells[int(task.start)], cells[int(task.goal)] = START, GOAL
        if state is not None:
            cells[int(state.cell)] = AGENT
        return image


@family("maze")
def maze(
    *,
    layouts: tuple[str, ...] = (PILLARS,),
    horizon: int = 256,
    trial_steps: int = 256,
    view: int = 0,
    goal_observable: bool = False,
    split: Literal["all", "train-goals", "held-out-goals", "train-layouts", "held-out-layout"] = "all",
) -> TaskDistribution:
    """A finite set of mazes from ASCII layouts of one outer size: one task a layout and goal.

    Args:
      layouts: ``#`` wall, ``S`` start, ``G`` goal (every floor cell that can be reached where there is none).
      horizon: longest episode, in steps.
      trial_steps: steps in a trial.
      view: side of the square of walls that the agent sees around it; odd, or 0 for none.
      goal_observable: the goal's position is part of the observation (goal-conditioned).
      split: a part of the set. Every fifth goal of each layout is held out; so is the last layout.

    References, in goals found a trial, of an agent that knows the set (the split, where there is one): shortest paths
    with the goal known; Bayes-optimal search, exact where the tasks that look alike at first are few, else the best
    search found (a lower bound) and an upper bound, of agents that know the layout; the best search found that is the
    same in every episode (no memory between episodes).

    Returns:
      The distribution of these mazes, a finite set.
    """
    _check_options("maze", horizon, trial_steps, view)
    parsed = parse_all(layouts)
    tasks = _stack_tasks(parsed, split)
    rows, columns = parsed[0][0].shape
    env = MazeEnv(rows, columns, horizon, view, goal_observable)
    return TaskDistribution(
        name="maze",
        env=env,
        sample=functools.partial(one_of, tasks),
        horizon=horizon,
        trial_steps=trial_steps,
        tasks=tasks,
        references=lambda some, steps, prior=tasks: references(env, some, steps, prior),
        mutate=mutate,
        optimum=functools.partial(_goals_within, env),
        best_episode=functools.partial(_found_within, env),
        solved_above=0.0,
    )


maze_100 = preset("maze-100", maze, "One hundred mazes: one 13x13 layout, 100 hidden goals.", layouts=(PILLARS,))
maze_200 = preset("maze-200", maze, "Two hundred mazes: two layouts x 100 goals.", layouts=(PILLARS, COLUMNS))


@family("maze-random")
def random_maze(
    *,
    rows: int = 13,
    columns: int = 13,
    openness: float = 0.3,
    horizon: int = 256,
    trial_steps: int = 256,
    view: int = 3,
    goal_observable: bool = False,
) -> TaskDistribution:
    """A new random maze each time (recursive backtracker), goal hidden.

    The start is the top left room, the goal any other open cell. The only reference is the shortest path; finite sets
    of up to 64 mazes have those of ``maze``.

    Args:
      rows: outer size, odd.
      columns: outer size, odd.
      openness: share of the walls between two rooms that is removed once all rooms are connected.
      horizon: longest episode, in steps.
      trial_steps: steps in a trial.
      view: side of the square of walls that the agent sees around it; odd, or 0 for none.
      goal_observable: the goal's position is part of the observation (goal-conditioned).

    Returns:
      The distribution of random mazes.
    """
    _check_options("maze-random", horizon, trial_steps, view)
    for field, size in {"rows": rows, "columns": columns}.items():
        check(size >= 5 and size % 2 == 1, f"maze-random: {field}", size, "must be odd and at least 5")
    check(0 <= openness <= 1, "maze-random: openness", openness, "must lie between 0 and 1")
    env, start = MazeEnv(rows, columns, horizon, view, goal_observable), jnp.int32(columns + 1)

    def sample(key):
        walls_key, goal_key = jax.random.split(key)
        walls = generate(walls_key, rows, columns, openness)
        floor = ~walls & (jnp.arange(walls.size) != start).reshape(walls.shape)
        return MazeTask(walls, start, choose_cell(goal_key, floor))

    counts = MazeTask(*map(jnp.int32, (0, 0, rows * columns)))
    return TaskDistribution(
        name="maze-random",
        env=env,
        sample=sample,
        horizon=horizon,
        trial_steps=trial_steps,
        references=lambda some, steps, prior=None: references(env, some, steps, prior),
        mutate=mutate,
        optimum=functools.partial(_goals_within, env),
        best_episode=functools.partial(_found_within, env),
        solved_above=0.0,
        counts=counts,
    )


def _goals_within(env: MazeEnv, task: MazeTask, trial_steps: int) -> jax.Array:
    """Shortest paths, again and again: ``floor(trial_steps / d)`` goals, none where ``d > horizon``."""
    distance = env.distance(task)
    return jnp.where(distance <= env.horizon, trial_steps // distance, 0).astype(jnp.float32)


def _found_within(env: MazeEnv, task: MazeTask) -> jax.Array:
    """Of an episode: 1 where the goal can be reached within it."""
    return (env.distance(task) <= env.horizon).astype(jnp.float32)


def _check_options(owner: str, horizon: int, trial_steps: int, view: int) -> None:
    check_all(dict(horizon=horizon, trial_steps=trial_steps), lambda x: x >= 1, "must be at least 1", owner)
    check(view == 0 or (view > 0 and view % 2 == 1), f"{owner}: view", view, "must be 0 (none) or odd")


def _stack_tasks(parsed: list, split: str) -> MazeTask:
    """One task a layout and goal, leaves ``[N, ...]``; ``split`` names a part of them."""
    if split in ("train-layouts", "held-out-layout"):
        check(len(parsed) > 1, "maze: split", split, "needs at least two layouts")
        parsed = parsed[-1:] if split == "held-out-layout" else parsed[:-1]
    walls, starts, goals = [], [], []
    for wall, start, cells in parsed:
        held_out = np.arange(len(cells)) % 5 == 4
        cells = {"train-goals": cells[~held_out], "held-out-goals": cells[held_out]}.get(split, cells)
        check(len(cells) > 0, "maze: split", split, "leaves no goal: a layout has fewer than 5")
        walls.append(np.repeat(wall[None], len(cells), axis=0))
        starts.append(np.full(len(cells), start, np.int32))
        goals.append(cells)
    return MazeTask(*(jnp.asarray(np.concatenate(x)) for x in (walls, starts, goals)))


def mutate(key: jax.Array, task: MazeTask) -> MazeTask:
    """Flips one inner cell between wall and floor, or moves the goal to another reachable cell.

    Where the goal could no longer be reached, the maze stays as it was.

    Args:
      key: a random key.
      task: the maze.

    Returns:
      The changed maze.
    """
    kind_key, cell_key, goal_key = jax.random.split(key, 3)
    rows, columns = task.walls.shape
    cells = jnp.arange(rows * columns).reshape(rows, columns)
    inner = jnp.zeros_like(task.walls).at[1:-1, 1:-1].set(True)
    flipped = choose_cell(cell_key, inner & (cells != task.start) & (cells != task.goal))
    walls = task.walls ^ (cells == flipped)
    walls = jnp.where(reachable(walls, task.start).reshape(-1)[task.goal], walls, task.walls)
    goal = choose_cell(goal_key, reachable(task.walls, task.start) & (cells != task.start))
    move = jax.random.bernoulli(kind_key)
    return MazeTask(jnp.where(move, task.walls, walls), task.start, jnp.where(move, goal, task.goal))
