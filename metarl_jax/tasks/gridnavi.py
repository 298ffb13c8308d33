"""VariBAD's grid with a hidden goal (Zintgraf et al. 2020), of any size."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax import planning
from metarl_jax.config import check, check_all, family
from metarl_jax.records import Reference, Spec, TaskDistribution
from metarl_jax.tasks.environment import Environment, episode_after_episode, one_hot_cell, one_of
from metarl_jax.tasks.layouts import open_grid
from metarl_jax.tasks.priors import of_these, prior_of

MOVES = ((0, 0), (-1, 0), (0, 1), (1, 0), (0, -1))  # stay, up, right, down, left, in (row, column)
MOST_GOALS = 63  # that the planner over beliefs can hold: all of sizes up to 8
FLOOR, GOAL, AGENT = (236, 236, 232), (0, 158, 115), (213, 94, 0)


class GridTask(NamedTuple):
    """A hidden goal.

    Attributes:
      goal: a cell, row-major int32.
    """

    goal: jax.Array


class GridState(NamedTuple):
    """Where the agent is.

    Attributes:
      cell: row-major int32.
      time: steps since the episode began.
      owed: sum of rewards that are still to be paid; nothing where each is paid at once.
    """

    cell: jax.Array
    time: jax.Array
    owed: Any = ()


class GridEnv(Environment):
    """Episodes of ``horizon`` steps from cell (0, 0); +1 on the goal, -0.1 elsewhere; the goal does not end them.

    The observation is the position, one-hot by row and by column; with ``goal_visible`` the goal's likewise. With
    ``pay_every`` = k rewards are summed, and paid after each k-th step of an episode and after its last.
    """

    def __init__(self, size: int, horizon: int, goal_visible: bool = False, pay_every: int = 1):
        self.size, self.horizon, self.goal_visible, self.pay_every = size, horizon, goal_visible, pay_every
        self.spec = Spec(observation_shape=((4 if goal_visible else 2) * size,), num_actions=len(MOVES))
        self.next_state = grid_table(size)

    def reset(self, noise, task: GridTask):
        return GridState(jnp.int32(0), jnp.int32(0), () if self.pay_every == 1 else jnp.float32(0.0))

    def step(self, noise, state: GridState, action, task: GridTask):
        cell, time = jnp.asarray(self.next_state)[state.cell, action], state.time + 1
        reward = jnp.where(cell == task.goal, 1.0, -0.1)
        if self.pay_every == 1:
            return GridState(cell, time), reward, jnp.bool_(False), {}
        owed = state.owed + reward
        pays = (time % self.pay_every == 0) | (time == self.horizon)
        paid = jnp.where(pays, owed, 0.0)
        return GridState(cell, time, owed - paid), paid, jnp.bool_(False), {"mean_reward": paid}

    def observe(self, state: GridState, task: GridTask) -> jax.Array:
        here = one_hot_cell(state.cell, self.size, self.size)
        if not self.goal_visible:
            return here
        return jnp.concatenate([here, one_hot_cell(task.goal, self.size, self.size)])

    def picture(self, task: GridTask, state: GridState | None = None) -> np.ndarray:
        """Draws the grid, one pixel a cell: the goal, and the agent's cell.

        Args:
          task: the goal.
          state: where the agent is; None: not drawn.

        Returns:
          uint8 RGB ``[size, size, 3]``.
        """
        image = np.full((self.size * self.size, 3), FLOOR, np.uint8)
        image[int(task.goal)] = GOAL
        if state is not None:
            image[int(state.cell)] = AGENT
        return image.reshape(self.size, self.size, 3)


def grid_table(size: int) -> np.ndarray:
    """Successors in an open grid; moves off it mean staying.

    Args:
      size: cells a side.

    Returns:
      ``next_state [cells, actions]``, int32.
    """
    return open_grid(size, MOVES)


@family("gridnavi")
def gridnavi(
    *, size: int = 5, horizon: int = 15, num_episodes: int = 4, goal_visible: bool = False, pay_every: int = 1
) -> TaskDistribution:
    """The finite set of all goals outside the start's 2 x 2 corner, equally likely.

    References (exact where not said otherwise): goal known; Bayes-optimal control by dynamic programming over beliefs;
    the best without memory between episodes; posterior sampling, simulated; random. With more than 63 goals
    only the goal known and random; so it is where rewards are paid late, which tell of the goal later. Where the goal
    is seen, the first three are one.

    Args:
      size: cells a side.
      horizon: steps in an episode.
      num_episodes: episodes in a trial.
      goal_visible: the observation also has the goal, one-hot by row and by column.
      pay_every: rewards are summed, and paid every so many steps of an episode and at its end; 1 is at once.

    Returns:
      The distribution of goals, a finite set.
    """
    check(size >= 3, "gridnavi: size", size, "must be at least 3")
    counts = dict(horizon=horizon, num_episodes=num_episodes, pay_every=pay_every)
    check_all(counts, lambda x: x >= 1, "must be at least 1", "gridnavi")
    tasks = GridTask(jnp.array([c for c in range(size * size) if c // size > 1 or c % size > 1], jnp.int32))
    env = GridEnv(size, horizon, goal_visible, pay_every)

    def mutate(key, task: GridTask):
        """A goal next to the old one (the old one where that would leave the set)."""
        moved = jnp.asarray(env.next_state)[task.goal, jax.random.randint(key, (), 1, len(MOVES))]
        return GridTask(jnp.where((moved // size > 1) | (moved % size > 1), moved, task.goal))

    return TaskDistribution(
        name="gridnavi",
        env=env,
        sample=functools.partial(one_of, tasks),
        horizon=horizon,
        trial_steps=horizon * num_episodes,
        tasks=tasks,
        references=functools.partial(references, env, tasks),
        mutate=mutate,
        optimum=functools.partial(optimum, env),
    )


def optimum(env: GridEnv, task: GridTask, trial_steps: int) -> jax.Array:
    """The return of going straight to the goal, and staying there.

    Args:
      env: the environment.
      task: the goal.
      trial_steps: steps in a trial.

    Returns:
      A scalar.
    """
    distance = jnp.maximum(task.goal // env.size + task.goal % env.size, 1)

    def earned(steps: int):
        paid = steps if steps == env.horizon else steps - steps % env.pay_every
        there = jnp.maximum(paid - distance + 1, 0)
        return there - 0.1 * (paid - there)

    return episode_after_episode(earned, env.horizon, trial_steps)


def references(
    env: GridEnv, own: GridTask, tasks: GridTask, trial_steps: int, prior: GridTask | None = None
) -> list[Reference]:
    """Reference values for trials of whole episodes; none for others.

    Args:
      env: the environment.
      own: the distribution's own tasks, leaves ``[G, ...]``.
      tasks: leaves ``[N, ...]``.
      trial_steps: steps in a trial.
      prior: leaves ``[M, ...]``, each row equally likely; None: ``own``.

    Returns:
      Optimal and random play of each task, and where they can be planned what is Bayes-optimal and not adaptive, and
      posterior sampling.
    """
    episodes, rest = divmod(trial_steps, env.horizon)
    if rest:
        return []
    prior = own if prior is None else prior
    goals, repeat = np.asarray(tasks.goal), np.ones(episodes)
    known = planning.known_goal_values(env.next_state, goals, env.horizon)[:, env.horizon, 0]
    random = planning.random_return(env.next_state, 0, goals, env.horizon)
    simple = [
        Reference("optimal", "exact", known * episodes, known.mean() * repeat, "goal known"),
        Reference("random", "exact", random * episodes, random.mean() * repeat, "uniform over the actions"),
    ]
    if env.goal_visible:
        return [*simple, *(simple[0]._replace(role=role, note="goal seen") for role in ("bayes", "non_adaptive"))]
    candidates, weight, _ = prior_of(prior)
    if len(weight) > MOST_GOALS or env.pay_every > 1:
        return simple
    solve, grid = planning.hidden_goal_return, (env.next_state, 0, candidates.goal, env.horizon)
    sampled, error = planning.posterior_sampling_return(*grid, episodes, weight=weight)
    planned = [
        _searched("bayes", solve(*grid, episodes, weight=weight), 1, "dynamic programming over beliefs"),
        Reference("posterior_sampling", "estimate", sampled.sum(), sampled, f"simulated, s.e. {np.sum(error):.3f}"),
        _searched("non_adaptive", solve(*grid, 1, weight=weight), episodes, "the best search of one episode, repeated"),
    ]
    return [*simple, *of_these(planned, tasks, prior)]


def _searched(role: str, solution: planning.HiddenGoal, times: int, note: str) -> Reference:
    """What the search found, as many times; exact where its two bounds are one."""
    by_episode = np.tile(solution.by_episode, times)
    if np.isclose(solution.upper, solution.by_episode.sum()):
        return Reference(role, "exact", by_episode.sum(), by_episode, note)
    note = f"beam search over beliefs; at most {times * solution.upper:.3f}"
    return Reference(role, "lower", by_episode.sum(), by_episode, note)
