"""The report: what one evaluation says, beside the answers that are known. Plain numpy in, plain data out.

``summarize`` turns the record of all trials, and of the control that forgets at each episode, into a ``Report``:
numbers, lists and words only, so that it can be printed, saved as JSON and drawn. Returns are undiscounted and in
units of return a trial. Sources: Agarwal et al. 2021 (interquartile mean); Rutherford et al. 2024, "No Regrets" (the
tail of the tasks, CVaR); Duan et al. 2016 (trial).
"""

import dataclasses
import functools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from metarl_jax.config import ConfigError
from metarl_jax.evaluation import render as tables
from metarl_jax.evaluation.adaptation_test import (
    NON_ADAPTIVE,
    ROUNDING,
    Evidence,
    by_task,
    choose,
    gap,
    judge,
    too_late,
)
from metarl_jax.evaluation.format import number
from metarl_jax.evaluation.intervals import Estimate, interquartile_mean, mean_interval, power, scope
from metarl_jax.evaluation.trials import Swapped, Trials, Windows, by_adaptation, by_episode, checked, describe, worst
from metarl_jax.records import Reference
from metarl_jax.storage.files import plain, user_path, write_json

FORMAT = 6
MOST_TASKS = 1000  # beyond, the report keeps quantiles over tasks instead of every task's mean


@dataclasses.dataclass(frozen=True, repr=False)
class Report:
    """Result of an evaluation. Lists are over episodes unless said otherwise; None stands for "not known".

    All intervals are of 95 %. Differences are paired by task and seed.

    Attributes:
      name: what was measured: algorithm, tasks, trial_steps, horizon, seeds, num_tasks, trials_per_task.
      mean: trial return over tasks, seeds and trials.
      interval: of ``mean``.
      iqm: interquartile mean of the trial return.
      iqm_interval: of ``iqm``.
      seed_means: ``[S]``, mean trial return of each seed.
      control_mean: mean trial return of the control, whose memory is reset at each episode.
      gain: ``mean - control_mean``.
      gain_interval: of ``gain``.
      swap_gain: the return of the second half of a trial less that with the memory of another task (see ``controls``);
        None where not measured.
      swap_interval: of ``swap_gain``.
      within_gain: the control's return less that with memory reset at each step; None where not measured.
      within_interval: of ``within_gain``.
      adapted: ``adapted_across``, and ``above_non_adaptive`` is not False, and memory does not cost return.
      adapted_across: ``swap_gain`` (``gain`` where there is none) lies above zero.
      adapted_within: ``within_gain`` lies above zero.
      above_non_adaptive: the return is above the best non-adaptive reference.
      intervals_over: what the intervals are over, seeds and tasks (see ``intervals``).
      intervals_of: empty, or what alone they are of ("of this seed").
      power: the chance that an effect of four standard errors is found with as many seeds and tasks.
      gap_closed: ``(mean - base) / (target - base)``, see ``gap_note``.
      gap_interval: of ``gap_closed``.
      gap_note: which gap it is, in words.
      references: as ``trials.describe`` returns them.
      verdict: whether the agent adapted, in a sentence.
      by_episode: ``return`` with ``low`` and ``high`` over the trials that began the episode, ``length`` in steps of
        the episodes that ended (by the trial's last step at the latest), and the shares of trials that ``began`` and
        ``finished`` it.
      control_by_episode: the same of the control.
      task_means: ``[N]``, mean trial return of each task, for up to 1000 tasks.
      control_task_means: the same of the control.
      quantiles: 0, 1, ... 100 % of the task means.
      control_quantiles: the same of the control.
      by_adaptation: ``return`` of an episode before adaptation and after each inner update (after ``window`` steps,
        see ``trials.Windows``; 1: after each episode), and ``gap_closed``, ``(R_k - R_0) / (R* - R_0)`` with R* of the
        agent that knows the task.
      worst: the mean over the worst 10 % and 1 % of the tasks, of the trial, its first and its last episode, see
        ``trials.worst``.
      belief: the agent's belief over tasks beside the exact one, where both are known, see ``belief_scores.described``.

    Example:
      ``report = metarl_jax.evaluate(run)``, ``report.print()``, ``report.save("report.json")``
    """

    name: dict[str, Any]
    mean: float
    interval: list[float | None]
    iqm: float
    iqm_interval: list[float | None]
    seed_means: list[float]
    control_mean: float
    gain: float
    gain_interval: list[float | None]
    swap_gain: float | None
    swap_interval: list[float | None]
    within_gain: float | None
    within_interval: list[float | None]
    adapted: bool | None
    adapted_across: bool | None
    adapted_within: bool | None
    above_non_adaptive: bool | None
    intervals_over: str
    intervals_of: str
    power: float
    gap_closed: float | None
    gap_interval: list[float | None]
    gap_note: str
    references: list[dict[str, Any]]
    verdict: str
    by_episode: dict[str, list]
    control_by_episode: dict[str, list]
    task_means: list[float] | None
    control_task_means: list[float] | None
    quantiles: list[float]
    control_quantiles: list[float]
    by_adaptation: dict[str, Any]
    worst: dict[str, list[float]]
    belief: dict[str, Any] | None = None

    @property
    def title(self) -> str:
        return f"{self.name.get('algorithm', 'agent')} on {self.name.get('tasks', 'tasks')}"

    def table(self) -> Any:
        """The whole report as a rich renderable.

        Returns:
          rich's Group.
        """
        return tables.render(self)

    def print(self) -> None:
        """Prints the report in colour, as wide as the terminal."""
        from rich.console import Console

        Console().print(self.table())

    def __rich__(self) -> Any:
        return self.table()

    def __str__(self) -> str:
        lines = self._rendered().export_text(styles=False).replace("─", "-").splitlines()
        return "\n".join(line.rstrip() for line in lines)

    def __repr__(self) -> str:
        return f"Report({self.title}: {number(self.mean)}, {self.verdict})"

    def _repr_html_(self) -> str:
        style = "font-family:monospace;line-height:1.25;white-space:pre"
        return self._rendered().export_html(inline_styles=True, code_format=f'<pre style="{style}">{{code}}</pre>')

    def _rendered(self) -> Any:
        import io

        from rich.console import Console

        console = Console(record=True, file=io.StringIO(), width=100, force_jupyter=False)
        console.print(self.table())
        return console

    def save(self, path: str | os.PathLike) -> Path:
        """Writes JSON (RFC 8259: null, never NaN) at once or not at all; returns the path.

        Args:
          path: of the file.

        Returns:
          The path.
        """
        return write_json(user_path(path), {"format": FORMAT, **dataclasses.asdict(self)})

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Report":
        """The report that ``save`` wrote.

        Args:
          path: of the file.

        Returns:
          The Report.

        Raises:
          ConfigError: where the file is not such a report; FileNotFoundError: where there is none.
        """
        try:
            data = json.loads(user_path(path).read_text(encoding="utf-8"))
            if data.pop("format") != FORMAT:
                raise ValueError("another format")
            return cls(**data)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"report={str(path)!r}: not a report of this version ({error}): evaluate again"
            ) from error


def summarize(
    trials: Trials,
    control: Trials,
    references: Sequence[Reference] = (),
    *,
    name: Mapping[str, Any] | None = None,
    belief: Mapping[str, Any] | None = None,
    windows: Windows | None = None,
    swapped: Swapped | None = None,
    memoryless: ArrayLike | None = None,
    all_tasks: bool = False,
) -> Report:
    """The report on trials of an agent and those of its controls.

    Args:
      trials: the agent's.
      control: the same agent's with its memory reset at each episode.
      references: known values.
      name: what was measured: algorithm, tasks, trial_steps, horizon, seeds, num_tasks, trials_per_task.
      belief: scores of the agent's belief, see ``belief_scores.described``.
      windows: of agents that make an inner update every few steps; None: at any step.
      swapped: returns with the memory of another task, see ``controls``.
      memoryless: returns ``[S, N, R]`` of the same agent with its memory reset at each step.
      all_tasks: the tasks are a whole finite set, not draws.

    Returns:
      The Report.

    Raises:
      ValueError: for shapes that do not belong together, or trial returns that are not finite.
    """
    trials, control = checked(trials, "trials"), checked(control, "control")
    scores, reset = trials.trial_return, control.trial_return  # [S, N, R]
    if scores.shape != reset.shape:
        raise ValueError(f"trials {scores.shape} and control {reset.shape} must have the same shape to be paired")
    of = functools.partial(mean_interval, all_tasks=all_tasks)
    mean = float(scores.mean())
    known = [describe(reference, mean, trials) for reference in references]
    closed = gap(scores, reset, references, all_tasks)
    bar = choose(references, NON_ADAPTIVE)
    evidence = Evidence(
        swapped=None if swapped is None else of(swapped.own - swapped.other),
        reset=of(scores - reset),
        within=None if memoryless is None else of(reset - np.asarray(memoryless, float)),
        above=None if bar is None else of(scores - by_task(bar)),
        bar=bar,
        least=ROUNDING * float(np.nansum(np.abs(trials.returns), axis=-1).mean()),
    )
    several = max(np.isfinite(t.returns).sum(axis=-1).max() for t in (trials, control)) > 1
    if windows is not None and len(windows.reward) == 1:
        found = too_late(windows.steps)
    else:
        found = judge(evidence, scores.shape, all_tasks, several, closed)
    task_means, control_task_means = (x.mean(axis=(0, 2)) for x in (scores, reset))  # [N]
    few, middle = task_means.size <= MOST_TASKS, interquartile_mean(scores, all_tasks=all_tasks)
    over, alone, freedom = scope(scores.shape, all_tasks)
    numbers = dict(
        mean=mean,
        interval=of(scores)[1:],
        iqm=middle.mean,
        iqm_interval=middle[1:],
        seed_means=scores.mean(axis=(1, 2)),
        control_mean=reset.mean(),
        **_parted("gain", "gain_interval", evidence.reset),
        **_parted("swap_gain", "swap_interval", evidence.swapped),
        **_parted("within_gain", "within_interval", evidence.within),
        **_parted("gap_closed", "gap_interval", closed.closed),
        power=power(freedom),
        references=known,
        by_episode=by_episode(trials, all_tasks),
        control_by_episode=by_episode(control, all_tasks),
        task_means=task_means if few else None,
        control_task_means=control_task_means if few else None,
        quantiles=np.percentile(task_means, np.arange(101)),
        control_quantiles=np.percentile(control_task_means, np.arange(101)),
        by_adaptation=by_adaptation(trials, known, windows),
        worst=worst(trials),
        belief=None if belief is None else dict(belief),
    )
    return Report(
        name=plain(dict(name or {})),
        adapted=found.adapted,
        adapted_across=found.across,
        adapted_within=found.within,
        above_non_adaptive=found.above,
        intervals_over=over,
        intervals_of=alone,
        gap_note=closed.note,
        verdict=found.words,
        **plain(numbers),
    )


def _parted(mean: str, ends: str, found: Estimate | None) -> dict[str, Any]:
    """An estimate as two fields of these names."""
    return {mean: None, ends: [None, None]} if found is None else {mean: found.mean, ends: found[1:]}
