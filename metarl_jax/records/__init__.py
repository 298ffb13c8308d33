"""The records that everything in metarl_jax is made of. No logic lives here.

Axis letters, always in this order: ``[S]`` seeds, ``[N]`` tasks, ``[K]`` inner updates, ``[E]`` episodes,
``[T]`` steps, then features. A *task* is an MDP: a pytree whose every leaf is traced. A *trial* is all the
episodes that an agent spends in one task.
"""

from metarl_jax.records.algorithm import Algorithm, Curriculum, Student, TaskAgnostic
from metarl_jax.records.environment import (
    Environment,
    ExactBelief,
    Key,
    PyTree,
    Reference,
    Spec,
    State,
    Task,
    TaskDistribution,
    TimeStep,
    Trajectory,
    plain,
)
from metarl_jax.records.errors import ConfigError
from metarl_jax.records.learning import ActionEvaluation, Actor, Inner, MetaGradient, Outcome
from metarl_jax.records.policy import ActionDistribution, Policy

__all__ = [
    "ActionDistribution",
    "ActionEvaluation",
    "Actor",
    "Algorithm",
    "ConfigError",
    "Curriculum",
    "Environment",
    "ExactBelief",
    "Inner",
    "Key",
    "MetaGradient",
    "Outcome",
    "Policy",
    "PyTree",
    "Reference",
    "Spec",
    "State",
    "Student",
    "Task",
    "TaskAgnostic",
    "TaskDistribution",
    "TimeStep",
    "Trajectory",
    "plain",
]
