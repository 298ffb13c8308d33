"""How a report reads: its numbers and references in words, and the tables that are printed (rich)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from metarl_jax.evaluation.format import interval, number, percent, words

if TYPE_CHECKING:
    from metarl_jax.evaluation.report import Report

MOST_ROWS = 12


def spread(length: int, most: int = MOST_ROWS) -> list[int]:
    """Indices of at most ``most`` of ``length`` rows: the first ones, some between, the last.

    Args:
      length: how many rows there are.
      most: how many are shown.

    Returns:
      Indices, ascending.
    """
    if length <= most:
        return list(range(length))
    first = most // 2 - 1
    steps = most - first
    return [*range(first), *(first + i * (length - 1 - first) // (steps - 1) for i in range(steps))]


def render(report: "Report") -> Any:
    """The whole report as one rich renderable: scores, references, episodes, verdict.

    Args:
      report: any.

    Returns:
      rich's Group.
    """
    from rich.console import Group
    from rich.text import Text

    details = [
        f"{key.replace('_', ' ')} {value}" for key, value in report.name.items() if key not in ("algorithm", "tasks")
    ]
    colour = {True: "bold green", False: "bold red", None: "bold yellow"}[report.adapted]
    parts: list[Any] = [Text(report.title, "bold"), Text("  ".join(details), "dim"), Text(), scores(report)]
    if report.references:
        parts.append(references(report))
    parts.append(episodes(report))
    if has_inner_steps(report):
        parts.append(adaptation(report.by_adaptation))
    parts += [*([] if report.belief is None else [belief(report.belief)])]
    return Group(*parts, Text(report.verdict, colour))


def grid(title: str, columns: list[str]) -> Any:
    """An empty table: words in the first column, numbers on the right of the others.

    Args:
      title: above it.
      columns: their heads.

    Returns:
      rich's Table.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title, "bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    return table


def add(table: Any, *cells: str) -> None:
    """A row of plain text: brackets in a name are not markup.

    Args:
      table: to which it is added.
      *cells: of the row.
    """
    from rich.text import Text

    table.add_row(*map(Text, cells))


def _captioned(table: Any, caption: str) -> Any:
    """``table`` with a line below it."""
    from rich.text import Text

    table.caption, table.caption_justify = Text(caption, "dim"), "left"
    return table


def scores(report: "Report") -> Any:
    """The table of returns.

    Args:
      report: any.

    Returns:
      rich's Table.
    """
    table = grid("Return of a trial", ["", "return", "95 % interval"])
    add(table, "mean", number(report.mean), interval(report.interval))
    add(table, "interquartile mean", number(report.iqm), interval(report.iqm_interval))
    add(table, "worst 10 % of tasks", number(report.worst["trial"][0]), "")
    if report.name.get("num_tasks", 0) >= 1000:  # fewer than ten are no share
        add(table, "worst 1 % of tasks", number(report.worst["trial"][1]), "")
    add(table, "memory reset at every episode (control)", number(report.control_mean), "")
    add(table, "gain over it", number(report.gain), interval(report.gain_interval))
    if report.swap_gain is not None:
        words = "gain over the memory of another task, second half"
        add(table, words, number(report.swap_gain), interval(report.swap_interval))
    if report.within_gain is not None:
        words = "gain of memory within episodes"
        add(table, words, number(report.within_gain), interval(report.within_interval))
    if report.gap_closed is not None:
        add(table, "share of the gap closed", percent(report.gap_closed), interval(report.gap_interval, percent))
    if len(report.seed_means) > 1:
        add(table, "lowest of the seeds' means", number(min(report.seed_means)), "")
        add(table, "highest of the seeds' means", number(max(report.seed_means)), "")
    alone = f", {report.intervals_of}" if report.intervals_of else ""
    return _captioned(table, f"Intervals over {report.intervals_over}{alone}. The gap: {report.gap_note}.")


def references(report: "Report") -> Any:
    """The table of references.

    Args:
      report: any.

    Returns:
      rich's Table.
    """
    table = grid("References", ["", "return", "kind", "score / reference", "regret"])
    for reference in report.references:
        role, kind = words(reference)
        add(table, role, number(reference["value"]), kind, percent(reference["share"]), number(reference["regret"]))
    return table


def episodes(report: "Report") -> Any:
    """The table by episode; lengths only where they vary, shares only where some trials never got there.

    Args:
      report: any.

    Returns:
      rich's Table.
    """
    agent, control = report.by_episode, report.control_by_episode
    columns: list[tuple[str, dict, Any]] = [
        ("return", agent, number),
        ("return", control, number),
        ("length", agent, number),
    ]
    columns += [("length", control, number), ("began", agent, percent)]
    columns += [("finished", agent, percent), ("finished", control, percent)]
    shown = [column for column in columns if column[0] == "return" or _varies(report, column[0])]
    closed = report.by_adaptation["gap_closed"] if report.by_adaptation["window"] == 1 else None
    if closed and len(closed) > 1:
        shown.append(("gap closed", {"gap closed": closed}, percent))
    table = grid(
        "By episode of the trial", ["episode", *("reset" if side is control else key for key, side, _ in shown)]
    )
    for episode in spread(max(len(agent["return"]), len(control["return"]))):
        add(table, str(episode + 1), *(write(_entry(side, key, episode)) for key, side, write in shown))
    if any(column[0] in ("length", "began", "finished") for column in shown):
        _captioned(table, "Means over the trials that began the episode; lengths over those that finished it.")
    return table


def has_inner_steps(report: "Report") -> bool:
    """Whether the agent learns by inner steps, and some fit in the trial.

    Args:
      report: any.

    Returns:
      A bool.
    """
    return report.by_adaptation["window"] > 1 and len(report.by_adaptation["return"]) > 1


def adaptation(told: Mapping[str, Any]) -> Any:
    """Return of an episode before adaptation and after each inner step, and the share of the gap that it closes.

    Args:
      told: a report's ``by_adaptation``.

    Returns:
      rich's Table.
    """
    closed = told["gap_closed"]
    table = grid("By inner step", ["inner steps", "return", *(["gap closed"] if closed else [])])
    for index in spread(len(told["return"])):
        share = [percent(closed[index])] if closed else []
        add(table, str(index), number(told["return"][index]), *share)
    gap = "; the gap is from 0 inner steps to the optimal episode, task known" if closed else ""
    return _captioned(table, f"Mean reward of {told['horizon']} steps; an inner step every {told['window']}{gap}.")


BELIEVED = {
    "right": ("right", percent),
    "confidence": ("confidence", percent),
    "best": ("best possible", percent),
    "calibration_error": ("calibration error", percent),
    "log_loss": ("log loss", number),
    "exact_log_loss": ("exact", number),
    "error": ("error", number),
    "exact_error": ("exact", number),
    "difference": ("difference", number),
}


def belief(told: Mapping[str, Any]) -> Any:
    """What the agent thought of the task at the end of each episode, beside what could be known.

    Args:
      told: a report's ``belief``.

    Returns:
      rich's Table.
    """
    rows = told["by_episode"]
    shown = {name: how for name, how in BELIEVED.items() if name in rows}
    table = grid("Belief at the end of an episode", ["episode", *(words for words, _ in shown.values())])
    for episode in spread(len(next(iter(rows.values())))):
        add(table, str(episode + 1), *(write(rows[name][episode]) for name, (_, write) in shown.items()))
    if not told["candidates"]:
        return _captioned(table, "Root mean squares over the task's numbers; exact: of the posterior mean.")
    error = percent(told["calibration_error"])
    return _captioned(table, f"One of {told['candidates']} tasks; calibration error {error}; log loss in nats.")


def _varies(report: "Report", key: str) -> bool:
    """Whether a column by episode says anything: more than one value among agent and control."""
    values = [x for side in (report.by_episode, report.control_by_episode) for x in side[key] if x is not None]
    return len({round(x, 6) for x in values}) > 1


def _entry(side: dict[str, list], key: str, episode: int) -> float | None:
    """One cell; past the last episode that any trial began, nobody began it and nothing else is known."""
    if episode < len(side[key]):
        return side[key][episode]
    return 0.0 if key in ("began", "finished") else None
