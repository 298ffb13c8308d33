"""A continuous environment of gymnax, and arrays on the host."""

from typing import Any

import gymnax
import jax
import numpy as np

from metarl_jax import tasks
from metarl_jax.records import TaskDistribution


def pendulum(horizon: int = 25, num_episodes: int = 3) -> TaskDistribution:
    env, params = gymnax.make("Pendulum-v1")

    def sample(key):
        mass, length = jax.random.uniform(key, (2,), minval=0.5, maxval=2.0)
        return params.replace(m=mass, l=length)

    return tasks.from_gymnax(env, sample, name="pendulum", horizon=horizon, num_episodes=num_episodes)


def host(tree: Any) -> Any:
    return jax.tree.map(np.asarray, tree)


def rows(batch: Any) -> list[bytes]:
    leaves = [np.asarray(x) for x in jax.tree.leaves(batch)]
    return [b"".join(leaf[i].tobytes() for leaf in leaves) for i in range(len(leaves[0]))]
