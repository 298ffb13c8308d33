"""Rules of credit assignment that were meta-learned, as plain functions of a trajectory, for any training loop.

rule = metarl_jax.learned.rules.load("random-mdps")
targets = rule(metarl_jax.learned.lpg_rule.RuleInputs(...))  # what each action and prediction should become
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from metarl_jax.learned import intrinsic_reward_rule as intrinsic
from metarl_jax.learned import lpg_rule as lpg
from metarl_jax.learned import pairwise_credit_rule as pairwise
from metarl_jax.learned import weights as shelf

__all__ = ["available", "intrinsic", "load", "lpg", "pairwise", "read", "save"]

FUNCTIONS = {"lpg": lpg.read, "intrinsic-reward": intrinsic.rewarded, "pairwise-weights": pairwise.pair_weights}
SHELF = shelf.WeightStore(Path(__file__).with_name("shipped") / "rules", "learned rule", tuple(FUNCTIONS))


def load(name: str | Path) -> Callable:
    """The rule of a file, or one of ``available()``, frozen.

    Of a run of

    - ``lpg``: ``rules.lpg.RuleInputs -> rules.lpg.RuleTargets``, how an agent is to be updated
      (``rules.lpg.agent_loss``);
    - ``intrinsic-reward``: ``(memory, inputs, reward, ended) -> (memory, rewards)``, see ``rules.intrinsic.rewarded``;
    - ``pairwise-weights``: ``(inputs, ended) -> weights``, see ``rules.pairwise.pair_weights``.

    Args:
      name: a file that ``save`` wrote, or a name.

    Returns:
      A pure function of a trajectory.

    Raises:
      ConfigError: no such file, or none of this format.
    """
    found = read(name)
    function = FUNCTIONS[found["config"]["algorithm"]["name"]]
    return functools.partial(function, jax.tree.map(jnp.asarray, found["weights"]))


def available() -> list[str]:
    """The rules that come with the package.

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
        options = found["config"]["algorithm"]["options"]
        learner = found["config"]["algorithm"]["name"]
        wanted = jax.eval_shape(functools.partial(_like, learner, found["weights"], options))
        shapes = [jax.tree.map(jnp.shape, tree) for tree in (found["weights"], wanted)]
        if shapes[0] != shapes[1]:
            raise ValueError("weights of wrong shapes")
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise shelf.unusable(SHELF, name, found["path"], error) from error
    return found


def _like(learner: str, weights: Any, options: Any) -> Any:
    """Newborn weights of a learner's rule with these options, that sees as many features as ``weights``."""
    key = jax.random.key(0)
    if learner == "lpg":
        return lpg.init(key, options["memory_size"], options["predictions"])
    if learner == "pairwise-weights":
        features = weights["acting"]["layer_0"]["kernel"].shape[0]
        return pairwise.init(key, features, tuple(options["hidden"]), options["size"], options["weight"])
    size = options["memory_size"]
    features = (
        weights["inputs"]["reset"]["kernel"].shape[0] - 2 if size else weights["reward"]["layer_0"]["kernel"].shape[0]
    )
    return intrinsic.init(key, features, tuple(options["hidden"]), size)


def save(run: Any, path: str | Path, member: int = 0) -> None:
    """Writes the rule that a run has learned, with the run's configuration and curve.

    Args:
      run: of ``lpg``, ``intrinsic-reward`` or ``pairwise-weights``.
      path: of the file.
      member: which of the run's seeds.

    Raises:
      ConfigError: another algorithm's run, or no such seed.
    """
    shelf.save(SHELF, run, path, member)
