"""Public functions say what they take and return."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import metarl_jax
from metarl_jax.records import Environment, Policy

ROOT = Path(metarl_jax.__file__).parent
PROTOCOLS = {*vars(Environment), *Policy._fields, "__call__", "setup"}  # documented there, once
PARTS = {"heads", "project", "mix", "seen", "weights", "embed", "decay", "attend"}  # of linen modules, for these alone


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    """Public functions of a module and methods of its public classes, but for those that implement a record's field or
    a property."""
    for node in ast.parse(path.read_text()).body:
        members = node.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_") else [node]
        for member in members:
            if (
                not isinstance(member, ast.FunctionDef)
                or member.name.startswith("_")
                or member.name in PROTOCOLS | PARTS
            ):
                continue
            if not any(isinstance(d, ast.Name) and d.id == "property" for d in member.decorator_list):
                yield member


def arguments(function: ast.FunctionDef) -> list[str]:
    own = function.args
    return [a.arg for a in (*own.posonlyargs, *own.args, *own.kwonlyargs) if a.arg not in ("self", "cls")]


def returns(function: ast.FunctionDef) -> bool:
    return not (isinstance(function.returns, ast.Constant) and function.returns.value is None)


def lacking(section: str) -> tuple[list[str], int]:
    """(functions without the section that need it, how many need it)."""
    needs = arguments if section == "Args:" else returns
    found = [(p, f) for p in sorted(ROOT.rglob("*.py")) for f in functions(p) if needs(f)]
    said = [((ast.get_docstring(f) or "").replace("Yields:", "Returns:"), p, f) for p, f in found]
    without = [f"{p.relative_to(ROOT)}:{f.name}" for text, p, f in said if section not in text]
    return without, len(found)


@pytest.mark.parametrize(("section", "share"), [("Args:", 0.95), ("Returns:", 0.9)])
def test_public_functions_have_their_sections(section, share):
    without, count = lacking(section)
    assert len(without) <= (1 - share) * count, f"{len(without)} of {count}: {' '.join(without)}"
