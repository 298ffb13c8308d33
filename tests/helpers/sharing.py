"""Programs that several tests share: most of the tests' time is tracing and compiling."""

import contextlib
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import jax
import pytest

from metarl_jax.training import build as program
from metarl_jax.training import memory
from metarl_jax.training import train as training

BUILD, COMPILE = program.build_program, memory.compile_ahead


class Once:
    """A function that is called once for each key of its arguments."""

    def __init__(self, function: Callable, key: Callable[..., Hashable]):
        self.function, self.key, self.found = function, key, {}

    def __call__(self, *arguments: Any) -> Any:
        key = self.key(*arguments)
        if key not in self.found:
            self.found[key] = self.function(*arguments)
        return self.found[key]


def by_description(setting: Any, *others: Hashable) -> Hashable:
    described = [(tasks.recipe or id(tasks)) for tasks in (setting.tasks, *(tasks for _, tasks in setting.also))]
    recipes = (setting.algorithm, setting.curriculum, *(recipe for recipe, _ in setting.also))
    return repr((recipes, described)), *others


def by_shapes(function: Hashable, *arguments: Any) -> Hashable:
    leaves, structure = jax.tree.flatten(arguments)
    return function, structure, *[(jax.numpy.shape(x), jax.numpy.result_type(x)) for x in leaves]


@contextlib.contextmanager
def programs_once() -> Iterator[None]:
    """Within it, ``train`` builds, traces and compiles what has the same setting and shapes once: a run that goes on,
    or has another seed, takes the executable of the run before. Inside another such block: those of its own."""
    build = Once(BUILD, by_description)
    with pytest.MonkeyPatch.context() as patch:
        for module in (program, training):
            patch.setattr(module, "build_program", build)
        patch.setattr(memory, "compile_ahead", Once(COMPILE, by_shapes))
        yield
