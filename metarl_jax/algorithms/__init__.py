"""Meta-learners. A new one is one file and one line here."""

from metarl_jax.algorithms.rl2 import ppo, rl2

REGISTRY = {"rl2": rl2, "ppo": ppo}

__all__ = ["REGISTRY", "ppo", "rl2"]
