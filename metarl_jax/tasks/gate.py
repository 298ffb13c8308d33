"""The point mass that must pass a gate: the benchmark of self-paced reinforcement learning."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.config import check_all, family
from metarl_jax.records import Spec, TaskDistribution
from metarl_jax.tasks.environment import Environment

SUBSTEPS, TIME_STEP = 10, 0.01
GAIN, PUSH, NOISE = 1.5, 10.0, 0.05  # acceleration per action; the largest action; noise of the acceleration
ROOM, START, GOAL, DECAY = 4.0, (0.0, 0.0, 3.0, 0.0), (0.0, -3.0), 0.6
POSITIONS, WIDTHS, TARGETS = (-4.0, 4.0), (0.5, 8.0), ((-3.0, 0.5), (3.0, 0.5))
PIXELS, GROUND, WALL, ARRIVE, AGENT = 65, (236, 236, 232), (40, 44, 52), (0, 158, 115), (213, 94, 0)


class GateTask(NamedTuple):
    """The gate.

    Attributes:
      position: x of its middle, in the wall at y = 0.
      width: of the opening.
    """

    position: jax.Array
    width: jax.Array


class GateState(NamedTuple):
    """Where the mass is and how it moves.

    Attributes:
      body: ``[4]``: x, its velocity, y, its velocity.
      time: steps since the episode began.
    """

    body: jax.Array
    time: jax.Array


class GateEnv(Environment):
    """A mass that is pushed, frictionless, through the gate of a wall in a room of 8 x 8.

    It starts at (0, 3), and is rewarded for being near (0, -3): ``exp(-0.6 distance)``. Crossing the wall at y = 0
    beside the gate ends the episode.

    ``x'' = 1.5 a + noise``, ``a`` clipped to 10 an axis, noise N(0, 0.05) anew in each of ten substeps of 0.01 s (by
    Euler's rule, old velocities first). It sees its state and, with ``gate_visible``, the gate.
    """

    def __init__(self, horizon: int, gate_visible: bool):
        self.horizon, self.gate_visible = horizon, gate_visible
        self.spec = Spec((6 if gate_visible else 4,), action_size=2, action_low=-PUSH, action_high=PUSH)

    def sample_noise(self, key, shape):
        return NOISE * jax.random.normal(key, (*shape, SUBSTEPS, 2))

    def reset(self, noise, task: GateTask):
        return GateState(jnp.asarray(START), jnp.int32(0))

    def step(self, noise, state: GateState, action, task: GateTask):
        push = GAIN * jnp.clip(action, -PUSH, PUSH)
        low, high = jnp.array([-ROOM, -jnp.inf] * 2), jnp.array([ROOM, jnp.inf] * 2)

        def substep(carry, noise):
            body, crashed = carry
            acceleration = push + noise
            slope = jnp.stack([body[1], acceleration[0], body[3], acceleration[1]])
            after = jnp.clip(body + TIME_STEP * slope, low, high)
            before, following = body[2], after[2]
            crossing = ((before >= 0) & (following < 0)) | ((before <= 0) & (following > 0))
            share = -before / jnp.where(crossing, following - before, 1.0)
            x = share * after[0] + (1.0 - share) * body[0]
            hit = crossing & (jnp.abs(x - task.position) > 0.5 * task.width)
            after = jnp.where(hit, jnp.zeros(4).at[0].set(x), after)
            return (jnp.where(crashed, body, after), crashed | hit), None

        (body, crashed), _ = jax.lax.scan(substep, (state.body, jnp.bool_(False)), noise)
        far = jnp.sqrt(jnp.square(body[::2] - jnp.array(GOAL)).sum())
        return GateState(body, state.time + 1), jnp.exp(-DECAY * far), crashed, {}

    def observe(self, state: GateState, task: GateTask):
        return (
            jnp.concatenate([state.body, jnp.stack([task.position, task.width])]) if self.gate_visible else state.body
        )

    def picture(self, task: GateTask, state: GateState | None = None) -> np.ndarray:
        """Draws the room from above: the wall with its gate, the goal below it, the mass.

        Args:
          task: the gate.
          state: where the mass is; None: not drawn.

        Returns:
          uint8 RGB ``[65, 65, 3]``.
        """
        image = np.full((PIXELS, PIXELS, 3), GROUND, np.uint8)
        at = np.linspace(-ROOM, ROOM, PIXELS)
        wall = np.abs(at - float(task.position)) > 0.5 * float(task.width)
        image[PIXELS // 2 - 1 : PIXELS // 2 + 2, wall] = WALL
        points = [(GOAL, ARRIVE)] + ([] if state is None else [(np.asarray(state.body)[::2], AGENT)])
        for (x, y), colour in points:
            column, row = np.clip(np.round((np.array([x, -y]) / ROOM + 1) / 2 * (PIXELS - 1)), 1, PIXELS - 2).astype(
                int
            )
            image[row - 1 : row + 2, column - 1 : column + 2] = colour
        return image


@family("gate")
def gate(
    *,
    gates: Literal["all", "target"] = "all",
    gate_visible: bool = True,
    horizon: int = 100,
    num_episodes: int = 1,
) -> TaskDistribution:
    """The point mass that must pass a gate, of self-paced reinforcement learning (Klink et al. 2020).

    Tasks differ in where the gate is and how wide. The narrow gates are those of CURROT (Klink et al. 2022), without
    their small random variation.

    No reference is known for it: the literature reports discounted returns (0.95) on the narrow gates, ``target``.

    Args:
      gates: ``all``: anywhere in [-4, 4], 0.5 to 8 wide, uniform; ``target``: at -3 or 3, 0.5 wide.
      gate_visible: the agent sees position and width of the gate.
      horizon: longest episode, in steps of a tenth of a second.
      num_episodes: whole episodes in a trial; more fit in where some end early.

    Returns:
      The distribution of gates; a finite set where ``gates`` is ``target``.
    """
    check_all(dict(horizon=horizon, num_episodes=num_episodes), lambda x: x >= 1, "must be at least 1", "gate")
    low, high = jnp.array([POSITIONS[0], WIDTHS[0]]), jnp.array([POSITIONS[1], WIDTHS[1]])

    def anywhere(key):
        return GateTask(*(low + (high - low) * jax.random.uniform(key, (2,))))

    def target(key):
        return GateTask(*jnp.asarray(TARGETS)[jax.random.randint(key, (), 0, len(TARGETS))])

    def mutate(key, task: GateTask):
        """A twentieth of each range away, on average of squares."""
        moved = jnp.stack(task) + 0.05 * (high - low) * jax.random.normal(key, (2,))
        return GateTask(*jnp.clip(moved, low, high))

    targets = GateTask(*jnp.asarray(TARGETS).T)
    return TaskDistribution(
        name="gate",
        env=GateEnv(horizon, gate_visible),
        sample=target if gates == "target" else anywhere,
        horizon=horizon,
        trial_steps=horizon * num_episodes,
        tasks=targets if gates == "target" else None,
        mutate=mutate,
        target=target,
    )
