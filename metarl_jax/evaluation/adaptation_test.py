"""What a score says beside the known answers: the share of the gap that it closes, and whether the agent adapted."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from metarl_jax.evaluation.format import interval, label, number
from metarl_jax.evaluation.intervals import Estimate, mean_interval, power, ratio_values, scope
from metarl_jax.records import Reference

TARGETS = tuple((role, kind) for role in ("bayes", "optimal") for kind in ("exact", "lower", "upper"))
NON_ADAPTIVE = (("non_adaptive", "exact"), ("non_adaptive", "lower"), ("memoryless", "lower"))
ROUNDING = 1e-5  # of the typical return: smaller differences may be float32's


THAN = {
    "swapped": "in the second half of a trial than with the memory of another task",
    "reset": "per trial than with memory reset at every episode (the memory of another task was not available)",
}
UNKNOWN = "whether it adapted is not known: too few seeds, tasks or trials for an interval"


class Gap(NamedTuple):
    """The share of the gap between not adapting and the target that a score closes.

    Attributes:
      closed: the share with its interval; None: there is no gap.
      note: what the gap is, in words.
    """

    closed: Estimate | None
    note: str


class Evidence(NamedTuple):
    """What a verdict rests on: mean differences of returns with their intervals, None where not measured.

    Attributes:
      swapped: the second half of a trial less the same with the memory of another task.
      reset: a trial less the same with memory reset at each episode.
      within: a trial with memory reset at each episode less one with memory reset at each step.
      above: the score less ``bar``.
      bar: the best non-adaptive reference.
      least: a difference below it is rounding.
    """

    swapped: Estimate | None
    reset: Estimate
    within: Estimate | None
    above: Estimate | None
    bar: Reference | None
    least: float


class Verdict(NamedTuple):
    """Whether an agent adapted; None stands for "not known".

    Attributes:
      adapted: across episodes, and the score is not known to be at most that of the best non-adaptive reference, and
        memory does not cost return.
      across: memory of the task is worth return across episodes.
      within: memory is worth return within episodes.
      above: the score is above the best non-adaptive reference.
      words: the sentence.
    """

    adapted: bool | None
    across: bool | None
    within: bool | None
    above: bool | None
    words: str


def gap(scores: np.ndarray, control: np.ndarray, references: Sequence[Reference], all_tasks: bool) -> Gap:
    """Share of the gap between not adapting and the target that ``scores [S, N, R]`` close, paired by task.

    ``(score - base) / (target - base)``; the target is the exact Bayes-optimal value, else the best known one, else
    a bound above it; the base is the best non-adaptive reference, else the memoryless one, else the control's mean.

    Args:
      scores: ``[S, N, R]``.
      control: likewise, with memory reset at each episode.
      references: those known.
      all_tasks: the tasks are a whole set, not draws.

    Returns:
      The Gap.
    """
    target, base = choose(references, TARGETS), choose(references, NON_ADAPTIVE)
    if target is None:
        return Gap(None, "no reference to aim at is known")
    start = "the control, memory reset" if base is None else label(base._asdict())
    most, least = by_task(target), control if base is None else by_task(base)
    words = f"from {number(least.mean())} ({start}) to {number(most.mean())} ({label(target._asdict())})"
    if most.mean() - least.mean() <= 1e-6 * max(abs(most.mean()), abs(least.mean())):
        return Gap(None, f"no gap {words}")
    over, under = np.broadcast_arrays(scores - least, most - least)
    return Gap(mean_interval(ratio_values(over, under), all_tasks=all_tasks), words)


def by_task(reference: Reference) -> np.ndarray:
    """Its returns, to be subtracted from scores ``[S, N, R]``.

    Args:
      reference: a known value.

    Returns:
      ``[1, N, 1]``, or a scalar.
    """
    value = np.asarray(reference.trial_return, float)
    return value[None, :, None] if value.ndim else value


def choose(references: Sequence[Reference], order: Sequence[tuple[str, str]]) -> Reference | None:
    """The first known reference in an order of roles and kinds.

    Of several lower bounds it is the highest, of several upper ones the lowest. References of other tasks do not count.

    Args:
      references: those known.
      order: roles and kinds, the best first.

    Returns:
      The Reference; None: none is known.
    """
    for role, kind in order:
        found = [r for r in references if (r.role, r.kind) == (role, kind) and not r.of]
        found = [r for r in found if math.isfinite(np.mean(r.trial_return))]
        if found:
            return (min if kind == "upper" else max)(found, key=lambda r: np.mean(r.trial_return))
    return None


def judge(evidence: Evidence, shape: tuple[int, ...], all_tasks: bool, several: bool, closed: Gap) -> Verdict:
    """Whether an agent adapted, and the sentence that says so.

    It did where its own memory is worth more than another task's, its return is above the best non-adaptive one, as far
    as that is known, and not below its own without memory.

    Args:
      evidence: what was measured.
      shape: ``[S, N, R]``, of the scores.
      all_tasks: the tasks are a whole set, not draws.
      several: some trial had more than one episode.
      closed: the share of the gap.

    Returns:
      The Verdict.
    """
    swapped, reset, within, above, bar, least = evidence
    memory, than = (reset, THAN["reset"]) if swapped is None else (swapped, THAN["swapped"])
    is_within, is_above = exceeds(within, least), exceeds(above, least)
    inside = (
        f"; within episodes its memory is worth {number(within.mean)} ({ends(within)})" if within and is_within else ""
    )
    if not several or math.isnan(memory.low):
        words = "one episode per trial: nothing to compare across" if not several else UNKNOWN
        return Verdict(None, None, is_within, is_above, f"{words}{inside}")
    alone = scope(shape, all_tasks)[1]
    note = f", {alone}" if alone else ""
    across, costs = bool(memory.low > least), bool(reset.high < -least)
    best = "" if bar is None else f"{number(np.mean(bar.trial_return))} ({label(bar._asdict())})"
    more = f"{number(memory.mean)} more return {than} ({ends(memory)}{note})"
    if across and is_above is not False and not costs:
        share = "" if closed.closed is None else f"; it closes {_share_of(closed.closed)} of the gap {closed.note}"
        return Verdict(True, True, is_within, is_above, f"adapted: {more}{share}")
    if across:
        fault = f"its return is not above {best}" if is_above is False else f"resetting it pays {number(-reset.mean)}"
        words = f"did not adapt to any use: memory of the task makes {more}, but {fault}{inside}"
        return Verdict(False, True, is_within, is_above, words)
    words = f"{number(memory.mean)} more return {than} is not distinguishable from zero ({ends(memory)}{note})"
    if memory.high < -least:
        words = f"{number(-memory.mean)} less return {than} ({ends(_minus(memory))}{note})"
    words += _weak(shape, all_tasks) + inside
    if is_above:
        words += f"; but its return is above {best}: it learns within episodes, or is shown the task"
    return Verdict(False, False, is_within, is_above, f"did not adapt across episodes: {words}")


def exceeds(gain: Estimate | None, least: float) -> bool | None:
    """Whether it is above zero by more than rounding; None: it was not measured, or has no interval.

    Args:
      gain: a mean difference with its interval.
      least: a difference below it is rounding.

    Returns:
      A bool, or None.
    """
    return None if gain is None or math.isnan(gain.low) else bool(gain.low > least)


def too_late(steps: int) -> Verdict:
    """Of an agent whose first inner step would come after so many steps, which the trial does not have.

    Args:
      steps: before the first inner step.

    Returns:
      The Verdict.
    """
    words = f"an inner step comes after {steps} steps and the trial ends before: give it more episodes"
    return Verdict(False, False, None, None, f"did not adapt: {words}")


def _weak(shape: tuple[int, ...], all_tasks: bool) -> str:
    """What so few clusters can show, where that is little."""
    over, _, freedom = scope(shape, all_tasks)
    chance = power(freedom)
    words = f"; with so few {over} an effect of four standard errors is found in {100 * chance:.0f} % of cases"
    return "" if chance >= 0.9 else words


def _minus(gain: Estimate) -> Estimate:
    return Estimate(-gain.mean, -gain.high, -gain.low)


def ends(gain: Estimate) -> str:
    """An interval in words.

    Args:
      gain: an estimate.

    Returns:
      Text.
    """
    return f"95 % interval {interval((gain.low, gain.high))}"


def _share_of(closed: Estimate) -> str:
    """``93 % (86 to 101 %)``."""
    mean, low, high = (100 * float(x) for x in closed)
    return f"{mean:.0f} % ({low:.0f} to {high:.0f} %)"
