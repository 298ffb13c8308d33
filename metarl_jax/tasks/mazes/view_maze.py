"""The partially observed maze of unsupervised environment design: a view ahead, turns and steps."""

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax import planning
from metarl_jax.config import check, check_all, family
from metarl_jax.records import Reference, Spec, TaskDistribution
from metarl_jax.tasks.environment import Environment, one_of
from metarl_jax.tasks.mazes.generators import ViewTask, corridors, drawn, drawn_until, edited, scattered
from metarl_jax.tasks.mazes.named import named_tasks

HEADINGS = ((0, 1), (1, 0), (0, -1), (-1, 0))  # right, down, left, up, in (row, column): a right turn is the next one
LEFT, RIGHT, FORWARD = range(3)
PENALTY = 0.9  # of the reward, after a whole episode
WALL, FLOOR, GOAL, AGENT = (40, 44, 52), (236, 236, 232), (0, 158, 115), (213, 94, 0)


class ViewState(NamedTuple):
    """Where the agent is.

    Attributes:
      cell: row-major int32.
      heading: where it looks: 0 right, 1 down, 2 left, 3 up.
      time: steps since the episode began.
    """

    cell: jax.Array
    heading: jax.Array
    time: jax.Array


class ViewEnv(Environment):
    """Three actions: turn left, turn right, go forward; a wall means staying.

    Entering the goal pays ``1 - 0.9 (t + 1) / horizon`` and ends the episode.

    The observation ``[view, view, 6]`` is what lies ahead, as the agent looks (it stands in the middle of the last
    row): walls, the goal, and four layers that are all 1 for the heading.
    """

    def __init__(self, size: int, view: int, horizon: int):
        self.size, self.view, self.horizon = size, view, horizon
        self.spec = Spec(observation_shape=(view, view, 6), num_actions=3)
        ahead, aside = np.meshgrid(np.arange(view)[::-1], np.arange(view) - view // 2, indexing="ij")
        forward = np.asarray(HEADINGS)
        right = np.roll(forward, -1, axis=0)
        offsets = ahead[None, ..., None] * forward[:, None, None] + aside[None, ..., None] * right[:, None, None]
        self.margin = view - 1
        self.width = size + 2 * self.margin  # of the padded map
        self.seen = (offsets @ np.array([self.width, 1])).astype(np.int32)  # [4, view, view], from the agent's cell

    def reset(self, noise, task: ViewTask):
        return ViewState(task.start, task.heading, jnp.zeros_like(task.start))

    def padded(self, task: ViewTask) -> jax.Array:
        """The maze with walls around it, so wide that no view reaches past them.

        Args:
          task: the maze.

        Returns:
          Walls, bool ``[width * width]``.
        """
        return jnp.pad(task.walls, self.margin, constant_values=True).reshape(-1)

    def inside(self, cell: jax.Array) -> jax.Array:
        """Index of a cell in the padded maze.

        Args:
          cell: row-major in the maze.

        Returns:
          The row-major index in ``padded``.
        """
        return (cell // self.size + self.margin) * self.width + cell % self.size + self.margin

    def step(self, noise, state: ViewState, action, task: ViewTask):
        turn = jnp.where(action == RIGHT, 1, jnp.where(action == LEFT, -1, 0))
        heading = (state.heading + turn) % len(HEADINGS)
        moves = jnp.asarray(HEADINGS, jnp.int32)[state.heading]
        row, column = state.cell // self.size + moves[0], state.cell % self.size + moves[1]
        free = (row >= 0) & (row < self.size) & (column >= 0) & (column < self.size)
        ahead = jnp.where(free, row * self.size + column, state.cell)
        going = (action == FORWARD) & ~task.walls.reshape(-1)[ahead]
        cell = jnp.where(going, ahead, state.cell)
        found = going & (cell == task.goal)
        time = state.time + 1
        reward = jnp.where(found, 1.0 - PENALTY * time / self.horizon, 0.0)
        return ViewState(cell, heading, time), reward, found, {}

    def observe(self, state: ViewState, task: ViewTask) -> jax.Array:
        places = self.inside(state.cell) + jnp.asarray(self.seen)[state.heading]
        walls = self.padded(task)[places]
        layers = [walls, places == self.inside(task.goal)]
        compass = jnp.arange(len(HEADINGS)) == state.heading
        layers += [jnp.broadcast_to(compass[i], walls.shape) for i in range(len(HEADINGS))]
        return jnp.stack(layers, axis=-1).astype(jnp.float32)

    def successors(self, task: ViewTask) -> jax.Array:
        """The maze as a table for planners.

        Args:
          task: the maze.

        Returns:
          ``next_state [4 cells, 3 actions]``; a state is ``4 cell + heading``. The goal is a cell like any other.
        """
        state = jnp.arange(self.size * self.size * len(HEADINGS), dtype=jnp.int32)
        cells, headings = state // len(HEADINGS), state % len(HEADINGS)

        def moved(cell, heading, action):
            reached, *_ = self.step((), ViewState(cell, heading, jnp.int32(0)), action, task)
            return reached.cell * len(HEADINGS) + reached.heading

        each = jax.vmap(jax.vmap(moved, (None, None, 0)), (0, 0, None))
        return each(cells, headings, jnp.arange(3, dtype=jnp.int32))

    def distance(self, task: ViewTask) -> jax.Array:
        """Length of the shortest path from the start to the goal, turns and steps.

        Args:
          task: the maze.

        Returns:
          A number of actions; ``planning.UNREACHABLE`` where there is no path.
        """
        first = task.start * len(HEADINGS) + task.heading
        reached = planning.shortest_paths(self.successors(task), first).reshape(-1, len(HEADINGS))
        return reached[task.goal].min()

    def picture(self, task: ViewTask, state: ViewState | None = None) -> np.ndarray:
        """Draws the maze with a border of walls, one pixel a cell: goal, agent and, paler, the cell that it looks at.

        Args:
          task: the maze.
          state: where the agent is; None: where episodes begin.

        Returns:
          uint8 RGB ``[size + 2, size + 2, 3]``.
        """
        image = np.where(np.pad(np.asarray(task.walls), 1, constant_values=True)[..., None], WALL, FLOOR).astype(float)
        place = lambda cell: (int(cell) // self.size + 1, int(cell) % self.size + 1)
        cell, heading = (task.start, task.heading) if state is None else (state.cell, state.heading)
        image[place(task.goal)] = GOAL
        row, column = place(cell)
        ahead = HEADINGS[int(heading)]
        image[row + ahead[0], column + ahead[1]] = 0.6 * image[row + ahead[0], column + ahead[1]] + 0.4 * np.array(
            AGENT
        )
        image[row, column] = AGENT
        return image.astype(np.uint8)


@family("maze-view")
def view_maze(
    *,
    size: int = 13,
    view: int = 5,
    num_walls: int | tuple[int, int] = 25,
    horizon: int = 250,
    num_episodes: int = 1,
    solvable: bool = False,
    walls: Literal["random", "corridors"] = "random",
    loops: float = 0.0,
    sizes: tuple[int, int] | None = None,
) -> TaskDistribution:
    """The maze of unsupervised environment design: walls in random cells, a small view ahead, three actions.

    It is that of Dennis et al. (2020) and Jiang et al. (2021), with a reward that falls with time.

    ``num_walls`` cells are drawn with replacement, as in the published JAX code, then start, heading and goal among the
    free ones. A trial is one episode unless asked otherwise; agents that remember then adapt within it.

    References: optimal, the maze known, by shortest paths over cells and headings.

    Args:
      size: cells a side, without the border.
      view: side of the square that is seen, odd; the agent stands in the middle of its last row.
      num_walls: cells drawn for walls, where these are random; a pair: from the least to the most, drawn for each task.
      horizon: longest episode, in steps.
      num_episodes: whole episodes in a trial; more fit in where some end early.
      solvable: draw again where no way leads to the goal.
      walls: ``random`` cells, or ``corridors``: a random spanning tree of rooms in every other row and column.
      loops: chance that a wall left between two rooms is opened (of corridors); 1 leaves single cells as pillars.
      sizes: cells a side that are used, from the least to the most, drawn for each task; the rest, at the bottom and on
        the right, is wall, and random walls are fewer in proportion. None: all.

    Returns:
      The distribution of such mazes.
    """
    _check_options("maze-view", view, horizon, num_episodes)
    check(size >= 2, "maze-view: size", size, "must be at least 2")
    numbers = (num_walls, num_walls) if isinstance(num_walls, int) else num_walls
    most = size * size - 2
    fits = walls == "corridors" or 0 <= numbers[0] <= numbers[1] <= most
    check(fits, "maze-view: num_walls", num_walls, f"must lie between 0 and {most}, the least first")
    check(0 <= loops <= 1, "maze-view: loops", loops, "must lie between 0 and 1")
    check(loops == 0 or walls == "corridors", "maze-view: loops", loops, "only for walls='corridors'")
    used, least = sizes or (size, size), 3 if walls == "corridors" else 2
    fits = least <= used[0] <= used[1] <= size
    check(fits, "maze-view: sizes", used, f"must lie between {least} and size={size}, the least first")
    env = ViewEnv(size, view, horizon)

    lay = (
        functools.partial(scattered, size, numbers) if walls == "random" else functools.partial(corridors, size, loops)
    )
    reachable = lambda task: env.distance(task) < planning.UNREACHABLE
    draw = functools.partial(drawn, size, used, lay)
    sample = functools.partial(drawn_until, reachable, draw) if solvable else draw

    def mutate(key, task: ViewTask):
        changed = edited(key, task)
        if not solvable:
            return changed
        return jax.tree.map(functools.partial(jnp.where, reachable(changed)), changed, task)

    counts = ViewTask(*map(jnp.int32, (0, size * size, len(HEADINGS), size * size)))
    return distribution("maze-view", env, sample, mutate, num_episodes)._replace(counts=counts)


@family("maze-view-named")
def named_mazes(*, view: int = 5, horizon: int = 250, num_episodes: int = 1) -> TaskDistribution:
    """Twelve mazes of 13 x 13 cells for tests of agents that learned in ``maze-view``, of any size.

    They are rooms, corridors, branching mazes and labyrinths; ``tasks.maze_names()`` has their names, in the order of
    the tasks.

    They are ours, of the kinds that the literature on environment design tests in; results on its own do not compare.

    References: optimal, the maze known, by shortest paths over cells and headings.

    Args:
      view: side of the square that is seen, odd; the agent stands in the middle of its last row.
      horizon: longest episode, in steps.
      num_episodes: whole episodes in a trial; more fit in where some end early.

    Returns:
      The distribution of these mazes, a finite set.
    """
    _check_options("maze-view-named", view, horizon, num_episodes)
    tasks = named_tasks()
    env = ViewEnv(tasks.walls.shape[1], view, horizon)
    made = distribution("maze-view-named", env, functools.partial(one_of, tasks), edited, num_episodes)
    return made._replace(tasks=tasks)


def _check_options(owner: str, view: int, horizon: int, num_episodes: int) -> None:
    counts = dict(horizon=horizon, num_episodes=num_episodes)
    check_all(counts, lambda x: x >= 1, "must be at least 1", owner)
    check(view >= 3 and view % 2 == 1, f"{owner}: view", view, "must be odd and at least 3")


def distribution(name: str, env: ViewEnv, sample, mutate, num_episodes: int) -> TaskDistribution:
    """A distribution of mazes with a view, with shortest paths for its optimum.

    Args:
      name: of the distribution.
      env: the environment.
      sample: ``key -> task``.
      mutate: ``(key, task) -> task``.
      num_episodes: episodes of full length in a trial.

    Returns:
      The distribution.
    """

    def best_episode(task: ViewTask):
        distance = env.distance(task)
        return jnp.where(distance <= env.horizon, 1.0 - PENALTY * distance / env.horizon, 0.0)

    def optimum(task: ViewTask, trial_steps: int):
        return trial_steps // env.distance(task) * best_episode(task)

    def references(tasks: ViewTask, trial_steps: int, prior: ViewTask | None = None):
        best = jax.jit(lambda tasks: jax.lax.map(lambda task: optimum(task, trial_steps), tasks, batch_size=256))(tasks)
        return [Reference("optimal", "exact", np.asarray(best, np.float64), None, "maze known: shortest paths")]

    return TaskDistribution(
        name=name,
        env=env,
        sample=sample,
        horizon=env.horizon,
        trial_steps=env.horizon * num_episodes,
        references=references,
        mutate=mutate,
        optimum=optimum,
        best_episode=best_episode,
        solved_above=0.0,
    )
