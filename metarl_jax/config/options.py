"""Options: their types, their values, and what is said of wrong ones."""

import contextlib
import difflib
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from metarl_jax.records import ConfigError


def check(condition: bool, field: str, value: Any, fix: str) -> None:
    """Raises ``field=value: fix`` unless a condition holds.

    Args:
      condition: what must hold.
      field: the option.
      value: what the user gave.
      fix: what to give instead.

    Raises:
      ConfigError: it does not hold.
    """
    if not condition:
        raise ConfigError(f"{field}={value!r}: {fix}")


@contextlib.contextmanager
def about(owner: str) -> Iterator[None]:
    """A context in which a ConfigError says whose it is.

    Args:
      owner: put before its message.

    Yields:
      Nothing.

    Returns:
      A context.
    """
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{owner}: {error}") from None


def check_all(fields: Mapping[str, Any], holds: Callable[[Any], bool], fix: str, owner: str = "") -> None:
    """``check`` of several fields.

    Args:
      fields: values by name.
      holds: what must hold of each.
      fix: what to give instead.
      owner: put before the field's name.
    """
    for field, value in fields.items():
        check(holds(value), f"{owner}: {field}" if owner else field, value, fix)


def check_counts(counts: Mapping[str, Any]) -> None:
    """Raises unless all are whole numbers from 1 to 2^31 - 1.

    Args:
      counts: values by name.
    """
    check_all(counts, lambda x: whole(x) and x >= 1, "must be a whole number of at least 1")
    check_all(counts, lambda x: x < 2**31, "must be below 2^31")


def not_installed(what: str, package: str, extra: str, error: ImportError) -> ConfigError:
    """The error where an extra is missing.

    Args:
      what: needs it.
      package: that is missing.
      extra: by which it is installed.
      error: of the import.

    Returns:
      A ConfigError.
    """
    how = f"pip install '.[{extra}]' in the clone, or python3 dev.py setup {extra}"
    return ConfigError(f"{what}: {package} is not installed: {how} ({error})")


def check_seeds(seed: Any, num_seeds: int) -> None:
    """Raises unless ``seed, seed + 1, ...`` all fit.

    Args:
      seed: the first one.
      num_seeds: how many.
    """
    fits = whole(seed) and 0 <= seed < 2**31 - num_seeds
    check(fits, "seed", seed, f"must be a whole number from 0 to {2**31 - num_seeds - 1}")


def check_divides(field: str, value: int, num_tasks: int) -> None:
    """Raises unless an option divides the number of tasks.

    Args:
      field: the option.
      value: of it.
      num_tasks: of an update.
    """
    check(num_tasks % value == 0, field, value, f"must divide num_tasks={num_tasks}")


def whole(value: Any) -> bool:
    """Whether a value is a whole number (True and False are none).

    Args:
      value: anything.

    Returns:
      A bool.
    """
    return isinstance(value, int) and not isinstance(value, bool)


def lookup(registry: Mapping[str, Any], name: str, kind: str) -> Any:
    """An entry of a registry.

    Args:
      registry: entries by name.
      name: as the user gave it.
      kind: of entry, for the message.

    Returns:
      ``registry[name]``.

    Raises:
      ConfigError: no such name; it suggests the nearest one.
    """
    if name in registry:
        return registry[name]
    near = difflib.get_close_matches(str(name), registry, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"unknown {kind} {name!r}: {hint}known: {', '.join(sorted(registry))}")


def options_of(function: Callable) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of a function, annotations evaluated.

    Args:
      function: any.

    Returns:
      Parameters by name.
    """
    parameters = inspect.signature(function, eval_str=True).parameters.values()
    return {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def resolve(function: Callable, options: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """All options of a function, defaults filled in, each checked against its annotation.

    Args:
      function: has keyword-only parameters.
      options: those that were given.
      owner: the function's name in messages.

    Returns:
      Values by name.

    Raises:
      ConfigError: an unknown option (with the nearest known one) or a value of the wrong type.
    """
    known = options_of(function)
    for name in options:
        lookup(known, name, f"option of {owner}")
    resolved = {}
    for name, parameter in known.items():
        value = options.get(name, parameter.default)
        if value is inspect.Parameter.empty:
            raise ConfigError(f"{owner}: {name} is missing: it has no default, give {name}=...")
        resolved[name] = coerce(value, parameter.annotation, f"{owner}: {name}")
    return resolved


def coerce(value: Any, annotation: Any, field: str) -> Any:
    """A value as the annotated type: ints pass for floats, lists for tuples.

    Args:
      value: as the user gave it.
      annotation: of the parameter.
      field: its name in messages.

    Returns:
      The value.

    Raises:
      ConfigError: it is of another type, not finite, or none of the choices.
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in (Any, inspect.Parameter.empty):
        return value
    if origin is typing.Literal:
        near = difflib.get_close_matches(str(value), map(str, arguments), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        check(value in arguments, field, value, f"{hint}choose one of {', '.join(map(repr, arguments))}")
        return value
    if origin in (typing.Union, types.UnionType):
        errors = []
        for option in arguments:
            try:
                return coerce(value, option, field)
            except ConfigError as error:
                errors.append(error)
        raise errors[0]
    if origin is tuple:
        check(isinstance(value, Iterable) and not isinstance(value, str), field, value, "give a list or tuple")
        each = arguments[:1] * len(list(value)) if arguments[-1:] == (Ellipsis,) else arguments
        check(len(each) == len(list(value)), field, value, f"give exactly {len(each)} values")
        return tuple(coerce(v, a, field) for v, a in zip(value, each, strict=True))
    if annotation is None or annotation is type(None):
        check(value is None, field, value, "must be None")
        return None
    if annotation is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    wrong = not isinstance(value, annotation) or (annotation is int and isinstance(value, bool))
    check(not wrong, field, value, f"must be {annotation.__name__}, not {type(value).__name__}")
    check(annotation is not float or math.isfinite(value), field, value, "must be finite")
    return value
