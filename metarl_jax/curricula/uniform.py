"""Domain randomisation: every task is drawn from the distribution, independently."""

import jax

from metarl_jax.config import recipe
from metarl_jax.types import Curriculum, TaskDistribution


@recipe("uniform")
def uniform(tasks: TaskDistribution) -> Curriculum:
    """``n`` independent draws of ``tasks.sample``; keeps no state."""

    def sample(key, state, n):
        return state, jax.vmap(tasks.sample)(jax.random.split(key, n))

    return Curriculum(init=lambda key: (), sample=sample, update=lambda state, outcome: state)
