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
    ``time``, the number of steps since the episode began. ``random_start``: where an episode begins is drawn (never
    what the task is). ``view_moves``: pictures follow the agent, so that none shows where it was.
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
        """The task, and the agent in it when ``state`` is given, as uint8 RGB ``[rows, columns, 3]``."""
        raise NotImplementedError

    def is_truncated(self, state: State, task: Task) -> jax.Array:
        del task
        return state.time >= self.horizon

    def as_gymnax(self) -> GymnaxInterface:
        """This environment with gymnax 1.x's interface: ``reset(key, params)``, and a ``step(key, state, action,
        params)`` that restarts an episode where it ends; its params are the task."""
        return GymnaxInterface(self)


def one_hot_cell(cell: jax.Array, rows: int, columns: int) -> jax.Array:
    """A grid position, one-hot by row and by column: ``[rows + columns]``."""
    # Two comparisons with one range: a concatenation would keep XLA's CPU backend from vectorising the loop.
    place = jnp.arange(rows + columns)
    return ((place == cell // columns) | (place == rows + cell % columns)).astype(jnp.float32)


def one_of(tasks: Task, key: Key) -> Task:
    """One task of a finite set ``[N, ...]``, each row equally likely."""
    count = jax.tree.leaves(tasks)[0].shape[0]
    index = jax.random.randint(key, (), 0, count)
    return jax.tree.map(lambda x: x[index], tasks)


def episode_after_episode(value: Callable[[int], jax.Array], horizon: int, trial_steps: int) -> jax.Array:
    """What a trial earns whose episodes all last ``horizon`` steps and earn ``value(t)`` in their first ``t``, where no
    more of them are lived."""
    episodes, rest = divmod(trial_steps, horizon)
    return episodes * value(horizon) + value(rest)


def strong(tree: PyTree) -> PyTree:
    """Python numbers and weakly typed arrays as arrays of their type, so that every step returns the same types."""
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, jnp.result_type(x)), tree)


def another_of(tasks: Task, key: Key, task: Task) -> Task:
    """One of the other tasks of a finite set, leaves ``[N, ...]``: each row that is not ``task`` equally likely;
    ``task`` itself where it holds no other."""
    count = jax.tree.leaves(tasks)[0].shape[0]
    equal = jax.tree.map(lambda many, one: (many == one[None]).reshape(count, -1).all(axis=1), tasks, task)
    same = jnp.stack(jax.tree.leaves(equal)).all(axis=0)
    index = jax.random.categorical(key, jnp.where(same, -jnp.inf, 0.0))
    return jax.tree.map(lambda leaf: leaf[index], tasks)
