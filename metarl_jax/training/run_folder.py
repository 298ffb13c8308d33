"""The folder of a run: its configuration, and whether another may go on in it."""

import json
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax

from metarl_jax.config import ConfigError, check
from metarl_jax.storage.files import LOCK, versions, write_json
from metarl_jax.training.identity import same


def read_config(folder: Path) -> dict[str, Any]:
    """What ``config.json`` holds.

    Args:
      folder: of the run.

    Returns:
      A dict.

    Raises:
      ConfigError: there is none, or it is no run's.
    """
    path = folder / "config.json"
    if not path.exists():
        raise ConfigError(f"{folder} holds no run: config.json is missing. Give the folder that train(out=...) made")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is damaged ({error}): put it back, or start in a new folder") from None
    config = found.get("config") if isinstance(found, dict) else None
    parts = ("algorithm", "tasks", "curriculum")
    if not isinstance(config, dict) or not all(isinstance(config.get(part), dict) for part in parts):
        raise ConfigError(f"{path} is not the config.json of a run: give the folder that train(out=...) made")
    return found


def check_folder(folder: Path, config: dict[str, Any]) -> None:
    """Checks that the folder is free, or that the run in it has this configuration; writes nothing.

    Args:
      folder: of the run.
      config: of what is asked for.
    """
    if (folder / "config.json").exists():
        _check_same_config(folder, config)
        return
    check_free(folder, "run")


def check_free(folder: Path, kind: str) -> None:
    """Checks that nothing is in the way of what ``kind`` names.

    Args:
      folder: to be used.
      kind: of what is to be in it.
    """
    # A kill before config.json was whole leaves the lock and a partial file.
    free = lambda: all(path.name == LOCK or path.name.endswith(".partial") for path in folder.iterdir())
    usable = not folder.exists() or (folder.is_dir() and free())
    check(usable, "out", str(folder), f"is no empty folder and holds no {kind}: give another folder")


def as_before(folder: Path | None, memory_options: Iterable[str]) -> dict[str, Any]:
    """What the run in the folder, if there is one, says of the options left open.

    Args:
      folder: of the run, if it has one.
      memory_options: names of options.

    Returns:
      Values by option.
    """
    if folder is None or not (folder / "config.json").exists():
        return {}
    chosen = read_config(folder)["config"]["algorithm"].get("options") or {}
    return {name: chosen[name] for name in memory_options if name in chosen}


def describe_run(folder: Path, config: dict[str, Any], predicted_bytes: int | None = None) -> None:
    """Writes ``config.json``: of a new run, or of one that goes on, perhaps with more updates or on other devices.

    ``predicted_bytes``: what its program needs on each of them.

    Args:
      folder: of the run.
      config: of it.
      predicted_bytes: see below.
    """
    now = {"devices": devices(), "versions": versions()}
    if (folder / "config.json").exists():
        saved = read_config(folder)
        for what, value in now.items():
            if saved.get(what) != value:
                warnings.warn(f"{folder}: {what} were {saved.get(what)}, are {value}: not bit for bit", stacklevel=4)
    told = {} if predicted_bytes is None else {"predicted_bytes": predicted_bytes}
    write_json(folder / "config.json", {"config": config, **now, **told})


def devices() -> str:
    """The devices that JAX has, in words.

    Returns:
      Text.
    """
    return f"{jax.device_count()} x {jax.devices()[0].platform}"


def _check_same_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuses to go on in a folder that another configuration made; says what differs.

    The number of updates may grow: that is how a run is continued.
    """
    refuse_changes(folder, "run", read_config(folder)["config"], config, may_grow="num_updates")


def refuse_changes(
    folder: Path, kind: str, saved: Mapping[str, Any], wanted: Mapping[str, Any], may_grow: str = ""
) -> None:
    """ConfigError with all that differs in the configuration of the ``kind`` that is in ``folder``.

    Args:
      folder: of the run.
      kind: of what is in it.
      saved: its configuration.
      wanted: the one asked for.
      may_grow: a name that may differ.
    """
    old, new = flatten(saved), flatten(json.loads(json.dumps(wanted)))
    if lines := differences(old, new, may_grow):
        raise ConfigError(
            f"{folder} holds a {kind} of another configuration:\n" + "\n".join(lines) + "\nGive another folder (out=, "
            f"--out), or the same configuration to continue that {kind}"
        )


def differences(saved: dict[str, Any], wanted: dict[str, Any], leave_out: str = "") -> list[str]:
    """A line for each name in which two flat configurations differ.

    Args:
      saved: one configuration, flat.
      wanted: the other.
      leave_out: a name that may differ.

    Returns:
      Lines.
    """
    names = [name for name in saved | wanted if name != leave_out and not same(name, saved, wanted)]
    return [f"  {name}: {saved.get(name)!r} there, {wanted.get(name)!r} asked for" for name in sorted(names)]


def check_same_tasks(folder: Path, saved: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """ConfigError where the tasks given to ``load`` are not those of the run's configuration, with what differs.

    Args:
      folder: of the run.
      saved: tasks in its configuration.
      given: to ``load``.
    """
    there, here = flatten({"tasks": saved}), flatten({"tasks": json.loads(json.dumps(given))})
    if lines := differences(there, here):
        raise ConfigError(
            f"tasks={given['name']!r}: not those of the run in {folder}:\n" + "\n".join(lines) + "\nGive the run's own "
            "tasks to load; other tasks are for evaluate(run, tasks)"
        )


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings, and lists of them, as ``{"a.b": value, "a.0.b": value}``.

    Args:
      tree: nested mappings.
      prefix: of all names.

    Returns:
      A flat dict.
    """
    if isinstance(tree, list) and tree and all(isinstance(part, Mapping) for part in tree):
        tree = {str(i): part for i, part in enumerate(tree)}
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    return {k: v for name, value in tree.items() for k, v in flatten(value, f"{prefix}.{name}".lstrip(".")).items()}
