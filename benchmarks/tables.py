"""Writes the README's results from ``benchmarks/results/*.json``, between ``<!-- results -->`` and
``<!-- /results -->``.

    python3 -m benchmarks.tables           # rewrite README.md
    python3 -m benchmarks.tables --check   # only say whether it is up to date (exit code 1 where it is not)

Each file is a list of rows with the fields of ``FIELDS``: what was measured, the bar that it is held to and whether it
held, and how to measure it again. A row whose bar does not hold stays in the table.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
README, RESULTS = ROOT / "README.md", ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- results -->", "<!-- /results -->"
AT_LEAST, AT_MOST = "at least", "at most"
FIELDS = (
    *("row", "value", "unit"),
    *("interval", "interval_kind"),  # [low, high], and what kind of interval that is
    *("bar", "direction", "holds"),  # directions: "at least", "at most"
    *("per_seed", "against"),  # what each seed scored; what the other method scored, by seed or one number
    *("parts", "settings", "note"),  # what the value is made of, by name; what was chosen, and how; words
    *("seeds", "chosen_on"),  # trained, and those that settings were chosen on
    *("seconds", "command", "device", "versions", "commit"),
)
HEAD = ("what", "measured", "unit", "interval", "made of", "bar", "holds", "seeds", "time", "command")
NOTHING = "No results are recorded yet."


def main(arguments: Sequence[str]) -> int:
    if set(arguments) - {"--check"}:
        print(__doc__)
        return 0 if set(arguments) & {"-h", "--help"} else 2
    old = README.read_text(encoding="utf-8")
    new = rewritten(old, tables(RESULTS))
    if "--check" in arguments:
        print(
            "README.md is up to date" if new == old else "README.md is not up to date: run python -m benchmarks.tables"
        )
        return int(new != old)
    README.write_text(new, encoding="utf-8")
    return 0


def rewritten(text: str, results: str) -> str:
    """``text`` with ``results`` between its two markers.

    Raises:
      ValueError: where a marker is missing or stands twice.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"the README needs {BEGIN} and, after it, {END}, once each")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{results}{END}{rest.split(END)[1]}"


def tables(folder: Path) -> str:
    """All tables of a folder in Markdown, by file name; devices and versions below each."""
    parts = [table(path.stem, read(path)) for path in sorted(folder.glob("*.json"))]
    return "\n".join(parts) if parts else f"{NOTHING}\n"


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of one file.

    Raises:
      ValueError: where it is no list of rows, or a row lacks a field or has one too many; names both.
    """
    rows = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(rows, list):
        raise ValueError(f"{path.name}: must be a list of rows")
    for index, row in enumerate(rows):
        missing = [field for field in FIELDS if field not in row]
        if missing:
            raise ValueError(f"{path.name}, row {index}: lacks {', '.join(missing)}")
        if unknown := set(row) - set(FIELDS):
            raise ValueError(f"{path.name}, row {index}: has unknown {', '.join(sorted(unknown))}")
    return rows


def table(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [HEAD, tuple("---" for _ in HEAD), *map(cells, rows)]
    body = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    commits: dict[str, set[str]] = {}
    for row in rows:
        commits.setdefault(f"{row['device']}, {versions(row['versions'])}", set()).add(str(row["commit"])[:12])
    made = (f"{where}, at {', '.join(sorted(of))}" for where, of in sorted(commits.items()))
    return f"### {title.replace('_', ' ').replace('-', ' ').capitalize()}\n\n{body}\n{'; '.join(made)}\n"


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    ends, parts = row["interval"], row["parts"]
    interval = "" if ends is None else f"{short(ends[0])} to {short(ends[1])} ({row['interval_kind']})"
    made_of = "" if parts is None else ", ".join(f"{name} {short(value)}" for name, value in parts.items())
    bar = "" if row["bar"] is None else f"{row['direction']} {short(row['bar'])}"
    seeds = "" if row["seeds"] is None else short(len(row["seeds"]))
    holds = {True: "yes", False: "**no**", None: "" if row["bar"] is None else "not known"}[row["holds"]]
    seconds = "" if row["seconds"] is None else clock(row["seconds"])
    what = row["row"] if row["note"] is None else f"{row['row']} ({row['note']})"
    shown = (what, short(row["value"]), row["unit"], interval, made_of, bar, holds, seeds, seconds)
    return (*(cell.replace("|", "\\|").replace("\n", " ") for cell in shown), f"`{row['command']}`")


def short(value: Any) -> str:
    """Four significant digits of a number; nothing for None; words as they are."""
    if value is None:
        return ""
    if isinstance(value, int | str | bool):
        return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def clock(seconds: float | list[float]) -> str:
    """Of several seeds, one after the other, the longest."""
    seconds = max(seconds) if isinstance(seconds, list) else seconds
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def versions(found: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in found.items()) if isinstance(found, Mapping) else str(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
