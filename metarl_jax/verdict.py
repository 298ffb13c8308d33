"""What a score says beside the known answers: the share of the gap that it closes, and whether the agent adapted."""

import math
from collections.abc import Sequence

from metarl_jax.statistics import Estimate
from metarl_jax.tables import label, number

TARGETS = tuple((role, kind) for role in ("bayes", "optimal") for kind in ("exact", "lower", "upper"))
NON_ADAPTIVE = (("non_adaptive", "exact"), ("non_adaptive", "lower"), ("memoryless", "lower"))


def gap(score: float, control_mean: float, references: list[dict]) -> tuple[float | None, str]:
    """Share of the gap between not adapting and the target that the score closes, and in words what the two are.

    ``(score - base) / (target - base)``; the target is the exact Bayes-optimal value, else the best known one, else
    a bound above it; the base is the best non-adaptive reference, else the memoryless one, else the control's mean.
    """
    target = choose(references, TARGETS)
    if target is None:
        return None, "no reference to aim at is known"
    base = choose(references, NON_ADAPTIVE) or {"value": control_mean}
    start = label(base) if "role" in base else "the control, memory wiped"
    words = f"from {number(base['value'])} ({start}) to {number(target['value'])} ({label(target)})"
    width = target["value"] - base["value"]
    if width <= 1e-6 * max(abs(target["value"]), abs(base["value"])):
        return None, f"no gap {words}"
    return (score - base["value"]) / width, words


def choose(references: list[dict], order: Sequence[tuple[str, str]]) -> dict | None:
    """The first of ``order`` that is known of the tasks asked about: of several lower bounds the highest, of several
    upper ones the lowest."""
    for role, kind in order:
        found = [r for r in references if (r["role"], r["kind"]) == (role, kind) and math.isfinite(r["value"])]
        found = [r for r in found if not r.get("of")]
        if found:
            return (min if kind == "upper" else max)(found, key=lambda r: r["value"])
    return None


def judge(
    gain: Estimate, several: bool, scale: float, gap_closed: float | None, gap_note: str, too_late: int = 0
) -> tuple[bool | None, str]:
    """Whether the agent adapted, and the sentence that says so.

    It did when the 95 % interval of its gain over the control lies above zero by more than rounding. ``several``:
    some trial had more than one episode; else, or where the gain has no interval, the answer is None. ``scale``: the
    typical size of a trial's returns; ``gap_closed`` and ``gap_note`` are told along when it did. ``too_late``: the
    steps after which the first inner step would come, where the trial ends before (0: it comes).
    """
    if too_late:
        words = f"an inner step comes after {too_late} steps and the trial ends before: give it more episodes"
        return False, f"did not adapt: {words}"
    if not several:
        return None, "one episode a trial: nothing to compare"
    if math.isnan(gain.low):
        return None, "one task and one seed: the gain has no interval, evaluate on more tasks"
    rounding = 1e-5 * scale  # two programs that do the same may differ in the last bits of float32
    interval = f"95 % interval {number(gain.low)} to {number(gain.high)}"
    if gain.low > rounding:
        share = None if gap_closed is None else f"{100 * gap_closed:.0f} %" if gap_closed > 0 else "none"
        closed = f"; it closes {share} of the gap {gap_note}" if share else ""
        return True, f"adapted: {number(gain.mean)} more return a trial than with its memory wiped ({interval}){closed}"
    if gain.high < -rounding:
        interval = f"95 % interval {number(-gain.high)} to {number(-gain.low)}"
        return False, f"did not adapt: its memory costs {number(-gain.mean)} return a trial ({interval})"
    words = f"its gain over wiped memory, {number(gain.mean)}, is not distinguishable from zero"
    return False, f"did not adapt: {words} ({interval})"
