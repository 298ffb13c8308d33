"""The tabular grid worlds of Learned Policy Gradient (Oh et al. 2020): objects that pay, end episodes and come back."""

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax import planning
from metarl_jax.config import check, check_all, family
from metarl_jax.records import Reference, Spec, TaskDistribution
from metarl_jax.tasks.environment import Environment
from metarl_jax.tasks.layouts import open_grid

MOVES = ((0, 0), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))  # stay, north, clockwise
MOST_WORK = 10**8  # numbers in the backward induction of a task: half a second
FLOOR, GOOD, BAD, AGENT = (236, 236, 232), (0, 158, 115), (66, 120, 180), (213, 94, 0)


class Kind(NamedTuple):
    """A kind of grid worlds.

    Attributes:
      size: cells a side.
      horizon: steps in an episode.
      num_episodes: whole episodes in a trial.
      objects: of each (reward, probability that collecting it ends the episode, probability a step that it comes back).
    """

    size: int
    horizon: int
    num_episodes: int
    objects: tuple[tuple[float, float, float], ...]


KINDS = {  # after Oh et al.'s appendix A, but for num_episodes
    "dense": Kind(11, 500, 1, ((1.0, 0.0, 0.05),) * 2 + ((-1.0, 0.5, 0.1), (-1.0, 0.0, 0.5))),
    "sparse": Kind(13, 50, 10, ((1.0, 1.0, 0.0), (-1.0, 1.0, 0.0))),
    "long": Kind(11, 1000, 1, ((1.0, 0.0, 0.01),) * 2 + ((-1.0, 0.5, 1.0),) * 2),
    "longer": Kind(9, 2000, 1, ((1.0, 0.1, 0.01),) * 2 + ((-1.0, 0.8, 1.0),) * 3),
    "long-dense": Kind(11, 2000, 1, ((1.0, 0.0, 0.005),) * 4),
    "random": Kind(11, 500, 1, ((0.0, 0.0, 0.0),) * 4),  # each task its own
}


class ObjectsTask(NamedTuple):
    """The objects of a grid world.

    Attributes:
      position: ``[m]``, cells, row-major int32; ``size * size``: there is no such object.
      reward: ``[m]``, what collecting one pays.
      end: ``[m]``, probability that collecting one ends the episode.
      respawn: ``[m]``, probability a step that one comes back.
    """

    position: jax.Array
    reward: jax.Array
    end: jax.Array
    respawn: jax.Array


class ObjectsState(NamedTuple):
    """Where the agent is, and which objects are.

    Attributes:
      cell: row-major int32.
      present: bool ``[m]``, which objects can be collected; all at the start (those that do not exist too).
      time: steps since the episode began.
    """

    cell: jax.Array
    present: jax.Array
    time: jax.Array


class ObjectsEnv(Environment):
    """Nine actions: stay, and to the eight cells around; a move off the grid is made along the other axis alone.

    An object that is present where a step leads to (or stays) pays, may end the episode, and is gone; then each object
    that is absent, this one too, comes back with its chance. One that comes back under the agent is collected by a
    step that ends there, so by staying. Episodes begin in any cell, with all objects, and last ``horizon`` steps.

    The observation is the cell, one-hot, and a number an object: 1 where it is present. With ``table`` it is the
    product of both, one-hot.
    """

    random_start = True

    def __init__(self, size: int, horizon: int, num_objects: int, table: bool):
        self.size, self.horizon, self.num_objects, self.table = size, horizon, num_objects, table
        self.num_cells = size * size
        width = self.num_cells * 2**num_objects if table else self.num_cells + num_objects
        self.spec = Spec(observation_shape=(width,), num_actions=len(MOVES))
        self.next_state = open_grid(size, MOVES)

    def sample_noise(self, key, shape):
        """Where the next episode may begin, whether this one ends, which objects come back."""
        return jax.random.uniform(key, (*shape, 2 + self.num_objects))

    def reset(self, noise, task: ObjectsTask):
        cell = jnp.minimum((noise[0] * self.num_cells).astype(jnp.int32), self.num_cells - 1)
        return ObjectsState(cell, jnp.ones(self.num_objects, bool), jnp.int32(0))

    def step(self, noise, state: ObjectsState, action, task: ObjectsTask):
        cell = jnp.asarray(self.next_state)[state.cell, action]
        collected = state.present & (task.position == cell)
        reward = jnp.where(collected, task.reward, 0.0).sum()
        terminated = (collected & (noise[1] < task.end)).any()
        present = (state.present & ~collected) | (noise[2:] < task.respawn)
        return ObjectsState(cell, present, state.time + 1), reward, terminated, {}

    def observe(self, state: ObjectsState, task: ObjectsTask) -> jax.Array:
        present = state.present & (task.position < self.num_cells)
        if self.table:
            which = state.cell * 2**self.num_objects + (present * 2 ** jnp.arange(self.num_objects)).sum()
            return (jnp.arange(self.num_cells * 2**self.num_objects) == which).astype(jnp.float32)
        return jnp.concatenate([jnp.arange(self.num_cells) == state.cell, present]).astype(jnp.float32)

    def picture(self, task: ObjectsTask, state: ObjectsState | None = None) -> np.ndarray:
        """Draws objects that pay in green, that cost in blue, the more the darker; those that are absent paler.

        Args:
          task: the objects.
          state: the agent's cell, and which objects are present; None: all are, and no agent.

        Returns:
          uint8 RGB ``[size, size, 3]``.
        """
        image = np.full((self.num_cells, 3), FLOOR, float)
        present = np.ones(self.num_objects, bool) if state is None else np.asarray(state.present)
        for cell, reward, here in zip(np.asarray(task.position), np.asarray(task.reward), present, strict=True):
            if cell < self.num_cells:
                share = (0.2 + 0.8 * min(1.0, abs(float(reward)))) * (1.0 if here else 0.3)
                image[cell] += share * (np.asarray(GOOD if reward > 0 else BAD) - image[cell])
        if state is not None:
            image[int(state.cell)] = AGENT
        return image.reshape(self.size, self.size, 3).astype(np.uint8)


@family("grids")
def grids(
    *,
    kind: Literal["dense", "sparse", "long", "longer", "long-dense", "random"] = "dense",
    size: int | None = None,
    horizon: int | None = None,
    num_episodes: int | None = None,
    num_objects: int = 4,
    end: tuple[float, float] | None = None,
    respawn: tuple[float, float] | None = None,
    observation: Literal["cell", "table"] = "cell",
) -> TaskDistribution:
    """The tabular grid worlds that Learned Policy Gradient was meta-trained and tested on (Oh et al. 2020).

    Objects pay when they are collected, may end the episode, and come back. What differs between tasks is where they
    are.

    Five kinds are after the paper's tabular ones, on open squares: theirs may have walls, and one code that follows it
    has ``longer`` on 7 x 9 cells with five objects that cost. Nine actions are one of the paper's two modes (the other
    has nine more, to collect from a cell beside). The sixth kind, ``random``, is ours: each task has its own number of
    objects (1 to ``num_objects``, equally likely), rewards ~ U[-1, 1], chances to end and to come back log-uniform.

    The paper's agents see a table's row, one for each cell and set of present objects, which is
    ``observation="table"``. By default ours see the two apart, in numbers that are about ``2^m`` times fewer: what is
    linear in them is a weaker agent than a table.

    References: optimal, the task known, by backward induction over cells and sets of objects; random, exactly (the
    renewal equation). A trial of up to ``horizon`` steps (the default but for ``sparse``) needs no more, nor one where
    nothing ends an episode. In a longer one the optimum depends on the episode's age too: exact where that is small
    enough (``sparse``), else a lower and an upper bound from the best gain a step: 0.4 to 4 % apart at four horizons.
    They take 0.02 to 0.6 s a task on a CPU core.

    Args:
      kind: which of them.
      size: cells a side; None for the kind's.
      horizon: steps in an episode; None for the kind's.
      num_episodes: whole episodes in a trial; more fit in where some end early. None: 10 for ``sparse``, else 1.
      num_objects: the most that a task of the kind ``random`` has.
      end, respawn: between what the chances of its objects lie, that collecting one ends the episode, and a step that
        one comes back; None: 0.001 and 1.
      observation: ``cell`` (the cell one-hot, and which objects are present) or ``table`` (their product, one-hot).

    Returns:
      The distribution of grid worlds of that kind.
    """
    given = {"size": size, "horizon": horizon, "num_episodes": num_episodes}
    chosen = KINDS[kind]._replace(**{name: value for name, value in given.items() if value is not None})
    counts = dict(horizon=chosen.horizon, num_episodes=chosen.num_episodes, num_objects=num_objects)
    check_all(counts, lambda x: x >= 1, "must be at least 1", "grids")
    check(chosen.size >= 2, "grids: size", chosen.size, "must be at least 2")
    check(kind == "random" or num_objects == 4, "grids: num_objects", num_objects, "only for kind='random'")
    check(num_objects <= 10, "grids: num_objects", num_objects, "must be at most 10")
    spans = dict(end=end, respawn=respawn)
    check_all(spans, lambda x: kind == "random" or x is None, "only for kind='random'", "grids")
    ordered = lambda x: x is None or 0 < x[0] <= x[1] <= 1
    check_all(spans, ordered, "give the least and the greatest chance, above 0 and at most 1", "grids")
    count = num_objects if kind == "random" else len(chosen.objects)
    cells = chosen.size**2
    check(count < cells, "grids: size", chosen.size, f"must have more cells than the {count} objects")
    env = ObjectsEnv(chosen.size, chosen.horizon, count, observation == "table")

    def sample(key):
        place_key, count_key, reward_key, end_key, respawn_key = jax.random.split(key, 5)
        position = jax.random.permutation(place_key, cells)[:count].astype(jnp.int32)
        if kind != "random":
            return ObjectsTask(position, *jnp.asarray(chosen.objects, jnp.float32).T)
        exists = jnp.arange(count) <= jax.random.randint(count_key, (), 0, count)
        chance = lambda key, x: 10.0 ** jax.random.uniform(key, (count,), float, *np.log10(x or (1e-3, 1.0)))
        reward = jax.random.uniform(reward_key, (count,), minval=-1.0, maxval=1.0)
        chances = chance(end_key, end), chance(respawn_key, respawn)
        return ObjectsTask(jnp.where(exists, position, cells), reward, *chances)

    def mutate(key, task: ObjectsTask):
        """One of the objects in another cell."""
        object_key, cell_key = jax.random.split(key)
        moved = jnp.argmax(jnp.where(task.position < cells, jax.random.uniform(object_key, (count,)), -1.0))
        taken = (jnp.arange(cells)[:, None] == task.position[None]).any(axis=1)
        cell = jnp.argmax(jnp.where(taken, -1.0, jax.random.uniform(cell_key, (cells,))))
        return task._replace(position=task.position.at[moved].set(cell.astype(jnp.int32)))

    steps = chosen.horizon * chosen.num_episodes
    planned = steps <= chosen.horizon or _work(env, steps) <= MOST_WORK
    return TaskDistribution(
        name="grids",
        env=env,
        sample=sample,
        horizon=chosen.horizon,
        trial_steps=steps,
        references=lambda tasks, trial_steps, prior=None: references(env, tasks, trial_steps),
        mutate=mutate,
        optimum=functools.partial(optimum, env) if planned else None,
    )


def _work(env: ObjectsEnv, trial_steps: int) -> int:
    """Numbers in the backward induction of a task whose episodes are cut short."""
    return env.horizon * env.num_cells * 2**env.num_objects * trial_steps


def optimum(env: ObjectsEnv, task: ObjectsTask, trial_steps: int) -> jax.Array:
    """The optimal expected return of a trial, by backward induction over cells and sets of objects.

    Args:
      env: the environment.
      task: the objects.
      trial_steps: steps in a trial.

    Returns:
      A scalar.
    """
    return planning.optimal_collection(env.next_state, planning.Objects(*task), trial_steps, env.horizon)[-1]


def references(env: ObjectsEnv, tasks: ObjectsTask, trial_steps: int) -> list[Reference]:
    """Optimal and random play of each task, for trials of any length.

    Args:
      env: the environment.
      tasks: leaves ``[N, ...]``.
      trial_steps: steps in a trial.

    Returns:
      The optimum (exact, or a lower and an upper bound) and random play, returns ``[N]``.
    """
    table, horizon, objects = env.next_state, env.horizon, planning.Objects(*tasks)

    def each(solve) -> Any:  # a task after the other: a task's arrays stay in the cache
        return jax.tree.map(lambda x: np.asarray(x, np.float64), jax.jit(lambda o: jax.lax.map(solve, o))(objects))

    best = lambda steps: each(lambda one: planning.optimal_collection(table, one, steps, horizon))
    earned, alive = each(lambda one: planning.random_episode(table, one, horizon))
    drift = planning.renewed(earned, alive, trial_steps)[:, -1]
    episodes, rest = divmod(trial_steps, horizon)
    lasting = not np.asarray(tasks.end).any()
    repeated = lambda total: np.full(episodes, total.mean() / episodes) if lasting and not rest else None
    random = Reference("random", "exact", drift, repeated(drift), "uniform over the actions")
    note = "backward induction"
    if trial_steps <= horizon or lasting:
        known = best(min(trial_steps, horizon))
        total = episodes * known[:, -1] + known[:, rest]
        return [Reference("optimal", "exact", total, repeated(total), note), random]
    if _work(env, trial_steps) <= MOST_WORK:
        return [Reference("optimal", "exact", best(trial_steps)[:, -1], None, note), random]
    gain, low, high = each(lambda one: planning.collecting_gain(table, one, horizon))
    note = "the best gain a step, and the least or most that its relative values can be worth"
    return [
        Reference("optimal", "lower", np.maximum(trial_steps * gain + low, drift), None, note),
        Reference("optimal", "upper", trial_steps * gain + high, None, note),
        random,
    ]
