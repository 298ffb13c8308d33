"""Learned rules of credit assignment, as plain functions of a trajectory."""

from metarl_jax.rules import intrinsic, lpg, pairwise

__all__ = ["intrinsic", "lpg", "pairwise"]
