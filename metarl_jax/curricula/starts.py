"""What an agent sees before it has done anything."""

from collections.abc import Callable

import jax

from metarl_jax.records import Task, TaskDistribution

DRAWS = 32


def starts(tasks: TaskDistribution) -> Callable[[Task], jax.Array]:
    """``task -> first observation``, of one start, where these are random."""
    noise = tasks.env.sample_noise(jax.random.key(0), ())
    return lambda task: tasks.env.observe(tasks.env.reset(noise, task), task)


def differ(tasks: TaskDistribution) -> bool:
    """Whether the first observation tells tasks apart, by ``DRAWS`` of them."""
    see = starts(tasks)
    seen = jax.jit(jax.vmap(lambda key: see(tasks.sample(key))))(jax.random.split(jax.random.key(0), DRAWS))
    return bool((seen != seen[:1]).any())
