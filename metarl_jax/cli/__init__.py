"""The ``metarl`` command.

Its options ARE the keyword options of the functions that it calls: names, types and defaults come from their
signatures, help from the Args part of their docstrings.

Exit codes: 0 done; 1 training diverged; 2 a mistake in the command; 130 and 143 stopped by Ctrl-C and SIGTERM.
"""

import os
import sys
import warnings
from collections.abc import Sequence

HELP = """\
usage: metarl COMMAND ...

Meta-reinforcement learning in JAX, scored beside exact references.

  metarl demo                      RL^2 on one hundred mazes, from nothing to report, figure and animation
  metarl list                      algorithms, task distributions and curricula
  metarl train ALGORITHM TASKS     train; the same command continues a run that was stopped
  metarl tune ALGORITHM TASKS      look for good options with Optuna; the same command joins in or continues
  metarl evaluate RUN              live test trials: report, figure and, where tasks can be drawn, an animation
  metarl plot RUN                  figures of a run's folder: learning curves and the saved report

metarl COMMAND --help says more; metarl train rl2 maze-100 --help lists every option of that pair.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. A user's mistake gives a message without a stack trace.

    Args:
      arguments: the words after ``metarl``; by default those of the process.

    Returns:
      The exit code, as the module's docstring lists them.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a console that lacks a letter shows another
            stream.reconfigure(errors="replace")  # type: ignore[attr-defined]
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")
            _run_command(words)
            sys.stdout.flush()
        return 0
    except BrokenPipeError:  # metarl list | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, KeyboardInterrupt) as error:
        code = exit_code(error)
        if code is None:
            raise
        say(str(error) or "interrupted")
        return code


def _run_command(words: list[str]) -> None:
    """Only what a command needs is imported: ``metarl --help`` is instant."""
    command, *rest = words or ["--help"]
    if command in ("-h", "--help", "help"):
        print(HELP, end="")
        return
    if command == "--version":
        from importlib.metadata import version

        print(version("metarl-jax"))
        return
    from metarl_jax.config import lookup

    if command not in COMMANDS:
        lookup(dict.fromkeys(COMMANDS), command, "command")
    from metarl_jax.cli import commands

    getattr(commands, COMMANDS[command])(rest)


COMMANDS = {name: name for name in ("demo", "train", "tune", "evaluate", "plot")} | {"list": "list_names"}


def exit_code(error: BaseException) -> int | None:
    """The exit code of an error.

    Args:
      error: raised by a command.

    Returns:
      The code, as the module's docstring lists them; None for a bug of the library, which is to be raised.
    """
    if isinstance(error, KeyboardInterrupt):  # of its kind is Stopped, which knows the signal
        return 128 + getattr(error, "signal_number", 2)
    from metarl_jax.config import ConfigError
    from metarl_jax.storage.checkpoint import CheckpointError
    from metarl_jax.training.train import Diverged

    if isinstance(error, Diverged):
        return 1
    return 2 if isinstance(error, ConfigError | CheckpointError | OSError) else None


def say(text: str) -> None:
    """Prints a line to stderr.

    Args:
      text: what follows ``metarl: ``.
    """
    print(f"metarl: {text}", file=sys.stderr, flush=True)
