"""What a run tells: metrics on disk, a line a record, and progress on the screen."""

import collections
import json
import math
import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from metarl_jax.config import ConfigError
from metarl_jax.storage.files import plain

NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class LogError(ConfigError):
    """A metrics file that does not fit its run."""


class MetricsLog:
    """A JSONL file, one record a line, that a resumed run continues without a line doubled or lost.

    Floats keep every digit (``repr``), so equal numbers make equal bytes; NaN and infinities become the strings
    ``"NaN"``, ``"Infinity"``, ``"-Infinity"``, so every line is valid JSON.
    """

    def __init__(self, path: str | Path, offset: int | None = None):
        """Opens ``path`` to append; with ``offset`` (from a checkpoint) everything after that byte is dropped first.

        Raises:
          LogError: the file is shorter than ``offset``: it is not the one that the checkpoint was saved with.
        """
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        size = self.path.stat().st_size if self.path.exists() else 0
        if offset is not None and size < offset:
            raise LogError(
                f"{path} has {size} bytes, the checkpoint was saved when it had {offset}: put the file back, or start "
                "in a new folder"
            )
        self._file = open(self.path, "ab")  # noqa: SIM115 (closed by close)
        self._file.truncate(size if offset is None else offset)
        self._file.seek(0, os.SEEK_END)

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Adds lines.

        Args:
          records: one for each line.
        """
        lines = [json.dumps(plain(record, _name), allow_nan=False, separators=(",", ":")) + "\n" for record in records]
        self._file.write("".join(lines).encode())
        self._file.flush()

    def offset(self) -> int:
        """The file's length, once all of it is on the disk: what a checkpoint stores.

        Returns:
          Bytes.
        """
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_metrics(path: str | Path) -> dict[str, np.ndarray]:
    """All records of a metrics file by name, ``[records, ...]``; NaN where a record lacks a number.

    A last line without its end (a run that was killed, or is being written) is left out.

    Args:
      path: of the file.

    Returns:
      Arrays by name.

    Raises:
      LogError: there is no such file, or a line that is not a JSON object; names the line.
    """
    if not Path(path).is_file():
        raise LogError(f"{path} is missing: train first; if it was removed, put it back or start in a new folder")
    lines = Path(path).read_text(encoding="utf-8").split("\n")[:-1]
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append({name: _number(value) for name, value in json.loads(line).items()})
        except (json.JSONDecodeError, AttributeError) as error:
            raise LogError(f"{path}, line {number} is not a record: {line[:80]!r}") from error
    columns = {name: None for record in records for name in record}
    return {name: _column([record.get(name) for record in records]) for name in columns}


class Progress:
    """Progress of long work: a bar on a terminal, one line that renews itself in a notebook, else plain lines.

    Shows updates, environment steps a second, the running return and the time left. The rates leave out the first
    chunk, which compiles. Use as a context manager.
    """

    def __init__(
        self,
        total: int,
        done: int = 0,
        unit: str = "updates",
        quiet: bool = False,
        file: IO[str] | None = None,
        every: float = 5.0,
    ):
        """Prepares the display; entering the context starts it.

        Args:
          total: how many ``unit`` the whole work has.
          done: how many of them were done by an earlier process.
          unit: what is counted.
          quiet: show nothing.
          file: where to write; None: stderr.
          every: least seconds between two plain lines.
        """
        self.total, self.done, self.unit, self.quiet = total, done, unit, quiet
        self.env_steps = 0
        self._chunks = 0
        self._file, self._every = file, every
        self._points: collections.deque = collections.deque(maxlen=32)  # (seconds, done, environment steps)
        self._last_line = -math.inf
        self._bar: Any = None
        self._handle: Any = None

    def __enter__(self) -> "Progress":
        self._points.append((time.monotonic(), self.done, 0))
        if self.quiet or self._place() != "terminal":
            return self
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        columns = (BarColumn(bar_width=24), TextColumn("{task.description}"))
        self._bar = Bar(*columns, console=Console(file=self._file or sys.stderr), transient=False)
        self._task = self._bar.add_task(self._line(math.nan), total=self.total, completed=self.done)
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def advance(self, updates: int, env_steps: int, running_return: float) -> None:
        """Counts what was done since the last call.

        Without environment steps updates count as done by an earlier process.

        Args:
          updates: of them.
          env_steps: of all seeds.
          running_return: the return of late.
        """
        self.done += updates
        self.env_steps += env_steps
        self._chunks += env_steps > 0
        if self._chunks == 0:
            self._points.clear()  # done by an earlier process
        if self._chunks == 2 and env_steps:
            self._points.popleft()  # the first chunk compiled
        self._points.append((time.monotonic(), self.done, self.env_steps))
        if self.quiet:
            return
        line = self._line(float(running_return))
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, description=line)
        elif self._place() == "notebook":
            self._show(line)
        elif time.monotonic() - self._last_line >= self._every or self.done >= self.total:
            self._last_line = time.monotonic()
            self.message(line)

    def message(self, text: str) -> None:
        """Prints a line above the bar (nothing if quiet).

        Args:
          text: the line.
        """
        if self.quiet:
            return
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=self._file or sys.stderr, flush=True)

    def _line(self, running_return: float) -> str:
        (begin, done, steps), (now, done_now, steps_now) = self._points[0], self._points[-1]
        parts = [f"{self.done:,}/{self.total:,} {self.unit}"]
        if now > begin and done_now > done:
            parts.append(f"{short((steps_now - steps) / (now - begin))} steps/s")
        if math.isfinite(running_return):
            parts.append(f"return {running_return:.3f}")
        if now > begin and done_now > done:
            parts.append(f"{clock((self.total - self.done) * (now - begin) / (done_now - done))} left")
        return " | ".join(parts)

    def _place(self) -> str:
        """``terminal``, ``notebook`` or ``plain``."""
        if (self._file or sys.stderr).isatty():
            return "terminal"
        kernel = "ipykernel" in sys.modules and self._file is None
        if kernel and type(sys.modules["IPython"].get_ipython()).__name__ == "ZMQInteractiveShell":
            return "notebook"
        return "plain"

    def _show(self, line: str) -> None:
        from IPython.display import display

        data = {"text/plain": line}
        if self._handle is None:
            self._handle = display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)


def short(value: float) -> str:
    """A count in three digits: ``1.23M``.

    Args:
      value: a count.

    Returns:
      Text.
    """
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def clock(seconds: float) -> str:
    """A duration: ``1:02:03`` or ``2:03``.

    Args:
      seconds: a duration.

    Returns:
      Text.
    """
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _name(x: float) -> str:
    return "NaN" if math.isnan(x) else "Infinity" if x > 0 else "-Infinity"


def _number(value: Any) -> Any:
    if isinstance(value, list):
        return [_number(item) for item in value]
    return NON_FINITE.get(value, value) if isinstance(value, str) else value


def _column(values: list[Any]) -> np.ndarray:
    """One array of a column; what is missing becomes NaN in the shape of the others."""
    present = [np.asarray(value) for value in values if value is not None]
    if len(present) == len(values):
        return np.asarray(values)
    gap: Any = np.full(present[0].shape, np.nan) if present and present[0].dtype.kind in "biuf" else None
    return np.asarray([gap if value is None else value for value in values])
