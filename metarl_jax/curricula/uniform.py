"""Domain randomisation: every task is drawn from the distribution, independently."""

import jax

from metarl_jax.config import recipe
from metarl_jax.records import Curriculum, Student, TaskDistribution


@recipe("uniform")
def uniform(tasks: TaskDistribution, student: Student) -> Curriculum:
    """Domain randomisation: independent draws from the distribution; it has no state.

    Args:
      tasks: the distribution.
      student: who learns.

    Returns:
      The Curriculum.
    """

    def sample(key, update, state, learner):
        del update, learner
        return state, jax.vmap(tasks.sample)(jax.random.split(key, student.num_tasks))

    return Curriculum(
        init=lambda key: (), sample=sample, update=lambda key, update, state, learner, outcome: (state, {})
    )
