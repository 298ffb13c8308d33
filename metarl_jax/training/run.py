"""A run: what training returns, and its folder.

config.json      the resolved configuration, and the devices and versions it last ran on, with the memory predicted
checkpoints/     the last few, each one file with a digest
metrics.jsonl    a record an update
report.json      written by evaluate, with the figures report.png, trial.gif beside it
"""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from metarl_jax.beliefs import exact_belief
from metarl_jax.config import ConfigError, Recipe, check, whole
from metarl_jax.records import Algorithm, ExactBelief, PyTree, TaskDistribution


@dataclasses.dataclass(frozen=True)
class Run:
    """A meta-trained learner: what ``train`` and ``load`` return.

    Attributes:
      algorithm: built from ``recipe``.
      tasks: the distribution that it was trained on.
      state: the algorithm's, leaves ``[S, ...]``: seeds.
      config: the resolved configuration, plain data.
      metrics: by name, ``[updates, S]``, and ``[updates]`` of counters.
      num_updates: how many were made.
      path: its folder; None: in memory.
      task_buffer: the tasks in the curriculum's buffer and what it knows of them, leaves ``[S, B, ...]`` (see
        ``Curriculum.buffer``); None where there is no buffer.
      diverged: by index of a seed whose numbers stopped being finite, in which update and why. Its state is that before
        this update.
      recipe: of the algorithm, with its options.

    Example:
      ``run = metarl_jax.load("runs/demo")``, ``run.metrics["trial_return"]``
    """

    algorithm: Algorithm
    tasks: TaskDistribution
    state: PyTree
    config: Mapping[str, Any]
    metrics: Mapping[str, np.ndarray]
    num_updates: int
    path: Path | None = None
    task_buffer: Mapping[str, PyTree] | None = None
    diverged: Mapping[int, str] = dataclasses.field(default_factory=dict)
    recipe: Recipe | None = None

    @property
    def num_seeds(self) -> int:
        return self.config["num_seeds"]

    @functools.cached_property
    def belief(self) -> ExactBelief | None:
        """The exact belief over its tasks, where one is known (made once, so that what uses it compiles once).

        Returns:
          The ExactBelief, or None.
        """
        return exact_belief(self.tasks)

    def state_of(self, seed_index: int = 0) -> PyTree:
        """The algorithm's state of one seed: ``state`` without its axis of seeds.

        Args:
          seed_index: which of the run's seeds.

        Returns:
          A pytree.

        Raises:
          ConfigError: there is no such seed.
        """
        fits = whole(seed_index) and 0 <= seed_index < self.num_seeds
        check(fits, "seed_index", seed_index, f"must be a whole number from 0 to {self.num_seeds - 1}")
        return jax.tree.map(lambda x: x[seed_index], self.state)

    def buffer_tasks(self, member: int = 0) -> TaskDistribution:
        """The tasks in a curriculum's buffer as a finite set, those with the highest score first.

        They can be trained or tested on, or saved (``tasks.save_tasks``).

        Args:
          member: which of the run's seeds.

        Returns:
          A TaskDistribution.

        Raises:
          ConfigError: the buffer is empty or there is none, or there is no such seed.
        """
        from metarl_jax.tasks.sets import finite

        fits = whole(member) and 0 <= member < self.num_seeds
        check(fits, "member", member, f"must be a whole number from 0 to {self.num_seeds - 1}")
        if self.task_buffer is None or not np.isfinite(self.task_buffer["score"][member]).any():
            raise ConfigError(f"curriculum={self.config['curriculum']['name']!r}: keeps no tasks, or none yet")
        score = self.task_buffer["score"][member]
        places = np.argsort(-score, kind="stable")[: np.isfinite(score).sum()]
        return finite(self.tasks, jax.tree.map(lambda x: x[member][places], self.task_buffer["tasks"]))

    def __repr__(self) -> str:
        names = f"{self.config['algorithm']['name']} on {self.config['tasks']['name']}"
        place = f", {self.path}" if self.path else ", in memory"
        return f"Run({names}: {self.num_updates} updates, {self.num_seeds} seeds{place})"
