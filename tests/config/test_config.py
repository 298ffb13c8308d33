"""Recipes: every mistake is answered with the field, the value and the fix."""

import inspect
import json
from typing import Any, Literal

import pytest

from metarl_jax import algorithms, curricula, tasks
from metarl_jax.config import ConfigError, Recipe, coerce, family, lookup, options_of, preset, recipe
from metarl_jax.records import TaskDistribution


@recipe("learner")
def learner(
    tasks,
    *,
    rate: float = 0.5,
    count: int = 2,
    kind: Literal["gru", "none"] = "gru",
    sizes: tuple[int, ...] = (4, 2),
    bound: float | None = None,
    flag: bool = False,
):
    """A learner."""
    return (tasks, rate, count, kind, sizes, bound, flag)


@family("plain")
def plain(*, size: int, share: float = 0.25) -> TaskDistribution:
    """A family with an option that has no default."""
    return TaskDistribution(str((size, share)), None, None, 1, 1)


learner_two = preset("learner-two", learner, "Another learner.", count=7, kind="none")
plain_two = preset("plain-two", plain, "Another family.", size=9)


def test_a_recipe_holds_all_options_and_builds():
    made = learner(rate=1, sizes=[3])
    assert made == Recipe("learner", made.options, made.function)
    assert made.options == dict(rate=1.0, count=2, kind="gru", sizes=(3,), bound=None, flag=False)
    assert type(made.options["rate"]) is float and type(made.options["sizes"]) is tuple
    assert made.build("the tasks") == ("the tasks", 1.0, 2, "gru", (3,), None, False)
    assert made.describe() == {"name": "learner", "options": made.options}
    assert learner(**json.loads(json.dumps(made.options))) == made  # through a file and back
    assert learner.__doc__ == "A learner." and learner.__name__ == "learner"


def test_a_family_remembers_its_recipe():
    made = plain(size=3)
    assert made.name == "plain" and made.recipe == {"name": "plain", "options": {"size": 3, "share": 0.25}}
    with pytest.raises(ConfigError, match=r"plain: size is missing: .* give size=\.\.\."):
        plain()


def test_a_preset_changes_defaults_only():
    made = learner_two()
    assert (made.name, made.options["count"], made.options["kind"]) == ("learner-two", 7, "none")
    assert made.options | {"count": 2, "kind": "gru"} == learner().options
    assert learner_two(count=1).options["count"] == 1 and learner().options["count"] == 2
    assert options_of(learner_two)["count"].default == 7 and options_of(learner)["count"].default == 2
    assert list(options_of(learner_two)) == list(options_of(learner)) and "Another learner." in learner_two.__doc__
    assert learner_two.__name__ == "learner_two"
    made = plain_two(share=1)
    assert made.name == "plain-two" and made.recipe == {"name": "plain-two", "options": {"size": 9, "share": 1.0}}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: learner(rat=1.0), r"unknown option of learner 'rat': did you mean 'rate'\? known: bound, count"),
        (lambda: learner_two(cont=1), r"unknown option of learner-two 'cont': did you mean 'count'\?"),
        (lambda: plain_two(sise=1), r"unknown option of plain-two 'sise': did you mean 'size'\?"),
        (lambda: learner(rate="fast"), r"learner: rate='fast': must be float, not str"),
        (lambda: learner(count=1.5), r"learner: count=1\.5: must be int, not float"),
        (lambda: learner(count=True), r"learner: count=True: must be int, not bool"),
        (lambda: learner(rate=True), r"learner: rate=True: must be float, not bool"),
        (lambda: learner(flag=1), r"learner: flag=1: must be bool, not int"),
        (lambda: learner(kind="grru"), r"learner: kind='grru': did you mean 'gru'\? choose one of 'gru', 'none'"),
        (lambda: learner(sizes="34"), r"learner: sizes='34': give a list or tuple"),
        (lambda: learner(sizes=3), r"learner: sizes=3: give a list or tuple"),
        (lambda: learner(sizes=(3, "x")), r"learner: sizes='x': must be int, not str"),
        (lambda: learner(bound="x"), r"learner: bound='x': must be float"),
        (lambda: learner(rate=None), r"learner: rate=None: must be float, not NoneType"),
    ],
)
def test_mistakes_name_field_value_and_fix(call, words):
    with pytest.raises(ConfigError, match=words) as caught:
        call()
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("value", "annotation", "result"),
    [
        (3, float, 3.0),
        (3, int, 3),
        (None, float | None, None),
        (3, float | None, 3.0),
        ([1, 2], tuple[int, ...], (1, 2)),
        ([], tuple[int, ...], ()),
        ([1, 2], tuple[int, float], (1, 2.0)),
        (["#"], tuple[str, ...], ("#",)),
        ("a", Literal["a", "b"], "a"),
        ({"any": "thing"}, Any, {"any": "thing"}),
        ("x", inspect.Parameter.empty, "x"),
    ],
)
def test_coerce(value, annotation, result):
    coerced = coerce(value, annotation, "field")
    assert coerced == result and type(coerced) is type(result)


def test_coerce_counts():
    with pytest.raises(ConfigError, match=r"field=\[1\]: give exactly 2 values"):
        coerce([1], tuple[int, int], "field")
    with pytest.raises(ConfigError, match=r"field=0: must be None"):
        coerce(0, None, "field")


def test_lookup_suggests_the_nearest_name():
    registry = {"rl2": 1, "ppo": 2, "varibad": 3}
    assert lookup(registry, "ppo", "algorithm") == 2
    with pytest.raises(ConfigError, match=r"^unknown algorithm 'rl3': did you mean 'rl2'\? known: ppo, rl2, varibad$"):
        lookup(registry, "rl3", "algorithm")
    with pytest.raises(ConfigError, match=r"^unknown algorithm 'zzzzzz': known: ppo, rl2, varibad$"):
        lookup(registry, "zzzzzz", "algorithm")
    with pytest.raises(ConfigError, match="unknown algorithm None"):
        lookup(registry, None, "algorithm")


@pytest.mark.parametrize(
    ("registry", "returns"),
    [(algorithms.REGISTRY, Recipe), (tasks.REGISTRY, TaskDistribution), (curricula.REGISTRY, Recipe)],
    ids=["algorithms", "tasks", "curricula"],
)
def test_help_and_completion_show_the_options(registry, returns):
    for made in registry.values():
        signature = inspect.signature(made)
        assert dict(signature.parameters) == options_of(made) and signature.return_annotation is returns
        assert made.__name__.isidentifier() and made.__module__.startswith("metarl_jax.")
        for parameter in signature.parameters.values():
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.annotation is not parameter.empty


@pytest.mark.parametrize("registry", [tasks.REGISTRY, algorithms.REGISTRY, curricula.REGISTRY])
def test_registered_names_rebuild_what_they_describe(registry):
    """What config.json holds of a name must make the same thing again, through JSON."""
    for name, made in registry.items():
        first = made()
        described = first.recipe if isinstance(first, TaskDistribution) else first.describe()
        assert described["name"] == name and set(described["options"]) == set(options_of(made))
        assert made.__doc__, f"{name} has no docstring"
        if isinstance(first, TaskDistribution):  # it prints on a line or two, and not its arrays
            assert len(repr(first)) < 240 and name in repr(first) and f"trials of {first.trial_steps}" in repr(first)
        again = made(**json.loads(json.dumps(described["options"])))
        assert (again.recipe if isinstance(again, TaskDistribution) else again.describe()) == described


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: tasks.bandit(num_arms=0), "bandit: num_arms=0"),
        (lambda: tasks.bandit(num_pulls=0), "bandit: num_pulls=0"),
        (lambda: tasks.dependent_bandit(low=1.5), "bandit-dependent: low=1.5"),
        (lambda: tasks.tabular(num_states=0), "tabular: num_states=0"),
        (lambda: tasks.tabular(reward_std=-1.0), "tabular: reward_std=-1.0"),
        (lambda: tasks.gridnavi(size=2), "gridnavi: size=2"),
        (lambda: tasks.gridnavi(horizon=0), "gridnavi: horizon=0"),
        (lambda: tasks.maze(view=2), "maze: view=2"),
        (lambda: tasks.maze(view=-1), "maze: view=-1"),
        (lambda: tasks.maze(layouts=()), r"layouts=\(\)"),
        (lambda: tasks.maze(layouts=("####\n#S.#\n####", "###\n#S#\n###")), "no cell for a goal"),
        (lambda: tasks.maze(layouts=("####\n#S.#\n####", "#####\n#S..#\n#####")), "one outer size"),
        (lambda: tasks.maze(layouts=("####\n#S.#\n###",)), "one length"),
        (lambda: tasks.maze(layouts=("####\n#S..\n####",)), "whole border"),
        (lambda: tasks.maze(layouts=("####\n#..#\n####",)), "exactly one start"),
        (lambda: tasks.maze(layouts=("####\n#Sx#\n####",)), "unknown letters"),
        (lambda: tasks.maze(layouts=("#####\n#S#G#\n#####",)), "reachable"),
        (lambda: tasks.maze(split="held-out-layout"), "at least two layouts"),
        (lambda: tasks.maze(layouts=("####\n#S.#\n####",), split="held-out-goals"), "fewer than 5"),
        (lambda: tasks.random_maze(rows=6), "maze-random: rows=6"),
        (lambda: tasks.random_maze(openness=2.0), "maze-random: openness=2.0"),
        (lambda: tasks.from_arrays([[[0.5, 0.5]]], [[1.0]], horizon=1), "must have the shapes"),
        (lambda: tasks.from_arrays([[[[0.5]]]], [[[1.0]]], horizon=1), "must be a distribution"),
        (lambda: tasks.from_arrays([[[[1.0]]]], [[[1.0]]], horizon=0), "must be at least 1"),
    ],
)
def test_wrong_tasks_are_refused(call, field):
    with pytest.raises(ConfigError, match=field):
        call()


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"memory_size": 0}, "memory_size=0"),
        ({"learning_rate": -1.0}, "learning_rate=-1.0"),
        ({"discount": 1.5}, "discount=1.5"),
        ({"trace": -0.1}, "trace=-0.1"),
        ({"num_epochs": 0}, "num_epochs=0"),
        ({"filters": (4,)}, r"filters=\(4,\): needs observations \[rows, columns, layers\], not \[1\]"),
        ({"memory": "elephant"}, "memory='elephant'"),
        ({"memory": "transformer", "memory_size": 12}, "memory_size=12: must be a multiple of 8"),
        ({"memory": "transformer", "memory_size": 8, "memory_window": -1}, "memory_window=-1"),
        ({"memory": "s5", "memory_window": 9}, 'memory_window=9: needs memory="transformer"'),
    ],
)
def test_wrong_options_of_rl2_are_refused(options, field):
    with pytest.raises(ConfigError, match=field):
        algorithms.rl2(**options).build(tasks.bandit())


def test_minibatches_must_divide_the_tasks():
    built = algorithms.rl2(num_minibatches=3).build(tasks.bandit())
    built.check(9)
    with pytest.raises(ConfigError, match=r"num_minibatches=3: must divide num_tasks=8"):
        built.check(8)
