"""Training looked at from time to time: runs as they stand after given numbers of updates."""

from collections.abc import Iterable, Iterator

import jax.numpy as jnp

import metarl_jax as mrl
from metarl_jax.training.build import build_program
from metarl_jax.training.experiment import Experiment, describe
from metarl_jax.training.train import run_of


def course(
    setting: Experiment, num_tasks: int, seeds: list[int], marks: Iterable[int]
) -> Iterator[tuple[int, mrl.Run]]:
    """``(environment steps of a seed, run)`` at each of ``marks``, numbers of updates that rise; the seeds are trained
    side by side. What a run's agents know is theirs until the next one is asked for."""
    program = build_program(setting, num_tasks)
    numbers, done = jnp.asarray(seeds, jnp.int32), 0
    learner = program.driver.init(numbers)
    config = describe(setting, num_tasks=num_tasks, seed=seeds[0], num_seeds=len(seeds))
    for mark in marks:
        while done < mark:
            count = min(program.driver.capacity, mark - done)
            learner, _, ran, finite = program.driver.advance(numbers, learner, done, count)
            if not finite.all():
                raise RuntimeError(f"{setting.algorithm.name} diverged in update {done + int(ran) - 1}")
            done += int(ran)
        yield program.env_steps(done), run_of(program, learner, config, {}, done, None)
