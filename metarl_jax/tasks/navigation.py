"""A point on the plane and a hidden goal: the 2-D navigation of MAML, PEARL, MAESN and ProMP."""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.config import check, check_all, family
from metarl_jax.records import Reference, Spec, TaskDistribution
from metarl_jax.tasks.environment import Environment, episode_after_episode, one_of

CORNERS = ((-2.0, -2.0), (2.0, -2.0), (-2.0, 2.0), (2.0, 2.0))
PIXELS, GROUND, ORIGIN, GOAL, AGENT = 61, (236, 236, 232), (140, 170, 200), (0, 158, 115), (213, 94, 0)

Reward = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]  # (before [2], after [2], goal [2]) -> scalar


class PointTask(NamedTuple):
    """A hidden goal.

    Attributes:
      goal: ``[2]``, where to go.
    """

    goal: jax.Array


class PointState(NamedTuple):
    """Where the point is.

    Attributes:
      position: ``[2]``.
      arrived: the point has been at the goal and stays where it is.
      time: steps since the episode began.
    """

    position: jax.Array
    arrived: jax.Array
    time: jax.Array


class PointEnv(Environment):
    """A point that moves by up to ``speed`` an axis and step, from the origin; it sees its position, not the goal.

    Within ``tolerance`` of the goal on both axes it has arrived: it stays there and receives no more reward.
    """

    def __init__(self, reward: Reward, speed: float, horizon: int, reach: float, tolerance: float = 0.0):
        self.reward, self.speed, self.horizon, self.reach, self.tolerance = reward, speed, horizon, reach, tolerance
        self.spec = Spec(observation_shape=(2,), action_size=2, action_low=-speed, action_high=speed)

    def reset(self, noise, task: PointTask):
        return PointState(jnp.zeros(2), jnp.bool_(False), jnp.int32(0))

    def step(self, noise, state: PointState, action, task: PointTask):
        move = jnp.where(state.arrived, 0.0, jnp.clip(action, -self.speed, self.speed))
        position = state.position + move
        reward = jnp.where(state.arrived, 0.0, self.reward(state.position, position, task.goal))
        arrived = state.arrived | (jnp.abs(position - task.goal) < self.tolerance).all()
        return PointState(position, arrived, state.time + 1), reward, jnp.bool_(False), {}

    def observe(self, state: PointState, task: PointTask):
        return state.position

    def picture(self, task: PointTask, state: PointState | None = None) -> np.ndarray:
        """Draws the square from ``-reach`` to ``reach``, seen from above: origin, goal and point.

        Args:
          task: the goal.
          state: where the point is; None: not drawn.

        Returns:
          uint8 RGB ``[61, 61, 3]``.
        """
        image = np.full((PIXELS, PIXELS, 3), GROUND, np.uint8)
        points = [(np.zeros(2), ORIGIN), (np.asarray(task.goal), GOAL)]
        points += [] if state is None else [(np.asarray(state.position), AGENT)]
        for point, colour in points:
            column, row = np.clip(np.round((point / self.reach + 1) / 2 * (PIXELS - 1)), 1, PIXELS - 2).astype(int)
            image[PIXELS - 1 - row - 1 : PIXELS - 1 - row + 2, column - 1 : column + 2] = colour
        return image


def distance(position: jax.Array, goal: jax.Array) -> jax.Array:
    """Euclidean distance, with a gradient at 0.

    Args:
      position: ``[..., 2]``.
      goal: ``[..., 2]``.

    Returns:
      ``[...]``, at least 1e-10.
    """
    return jnp.sqrt(jnp.square(position - goal).sum(-1) + 1e-20)


def dense(before: jax.Array, after: jax.Array, goal: jax.Array) -> jax.Array:
    """Reward of MAML: minus the distance to the goal.

    Args:
      before: ``[..., 2]``, the position before the step; it does not matter.
      after: ``[..., 2]``, the position after it.
      goal: ``[..., 2]``.

    Returns:
      Rewards ``[...]``.
    """
    return -distance(after, goal)


def sparse(radius: float, before: jax.Array, after: jax.Array, goal: jax.Array) -> jax.Array:
    """Reward of PEARL: 1 minus the distance within ``radius`` of the goal, else 0.

    Args:
      radius: how near the point must be.
      before: ``[..., 2]``, the position before the step; it does not matter.
      after: ``[..., 2]``, the position after it.
      goal: ``[..., 2]``.

    Returns:
      Rewards ``[...]``.
    """
    left = distance(after, goal)
    return jnp.where(left <= radius, 1.0 - left, 0.0)


def progress(before: jax.Array, after: jax.Array, goal: jax.Array) -> jax.Array:
    """Reward of ProMP: by how much the distance fell, far enough into the goal's quadrant; else 0.

    That is at least 0.5 (L1) from the origin.

    Args:
      before: ``[..., 2]``, the position before the step.
      after: ``[..., 2]``, the position after it, which must be there.
      goal: ``[..., 2]``.

    Returns:
      Rewards ``[...]``.
    """
    inside = (after * goal > 0).all(-1) & (jnp.abs(after).sum(-1) >= 0.5)
    return jnp.where(inside, distance(before, goal) - distance(after, goal), 0.0)


@family("navigation")
def navigation(*, horizon: int = 100, num_episodes: int = 2) -> TaskDistribution:
    """MAML's point (Finn et al. 2017): the goal uniform on [-0.5, 0.5]^2, reward minus the distance.

    Moves are clipped to 0.1 an axis. Within 0.01 on both axes the point has arrived; MAML's episode ends there, ours
    goes on at reward 0 to the horizon, which is the same return.

    Args:
      horizon: steps in an episode.
      num_episodes: episodes in a trial.

    Returns:
      The distribution of goals.
    """
    env = PointEnv(dense, 0.1, checked("navigation", horizon, num_episodes), reach=0.75, tolerance=0.01)
    sample = lambda key: PointTask(jax.random.uniform(key, (2,), minval=-0.5, maxval=0.5))

    def references(tasks: PointTask, trial_steps: int, prior: PointTask | None = None) -> list[Reference]:
        still = -np.linalg.norm(np.asarray(tasks.goal, float), axis=-1) * horizon
        note = "standing still: agents that see their position only"
        return _both(_straight(env, tasks, trial_steps), _every_episode(still, horizon, trial_steps, "lower", note))

    return distribution("navigation", env, sample, num_episodes, references, mutate=_mutate_square)


@family("navigation-sparse")
def sparse_navigation(*, radius: float = 0.2, horizon: int = 20, num_episodes: int = 5) -> TaskDistribution:
    """Goals on a half circle of radius 1 (PEARL, Rakelly et al. 2019; MAESN, Gupta et al. 2018).

    Moves are clipped to 0.1 an axis. Only within ``radius`` of the goal there is reward, 1 minus the distance.

    Args:
      radius: how near to the goal the point must be to be paid.
      horizon: steps in an episode.
      num_episodes: episodes in a trial.

    Returns:
      The distribution of goals.
    """
    check(0 < radius < 1, "navigation-sparse: radius", radius, "must lie between 0 and 1")
    length = checked("navigation-sparse", horizon, num_episodes)
    env = PointEnv(functools.partial(sparse, radius), 0.1, length, reach=1.3)
    sample = lambda key: PointTask(_on_circle(jax.random.uniform(key, maxval=np.pi)))
    references = lambda tasks, trial_steps, prior=None: _both(_straight(env, tasks, trial_steps))
    return distribution("navigation-sparse", env, sample, num_episodes, references, mutate=_mutate_half_circle)


@family("navigation-corners")
def corner_navigation(
    *, reward: Literal["progress", "distance"] = "progress", horizon: int = 100, num_episodes: int = 2
) -> TaskDistribution:
    """ProMP's four corners (Rothfuss et al. 2019): the goal is one of (+-2, +-2), moves are clipped to 0.2 an axis.

    It starts at the origin (theirs anywhere within 0.2 of it, an axis).

    Args:
      reward: ``progress``, theirs: by how much the distance fell, paid only in the goal's quadrant and at least 0.5
        (L1) from the origin; ``distance``: minus the distance, everywhere.
      horizon: steps in an episode.
      num_episodes: episodes in a trial.

    Returns:
      The distribution of goals, a finite set.
    """
    function = progress if reward == "progress" else dense
    env = PointEnv(function, 0.2, checked("navigation-corners", horizon, num_episodes), reach=2.5)
    tasks = PointTask(jnp.asarray(CORNERS))
    kind = "lower" if reward == "progress" else "exact"  # around a quadrant's edge progress can be earned twice
    references = lambda some, trial_steps, prior=None: _both(_straight(env, some, trial_steps, kind))
    sample = functools.partial(one_of, tasks)
    made = distribution("navigation-corners", env, sample, num_episodes, references, lambda key, _: sample(key))
    return made._replace(tasks=tasks, optimum=made.optimum if kind == "exact" else None)


def checked(owner: str, horizon: int, num_episodes: int) -> int:
    """Checks the options that the families share.

    Args:
      owner: name of the family.
      horizon: steps in an episode.
      num_episodes: episodes in a trial.

    Returns:
      ``horizon``.

    Raises:
      ConfigError: either is below 1.
    """
    check_all(dict(horizon=horizon, num_episodes=num_episodes), lambda x: x >= 1, "must be at least 1", owner)
    return horizon


def distribution(name, env: PointEnv, sample, num_episodes: int, references, mutate) -> TaskDistribution:
    """A distribution of goals, with the return of going straight to them for its optimum.

    Args:
      name: of the distribution.
      env: the environment.
      sample: ``key -> task``.
      num_episodes: episodes in a trial.
      references: as in ``TaskDistribution``.
      mutate: ``(key, task) -> task``.

    Returns:
      The distribution.
    """
    steps = env.horizon * num_episodes
    known = functools.partial(optimum, env)
    return TaskDistribution(name, env, sample, env.horizon, steps, references=references, mutate=mutate, optimum=known)


def _both(*found: Reference | None) -> list[Reference]:
    return [reference for reference in found if reference is not None]


def _earned_straight(env: PointEnv, goal: jax.Array) -> jax.Array:
    """The goal known: full speed on each axis, ``x_t = sign(g) min(|g|, speed t)``; rewards ``[T]`` of an episode.

    At every step no point can be nearer to the goal, so this is optimal where reward falls with the distance.
    """
    path = jnp.sign(goal)[None] * jnp.minimum(jnp.abs(goal)[None], env.speed * jnp.arange(env.horizon + 1.0)[:, None])
    earned = env.reward(path[:-1], path[1:], goal[None])
    arrived = (jnp.abs(path[:-1] - goal[None]) < env.tolerance).all(-1)
    return jnp.where(arrived, 0.0, earned)


def _straight(env: PointEnv, tasks: PointTask, trial_steps: int, kind: str = "exact") -> Reference | None:
    earned = np.asarray(jax.vmap(functools.partial(_earned_straight, env))(tasks.goal), float)
    return _every_episode(earned.sum(axis=1), env.horizon, trial_steps, kind, "goal known: straight to it", "optimal")


def optimum(env: PointEnv, task: PointTask, trial_steps: int) -> jax.Array:
    """The return of going straight to the goal at full speed on each axis.

    Args:
      env: the environment.
      task: the goal.
      trial_steps: steps in a trial.

    Returns:
      A scalar; optimal where reward falls with the distance.
    """
    earned = _earned_straight(env, task.goal)
    return episode_after_episode(lambda steps: earned[:steps].sum(), env.horizon, trial_steps)


def _every_episode(
    total: np.ndarray, horizon: int, trial_steps: int, kind: str, note: str, role: str = "non_adaptive"
) -> Reference | None:
    """Reference of a behaviour that returns ``total [N]`` in every episode; None where the trial ends inside one."""
    episodes, rest = divmod(trial_steps, horizon)
    return None if rest else Reference(role, kind, total * episodes, np.full(episodes, total.mean()), note)


def _on_circle(angle: jax.Array) -> jax.Array:
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)])


def _mutate_square(key: jax.Array, task: PointTask) -> PointTask:
    """Moves the goal by about 0.1, within the square."""
    return PointTask(jnp.clip(task.goal + 0.1 * jax.random.normal(key, (2,)), -0.5, 0.5))


def _mutate_half_circle(key: jax.Array, task: PointTask) -> PointTask:
    """Moves the goal by about 0.2 along the half circle."""
    angle = jnp.arctan2(task.goal[1], task.goal[0]) + 0.2 * jax.random.normal(key)
    return PointTask(_on_circle(jnp.clip(angle, 0.0, np.pi)))
