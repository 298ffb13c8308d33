"""Walking machines (``metarl_jax.physics``) whose direction, target speed, dynamics, motors or slope are the task."""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.config import check, check_all, family
from metarl_jax.physics import (
    BODIES,
    Body,
    Motion,
    Physics,
    clip_dynamics,
    control_step,
    picture,
    randomize_dynamics,
    standard,
)
from metarl_jax.records import Key, Spec, TaskDistribution
from metarl_jax.tasks.environment import Environment, another_of, one_of
from metarl_jax.tasks.stored import stored_references

SEEN_SPEED = 10.0  # speeds are seen in units of so many m/s or rad/s
BodyName = Literal["half-cheetah", "walker2d", "hopper"]


class WalkerTask(NamedTuple):
    """A machine, and what it is to do.

    Attributes:
      physics: the machine and its ground.
      goal: the weight of forward speed (1 forward, -1 backward), or the speed asked for (m/s).
    """

    physics: Physics
    goal: jax.Array


class WalkerState(NamedTuple):
    """A machine's motion.

    Attributes:
      motion: positions and velocities.
      fallen: it lies where it fell, and receives no more reward.
      time: control steps since the episode began.
    """

    motion: Motion
    fallen: jax.Array
    time: jax.Array


class Rules(NamedTuple):
    """Rewards and falls of a kind of machine.

    Attributes:
      pay: reward for the mean forward speed of a control step, ``(speed, goal) -> scalar``.
      effort: cost of a squared control.
      alive: reward a step until it falls.
      lowest: height of the torso below which it has fallen, m.
      highest: height of the torso above which it has fallen, m.
      steepest: pitch of the torso beyond which it has fallen, rad.
      spread: half the width of the uniform noise added to each position and velocity of the standard pose as an episode
        begins.
    """

    pay: Callable[[jax.Array, jax.Array], jax.Array]
    effort: float
    alive: float = 0.0
    lowest: float = -np.inf
    highest: float = np.inf
    steepest: float = np.inf
    spread: float = 0.1


class WalkerEnv(Environment):
    """Walking machines; the observation is all positions but x, then all speeds, these divided by ``SEEN_SPEED``.

    The order is that of MuJoCo's benchmarks.
    ----

    Who falls stays where it fell at reward 0 until the horizon. In MuJoCo's benchmarks the episode ends there, which is
    the same return; in a trial of so many steps it would pay to fall and start again.
    """

    random_start = True
    view_moves = True

    def __init__(self, body: Body, rules: Rules, horizon: int):
        self.body, self.rules, self.horizon = body, rules, horizon
        self.size = body.num_hinges + 3
        self.spec = Spec(observation_shape=(2 * self.size - 1,), action_size=body.num_hinges)

    def sample_noise(self, key: Key, shape: tuple[int, ...]) -> jax.Array:
        return jax.random.uniform(key, (*shape, 2 * self.size), minval=-1.0, maxval=1.0)

    def reset(self, noise: jax.Array, task: WalkerTask) -> WalkerState:
        position, velocity = jnp.split(self.rules.spread * noise, 2)
        motion = Motion(position.at[1].add(self.body.height), velocity)
        return WalkerState(motion, jnp.bool_(False), jnp.int32(0))

    def step(self, noise, state: WalkerState, action, task: WalkerTask):
        before, rules = state.motion, self.rules
        moved = control_step(self.body, task.physics, before, action)
        after = jax.tree.map(functools.partial(jnp.where, state.fallen), before, moved)
        speed = (after.position[0] - before.position[0]) / self.body.control_seconds
        reward = rules.pay(speed, task.goal) + rules.alive - rules.effort * jnp.square(action).sum()
        height, pitch = after.position[1], after.position[2]
        fell = (height < rules.lowest) | (height > rules.highest) | (jnp.abs(pitch) > rules.steepest)
        reward = jnp.where(state.fallen, 0.0, reward)
        return WalkerState(after, state.fallen | fell, state.time + 1), reward, jnp.bool_(False), {}

    def observe(self, state: WalkerState, task: WalkerTask) -> jax.Array:
        position, velocity = state.motion
        height = position[1] - self.body.zero_height
        return jnp.concatenate([height[None], position[2:], velocity / SEEN_SPEED])

    def picture(self, task: WalkerTask, state: WalkerState | None = None) -> np.ndarray:
        """Draws the machine on its ground, with an arrow for the goal.

        Args:
          task: the machine and its goal.
          state: its motion; None: the standard pose.

        Returns:
          uint8 RGB ``[130, 200, 3]``.
        """
        position = None if state is None else np.array(state.motion.position)
        return picture(self.body, task.physics, position, float(task.goal))


forward = lambda speed, goal: goal * speed
near = lambda speed, goal: -jnp.abs(speed - goal)
RULES = {
    "half-cheetah": Rules(forward, effort=0.05),
    "walker2d": Rules(forward, effort=1e-3, alive=1.0, lowest=0.8, highest=2.0, steepest=1.0, spread=5e-3),
    "hopper": Rules(forward, effort=1e-3, alive=1.0, lowest=0.7, steepest=0.2, spread=5e-3),
}


@family("cheetah-dir")
def cheetah_dir(
    *, directions: tuple[float, ...] = (1.0, -1.0), horizon: int = 200, num_episodes: int = 2
) -> TaskDistribution:
    """A half-cheetah that is to run forward, or backward: two walking agents (Finn et al. 2017).

    Reward ``direction * speed - 0.05 |control|^2``.

    Args:
      directions: the tasks: weights of the forward speed.
      horizon: steps in an episode, 0.05 s each.
      num_episodes: episodes in a trial.

    Returns:
      The distribution of directions, a finite set.
    """
    distinct = len(np.unique(np.asarray(directions, np.float32))) == len(directions) > 0
    check(distinct, "cheetah-dir: directions", directions, "give at least one, and each once")
    options = dict(directions=directions, horizon=horizon)
    body, goals = standard(BODIES["half-cheetah"]), jnp.asarray(directions, float)
    tasks = WalkerTask(same(body, len(goals)), goals)
    mutate = functools.partial(another_of, tasks)
    return distribution("cheetah-dir", "half-cheetah", options, num_episodes, mutate=mutate, tasks=tasks)


@family("cheetah-vel")
def cheetah_vel(*, fastest: float = 3.0, horizon: int = 200, num_episodes: int = 2) -> TaskDistribution:
    """A half-cheetah that is to run at a speed from U[0, ``fastest``] m/s (Finn et al. 2017; Rakelly et al. 2019).

    Reward ``-|speed - target| - 0.05 |control|^2``.

    Args:
      fastest: the highest target.
      horizon: steps in an episode, 0.05 s each.
      num_episodes: episodes in a trial.

    Returns:
      The distribution of target speeds.
    """
    check(fastest > 0, "cheetah-vel: fastest", fastest, "must be above 0")
    body = standard(BODIES["half-cheetah"])
    sample = lambda key: WalkerTask(body, jax.random.uniform(key, maxval=fastest))

    def mutate(key, task: WalkerTask):
        return task._replace(goal=jnp.clip(task.goal + 0.1 * fastest * jax.random.normal(key), 0.0, fastest))

    return distribution(
        "cheetah-vel", "half-cheetah", dict(fastest=fastest, horizon=horizon), num_episodes, sample, mutate, pay=near
    )


@family("cheetah-broken")
def cheetah_broken(*, horizon: int = 200, num_episodes: int = 2) -> TaskDistribution:
    """A half-cheetah of which one motor, of six, does nothing (as in Nagabandi et al. 2019): the finite set of these.

    Reward ``speed - 0.05 |control|^2``, of the control asked for.

    Args:
      horizon: steps in an episode, 0.05 s each.
      num_episodes: episodes in a trial.

    Returns:
      The distribution of broken motors, a finite set.
    """
    physics = standard(BODIES["half-cheetah"])
    count = physics.gear.size
    gears = physics.gear[None] * (1.0 - jnp.eye(count))
    tasks = WalkerTask(same(physics, count)._replace(gear=gears), jnp.ones(count))
    mutate = functools.partial(another_of, tasks)
    return distribution(
        "cheetah-broken", "half-cheetah", dict(horizon=horizon), num_episodes, mutate=mutate, tasks=tasks
    )


@family("walker-dynamics")
def walker_dynamics(*, spread: float = 3.0, horizon: int = 200, num_episodes: int = 2) -> TaskDistribution:
    """A walker2d of which every mass, inertia, damping and friction differs from task to task (Rakelly et al. 2019).

    Each entry is multiplied by ``b^u``, ``u ~ U[-spread, spread]``, b = 1.5, but 1.3 for damping. Reward
    ``speed + 1 - 0.001 |control|^2`` until it falls.

    Args:
      spread: how far apart tasks are; 0 is the standard machine.
      horizon: steps in an episode, 0.008 s each.
      num_episodes: episodes in a trial.

    Returns:
      The distribution of machines.
    """
    return dynamics("walker-dynamics", "walker2d", spread, horizon, num_episodes)


@family("hopper-dynamics")
def hopper_dynamics(*, spread: float = 3.0, horizon: int = 200, num_episodes: int = 2) -> TaskDistribution:
    """A hopper with dynamics drawn as in ``walker-dynamics``, and the same reward.

    Args:
      spread: how far apart tasks are; 0 is the standard machine.
      horizon: steps in an episode, 0.008 s each.
      num_episodes: episodes in a trial.

    Returns:
      The distribution of machines.
    """
    return dynamics("hopper-dynamics", "hopper", spread, horizon, num_episodes)


@family("walker-slope")
def walker_slope(*, steepest: float = 0.2, horizon: int = 200, num_episodes: int = 2) -> TaskDistribution:
    """A walker2d on a slope drawn from U[-``steepest``, ``steepest``] rad, uphill or downhill.

    Reward ``speed + 1 - 0.001 |control|^2`` until it falls; speed, height and pitch are along and across the slope.

    Args:
      steepest: rad.
      horizon: steps in an episode, 0.008 s each.
      num_episodes: episodes in a trial.

    Returns:
      The distribution of slopes.
    """
    check(0 < steepest < np.pi / 4, "walker-slope: steepest", steepest, "must lie between 0 and pi / 4")
    physics = standard(BODIES["walker2d"])
    at = lambda slope: WalkerTask(physics._replace(slope=slope), jnp.ones(()))
    sample = lambda key: at(jax.random.uniform(key, minval=-steepest, maxval=steepest))

    def mutate(key, task: WalkerTask):
        return at(jnp.clip(task.physics.slope + 0.1 * steepest * jax.random.normal(key), -steepest, steepest))

    return distribution(
        "walker-slope", "walker2d", dict(steepest=steepest, horizon=horizon), num_episodes, sample, mutate
    )


def dynamics(name: str, body: BodyName, spread: float, horizon: int, num_episodes: int) -> TaskDistribution:
    """Tasks that differ in the machine's dynamics, see ``walker_dynamics``.

    Args:
      name: of the distribution.
      body: which machine.
      spread: how far apart tasks are; 0 is the standard machine.
      horizon: steps in an episode.
      num_episodes: episodes in a trial.

    Returns:
      The distribution.

    Raises:
      ConfigError: an option is out of its range.
    """
    check(0 <= spread <= 3, f"{name}: spread", spread, "must lie between 0 and 3")
    physics = standard(BODIES[body])
    sample = lambda key: WalkerTask(randomize_dynamics(key, physics, spread), jnp.ones(()))

    def mutate(key, task: WalkerTask):
        return task._replace(
            physics=clip_dynamics(physics, randomize_dynamics(key, task.physics, 0.1 * spread), spread)
        )

    return distribution(name, body, dict(spread=spread, horizon=horizon), num_episodes, sample, mutate)


def same(physics: Physics, count: int) -> Physics:
    """A batch of equal machines.

    Args:
      physics: one machine.
      count: how many.

    Returns:
      The machines, leaves ``[count, ...]``.
    """
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), physics)


def distribution(
    name: str, body: BodyName, options: dict, num_episodes: int, sample=None, mutate=None, tasks=None, pay=forward
) -> TaskDistribution:
    """A distribution of walking tasks, with its stored references.

    Args:
      name: of the distribution.
      body: which machine.
      options: all of the family's but ``num_episodes``, by which stored references are found.
      num_episodes: episodes in a trial.
      sample: ``key -> task``; None: one of ``tasks``, each equally likely.
      mutate: ``(key, task) -> task``.
      tasks: leaves ``[N, ...]`` of a finite set; None: the set is not finite.
      pay: reward for speed, as in ``Rules``.

    Returns:
      The distribution.

    Raises:
      ConfigError: ``horizon`` or ``num_episodes`` is below 1.
    """
    horizon = options["horizon"]
    check_all(dict(horizon=horizon, num_episodes=num_episodes), lambda x: x >= 1, "must be at least 1", name)
    env = WalkerEnv(BODIES[body], RULES[body]._replace(pay=pay), horizon)
    sample = sample or functools.partial(one_of, tasks)
    references = stored_references(name, options, tasks)
    return TaskDistribution(name, env, sample, horizon, horizon * num_episodes, tasks, references, mutate)
