"""Recipes: an algorithm or a curriculum by its name and options; families of tasks, likewise."""

import functools
import importlib
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from metarl_jax.config.options import lookup, options_of, resolve
from metarl_jax.records import Algorithm, Curriculum, Student, TaskDistribution
from metarl_jax.runtime.devices import use_cpu_cores

P = ParamSpec("P")
T = TypeVar("T")


class Recipe(typing.NamedTuple):
    """A function with its options bound.

    Attributes:
      name: in the registry.
      options: all of them, defaults included.
      function: what finishes it, ``function(*parts, **options)``.
    """

    name: str
    options: dict[str, Any]
    function: Callable

    def build(self, *parts: Any) -> Any:
        """Finishes what the recipe describes.

        Args:
          *parts: ``tasks`` for an algorithm, ``tasks, student`` for a curriculum.

        Returns:
          The Algorithm or Curriculum.
        """
        return self.function(*parts, **self.options)

    def describe(self) -> dict[str, Any]:
        """The recipe as a run's configuration holds it.

        Returns:
          ``{"name", "options"}``.
        """
        return {"name": self.name, "options": self.options}

    def __reduce__(self) -> tuple:
        """Pickled as the name of its function and the options: the call that makes it."""
        return _remake, (self.function.__module__, self.function.__qualname__, self.name, self.options)

    @property
    def num_parts(self) -> int:
        """How many ``build`` takes: 1, of an algorithm, or 2, of a curriculum."""
        kinds = [parameter.kind for parameter in inspect.signature(self.function).parameters.values()]
        return kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _remake(module: str, qualified_name: str, name: str, options: dict[str, Any]) -> Recipe:
    """The recipe that the decorated function ``qualified_name`` of ``module`` makes of ``options``."""
    make: Any = importlib.import_module(module)
    for part in qualified_name.split("."):
        make = getattr(make, part)
    return make(**options)._replace(name=name)


class RecipeDecorator(Protocol):
    """Keeps the options of a function, and drops what it is built with."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[TaskDistribution, Student, P], Curriculum], /
    ) -> Callable[P, Recipe]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[TaskDistribution, P], Algorithm], /) -> Callable[P, Recipe]: ...


def recipe(name: str) -> RecipeDecorator:
    """Decorator for ``function(tasks, *, option=default, ...)``: the call takes the options alone, returns a Recipe.

    Args:
      name: in the registry.

    Returns:
      The decorator.
    """
    make = lambda function, resolved: Recipe(name, resolved, function)
    return typing.cast(RecipeDecorator, functools.partial(_bind, name, make, Recipe))


def family(name: str) -> Callable[[Callable[P, TaskDistribution]], Callable[P, TaskDistribution]]:
    """Decorator for ``function(*, option=default, ...) -> TaskDistribution``: checks options, remembers the recipe.

    Args:
      name: in the registry.

    Returns:
      The decorator.
    """
    described = lambda resolved: {"name": name, "options": resolved}
    make = lambda function, resolved: function(**resolved)._replace(name=name, recipe=described(resolved))
    return functools.partial(_bind, name, make, TaskDistribution)


def _bind(name: str, make: Callable[[Callable, dict[str, Any]], Any], returns: type, function: Callable) -> Callable:
    """``function`` as a call of its options alone: they are resolved, then ``make(function, resolved)``."""

    @functools.wraps(function)
    def bound(**options: Any) -> Any:
        use_cpu_cores()  # the first array that a family makes starts JAX, after which it is too late
        return make(function, resolve(function, options, name))

    return _with_signature(bound, options_of(function), returns)


def _with_signature(call: Callable, parameters: Mapping[str, inspect.Parameter], returns: Any) -> Callable:
    """``call`` as ``inspect`` is to see it: with these keyword-only parameters."""
    call.__signature__ = inspect.Signature(list(parameters.values()), return_annotation=returns)  # type: ignore[attr-defined]
    return call


def preset(name: str, bound: Callable[P, T], about: str, **defaults: Any) -> Callable[P, T]:
    """A recipe or family under another name with other defaults; everything else is ``bound``'s.

    Args:
      name: in the registry.
      bound: a decorated function.
      about: becomes the first line of its docstring.
      **defaults: options that differ.

    Returns:
      The decorated function.
    """
    parameters = options_of(bound)

    def variant(**options: Any) -> Any:
        for option in options:
            lookup(parameters, option, f"option of {name}")
        made: Any = typing.cast(Callable, bound)(**defaults | options)
        if isinstance(made, Recipe):
            return made._replace(name=name)
        return made._replace(name=name, recipe={"name": name, "options": made.recipe["options"]})

    body = (inspect.getdoc(bound) or "").partition("\n")[2]
    variant.__doc__ = f"{about}\n{body}"
    variant.__name__ = variant.__qualname__ = name.replace("-", "_")
    variant.__module__ = bound.__module__
    own = {key: p.replace(default=defaults.get(key, p.default)) for key, p in parameters.items()}
    return _with_signature(variant, own, inspect.signature(bound).return_annotation)
