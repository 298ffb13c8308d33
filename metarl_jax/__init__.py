"""metarl_jax: one engine for meta-reinforcement learning in JAX.

import metarl_jax as mrl
run = mrl.train("rl2", "maze-100", seed=0)
mrl.evaluate(run).print()
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metarl_jax import (
        algorithms,
        curricula,
        estimators,
        learned,
        meta_gradients,
        networks,
        physics,
        planning,
        records,
        rollout,
        tasks,
        viz,
    )
    from metarl_jax.config import ConfigError
    from metarl_jax.evaluation.evaluate import evaluate
    from metarl_jax.evaluation.report import Report
    from metarl_jax.training.run import Run
    from metarl_jax.training.train import Diverged, Stopped, load, train
    from metarl_jax.tuning import Range, Tuned, tune

__version__ = "0.1.0"

# Loaded when first asked for: importing the package costs no more than importing jax.
_LAZY = {
    "train": "metarl_jax.training.train",
    "load": "metarl_jax.training.train",
    "Stopped": "metarl_jax.training.train",
    "Diverged": "metarl_jax.training.train",
    "evaluate": "metarl_jax.evaluation.evaluate",
    "tune": "metarl_jax.tuning",
    "Range": "metarl_jax.tuning",
    "Tuned": "metarl_jax.tuning",
    "Run": "metarl_jax.training.run",
    "Report": "metarl_jax.evaluation.report",
    "ConfigError": "metarl_jax.config",
}

__all__ = [
    "ConfigError",
    "Diverged",
    "Range",
    "Report",
    "Run",
    "Stopped",
    "Tuned",
    "algorithms",
    "curricula",
    "estimators",
    "evaluate",
    "learned",
    "load",
    "meta_gradients",
    "networks",
    "physics",
    "planning",
    "records",
    "rollout",
    "tasks",
    "train",
    "tune",
    "viz",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name]), name)
    elif name in __all__:
        value = importlib.import_module(f"metarl_jax.{name}")
    else:
        raise AttributeError(f"module 'metarl_jax' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
