"""The base class of our environments: gymnax's face, randomness drawn in bulk, the task as an argument."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.records import Key, PyTree, Spec, State, Task


class Environment:
    """A gymnax 1.x environment whose params ARE the task.

    A subclass sets ``spec`` and ``horizon`` and writes ``begin``, ``advance`` and ``observe`` (``draw`` where it is
    stochastic; ``picture`` where it can be drawn). gymnax's ``reset_env``, ``step_env``, ``reset``, ``step`` and
    spaces follow from these. The difference from gymnax: noise is an argument, so that a trial loop may draw it for
    all tasks and steps in one call (a key split for every environment costs seven times as much on a CPU).
    States have a field ``time``, the number of steps since the episode began. ``random_start``: where an episode begins
    is drawn (never what the task is). ``view_moves``: pictures follow the agent, so that none shows where it was.
    """

    spec: Spec
    horizon: int
    random_start: bool = False
    view_moves: bool = False

    def draw(self, key: Key, shape: tuple[int, ...]) -> PyTree:
        """Noise for ``shape`` steps at once; nothing for a deterministic environment."""
        del key, shape
        return ()

    def begin(self, noise: PyTree, task: Task) -> State:
        """The first state of an episode."""
        raise NotImplementedError

    def advance(
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

    # gymnax's face.

    def reset_env(self, key: Key, params: Task) -> tuple[jax.Array, State]:
        state = self.begin(self.draw(key, ()), params)
        return self.observe(state, params), state

    def step_env(self, key: Key, state: State, action: jax.Array, params: Task):
        state, reward, terminated, info = self.advance(self.draw(key, ()), state, action, params)
        return self.observe(state, params), state, reward, terminated, info

    @functools.partial(jax.jit, static_argnames=("self",))
    def reset(self, key: Key, params: Task) -> tuple[jax.Array, State]:
        return self.reset_env(key, params)

    @functools.partial(jax.jit, static_argnames=("self",))
    def step(self, key: Key, state: State, action: jax.Array, params: Task):
        """gymnax's auto-resetting step: ``(obs, state, reward, terminated, truncated, info)``."""
        step_key, reset_key = jax.random.split(key)
        obs, state, reward, terminated, info = self.step_env(step_key, state, action, params)
        truncated = self.is_truncated(state, params) & ~terminated
        info = info | {"terminated": terminated, "truncated": truncated, "final_observation": obs}
        first = self.reset_env(reset_key, params)
        obs, state = jax.tree.map(lambda a, b: jnp.where(terminated | truncated, a, b), first, (obs, state))
        return obs, state, reward, terminated, truncated, info

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def num_actions(self) -> int:
        return self.spec.num_actions or self.spec.action_size

    def action_space(self, params: Task = None):
        from gymnax.environments import spaces  # loads pandas and matplotlib: only when asked for

        if self.spec.num_actions is not None:
            return spaces.Discrete(self.spec.num_actions)
        shape = (self.spec.action_size,)
        low, high = (jnp.broadcast_to(jnp.asarray(x), shape) for x in (self.spec.action_low, self.spec.action_high))
        return spaces.Box(low, high, shape)

    def observation_space(self, params: Task = None):
        from gymnax.environments import spaces

        return spaces.Box(-jnp.inf, jnp.inf, self.spec.observation_shape)


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
