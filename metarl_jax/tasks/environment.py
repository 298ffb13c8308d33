"""The base class of our environments: randomness drawn in bulk, the task as an argument."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.records import Key, PyTree, Spec, State, Task
from metarl_jax.tasks.as_gymnax import GymnaxInterface


class Environment:
    """An environment whose task is an argument.

    A subclass sets ``spec`` and ``horizon`` and writes ``reset``, ``step`` and ``observe`` (``sample_noise`` where it
    is stochastic; ``picture`` where it can be drawn). ``as_gymnax()`` has gymnax's interface. The difference from
    gymnax: noise is an argument, so that a trial loop may draw it for all tasks and steps in one call (a key split for
    every environment costs seven times as much on a CPU), and an episode's end does not restart it. States have a field
    ``time``, the number of steps since the episode began.

    Attributes:
      spec: shapes of observations and actions.
      horizon: longest episode, in steps.
      random_start: where an episode begins is random (never what the task is).
      view_moves: pictures follow the agent, so that none shows where it was.
    """

    spec: Spec
    horizon: int
    random_start: bool = False
    view_moves: bool = False

    def sample_noise(self, key: Key, shape: tuple[int, ...]) -> PyTree:
        """Noise for ``shape`` steps at once; nothing for a deterministic environment."""
        del key, shape
        return ()

    def reset(self, noise: PyTree, task: Task) -> State:
        """The first state of an episode."""
        raise NotImplementedError

    def step(
        self, noise: PyTree, state: State, action: jax.Array, task: Task
    ) -> tuple[State, jax.Array, jax.Array, dict[str, Any]]:
        """``(next state, reward, terminated, info)``; ``info["mean_reward"]``: the reward's expectation, if known."""
        raise NotImplementedError

    def observe(self, state: State, task: Task) -> jax.Array:
        """What the agent sees of ``state``, of shape ``spec.observation_shape``."""
        raise NotImplementedError

    def picture(self, task: Task, state: State | None = None) -> np.ndarray:
        """Draws the task, and the agent in it.

        Args:
          task: the task.
          state: the environment's state; None: the task alone.

        Returns:
          uint8 RGB ``[rows, columns, 3]``.
        """
        raise NotImplementedError

    def is_truncated(self, state: State, task: Task) -> jax.Array:
        del task
        return state.time >= self.horizon

    def as_gymnax(self) -> GymnaxInterface:
        """This environment with gymnax 1.x's interface; its params are the task.

        Returns:
          An object with ``reset(key, params)``, and a ``step(key, state, action, params)`` that restarts an episode
          where it ends.
        """
        return GymnaxInterface(self)


def one_hot_cell(cell: jax.Array, rows: int, columns: int) -> jax.Array:
    """A grid position, one-hot by row and by column.

    Args:
      cell: row-major index.
      rows: of the grid.
      columns: of the grid.

    Returns:
      float32 ``[rows + columns]``.
    """
    # Two comparisons with one range: a concatenation would keep XLA's CPU backend from vectorising the loop.
    place = jnp.arange(rows + columns)
    return ((place == cell // columns) | (place == rows + cell % columns)).astype(jnp.float32)


def one_of(tasks: Task, key: Key) -> Task:
    """Samples a task of a finite set, each row equally likely.

    Args:
      tasks: leaves ``[N, ...]``.
      key: a random key.

    Returns:
      One task.
    """
    count = jax.tree.leaves(tasks)[0].shape[0]
    index = jax.random.randint(key, (), 0, count)
    return jax.tree.map(lambda x: x[index], tasks)


def episode_after_episode(value: Callable[[int], jax.Array], horizon: int, trial_steps: int) -> jax.Array:
    """The return of a trial whose episodes all last ``horizon`` steps.

    Args:
      value: return of the first ``t`` steps of an episode of which no more are played, ``t -> scalar``.
      horizon: steps in an episode.
      trial_steps: steps in a trial; its last episode may be cut short.

    Returns:
      A scalar.
    """
    episodes, rest = divmod(trial_steps, horizon)
    return episodes * value(horizon) + value(rest)


def strong(tree: PyTree) -> PyTree:
    """Makes Python numbers and weakly typed arrays arrays of their type, so that every step returns the same types.

    Args:
      tree: a pytree of arrays and numbers.

    Returns:
      The same, every leaf an array that is not weakly typed.
    """
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, jnp.result_type(x)), tree)


def another_of(tasks: Task, key: Key, task: Task) -> Task:
    """Samples another task of a finite set: each row that is not ``task`` is equally likely.

    Args:
      tasks: leaves ``[N, ...]``.
      key: a random key.
      task: the one to differ from.

    Returns:
      The other task; ``task`` itself where the set holds no other.
    """
    count = jax.tree.leaves(tasks)[0].shape[0]
    equal = jax.tree.map(lambda many, one: (many == one[None]).reshape(count, -1).all(axis=1), tasks, task)
    same = jnp.stack(jax.tree.leaves(equal)).all(axis=0)
    index = jax.random.categorical(key, jnp.where(same, -jnp.inf, 0.0))
    return jax.tree.map(lambda leaf: leaf[index], tasks)
