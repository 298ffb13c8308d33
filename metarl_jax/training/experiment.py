"""From names to objects: what a run is made of."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from metarl_jax import algorithms, curricula, tasks
from metarl_jax.config import ConfigError, Recipe, about, check, lookup
from metarl_jax.records import TaskDistribution
from metarl_jax.tasks import check_tasks
from metarl_jax.training.identity import describe_tasks

REGISTRIES: dict[str, Mapping[str, Callable]] = {
    "algorithm": algorithms.REGISTRY,
    "tasks": tasks.REGISTRY,
    "curriculum": curricula.REGISTRY,
}
WORDS = {"algorithm": "algorithm", "tasks": "task distribution", "curriculum": "curriculum"}
EXAMPLES = {
    "algorithm": "metarl_jax.algorithms.rl2()",
    "tasks": "metarl_jax.tasks.maze_100()",
    "curriculum": "metarl_jax.curricula.uniform()",
}


Pair = tuple[str | Recipe, str | TaskDistribution]


class Experiment(NamedTuple):
    """What is trained.

    Attributes:
      algorithm: with its options.
      tasks: the distribution to learn on.
      curriculum: which tasks come next.
      also: further pairs (algorithm with its options, tasks) that are learned from at the same time.
    """

    algorithm: Recipe
    tasks: TaskDistribution
    curriculum: Recipe
    also: tuple[tuple[Recipe, TaskDistribution], ...] = ()


def resolve(
    algorithm: str | Recipe,
    tasks: str | TaskDistribution,
    curriculum: str | Recipe = "uniform",
    also: Sequence[Pair] = (),
) -> Experiment:
    """Names become objects with their defaults; objects stay what they are.

    Args:
      algorithm: a name or a recipe.
      tasks: a name or a distribution.
      curriculum: a name or a recipe.
      also: (algorithm, tasks) pairs.

    Returns:
      The Experiment.

    Raises:
      ConfigError: an unknown name (with the nearest known one), an object of another kind, or tasks that
        ``check_tasks`` refuses.
    """
    pairs = isinstance(also, list | tuple) and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in also)
    if not pairs:  # without its value: what algorithms and tasks print is long
        raise ConfigError("also: give a list of pairs, (algorithm, tasks)")
    others, found = [], {}
    for i, pair in enumerate(also):
        with about(f"also[{i}]"):
            others.append(resolve(*pair)[:2])
    for part, value in {"algorithm": algorithm, "tasks": tasks, "curriculum": curriculum}.items():
        kind = TaskDistribution if part == "tasks" else Recipe
        made = lookup(REGISTRIES[part], value, WORDS[part])() if isinstance(value, str) else value
        other = isinstance(made, Recipe) and made.num_parts != 1 + (part == "curriculum")
        fits = isinstance(made, kind) and not other
        check(fits, part, value, f"give a name from the registry or an object, {EXAMPLES[part]}")
        found[part] = made
    check_tasks(found["tasks"])
    return Experiment(**found, also=tuple(others))


def describe(setting: Experiment, *, rollout: bool = False, **numbers: int) -> dict[str, Any]:
    """The configuration of what is made of ``setting`` and ``numbers``: plain data.

    ``rollout``: with a short rollout in tasks that no registry can rebuild, see ``describe_tasks``.

    Args:
      setting: what is trained.
      rollout: see above.
      **numbers: of tasks, seeds and so on.

    Returns:
      A dict that JSON holds.
    """
    parts = {**described(setting.algorithm, setting.tasks, rollout), "curriculum": setting.curriculum.describe()}
    also = {"also": [described(*pair, rollout) for pair in setting.also]} if setting.also else {}
    return parts | numbers | also


def described(algorithm: Recipe, tasks: TaskDistribution, rollout: bool = False) -> dict[str, Any]:
    """A pair as a configuration holds it.

    Args:
      algorithm: its recipe.
      tasks: its tasks.
      rollout: see ``describe``.

    Returns:
      A dict that JSON holds.
    """
    return {"algorithm": algorithm.describe(), "tasks": describe_tasks(tasks, rollout)}


def with_algorithms(config: Mapping[str, Any], setting: Experiment) -> dict[str, Any]:
    """``config`` with the algorithms' options as they are in ``setting``.

    Args:
      config: of a run.
      setting: with other options.

    Returns:
      The configuration.
    """
    also = zip(config.get("also", []), setting.also, strict=True)
    pairs = [pair | {"algorithm": recipe.describe()} for pair, (recipe, _) in also]
    return dict(config) | {"algorithm": setting.algorithm.describe()} | ({"also": pairs} if pairs else {})


def rebuild(part: str, described: Mapping[str, Any], given: str = "") -> Any:
    """Makes the object that a run's configuration describes.

    Args:
      part: ``algorithm``, ``tasks`` or ``curriculum``.
      described: as the configuration holds it.
      given: the argument of ``load`` by which a user gives the object; empty: ``part``.

    Returns:
      The recipe or distribution.

    Raises:
      ConfigError: it was an object of the user's own, which no registry can rebuild.
    """
    how = f"load(path, {given or part}=...)"
    if described["name"] not in REGISTRIES[part] or described["options"] is None:
        raise ConfigError(f"{part} {described['name']!r} is not in the registry: give it, {how}")
    made = REGISTRIES[part][described["name"]](**described["options"])
    if part == "tasks" and made.trial_steps != described.get("trial_steps", made.trial_steps):
        raise ConfigError(f"tasks {made.name!r} were changed after they were made: give them, {how}")
    return made
