"""metarl_jax: one engine for meta-reinforcement learning in JAX.

import metarl_jax as mrl
run = mrl.train("rl2", "maze-100", seed=0)
mrl.evaluate(run).print()
"""

import importlib
from typing import Any

__version__ = "0.1.0"

# Loaded when first asked for: importing the package costs no more than importing jax.
_LAZY = {
    "train": "metarl_jax.training",
    "load": "metarl_jax.training",
    "Stopped": "metarl_jax.training",
    "Diverged": "metarl_jax.training",
    "evaluate": "metarl_jax.evaluation",
    "Run": "metarl_jax.run",
    "Report": "metarl_jax.report",
    "ConfigError": "metarl_jax.config",
}
_MODULES = ("algorithms", "curricula", "estimators", "networks", "planning", "rollout", "tasks", "types", "viz")

__all__ = [*_LAZY, *_MODULES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"metarl_jax.{name}")
    else:
        raise AttributeError(f"module 'metarl_jax' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
