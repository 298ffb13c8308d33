"""What each ``metarl`` command does, given the words after its name."""

import inspect
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metarl_jax import algorithms, curricula, tasks
from metarl_jax.cli import options
from metarl_jax.config import ConfigError, about, lookup, options_of
from metarl_jax.runtime.devices import use_cpu_cores
from metarl_jax.storage.files import user_path

if TYPE_CHECKING:
    from metarl_jax.evaluation.report import Report
    from metarl_jax.training.run import Run

LIST_HELP = "usage: metarl list\n\nLists the algorithms, task distributions and curricula that have names.\n"
PLOT_HELP = """usage: metarl plot RUN

Draws RUN/metrics.png (learning curves), once evaluated RUN/report.png, and RUN/tasks-*.png, the tasks that the
curriculum keeps.
"""
OUT_HELP = {
    "train": "the run's folder (default: runs/ALGORITHM-TASKS-seedSEED); a run in it is continued",
    "tune": "the sweep's folder (default: runs/tune-ALGORITHM-TASKS-seedSEED); a sweep in it is joined or continued",
}
SPACE = '{"learning_rate": {"low": 1e-4, "high": 1e-2, "log": true}, "encoder": [[32], [64, 64]]}'
ALSO = '[{"algorithm": {"name": "lpg", "options": {"life": 30}}, "tasks": {"name": "tabular", "options": {}}}]'
DEMO = ["rl2", "maze-100"]


def list_names(words: list[str]) -> None:
    """``metarl list``: a line for each algorithm, task distribution and curriculum.

    Args:
      words: after the command; none, or a request for help.

    Raises:
      ConfigError: other words.
    """
    if words:
        _expect_help(words, LIST_HELP)
        return
    named = {"algorithms": algorithms, "task distributions": tasks, "curricula": curricula}
    width = max(len(name) for module in named.values() for name in module.REGISTRY)
    for title, module in named.items():
        print(f"{title}:")
        for name, function in module.REGISTRY.items():
            print(f"  {name:<{width}}  {options.summary(function)}")
    print("\nEvery option of a pair: metarl train ALGORITHM TASKS --help")


def train(words: list[str]) -> None:
    """``metarl train ALGORITHM TASKS [options]``.

    Args:
      words: after the command.
    """
    run = trained(*pair("train", words))
    print(f"{run.num_updates} updates are in {run.path}; next: metarl evaluate {run.path}")


def pair(command: str, words: list[str]) -> tuple[str, list[str], list[str]]:
    """Splits a command's words into the names of an algorithm and a task distribution, and the options.

    Args:
      command: ``train`` or ``tune``.
      words: after the command.

    Returns:
      The usage of the command, the names (fewer than two where help is asked for), and the remaining words.

    Raises:
      ConfigError: not two names, and no request for help.
    """
    names, rest = options.leading(words)
    if len(names) != 2 and not ({"-h", "--help"} & set(rest) and len(names) < 2):
        raise ConfigError(
            f"{command} needs an algorithm and a task distribution before its options: metarl {command} "
            f"{' '.join(DEMO)}\n"
            f"algorithms: {', '.join(algorithms.REGISTRY)}\ntask distributions: {', '.join(tasks.REGISTRY)}"
        )
    return " ".join([f"metarl {command}", *names, *("ALGORITHM", "TASKS")[len(names) :]]), names, rest


def tune(words: list[str]) -> None:
    """``metarl tune ALGORITHM TASKS --space JSON [options]``.

    Args:
      words: after the command.

    Raises:
      ConfigError: no trial of the sweep has a score.
    """
    from metarl_jax.tuning import tune as function

    prog, names, rest = pair("tune", words)
    space = inspect.Parameter("space", inspect.Parameter.KEYWORD_ONLY, annotation=str)
    values = chosen(function, prog, names, rest, space=space)
    values["out"] = values["out"] or str(Path("runs", f"tune-{names[0]}-{names[1]}-seed{values['seed']}"))
    values["space"] = options.from_json("space", values["space"], SPACE)
    found = function(**values)
    best = max((t for t in found.trials if t["score"] is not None), key=lambda t: t["score"], default=None)
    if best is None:
        raise ConfigError(f"{values['out']}: no trial has a score; the last one: {found.trials[-1]['reason']}")
    print(f"{len(found.trials)} trials are in {values['out']}; trial {best['number']} returns {best['score']:.4g}")
    print(*(f"  {name}: {value}" for name, value in best["options"].items()), sep="\n")
    print(f"next: metarl evaluate {Path(values['out'], best['run'])}")


def _pairs_of(text: str) -> list[tuple]:
    """The pairs of ``--also``, as ``config.json`` has them."""
    read, parts = options.from_json("also", text, ALSO), ("algorithm", "tasks")
    named = lambda part: isinstance(part, dict) and "name" in part and isinstance(part.get("options", {}), dict)
    fits = lambda pair: isinstance(pair, dict) and set(pair) == set(parts) and all(map(named, pair.values()))
    if not isinstance(read, list) or not all(map(fits, read)):
        raise ConfigError(f"--also {text}: give names and options, such as '{ALSO}'")
    made = lambda part, kind: lookup(kind[0], part["name"], kind[1])(**part.get("options", {}))
    with about("--also"):
        return [tuple(made(pair[part], kind) for part, kind in zip(parts, _kinds(), strict=True)) for pair in read]


def demo(words: list[str]) -> None:
    """``metarl demo [options of train]``: trains, evaluates, draws.

    Args:
      words: after the command.
    """
    folder = options.last_value(words, "--out") or str(Path("runs", "demo"))
    _examine(trained("metarl demo", DEMO, words, folder), {}, None, "report")


def trained(prog: str, names: list[str], words: list[str], folder: str | None = None) -> "Run":
    """Reads the options of ``train`` and trains.

    Args:
      prog: usage of the command, for messages.
      names: of the algorithm and the task distribution.
      words: the options.
      folder: default of ``--out``; None: a folder named after ``names`` and the seed.

    Returns:
      The Run.
    """
    from metarl_jax.training.train import train as function

    values = chosen(function, prog, names, words, folder)
    values["out"] = values["out"] or str(Path("runs", f"{names[0]}-{names[1]}-seed{values['seed']}"))
    values["also"] = _pairs_of(values["also"])
    return function(**values)


def chosen(
    function: Callable, prog: str, names: list[str], words: list[str], folder: str | None = None, **more: Any
) -> dict[str, Any]:
    """Reads the options of a function, and those of the algorithm, task distribution and curriculum that are named.

    Args:
      function: ``train`` or ``tune``.
      prog: usage of the command, for messages.
      names: of the algorithm and the task distribution; fewer only where help is asked for.
      words: the options.
      folder: default of ``--out``.
      **more: positional parameters of the function that are options here.

    Returns:
      The function's arguments by name: algorithm, tasks and curriculum as objects, options in JSON as text.
    """
    use_cpu_cores()  # before the options of the tasks are made into arrays
    own = more | options_of(function)
    curriculum = options.last_value(words, "--curriculum") or own["curriculum"].default
    named = dict(zip(("algorithm", "tasks"), zip(names, _kinds(), strict=False), strict=False))
    parts = {part: lookup(registry, name, kind) for part, (name, (registry, kind)) in named.items()}
    parts["curriculum"] = lookup(curricula.REGISTRY, curriculum, "curriculum")
    own["curriculum"] = own["curriculum"].replace(annotation=str)
    own["out"] = own["out"].replace(annotation=str | None, default=folder)
    if "also" in own:
        own["also"] = own["also"].replace(annotation=str, default="[]")
    texts = options.help_texts(function) | {
        "out": OUT_HELP[function.__name__],
        "space": f"what is searched, in JSON: a range or a list of choices for each option, such as {SPACE}",
        "also": f"where the same is meta-learned at the same time, in JSON, such as {ALSO}",
        "curriculum": f"which tasks come next: {', '.join(curricula.REGISTRY)}",
    }
    summary = options.summary(function) + "."
    if len(names) < 2:
        summary += f" ALGORITHM: {', '.join(algorithms.REGISTRY)}. TASKS: {', '.join(tasks.REGISTRY)}. "
        summary += f"Name them to see their options too: metarl {function.__name__} {' '.join(DEMO)} --help"
    groups = {part: options.group(made) for part, made in parts.items()}
    values, given = options.parse(prog, summary, options.record(function.__name__, own, texts), groups, words)
    return values | {part: made(**given[part]) for part, made in parts.items()}


def _kinds() -> list[tuple[dict[str, Any], str]]:
    return [(algorithms.REGISTRY, "algorithm"), (tasks.REGISTRY, "task distribution")]


def evaluate(words: list[str]) -> None:
    """``metarl evaluate RUN [TASKS] [options]``; the run's task distribution may get other options.

    Args:
      words: after the command.

    Raises:
      ConfigError: no folder, or several, and no request for help.
    """
    from metarl_jax.evaluation.evaluate import evaluate as function
    from metarl_jax.training.run_folder import read_config
    from metarl_jax.training.train import load

    names, rest = options.leading(words)
    groups, known, family = {}, {}, None
    if len(names) in (1, 2):
        described = read_config(user_path(names[0]))["config"]["tasks"]
        if len(names) == 2:
            family = lookup(tasks.REGISTRY, names[1], "task distribution")
        elif described["options"] is not None:
            family, known = tasks.REGISTRY.get(described["name"]), described["options"]
        groups = {} if family is None else {"tasks": options.group(family, known)}
    elif names or not {"-h", "--help"} & set(rest):
        raise ConfigError("evaluate needs the folder of one run before its options: metarl evaluate runs/demo")
    own = {name: p for name, p in options_of(function).items() if name != "save"}
    summary = options.summary(function) + ". Writes report.json, report.png and, where tasks can be drawn, trial.gif "
    summary += "into RUN. With other TASKS, or other --tasks options (a held-out split), the files get another name."
    prog = " ".join(["metarl evaluate", *(names or ["RUN", "[TASKS]"])])
    record = options.record("evaluate", own, options.help_texts(function))
    values, given = options.parse(prog, summary, record, groups, rest)
    before = options.with_defaults(options_of(family), known) if family else {}
    changed = {name: value for name, value in given.get("tasks", {}).items() if value != before[name].default}
    other = family(**given["tasks"]) if family and (changed or names[1:]) else None
    told = [*names[1:], *(f"{name}-{value}" for name, value in changed.items())]
    slug = re.sub(r"[^\w.-]+", "-", "".join(f"-{x}" for x in told))[:80]
    _examine(load(names[0]), values, other, f"report{slug}")


def _examine(run: "Run", values: Mapping[str, Any], other: Any, name: str) -> None:
    """Evaluates and shows: the report on the screen, its files in the run's folder under ``name``."""
    import numpy as np

    from metarl_jax import viz
    from metarl_jax.evaluation.evaluate import evaluate as function

    assert run.path is not None
    report = function(run, other, **values, save=False)
    show(report)
    written = [report.save(run.path / f"{name}.json")]
    viz.plot_report(report, run.path / f"{name}.png")
    written.append(run.path / f"{name}.png")
    if other is None and viz.has_picture(run.tasks):
        typical = 0  # the task in the middle, where all were evaluated
        if run.tasks.tasks is not None and report.task_means is not None:
            typical = int(np.argsort(report.task_means, kind="stable")[len(report.task_means) // 2])
        written.append(viz.animate_trial(run, run.path / "trial.gif", typical))
        if viz.has_belief(run):
            viz.draw_belief(run, run.path / "belief.png", typical)
            written += [run.path / "belief.png", viz.animate_belief(run, run.path / "belief.gif", typical)]
    print("written:", *written, sep="\n  ")


def show(report: "Report") -> None:
    """Prints a report: in colour on a terminal, else plain.

    Args:
      report: from ``evaluate``.
    """
    if sys.stdout.isatty():
        report.print()
    else:
        print(report)


def plot(words: list[str]) -> None:
    """``metarl plot RUN``: figures from what the folder holds; nothing is computed again.

    Args:
      words: after the command: the run's folder, or a request for help.

    Raises:
      ConfigError: other words, or no run in the folder.
    """
    from metarl_jax import viz
    from metarl_jax.evaluation.report import Report
    from metarl_jax.storage.metrics import read_metrics
    from metarl_jax.training.run_folder import read_config

    names, rest = options.leading(words)
    if rest or len(names) != 1:
        _expect_help(rest, PLOT_HELP)
        return
    folder = user_path(names[0])
    read_config(folder)
    metrics = read_metrics(folder / "metrics.jsonl")
    if not metrics:
        raise ConfigError(f"{folder} has no metrics yet: train it first")
    viz.plot_metrics(metrics, folder / "metrics.png")
    print(folder / "metrics.png")
    for saved in sorted(folder.glob("report*.json")):
        viz.plot_report(Report.load(saved), saved.with_suffix(".png"))
        print(saved.with_suffix(".png"))
    _plot_task_buffer(folder)


def _plot_task_buffer(folder: Path) -> None:
    """Pictures of the tasks that the run's curriculum keeps, if it keeps any that can be drawn."""
    from metarl_jax import viz
    from metarl_jax.training.run_folder import read_config
    from metarl_jax.training.train import load
    from metarl_jax.viz.task_buffer import orders

    if read_config(folder)["config"]["curriculum"]["name"] == "uniform":
        return  # nothing is kept, and nothing need be loaded
    try:
        run = load(folder)
    except ConfigError as error:
        print(f"no pictures of the tasks kept: {error}")
        return
    for order in orders(run) if viz.has_picture(run.tasks) else ():
        viz.draw_task_buffer(run, folder / f"tasks-{order}.png", by=order)
        print(folder / f"tasks-{order}.png")


def _expect_help(words: list[str], text: str) -> None:
    """Prints the help that was asked for; anything else is a mistake."""
    if words not in (["-h"], ["--help"]):
        raise ConfigError(f"cannot read {' '.join(words) or 'nothing'!r}\n{text.rstrip()}")
    print(text, end="")
