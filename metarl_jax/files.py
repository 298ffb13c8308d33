"""What all files that we write have in common: they are whole or not there, and say which versions made them."""

import json
import os
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("metarl-jax", "jax", "jaxlib", "flax", "optax")


def versions() -> dict[str, str]:
    """The versions that results depend on, by package."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def write_json(path: Path, value: Any) -> Path:
    """Writes strict JSON (RFC 8259: no NaN), at once or not at all; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with open(partial, "w", encoding="utf-8") as file:
        file.write(json.dumps(value, indent=1, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    return path
