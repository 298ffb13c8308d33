"""Mazes: two layouts or two thousand, each task its own walls, start and goal. The step is one table look-up."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.config import check
from metarl_jax.tasks.environment import Environment
from metarl_jax.types import Spec

MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left, in (row, column)


class MazeTask(NamedTuple):
    """``walls`` bool ``[rows, columns]``, True on the whole border; ``start`` and ``goal``: cells, row-major int32."""

    walls: jax.Array
    start: jax.Array
    goal: jax.Array


class MazeState(NamedTuple):
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
        self.spec = Spec(observation_shape=(size,), num_actions=4)

    def begin(self, noise, task: MazeTask):
        state = MazeState(task.start, jnp.zeros_like(task.start))
        return self.observe(state, task), state

    def advance(self, noise, state: MazeState, action, task: MazeTask):
        offsets = np.array([row * self.columns + column for row, column in MOVES], np.int32)
        ahead = state.cell + jnp.asarray(offsets)[action]
        cell = jnp.where(task.walls.reshape(-1)[ahead], state.cell, ahead)
        found = cell == task.goal
        state = MazeState(cell, state.time + 1)
        return self.observe(state, task), state, found.astype(jnp.float32), found, {}

    def observe(self, state: MazeState, task: MazeTask) -> jax.Array:
        parts = [self._one_hot(state.cell)]
        if self.goal_observable:
            parts.append(self._one_hot(task.goal))
        if self.view:
            half = self.view // 2
            padded = jnp.pad(task.walls, half, constant_values=True)
            corner = (state.cell // self.columns, state.cell % self.columns)
            seen = jax.lax.dynamic_slice(padded, corner, (self.view, self.view))
            parts.append(seen.reshape(-1).astype(jnp.float32))
        return jnp.concatenate(parts)

    def _one_hot(self, cell: jax.Array) -> jax.Array:
        row, column = jnp.arange(self.rows), jnp.arange(self.columns)
        return jnp.concatenate([row == cell // self.columns, column == cell % self.columns]).astype(jnp.float32)
