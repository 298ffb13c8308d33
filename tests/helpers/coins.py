"""A family of coins, for curricula: what a trial of each returns is known."""

import jax
import jax.numpy as jnp

from metarl_jax.records import Spec, Student, TaskDistribution, TimeStep, Trajectory

N, STEPS = 16, 64


class Coins:
    """A task is the chance ``x`` that an episode, of one step, is solved."""

    spec = Spec((1,), num_actions=2)

    def sample_noise(self, key, shape):
        del key, shape

    def reset(self, noise, task):
        del noise, task

    def observe(self, state, task):
        del state
        return task["x"][None]


COINS = TaskDistribution(
    name="coins",
    env=Coins(),
    sample=lambda key: {"x": jax.random.uniform(key, ())},
    horizon=1,
    trial_steps=STEPS,
    mutate=lambda key, task: {"x": jnp.clip(task["x"] + 0.01 * jax.random.normal(key), 0.0, 1.0)},
    optimum=lambda task, trial_steps: trial_steps * jnp.ones(()),
    solved_above=0.0,
)


def trials(key, learner, batch, steps=STEPS) -> Trajectory:
    """Values are right, so that the largest surprise is that of a fair coin."""
    del learner
    chance = jnp.broadcast_to(batch["x"][None], (steps, *batch["x"].shape))
    reward = (jax.random.uniform(key, chance.shape) < chance).astype(jnp.float32)
    ended, never = jnp.ones(chance.shape, bool), jnp.zeros(chance.shape, bool)
    timestep = TimeStep(reward[..., None], never, reward, ended, never)
    return Trajectory(timestep, never, reward, reward, ended, never, reward[..., None], (), (), (None, chance))


def refuse(key, learner, batch, steps=STEPS):
    raise AssertionError("this curriculum was to live nothing of its own")


def surprise(learner, trajectory: Trajectory):
    """Of each episode by itself: it is one step."""
    return trajectory.reward - trajectory.outputs[1]


STUDENT, ASLEEP = (Student(live, N, True, surprise, True) for live in (trials, refuse))
