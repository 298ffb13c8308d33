"""Curricula: which tasks come next. A new one is one file and one line here."""

from metarl_jax.curricula.uniform import uniform

REGISTRY = {"uniform": uniform}

__all__ = ["REGISTRY", "uniform"]
