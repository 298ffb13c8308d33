"""Options reach the code by name: no tuple of them is unpacked by position."""

import ast
import dataclasses
import inspect
from pathlib import Path

import pytest

import metarl_jax
from metarl_jax.algorithms.gradient.outer_loop import OuterStepConfig
from metarl_jax.algorithms.lifetime.outer_loop import LifetimeConfig, MetaOptimizerConfig, OuterLossConfig
from metarl_jax.algorithms.recurrent.ppo import PPOConfig

ROOT = Path(metarl_jax.__file__).parent


@pytest.mark.parametrize(
    "record",
    [PPOConfig, OuterStepConfig, LifetimeConfig, MetaOptimizerConfig, OuterLossConfig],
    ids=lambda x: x.__name__,
)
def test_configurations_are_built_by_keyword_and_frozen(record):
    assert dataclasses.is_dataclass(record)
    parameters = inspect.signature(record).parameters.values()
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in parameters)
    made = record(**{field.name: 0 for field in dataclasses.fields(record)})
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, dataclasses.fields(record)[0].name, 1)


def options_by_position(function: ast.FunctionDef) -> list[str]:
    """Calls in a recipe that unpack options from a tuple, or build a record of several of them without their names."""
    options, found = {a.arg for a in function.args.kwonlyargs}, []
    of_options = lambda nodes: [node for node in nodes if isinstance(node, ast.Name) and node.id in options]
    packed = {
        name.id
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and any(of_options(ast.walk(node.value)))
        for target in node.targets
        for name in ast.walk(target)
        if isinstance(name, ast.Name)
    }
    for call in ast.walk(function):
        if isinstance(call, ast.Call):
            values = [a.value for a in call.args if isinstance(a, ast.Starred)]
            unpacked = any(isinstance(value, ast.Name) and value.id in packed for value in values)
            record = ast.unparse(call.func).rpartition(".")[2][:1].isupper()
            if unpacked or (record and len(of_options(call.args)) > 1):
                found.append(f"{function.name}:{call.lineno} {ast.unparse(call)[:80]}")
    return found


def test_no_recipe_passes_options_by_position():
    recipes = [
        node
        for folder in ("algorithms", "curricula")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and any("recipe(" in ast.unparse(d) for d in node.decorator_list)
    ]
    assert len(recipes) > 10
    assert not [line for recipe in recipes for line in options_by_position(recipe)]
