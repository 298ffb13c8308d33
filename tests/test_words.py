"""Identifiers are in the field's own words: those that were replaced do not come back."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# (word, where it is banned): a whole identifier, or a part of one between its underscores, in files below that path.
BANNED = [
    *((word, "metarl_jax") for word in ("lived", "untold", "born", "unborn", "halvings", "episodic")),
    *((word, "metarl_jax") for word in ("by_variance", "in_stretches", "left_open", "program_of", "tells_trials")),
    *((word, "metarl_jax") for word in ("Shelf", "Setting", "Portable", "Elsewhere", "Opinions", "Paced", "Walk")),
    *((word, "metarl_jax") for word in ("HeldNoise", "TurningNoise", "SeenTask", "Wanted", "Judgement", "Span")),
    *((word, "metarl_jax/algorithms/lifetime") for word in ("Search", "settled", "unbounded", "evolved", "learners")),
    *((word, "metarl_jax/planning") for word in ("best_collecting", "search_bracket")),
    *((word, "metarl_jax") for word in ("draw_kept", "kept_tasks")),
]
FILES = sorted((ROOT / "metarl_jax").rglob("*.py"))


def identifiers(file: Path) -> Iterator[tuple[int, str]]:
    """``(line, identifier)`` of what a file defines or uses."""
    for node in ast.walk(ast.parse(file.read_text())):
        for field in ("name", "id", "attr", "arg", "asname"):
            if isinstance(word := getattr(node, field, None), str):
                yield getattr(node, "lineno", 0), word


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.relative_to(ROOT / "metarl_jax").as_posix())
def test_identifiers_are_in_the_fields_words(file):
    path = file.relative_to(ROOT).as_posix()
    words = {word for word, where in BANNED if path.startswith(where)}
    assert not [(line, name) for line, name in identifiers(file) if words & {name, *name.split("_")}]
