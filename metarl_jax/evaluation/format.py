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
    """Four significant digits, at most four decimals.

    Args:
      x: None or not finite: not known.

    Returns:
      Text; ``-`` for what is not known.
    """
    if x is None or not math.isfinite(x):
        return "-"
    decimals = 3 - math.floor(math.log10(abs(x))) if x else 0
    text = f"{x:,.{min(4, max(0, decimals))}f}"
    return text if text.strip("-0.") else "0"


def percent(x: float | None) -> str:
    """A share as a percentage.

    Args:
      x: None or not finite: not known.

    Returns:
      Text; ``-`` for what is not known.
    """
    return "-" if x is None else f"{100 * x:.1f} %"


def interval(ends: Sequence[Any], write: Callable[[Any], str] = number) -> str:
    """``low to high``.

    Args:
      ends: of the interval.
      write: how each is written.

    Returns:
      Text; nothing where they are not known.
    """
    return "" if None in ends else " to ".join(map(write, ends))


def words(reference: Mapping[str, Any]) -> tuple[str, str]:
    """Role and kind of a reference as a reader has them.

    Args:
      reference: as a report holds it.

    Returns:
      The two.
    """
    role, kind = str(reference["role"]), str(reference["kind"])
    of = f" of {reference['of']}" if reference.get("of") else ""
    return ROLES.get(role, role) + of, KINDS.get(kind, kind)


def label(reference: Mapping[str, Any]) -> str:
    """``role, kind`` of a reference in words.

    Args:
      reference: as a report holds it.

    Returns:
      Text.
    """
    return ", ".join(words(reference))
