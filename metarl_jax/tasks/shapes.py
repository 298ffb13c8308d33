"""Shapes and types of what users' functions return, and error messages where they are not as they should be."""

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from metarl_jax import config
from metarl_jax.config import ConfigError, check
from metarl_jax.records import PyTree


def traced(field: str, function: Callable, *inputs: Any) -> Any:
    """Traces a user's function, with an error that names it where it cannot be traced.

    Args:
      field: what the function is called in messages.
      function: the user's.
      *inputs: its arguments, pytrees of arrays or shapes.

    Returns:
      Shapes and types of what it returns.

    Raises:
      ConfigError: it cannot be traced, or returns other things than arrays and numbers.
    """

    def call(*inputs):  # a function of its own: JAX remembers nothing of it
        found = function(*inputs)
        for leaf in jax.tree.leaves(found):
            number = isinstance(leaf, int | float | complex) or hasattr(leaf, "dtype")
            check(number, field, leaf, "must return arrays and numbers, nothing else")
        return found

    try:
        return jax.eval_shape(call, *inputs)
    except ConfigError:
        raise
    except Exception as error:  # whatever a user's function may raise
        first_line = str(error).partition("\n")[0]
        told = f"{type(error).__name__}: {first_line}{where(error)}"
        branch = "; jnp.where and jax.lax.cond choose by traced values" if "Tracer" in type(error).__name__ else ""
        raise ConfigError(f"{field}: cannot be traced by JAX as documented ({told}){branch}") from None


def where(error: Exception) -> str:
    """The user's own line that an error comes from.

    Args:
      error: as caught.

    Returns:
      ``", file.py line 3, in function"``, or "" where no such line is known.
    """
    ours = [Path(module.__file__ or "").parent for module in (jax, config)]
    frames = reversed(traceback.extract_tb(error.__traceback__))
    outside = (x for x in frames if not any(Path(x.filename).is_relative_to(folder) for folder in ours))
    frame = next(outside, None)
    return "" if frame is None else f", {Path(frame.filename).name} line {frame.lineno}, in {frame.name}"


def check_scalar(field: str, value: Any, fix: str) -> None:
    """Checks that a function returns one real number.

    Args:
      field: what the function is called in messages.
      value: shape and type of what it returns.
      fix: what to do about it.

    Raises:
      ConfigError: it is something else.
    """
    if getattr(value, "shape", None) != () or not is_real(value):
        raise ConfigError(f"{field}={typed(value)}: {fix}")


def check_flag(field: str, value: Any) -> None:
    """Checks that a function returns one boolean.

    Args:
      field: what the function is called in messages.
      value: shape and type of what it returns.

    Raises:
      ConfigError: it is something else.
    """
    if getattr(value, "shape", None) != () or value.dtype != jnp.bool_:
        raise ConfigError(f"{field}={typed(value)}: must be one boolean (of a number, x > 0.5 makes one)")


def is_real(value: Any) -> bool:
    """Whether an array is of real numbers: floats, whole numbers or booleans.

    Args:
      value: an array, or its shape and type.

    Returns:
      A boolean.
    """
    return any(jnp.issubdtype(value.dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_))


def check_like(field: str, tree: PyTree, wanted: PyTree, source: str) -> None:
    """Checks that a tree has the structure, shapes and types of another.

    Args:
      field: what the tree is called in messages.
      tree: arrays, or shapes and types.
      wanted: likewise, those that it must have.
      source: what ``wanted`` is called in messages.

    Raises:
      ConfigError: they differ.
    """
    structure, like = jax.tree.structure(tree), jax.tree.structure(wanted)
    check(structure == like, field, structure, f"must have the structure that {source} has, {like}")
    for (path, leaf), other in zip(jax.tree_util.tree_leaves_with_path(tree), jax.tree.leaves(wanted), strict=True):
        if (leaf.shape, leaf.dtype) != (other.shape, other.dtype):
            name = f"{field}{jax.tree_util.keystr(path)}"
            raise ConfigError(f"{name}={typed(leaf)}: must be {typed(other)}, as {source} has it")


def check_not_nan(field: str, tree: PyTree) -> None:
    """Checks that a tree of arrays holds no NaN.

    Args:
      field: what the tree is called in messages.
      tree: arrays.

    Raises:
      ConfigError: it holds one.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        real = not jnp.issubdtype(leaf.dtype, jnp.inexact) or not bool(np.isnan(leaf).any())
        check(real, f"{field}{jax.tree_util.keystr(path)}", "NaN", "give numbers only")


def typed(value: Any) -> str:
    """Type and shape as text.

    Args:
      value: an array, its shape and type, or a pytree.

    Returns:
      ``"float32[2,3]"``, say; of what is no array, its tree structure.
    """
    if not hasattr(value, "shape"):
        return str(jax.tree.structure(value))
    return f"{value.dtype}{list(value.shape)}".replace(" ", "")


def a_key() -> jax.ShapeDtypeStruct:
    """Shape and type of a random key.

    Returns:
      Those of ``jax.random.key(0)``, for tracing.
    """
    return jax.eval_shape(lambda: jax.random.key(0))


def depends_on_input(function: Callable, *inputs: Any) -> bool:
    """Whether anything that a function returns is computed from its inputs, as its program says.

    Args:
      function: returns arrays.
      *inputs: its arguments, pytrees of arrays or shapes.

    Returns:
      A boolean; False where the result is the same constant whatever the inputs.
    """
    program = jax.make_jaxpr(lambda *x: function(*x))(*inputs).jaxpr
    return any(_depending(program, [True] * len(program.invars)))


def _depending(program: Any, marks: Sequence[bool]) -> list[bool]:
    """Which outputs of a jaxpr are computed from the inputs marked."""
    marked = {var for var, mark in zip(program.invars, marks, strict=True) if mark}
    known = lambda var: not isinstance(var, Literal) and var in marked
    for equation in program.eqns:
        inputs = [known(var) for var in equation.invars]
        inside = equation.params.get("jaxpr") if equation.primitive.name in ("jit", "pjit") else None
        outputs = [any(inputs)] * len(equation.outvars) if inside is None else _depending(inside.jaxpr, inputs)
        marked |= {var for var, mark in zip(equation.outvars, outputs, strict=True) if mark}
    return [known(var) for var in program.outvars]
