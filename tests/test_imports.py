"""The architecture: imports flow downwards, siblings stay apart, and importing the package costs nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "metarl_jax"
# From the bottom up. A module may import from its own line and from lines above it in this table.
LAYERS = [
    {"types"},
    {"devices", "config"},
    {"files"},
    {"shelf"},
    {"planning", "walkers"},
    {"tasks"},
    {"networks", "optimizers"},
    {"rules"},
    {"estimators"},
    {"rollout"},
    {"beliefs"},
    {"algorithms"},
    {"curricula"},
    {"checkpoint", "logging", "compile_cache", "sharding", "signals"},
    {"statistics", "intervals", "controls", "verdict", "tables", "trials", "report"},
    {"memory", "identity"},
    {"run", "driver", "setting"},
    {"program", "divergence"},
    {"training"},
    {"evaluation"},
    {"tuning"},
    {"viz"},
    {"cli"},
    {"__init__"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
SIBLINGS_APART = {"tasks", "algorithms", "curricula"}
SHARED = {"environment", "trial", "__init__"}  # bases inside those folders, beside names with an underscore
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


def own_imports(file: Path) -> list[tuple[int, tuple[str, ...]]]:
    """The package's modules that a file imports: (line, (layer, module or nothing))."""
    own = []
    for line, (root, *rest) in imported(file):
        if root == "metarl_jax":
            head = rest[0] if rest and rest[0] in RANK else "__init__"
            inside = [rest[1]] if len(rest) > 1 and (PACKAGE / head / f"{rest[1]}.py").exists() else []
            own.append((line, (head, *inside)))
    return own


@pytest.mark.parametrize("file", FILES, ids=lambda f: "/".join(module_name(f)))
def test_imports_flow_downwards(file):
    name = module_name(file)
    assert name[0] in RANK, f"{file}: give the new module its place in LAYERS (DESIGN, layout)"
    for line, target in own_imports(file):
        where = f"{file}:{line} imports {'.'.join(target)}"
        assert RANK[target[0]] <= RANK[name[0]], f"{where}, which is above it"
        if target[0] == name[0] in SIBLINGS_APART and name[1] != "__init__":
            shared = len(target) > 1 and (target[1] in SHARED or target[1].startswith("_"))
            assert shared, f"{where}: modules of {name[0]}/ stand alone; share through a base in the folder"


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
