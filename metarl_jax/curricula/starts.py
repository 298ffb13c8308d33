"""An agent's first observation in a task."""

from collections.abc import Callable

import jax

from metarl_jax.records import Task, TaskDistribution

DRAWS = 32


def starts(tasks: TaskDistribution) -> Callable[[Task], jax.Array]:
    """A function that gives the first observation in a task; where starts are random, of one fixed draw.

    Args:
      tasks: the distribution.

    Returns:
      ``task -> observation``.
    """
    noise = tasks.env.sample_noise(jax.random.key(0), ())
    return lambda task: tasks.env.observe(tasks.env.reset(noise, task), task)


def differ(tasks: TaskDistribution) -> bool:
    """Whether the first observation depends on the task, by ``DRAWS`` samples.

    Args:
      tasks: the distribution.

    Returns:
      True if any two of the samples differ.
    """
    see = starts(tasks)
    seen = jax.jit(jax.vmap(lambda key: see(tasks.sample(key))))(jax.random.split(jax.random.key(0), DRAWS))
    return bool((seen != seen[:1]).any())
