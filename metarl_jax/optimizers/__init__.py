"""Optimisers that were meta-learned, for any training loop.

optimizer = metarl_jax.optimizers.load("small-mazes", total_updates=1000)  # an optax.GradientTransformation
"""

import itertools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metarl_jax.config import ConfigError, check, check_counts, whole
from metarl_jax.files import write_json
from metarl_jax.optimizers.learned import FEATURES, born, scale_by_learned

__all__ = ["available", "born", "load", "read", "save", "scale_by_learned"]

SHIPPED, FORMAT = Path(__file__).with_name("shipped"), 1


def load(name: str | Path, total_updates: int) -> optax.GradientTransformation:
    """The optimiser of a file, or one of ``available()``, for a training of ``total_updates`` steps.

    Its updates are to be added to the parameters, as always in optax, and depend on the parameters:
    ``updates, state = optimizer.update(gradients, state, params)``. Its state holds four numbers for each parameter.
    It moves parameters whose gradient is zero, too: ``optax.masked`` keeps those still that must not move.

    Raises:
      ConfigError: no such file, or none of this format; or a wrong number of updates.
    """
    check_counts({"total_updates": total_updates})
    weights = jax.tree.map(jnp.asarray, read(name)["weights"])
    return optax.chain(scale_by_learned(weights, total_updates), optax.scale(-1.0))


def available() -> list[str]:
    """The names of the optimisers that come with the package."""
    return sorted(file.stem for file in SHIPPED.glob("*.json"))


def read(name: str | Path) -> dict[str, Any]:
    """What ``save`` wrote: ``weights`` (numpy), ``config`` of the run that made them and its ``curve``, what the lives
    of each update earned."""
    check(isinstance(name, str | Path), "name", name, "give the path of a file, or a name")
    path = SHIPPED / f"{name}.json" if name in available() else Path(name)
    check(not path.is_dir(), "name", str(name), "is a folder: optimizers.save(load(folder), file) makes a file")
    check(path.is_file(), "name", str(name), f"no such file; the package has {', '.join(available()) or 'none'}")
    try:
        found = json.loads(path.read_text())
        known = found["format"]
        check(known == FORMAT, "format", known, f"{path} is of another version of metarl_jax, which writes {FORMAT}")
        layers = [
            {part: np.asarray(layer[part], np.float32) for part in ("kernel", "bias")}
            for layer in found["weights"]["layers"]
        ]
        weights = {"layers": layers, "log_rate": np.float32(found["weights"]["log_rate"])}
        widths = [FEATURES, *(layer["bias"].size for layer in layers)]
        fits = all(x["kernel"].shape == ends for x, ends in zip(layers, itertools.pairwise(widths), strict=True))
        if not (layers and fits and widths[-1] == 2 and all(np.isfinite(x).all() for x in jax.tree.leaves(weights))):
            raise ValueError("layers of wrong shapes, or numbers that are not finite")
    except ConfigError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"name={str(name)!r}: {path} holds no learned optimiser ({error!r})") from error
    return found | {"weights": weights}


def save(run: Any, path: str | Path, member: int = 0) -> None:
    """Writes the optimiser that a run of ``learned-optimizer`` has learned, with the run's configuration and curve.

    Args:
      member: which of the run's seeds.

    Raises:
      ConfigError: another algorithm's run, or no such seed.
    """
    learner = run.config["algorithm"]["name"] if hasattr(run, "config") else run
    check(learner == "learned-optimizer", "run", learner, "give a run of learned-optimizer")
    fits = whole(member) and 0 <= member < run.num_seeds
    check(fits, "member", member, f"must be a whole number from 0 to {run.num_seeds - 1}: the run has so many seeds")
    weights = jax.tree.map(lambda x: np.asarray(x[member]).tolist(), run.state.meta)
    curve = np.asarray(run.metrics["trial_return"])[:, member]
    seed = run.config["seed"] + member
    config = run.config | {"seed": seed, "num_seeds": 1}
    made = {"format": FORMAT, "config": config, "curve": [round(float(x), 4) for x in curve], "weights": weights}
    write_json(Path(path), made)
