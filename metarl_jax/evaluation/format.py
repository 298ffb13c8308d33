"""How numbers and references read."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

ROLES = {
    "optimal": "optimal, task known",
    "bayes": "Bayes-optimal",
    "non_adaptive": "best non-adaptive",
    "memoryless": "memoryless policy",
    "posterior_sampling": "posterior sampling",
}


KINDS = {"exact": "exact", "lower": "lower bound", "upper": "upper bound"}


def number(x: float | None) -> str:
    """Four significant digits, at most four decimals; ``-`` for what is not known."""
    if x is None or not math.isfinite(x):
        return "-"
    decimals = 3 - math.floor(math.log10(abs(x))) if x else 0
    text = f"{x:,.{min(4, max(0, decimals))}f}"
    return text if text.strip("-0.") else "0"


def percent(x: float | None) -> str:
    """A share as a percentage; ``-`` for what is not known."""
    return "-" if x is None else f"{100 * x:.1f} %"


def interval(ends: Sequence[Any], write: Callable[[Any], str] = number) -> str:
    """``low to high``; nothing where they are not known."""
    return "" if None in ends else " to ".join(map(write, ends))


def words(reference: Mapping[str, Any]) -> tuple[str, str]:
    """Role and kind as a reader has them."""
    role, kind = str(reference["role"]), str(reference["kind"])
    of = f" of {reference['of']}" if reference.get("of") else ""
    return ROLES.get(role, role) + of, KINDS.get(kind, kind)


def label(reference: Mapping[str, Any]) -> str:
    """``role, kind`` in words."""
    return ", ".join(words(reference))
