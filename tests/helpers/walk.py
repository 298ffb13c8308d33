"""A random walk whose meta-gradient has a closed form."""

import jax.numpy as jnp

from metarl_jax.records import ActionEvaluation, Actor, Inner, TimeStep, Trajectory

LIFE, WINDOW, TASKS, KEEP, TARGET = 8, 2, 4096, 0.8, 2.0
META = {"push": jnp.array(0.3), "start": jnp.array(-0.5)}


def paid(position):
    return -jnp.square(position - TARGET)


def walker() -> tuple[Actor, Inner]:
    """``x <- 0.8 x + push`` from ``x = start``, one step an update, paid ``-(x - 2)^2``."""

    def act(key, agent, place, task):
        reward = jnp.full((1, 1), paid(agent) * task)
        none, over = jnp.zeros((1, 1)), jnp.ones((1, 1), bool)
        timestep = TimeStep(none, none, none, over, over)
        return place, Trajectory(timestep, none, reward, reward, over, ~over, none, (), (), (none, none))

    said = lambda agent, trajectory: ActionEvaluation(*[jnp.zeros_like(trajectory.reward)] * 4)
    inner = Inner(
        meta=lambda key: META,
        init=lambda key, meta, task: meta["start"],
        learn=lambda key, meta, agent, trajectory: (KEEP * agent + meta["push"], jnp.zeros(())),
    )
    return Actor(lambda key, task: (), act, said), inner
