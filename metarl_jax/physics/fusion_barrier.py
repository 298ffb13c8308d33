"""A barrier at which XLA stops fusing.

Written out in scalars, a substep is a thousand products of which each uses many others. XLA's CPU fusion computes
again, in every loop, whatever that loop uses: six times the work. A branch of ``lax.cond`` is a computation of its own,
whose results are stored. On other backends, where a branch would ask the host, nothing is done.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def fusion_barrier(true: jax.Array, function: Callable, static: Any, *args: Any) -> Any:
    """Calls a function so that XLA computes its results once and stores them.

    Args:
      true: a boolean that is True, unbatched and unknown to the compiler (a comparison of a scan's index).
      function: called as ``function(static, *args)``.
      static: its first argument, which is not traced.
      *args: its other arguments, pytrees of arrays or numbers.

    Returns:
      ``function(static, *args)``, every leaf an array.
    """

    def run(*args):
        return jax.tree.map(jnp.asarray, function(static, *args))

    def apart(*args):
        shapes = jax.eval_shape(run, *args)
        nothing = lambda *_: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        return jax.lax.cond(true, run, nothing, *args)

    return jax.lax.platform_dependent(*args, cpu=apart, default=run)
