"""The report: what one evaluation says, beside the answers that are known. Plain numpy in, plain data out.

``summarize`` turns the record of all trials, and of the control that forgets at each episode, into a ``Report``:
numbers, lists and words only, so that it can be printed, saved as JSON and drawn. Returns are undiscounted and in
units of return a trial. Sources: Agarwal et al. 2021 (interquartile mean and interval over seeds and tasks);
Rutherford et al. 2024, "No Regrets" (the tail of the tasks, CVaR); Duan et al. 2016 (trial).
"""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metarl_jax import statistics, tables
from metarl_jax.config import ConfigError
from metarl_jax.files import plain, user_path, write_json
from metarl_jax.tables import number
from metarl_jax.trials import Trials, Windows, by_adaptation, by_episode, checked, describe, worst
from metarl_jax.types import Reference
from metarl_jax.verdict import gap, judge

FORMAT = 5
MOST_TASKS = 1000  # beyond, the report keeps quantiles over tasks instead of every task's mean


@dataclasses.dataclass(frozen=True, repr=False)
class Report:
    """What one evaluation found. Lists are over episodes unless said otherwise; None stands for "not known".

    ``mean``, ``iqm``, ``interval``, ``iqm_interval``: trial return over tasks, seeds and trials, intervals of 95 %
    over tasks and seeds; ``seed_means``: ``[S]``.
    ``by_episode``: ``return`` with ``low`` and ``high`` (95 %) over the trials that began the episode, ``length``
    in steps of the episodes that ended (by the trial's last step at the latest), and the shares of trials that
    ``began`` and ``finished`` it; ``control_by_episode`` the same for the control, whose memory is wiped at each
    episode.
    ``gain``: ``mean - control_mean``, paired by task and seed; ``adapted``: its interval lies above zero (None where
    nothing can be compared). ``gap_closed``: ``(mean - base) / (target - base)``, see ``gap_note``.
    ``by_adaptation``: ``return`` of an episode before adaptation and after each inner step (after ``window`` steps, see
    ``trials.Windows``; 1: after each episode), and ``gap_closed``, ``(R_k - R_0) / (R* - R_0)`` with R* of the agent
    that knows the task.
    ``worst``: the mean over the worst 10 % and 1 % of the tasks, of the trial, its first and its last episode, see
    ``trials.worst``.
    ``belief``: what the agent thought of the task beside the exact belief, where both are known, see
    ``beliefs.described``.
    ``task_means``: ``[N]`` for up to 1000 tasks; ``quantiles``: 0, 1, ... 100 % of the task means.
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
    adapted: bool | None
    gap_closed: float | None
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
        """The whole report as a rich renderable."""
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
        """Writes JSON (RFC 8259: null, never NaN) at once or not at all; returns the path."""
        return write_json(user_path(path), {"format": FORMAT, **dataclasses.asdict(self)})

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Report":
        """The report that ``save`` wrote.

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
) -> Report:
    """The report on ``trials``; ``control`` is the same agent with its memory wiped at each episode.

    ``windows``: of agents that learn now and then only. ``name`` identifies what was measured: algorithm, tasks,
    trial_steps, horizon, seeds, num_tasks, trials_per_task.

    Raises:
      ValueError: for shapes that do not belong together, or trial returns that are not finite.
    """
    trials, control = checked(trials, "trials"), checked(control, "control")
    scores, control_scores = trials.trial_return.mean(axis=2), control.trial_return.mean(axis=2)  # [S, N]
    gain = statistics.paired_gain(scores, control_scores)
    mean, control_mean = float(scores.mean()), float(control_scores.mean())
    known = [describe(reference, mean, trials) for reference in references]
    gap_closed, gap_note = gap(mean, control_mean, known)
    several = max(np.isfinite(t.returns).sum(axis=-1).max() for t in (trials, control)) > 1
    scale = float(np.nansum(np.abs(trials.returns), axis=-1).mean())
    too_late = windows.steps if windows is not None and len(windows.reward) == 1 else 0
    adapted, verdict = judge(gain, several, scale, gap_closed, gap_note, too_late)
    task_means, control_task_means = scores.mean(axis=0), control_scores.mean(axis=0)  # [N]
    few = task_means.size <= MOST_TASKS
    numbers = dict(
        mean=mean,
        interval=statistics.stratified_bootstrap(scores, np.mean),
        iqm=statistics.iqm(scores),
        iqm_interval=statistics.stratified_bootstrap(scores, statistics.iqm),
        seed_means=scores.mean(axis=1),
        control_mean=control_mean,
        gain=gain.mean,
        gain_interval=[gain.low, gain.high],
        gap_closed=gap_closed,
        references=known,
        by_episode=by_episode(trials),
        control_by_episode=by_episode(control),
        task_means=task_means if few else None,
        control_task_means=control_task_means if few else None,
        quantiles=np.percentile(task_means, np.arange(101)),
        control_quantiles=np.percentile(control_task_means, np.arange(101)),
        by_adaptation=by_adaptation(trials, known, windows),
        worst=worst(trials),
        belief=None if belief is None else dict(belief),
    )
    return Report(name=plain(dict(name or {})), adapted=adapted, gap_note=gap_note, verdict=verdict, **plain(numbers))
