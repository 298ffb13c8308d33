"""Recipes: how names and options become task distributions, algorithms and curricula.

A recipe is a plain function whose keyword-only signature holds the defaults. ``recipe(function)`` wraps it so that
a call checks the options against their annotations first and remembers them, which is all that a configuration
file, the command line and ``metarl_jax.load`` need.
"""

from metarl_jax.config.options import (
    about,
    check,
    check_all,
    check_counts,
    check_divides,
    check_seeds,
    coerce,
    lookup,
    not_installed,
    options_of,
    resolve,
    whole,
)
from metarl_jax.config.recipe import P, Recipe, RecipeDecorator, T, family, preset, recipe
from metarl_jax.records import ConfigError

__all__ = [
    "ConfigError",
    "P",
    "Recipe",
    "RecipeDecorator",
    "T",
    "about",
    "check",
    "check_all",
    "check_counts",
    "check_divides",
    "check_seeds",
    "coerce",
    "family",
    "lookup",
    "not_installed",
    "options_of",
    "preset",
    "recipe",
    "resolve",
    "whole",
]
