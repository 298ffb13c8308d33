"""The search space: ranges and choices of options, checked against the algorithm, and as Optuna states them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from metarl_jax.config import check, coerce, lookup, options_of
from metarl_jax.training.experiment import Experiment


class Range(NamedTuple):
    """A range of numbers to search, of whole numbers where the option is one.

    Attributes:
      low: the least, included.
      high: the greatest, included.
      log: sample uniformly in the logarithm.

    Example:
      ``metarl_jax.Range(1e-4, 1e-2, log=True)``
    """

    low: float
    high: float
    log: bool = False


def checked_space(setting: Experiment, space: Mapping[str, Any], num_tasks: int) -> dict[str, Any]:
    """Checks a search space against the algorithm.

    Options must exist, values have their types, and the algorithm must be possible with each end and each choice.

    Args:
      setting: what is trained.
      space: as given to ``tune``: by name of an option a Range, its fields by name, or a list of choices.
      num_tasks: tasks of an update.

    Returns:
      ``Search.space``: by name of an option a Range, or choices by label.

    Raises:
      ConfigError: an option that the algorithm does not know, or a value that it refuses.
    """
    check(isinstance(space, Mapping) and len(space) > 0, "space", space, "give a Range or choices by name of an option")
    recipe, checked = setting.algorithm, {}
    known = options_of(recipe.function)
    for name, given in space.items():
        annotation, field = lookup(known, name, f"option of {recipe.name}").annotation, f"space: {name}"
        if isinstance(given, Mapping):
            check({"low", "high"} <= {*given} <= {*Range._fields}, field, given, "a range has low, high and log")
            given = Range(**given)
        if isinstance(given, Range):
            low, high = values = [coerce(x, annotation, field) for x in given[:2]]
            numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in values)
            check(numbers and low < high, field, given, "must be two numbers, low below high")
            check(isinstance(given.log, bool), field, given, "log must be True or False")
            check(low > 0 or not given.log, field, given, "low must be above 0 to have a logarithm")
            checked[name] = Range(low, high, given.log)
        else:
            fix = "give a list of choices, such as [(32,), (64, 64)], or a range, such as Range(1e-4, 1e-2, log=True)"
            check(isinstance(given, list | tuple) and len(given) > 0, field, given, fix)
            values = [coerce(x, annotation, field) for x in given]
            checked[name] = {label(x): x for x in values}
            check(len(checked[name]) == len(values), field, given, "choices must differ")
        for value in values:
            recipe._replace(options={**recipe.options, name: value}).build(setting.tasks).check(num_tasks)
    return checked


def label(choice: Any) -> Any:
    """A choice in a form that databases store and dashboards show.

    Args:
      choice: any value of an option.

    Returns:
      Numbers, booleans, text and None as they are; text for all else.
    """
    return choice if choice is None or isinstance(choice, bool | int | float | str) else repr(choice)


def distribution(entry: Any) -> Any:
    """Optuna's distribution of an option.

    Args:
      entry: of ``Search.space``: a Range, or choices by label.

    Returns:
      A distribution: of categories, whole numbers or floats.
    """
    from optuna import distributions

    if isinstance(entry, dict):
        return distributions.CategoricalDistribution(list(entry))
    kind = distributions.IntDistribution if isinstance(entry.low, int) else distributions.FloatDistribution
    return kind(entry.low, entry.high, log=entry.log)
