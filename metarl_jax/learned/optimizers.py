"""Optimisers that were meta-learned, for any training loop.

optimizer = metarl_jax.learned.optimizers.load("small-mazes", total_updates=1000)  # an optax.GradientTransformation
"""

import itertools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

from metarl_jax.config import check_counts
from metarl_jax.learned import weights as shelf
from metarl_jax.learned.optimizer_rule import FEATURES, init, scale_by_learned

__all__ = ["available", "init", "load", "read", "save", "scale_by_learned"]

SHIPPED = Path(__file__).with_name("shipped") / "optimizers"
SHELF = shelf.WeightStore(SHIPPED, "learned optimiser", ("learned-optimizer",))


def load(name: str | Path, total_updates: int) -> optax.GradientTransformation:
    """The optimiser of a file, or one of ``available()``, for a training of ``total_updates`` steps.

    Its updates are to be added to the parameters, as always in optax, and depend on the parameters:
    ``updates, state = optimizer.update(gradients, state, params)``. Its state holds four numbers for each parameter.
    It moves parameters whose gradient is zero, too: ``optax.masked`` keeps those still that must not move.

    Args:
      name: a file that ``save`` wrote, or a name.
      total_updates: of the training; the optimiser sees how much of it has gone.

    Returns:
      optax's GradientTransformation.

    Raises:
      ConfigError: no such file, or none of this format; or a wrong number of updates.
    """
    check_counts({"total_updates": total_updates})
    weights = jax.tree.map(jnp.asarray, read(name)["weights"])
    return optax.chain(scale_by_learned(weights, total_updates), optax.scale(-1.0))


def available() -> list[str]:
    """The optimisers that come with the package.

    Returns:
      Their names.
    """
    return shelf.available(SHELF)


def read(name: str | Path) -> dict[str, Any]:
    """What ``save`` wrote.

    Args:
      name: a file, or one of ``available()``.

    Returns:
      ``weights`` (numpy), ``config`` of the run that made them and its ``curve``, the return of lifetimes by update.

    Raises:
      ConfigError: no such file, or none of this format.
    """
    found = shelf.read(SHELF, name)
    try:
        layers = found["weights"]["layers"]
        widths = [FEATURES, *(layer["bias"].size for layer in layers)]
        fits = all(x["kernel"].shape == ends for x, ends in zip(layers, itertools.pairwise(widths), strict=True))
        if not (layers and fits and widths[-1] == 2 and found["weights"]["log_rate"].shape == ()):
            raise ValueError("layers of wrong shapes")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise shelf.unusable(SHELF, name, found["path"], error) from error
    return found


def save(run: Any, path: str | Path, member: int = 0) -> None:
    """Writes the optimiser that a run of ``learned-optimizer`` has learned, with the run's configuration and curve.

    Args:
      run: the run.
      path: of the file.
      member: which of the run's seeds.

    Raises:
      ConfigError: another algorithm's run, or no such seed.
    """
    shelf.save(SHELF, run, path, member)
