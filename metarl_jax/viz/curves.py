"""Curves: what a report found beside its references, and how training went."""

import os
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from metarl_jax.evaluation.format import label
from metarl_jax.evaluation.render import has_inner_steps
from metarl_jax.viz import style

if TYPE_CHECKING:
    from metarl_jax.evaluation.report import Report

FEW = 0.5  # an episode that fewer of the trials began is drawn faint: only the easy tasks are left
LEAST = 0.1  # ... and not at all below this
CONTROL = "control: memory reset at every episode"
WIDTHS = {style.AGENT: 2.6, style.CONTROL: 1.4}  # both are seen where they coincide
COUNTERS = ("env_steps", "environment_steps", "steps", "step", "update", "updates")
CLOCKS = ("time", "seconds", "wall_seconds", "steps_per_second", "seed")
MOST_POINTS = 200


def plot_report(report: "Report", path: str | os.PathLike | None = None) -> Any:
    """Draws a report: return by episode with references, and returns over tasks, worst tasks first.

    There are further panels for episode length where it varies, for return by inner update of agents that make such
    updates, and for the belief of agents that have one. The shaded interval is the report's (95 %). References appear
    by episode where they are known so, and as returns of a trial in the panel over tasks.

    Args:
      report: from ``evaluate`` or ``Report.load``.
      path: where to write the figure.

    Returns:
      The matplotlib figure, also written to ``path`` if given.

    Example:
      ``metarl_jax.viz.plot_report(metarl_jax.evaluate(run), "report.png")``
    """
    with style.style():
        panels = [_draw_returns, *([_draw_lengths] if _lengths_vary(report) else []), _draw_tail]
        panels += [_draw_adaptation] if has_inner_steps(report) else []
        panels += [] if report.belief is None else [draw_belief]
        figure = style.new_figure(4.7 * len(panels), 4.5)
        for axes, draw in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            draw(axes, report)
        words = "\n".join([report.title, *textwrap.wrap(report.verdict, 52 * len(panels))])
        figure.suptitle(words, x=0.01, ha="left", fontsize=11.5, linespacing=1.35)
        _draw_legend(figure, columns=2 + len(panels) // 2)
        return style.save(figure, path)


def _draw_legend(figure: Any, columns: int) -> None:
    """One legend below all panels: every name once, agent and control first."""
    handles: dict[str, Any] = {"agent": None, CONTROL: None}
    for axes in figure.axes:
        handles.update(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(list(handles.values()), list(handles), loc="outside lower left", ncols=columns)


def _sides(report: "Report") -> list[tuple[str, str, dict, list[float]]]:
    """Agent and control: name, colour, what is known by episode, quantiles over tasks."""
    agent = ("agent", style.AGENT, report.by_episode, report.quantiles)
    return [agent, (CONTROL, style.CONTROL, report.control_by_episode, report.control_quantiles)]


def _lengths_vary(report: "Report") -> bool:
    lengths = [x for _, _, side, _ in _sides(report) for x in side["length"] if x is not None]
    return bool(lengths) and max(lengths) - min(lengths) > 1e-6


def _draw_returns(axes: Any, report: "Report") -> None:
    _draw_references(axes, report, "by_episode")
    last = _draw_by_episode(axes, report, "return")
    for _, colour, side, _ in _sides(report):
        low, high, began = (np.array(side[key][:last], float) for key in ("low", "high", "began"))
        low[began < FEW] = np.nan
        axes.fill_between(np.arange(1, low.size + 1), low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_title("Return by episode of the trial")


def _draw_adaptation(axes: Any, report: "Report") -> None:
    from matplotlib.ticker import MaxNLocator

    told = report.by_adaptation
    looks = {"color": style.AGENT, "label": "agent", "linewidth": WIDTHS[style.AGENT]}
    axes.plot(np.arange(len(told["return"])), np.array(told["return"], float), marker="o", **looks)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(f"inner steps, one every {told['window']} steps")
    axes.set_title(f"Return of {told['horizon']} steps by inner step")


def _draw_lengths(axes: Any, report: "Report") -> None:
    _draw_references(axes, report, "length_by_episode")
    _draw_by_episode(axes, report, "length")
    axes.set_ylim(bottom=0)
    axes.set_title("Steps of the episodes that finished")


def _of_these_tasks(report: "Report") -> list[dict[str, Any]]:
    """Its references but for those of other tasks."""
    return [reference for reference in report.references if not reference.get("of")]


def _draw_references(axes: Any, report: "Report", key: str) -> None:
    """The references that are known by episode."""
    for reference in _of_these_tasks(report):
        if reference[key]:
            values = np.array(reference[key], float)
            axes.plot(np.arange(1, values.size + 1), values, **_reference_style(reference))


def _draw_by_episode(axes: Any, report: "Report", key: str) -> int:
    """Draws one quantity of agent and control over episodes; returns how many episodes are worth showing."""
    from matplotlib.ticker import MaxNLocator

    last, faint = 1, False
    for name, colour, side, _ in _sides(report):
        began, values = np.array(side["began"], float), np.array(side[key], float)
        shown = int(np.max(np.flatnonzero(began >= LEAST), initial=0)) + 1
        episode, last = np.arange(1, shown + 1), max(last, shown)
        values, many = values[:shown], began[:shown] >= FEW
        marker = "o" if many.sum() <= 20 else None  # a long line needs no points
        looks = {"color": colour, "label": name, "linewidth": WIDTHS[colour], "markersize": 2.2 * WIDTHS[colour]}
        axes.plot(episode, np.where(many, values, np.nan), marker=marker, **looks)
        tail = ~many | np.append(~many[1:], False)  # one point of overlap joins the two lines
        if not many.all():
            faint = True
            axes.plot(episode, np.where(tail, values, np.nan), color=colour, alpha=0.3, linewidth=1.2)
    axes.set_xlim(max(0.5, 1 - 0.03 * last), last + max(0.5, 0.03 * last))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.set_xlabel("episode" + (" (faint: fewer than half of the trials began it)" if faint else ""))
    return last


def _draw_tail(axes: Any, report: "Report") -> None:
    """Quantiles over tasks of the trial return, worst tasks left, with the references' returns of a trial."""
    share = np.arange(101)
    for reference in _of_these_tasks(report):
        values = np.full(101, reference["value"]) if reference["quantiles"] is None else reference["quantiles"]
        axes.plot(share, np.array(values, float), **_reference_style(reference))
    for name, colour, _, quantiles in _sides(report):
        axes.plot(share, quantiles, color=colour, label=name, linewidth=WIDTHS[colour])
    axes.axvspan(0, 10, color="#F0E442", alpha=0.25, linewidth=0, label="worst 10 % of tasks")
    ends = [
        *report.quantiles,
        *report.control_quantiles,
        *(reference["value"] for reference in _of_these_tasks(report)),
    ]
    margin = 0.06 * (max(ends) - min(ends)) or 1.0
    axes.set_ylim(min(ends) - margin, max(ends) + margin)  # a few easy tasks may have references far above
    axes.set_xlim(0, 100)
    axes.set_xlabel("tasks, worst first (%)")
    axes.set_title("Return of a trial over tasks")


BELIEVED = {  # by name in the report: how it is told, and whose it is
    "right": ("belief right", style.AGENT, "-"),
    "confidence": ("its confidence", style.AGENT, (0, (2, 2))),
    "best": ("best possible", style.ROLES["bayes"], style.KINDS["exact"]),
    "calibration_error": ("calibration error", style.MUTED, "-"),
    "error": ("belief's error", style.AGENT, "-"),
    "exact_error": ("exact posterior mean's error", style.ROLES["bayes"], style.KINDS["exact"]),
}


def draw_belief(axes: Any, report: "Report") -> None:
    """Draws the scores of the decoded belief beside those of the exact posterior, by step of the trial.

    Args:
      axes: matplotlib's, to draw in.
      report: with a belief.
    """
    assert report.belief is not None
    by_step = report.belief["by_step"]
    for name, (words, colour, dashes) in BELIEVED.items():
        if name in by_step:
            values = np.array(by_step[name], float)
            axes.plot(np.arange(1, values.size + 1), values, color=colour, linestyle=dashes, label=words)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("steps lived")
    axes.set_title("Belief over tasks" if report.belief["candidates"] else "Belief: root mean square error")


def _reference_style(reference: Mapping[str, Any]) -> dict[str, Any]:
    """How the line of a reference looks: the role's colour, dashes by kind."""
    colour = style.ROLES.get(reference["role"], style.MUTED)
    dashes = style.KINDS.get(reference["kind"], "-")
    return {"color": colour, "linestyle": dashes, "linewidth": 1.5, "label": label(reference)}


def plot_metrics(
    metrics: Mapping[str, np.ndarray], path: str | os.PathLike | None = None, *, x: str | None = None
) -> Any:
    """Learning curves: a panel for each metric over environment steps, with mean and range over seeds.

    Args:
      metrics: as ``Run.metrics`` holds them: arrays ``[updates]`` or ``[updates, S]`` by name. Long runs are averaged
        into 200 points; NaN is left out.
      path: where to write the figure.
      x: the metric to draw the others over; by default the first counter of ``COUNTERS``, else the record's number.

    Returns:
      The matplotlib figure, also written to ``path`` if given.

    Raises:
      ValueError: there is nothing to draw.

    Example:
      ``metarl_jax.viz.plot_metrics(run.metrics, "metrics.png")``
    """
    arrays = {name: np.asarray(value) for name, value in metrics.items()}
    arrays = {
        name: a.astype(float) for name, a in arrays.items() if a.dtype.kind in "bifu" and 1 <= a.ndim <= 2 and a.size
    }
    x = x or next((name for name in COUNTERS if name in arrays), None)
    names = [name for name in arrays if name not in (*COUNTERS, *CLOCKS, x) and np.isfinite(arrays[name]).any()]
    if not names or (x is not None and x not in arrays):
        raise ValueError(f"no metrics to draw over {x!r} among {sorted(metrics)}")
    names.sort(key=lambda name: "return" not in name)
    over = np.arange(1, len(arrays[names[0]]) + 1) if x is None else arrays[x].reshape(len(arrays[x]), -1)[:, 0]
    columns = min(4 if len(names) > 6 else 3, len(names))
    seeds = max(arrays[name].reshape(len(arrays[name]), -1).shape[1] for name in names)
    rows = -(-len(names) // columns)
    with style.style():
        figure = style.new_figure(4.3 * columns, 2.7 * rows + 0.3)
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
        for axes, name in zip(grid, names, strict=False):
            _draw_metric(axes, over, arrays[name], name)
        for index in range(len(names), grid.size):
            grid[index].set_axis_off()
            grid[index - columns].xaxis.set_tick_params(labelbottom=True)
        for axes in grid[max(0, len(names) - columns) : len(names)]:
            axes.set_xlabel((x or "record").replace("env_steps", "environment steps").replace("_", " "))
        if seeds > 1:
            figure.suptitle(f"mean and range of {seeds} seeds", x=0.01, ha="left", fontsize=10.5)
        return style.save(figure, path)


def _draw_metric(axes: Any, over: np.ndarray, values: np.ndarray, name: str) -> None:
    """One learning curve: the mean over seeds, and lowest to highest where there are several."""
    from matplotlib.ticker import EngFormatter

    points, curves = _thin(over), _thin(values.reshape(len(values), -1))  # [P], [P, S]
    known = np.isfinite(curves).any(axis=1)
    points, curves = points[known], curves[known]
    if curves.shape[1] > 1:
        lowest, highest = np.nanmin(curves, axis=1), np.nanmax(curves, axis=1)
        axes.fill_between(points, lowest, highest, color=style.AGENT, alpha=0.2, linewidth=0)
    axes.plot(points, np.nanmean(curves, axis=1), color=style.AGENT, marker="o" if len(points) == 1 else None)
    axes.set_title(name.replace("_", " "))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.margins(x=0.02)


def _thin(values: np.ndarray) -> np.ndarray:
    """``values [records, ...]`` averaged into at most ``MOST_POINTS`` stretches of records."""
    from metarl_jax.evaluation.summary import masked_mean

    if len(values) <= MOST_POINTS:
        return values
    stretches = np.array_split(values, MOST_POINTS)
    return np.stack([masked_mean(stretch, np.isfinite(stretch), 0) for stretch in stretches])
