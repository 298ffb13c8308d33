"""From a setting to the program that trains it: built, compiled before anything runs, and small enough."""

import bisect
import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from metarl_jax.algorithms.lifetime.multi_distribution import ExtraDistribution, multi_distribution
from metarl_jax.config import ConfigError, about
from metarl_jax.records import Algorithm, Key, State
from metarl_jax.runtime.sharding import shard_tasks
from metarl_jax.training import memory
from metarl_jax.training.experiment import Experiment
from metarl_jax.training.update_loop import Driver, Learner, debugging, driver

PROBES = 256  # tasks of a curriculum's own making that are looked at before any is learned in


class Program(NamedTuple):
    """An experiment and what is built from it.

    Attributes:
      setting: the experiment.
      num_tasks: tasks of an update.
      mesh: the devices that tasks are spread over; None: one device.
      algorithm: built for the experiment's tasks.
      driver: its loop of updates.
    """

    setting: Experiment
    num_tasks: int
    mesh: Mesh | None
    algorithm: Algorithm
    driver: Driver

    def env_steps(self, num_updates: int) -> int:
        """Environment steps of one seed in its first ``num_updates`` updates, the curriculum's own included.

        Args:
          num_updates: from the first one on.

        Returns:
          Steps.
        """
        return self.algorithm.steps * self.num_tasks * num_updates + self.driver.curriculum.steps(num_updates)

    def updates_within(self, env_steps: int) -> int:
        """The largest number of updates that takes one seed at most ``env_steps`` environment steps.

        Args:
          env_steps: of one seed.

        Returns:
          Updates.
        """
        most = env_steps // (self.algorithm.steps * self.num_tasks)
        return bisect.bisect_right(range(1, most + 1), env_steps, key=self.env_steps)

    @property
    def memory_options(self) -> dict[str, tuple]:
        return dict(self.algorithm.memory_options(self.num_tasks, self.num_devices))

    @property
    def num_devices(self) -> int:
        return 1 if self.mesh is None else self.mesh.size


def build_program(setting: Experiment, num_tasks: int, mesh: Mesh | None = None) -> Program:
    """Builds an algorithm, its curriculum and the compiled loop of updates.

    Args:
      setting: what is trained.
      num_tasks: of an update.
      mesh: over which tasks are spread.

    Returns:
      The Program.
    """
    algorithm = setting.algorithm.build(setting.tasks)
    if setting.also:
        algorithm = multi_distribution(algorithm, elsewhere(setting), functools.partial(shard_tasks, mesh=mesh))
    adapt = functools.partial(_adapt_one_seed, algorithm, num_tasks)
    algorithm = algorithm._replace(adapt=functools.update_wrapper(adapt, algorithm.adapt))  # with its options' names
    made = driver(algorithm, setting.tasks, num_tasks, mesh, setting.curriculum)
    if algorithm.check_tasks is not None and made.curriculum.makes is not None:
        batch = jax.jit(jax.vmap(made.curriculum.makes))(jax.random.split(jax.random.key(0), PROBES))
        with about(f"curriculum={setting.curriculum.name!r}"):
            algorithm.check_tasks(setting.tasks.name, batch, True)
    return Program(setting, num_tasks, mesh, algorithm, made)


def _adapt_one_seed(algorithm: Algorithm, num_tasks: int, key: Key, state: State, *parts: Any, **options: Any):
    """``algorithm.adapt``; a state that still has its axis of seeds is refused in words, if it led to an error."""
    try:
        return algorithm.adapt(key, state, *parts, **options)
    except Exception:
        single = jax.eval_shape(lambda key: algorithm.init(key, num_tasks), jax.random.key(0))
        ranks = [[np.ndim(leaf) for leaf in jax.tree.leaves(tree)] for tree in (state, single)]
        if ranks[0] == [rank + 1 for rank in ranks[1]]:
            raise ConfigError(
                "state: has a leading axis of seeds, adapt takes the state of one: give run.state_of(seed_index)"
            ) from None
        raise


def elsewhere(setting: Experiment) -> list[ExtraDistribution]:
    """Where else it learns, by the tasks' names, which are numbered unless all differ.

    Args:
      setting: with ``also``.

    Returns:
      A list.
    """
    names = [tasks.name for _, tasks in setting.also]
    if len(set(names)) < len(names):
        names = [f"{name}-{i}" for i, name in enumerate(names, start=1)]
    found = []
    for name, (recipe, tasks) in zip(names, setting.also, strict=True):
        with about(f"also={name!r}"):
            found.append(ExtraDistribution(name, recipe.build(tasks), tasks))
    return found


def with_options(program: Program, options: dict[str, Any]) -> Program:
    """The program of the same setting, but for these options of its algorithm, wherever it learns.

    Args:
      program: any.
      options: that change.

    Returns:
      The Program.
    """
    setting = program.setting
    changed = lambda recipe: recipe._replace(options=recipe.options | options)
    also = tuple((changed(recipe), tasks) for recipe, tasks in setting.also)
    setting = setting._replace(algorithm=changed(setting.algorithm), also=also)
    return build_program(setting, program.num_tasks, program.mesh)


def fit_to_memory(
    program: Program, seeds: jax.Array, learner: Learner, goes_on: bool, tell: Callable[[str], None]
) -> tuple[Program, int | None]:
    """Compiles a program with the first of the memory options that fits, from the most memory to the least.

    The ``driver.advance`` of the result is the executable.

    Args:
      program: built.
      seeds: ``[S]``.
      learner: its shapes.
      goes_on: with a run that was begun: nothing is open, and too little memory is only warned of.
      tell: called with a message of the memory that is predicted, and the options chosen.

    Returns:
      The Program, and the bytes that it needs on each device; None where the backend does not tell.

    Raises:
      memory.NoRoom: none fits.
    """
    if debugging():  # nothing is compiled ahead: JAX is to name what goes wrong, or not to compile at all
        return program, None
    memory.available(program.num_devices)  # a wrong limit is told before anything is compiled
    memory_options, options = {} if goes_on else program.memory_options, {}
    for options in memory.settings(memory_options):
        program = with_options(program, options) if options else program
        compiled = memory.compile_ahead(program.driver.advance, seeds, learner, 0, 1, np.ones(len(seeds), bool))
        plan = memory.plan_of(compiled, program.num_devices)
        if plan.fits or (goes_on and compiled is not None):
            break
    else:
        fix = f"lower num_tasks, num_seeds, or what an update of {program.setting.algorithm.name} lives and learns"
        raise memory.NoRoom(f"num_tasks={program.num_tasks}: {plan}{_given(options)}: {fix}")
    if not plan.fits:
        warnings.warn(f"{plan}: it may run out", stacklevel=5)
    spared = _given({name: value for name, value in options.items() if value != memory_options[name][0]})
    tell(f"{plan}{spared} to fit" if spared else str(plan))
    return program._replace(driver=program.driver._replace(advance=compiled)), plan.predicted


def _given(options: dict[str, Any]) -> str:
    words = ", ".join(f"{name}={value!r}" for name, value in options.items())
    return f", with {words}" if words else ""
