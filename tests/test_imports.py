"""The architecture: imports flow downwards, siblings stay apart, and importing the package costs nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "metarl_jax"
# From the bottom up. A module may import from its own package and from those above it in this list.
LAYERS = [
    "records",
    "runtime",
    "config",
    "storage",
    "planning",
    "physics",
    "estimators",
    "meta_gradients",
    "networks",
    "learned",
    "tasks",
    "rollout",
    "beliefs",
    "wrappers",
    "algorithms",
    "curricula",
    "training",
    "evaluation",
    "tuning",
    "viz",
    "cli",
    "__init__",
]
RANK = {name: rank for rank, name in enumerate(LAYERS)}
FLAT = {"rollout", "beliefs"}  # modules of the top level; all others are in packages
APART = {"tasks", "curricula"}  # one file a method or family: none imports another
SHARED = {
    "tasks": {
        "as_gymnax",
        "batches",
        "checks",
        "environment",
        "features",
        "fingerprints",
        "gymnax_stepping",
        "layouts",
        "priors",
        "shapes",
        "stored",
    },
    "curricula": {"return_history", "scores", "starts", "task_buffer", "task_numbers"},
}
FAMILIES = {
    "recurrent": set(),
    "gradient": set(),
    "inference": {"recurrent"},
    "lifetime": set(),
}  # and what each may use
FILES = sorted(PACKAGE.rglob("*.py"))


def module_name(file: Path) -> tuple[str, ...]:
    """``("tasks", "maze")`` for metarl_jax/tasks/maze.py."""
    return file.relative_to(PACKAGE).with_suffix("").parts


def imported(file: Path) -> list[tuple[int, tuple[str, ...]]]:
    """All imports of a file wherever they stand, as (line, dotted name in parts); own modules without the package."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, tuple(alias.name.split("."))) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: write imports in full"
            found += [(node.lineno, (*node.module.split("."), alias.name)) for alias in node.names]
    return found


def is_module(name: list[str]) -> bool:
    path = PACKAGE.joinpath(*name)
    return path.is_dir() or path.with_suffix(".py").exists()


def own_imports(file: Path) -> list[tuple[int, tuple[str, ...]]]:
    """The package's modules that a file imports: (line, (layer, module or nothing))."""
    own = []
    for line, (root, *rest) in imported(file):
        if root == "metarl_jax" and rest:
            head = rest[0] if rest and rest[0] in RANK else "__init__"
            inside = (
                [part for depth, part in enumerate(rest[1:], 2) if is_module(rest[:depth])] if head == rest[0] else []
            )
            own.append((line, (head, *inside)))
    return own


@pytest.mark.parametrize("file", FILES, ids=lambda f: "/".join(module_name(f)))
def test_imports_flow_downwards(file):
    name = module_name(file)
    assert name[0] in RANK, f"{file}: give the new package its place in LAYERS (DESIGN, layout)"
    for line, target in own_imports(file):
        where = f"{file}:{line} imports {'.'.join(target)}"
        assert RANK[target[0]] <= RANK[name[0]], f"{where}, which is above it"
        if target[0] == name[0] in APART and name[1] != "__init__":
            same = len(target) > 2 and target[1] == name[1]  # within one folder, such as that of the mazes
            assert same or (len(target) > 1 and target[1] in SHARED[name[0]]), (
                f"{where}: one file a method; share below"
            )
        if target[0] == name[0] == "algorithms" and name[1] in FAMILIES:
            assert target[1] in FAMILIES[name[1]] | {name[1]}, f"{where}: families stand apart"


@pytest.mark.parametrize("file", FILES, ids=lambda f: "/".join(module_name(f)))
def test_what_a_module_keeps_to_itself_is_not_imported_elsewhere(file):
    for line, target in imported(file):
        if target[0] == "metarl_jax":
            hidden = [part for part in target if part.startswith("_") and part != "__init__"]
            inside = module_name(file)[:-1] == target[1:-1]
            assert inside or not hidden, f"{file}:{line} imports {'.'.join(target)}"


def test_modules_have_names_of_their_own_and_lie_in_packages():
    names = [module_name(file) for file in FILES]
    assert not {name[-1] for name in names} & set(sys.stdlib_module_names)
    assert {name[0] for name in names if len(name) == 1} == FLAT | {"__init__"}


def test_no_test_imports_another():
    for file in Path(__file__).parent.rglob("*.py"):
        for line, name in imported(file):
            assert not [part for part in name[:-1] if part.startswith("test_")], (
                f"{file}:{line}: share in tests/helpers"
            )


@pytest.mark.parametrize("file", FILES, ids=lambda f: "/".join(module_name(f)))
def test_matplotlib_lives_in_viz(file):
    if module_name(file)[0] != "viz":
        assert not [line for line, name in imported(file) if name[0] == "matplotlib"]


PROGRAM = """
import sys, time
begin = time.perf_counter()
import jax
middle = time.perf_counter()
import metarl_jax
print(middle - begin, time.perf_counter() - middle)
heavy = ["flax", "gymnax", "gymnasium", "matplotlib", "pandas", "optax", "chex", "rich", "tyro", "scipy.stats", "PIL"]
heavy += ["optuna", "sqlalchemy"]
print([name for name in heavy if name in sys.modules])
from jax._src import xla_bridge
print(xla_bridge.backends_are_initialized())
"""


def test_import_costs_no_more_than_jax_and_touches_no_device():
    shares = []
    for _ in range(5):  # one is enough on a quiet machine
        done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
        seconds, heavy, initialized = done.stdout.splitlines()
        assert (heavy, initialized) == ("[]", "False")
        jax_alone, on_top = map(float, seconds.split())
        shares.append(on_top / jax_alone)
        if shares[-1] < 0.3:
            return
    pytest.fail(f"import metarl_jax takes this much longer than import jax: {shares}")


def test_the_functions_of_the_package_are_not_shadowed_by_its_modules():
    """A submodule becomes an attribute of its package when it is imported: none may bear the name of a function."""
    import metarl_jax

    for name in (*metarl_jax._LAZY,):
        assert not (PACKAGE / f"{name}.py").exists() and not (PACKAGE / name).exists(), name
