"""References of every family that has any, of its own set and of sets of its tasks, against exhaustive search."""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.brute_force import Machine

from metarl_jax import tasks
from metarl_jax.records import Reference, TaskDistribution
from metarl_jax.tasks.bandit import BanditTask
from metarl_jax.tasks.navigation import PointTask
from metarl_jax.tasks.tabular import TabularTask

HUNT = "#######\n#T...T#\n#P#.#.#\n#MS.C.#\n#.#.#.#\n#T...T#\n#######"
ROOMS = "#####\n#...#\n#S#.#\n#...#\n#####"
HALL = "#####\n#...#\n#S..#\n#...#\n#####"


class Case(NamedTuple):
    """``batch``: the tasks that sets are made of (the own ones of a finite set); ``roles``: what must be known exactly
    of all its sets; ``fixed``: all episodes last ``horizon`` steps; ``actions``: those searched; ``see``: what is seen
    by who has no map; ``own``: the batch is the distribution's own prior."""

    make: Callable[[], TaskDistribution]
    roles: tuple[str, ...]
    batch: Any = None
    noises: Any = ()
    fixed: bool = True
    actions: Any = None
    see: Callable | None = None
    own: bool = True


def mdps(count: int, seed: int = 0) -> TabularTask:
    """Two states, two actions; chances are multiples of a quarter."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 5, (count, 2, 2)) / 4
    reward = rng.integers(0, 3, (count, 2, 2))
    return TabularTask(jnp.stack([first, 1 - first], -1).astype(jnp.float32), jnp.float32(reward), jnp.zeros(count))


MDPS = mdps(3)
SEARCH = ("optimal", "bayes")
ALL = ("optimal", "bayes", "non_adaptive", "random")
TENTHS = (jnp.arange(10) + 0.5) / 10
QUARTERS = ((jnp.arange(4) + 0.5) / 4, jnp.zeros(4))
SIGNS = jnp.array(list(itertools.product((-1.0, 1.0), repeat=2)))
MOVES = lambda speed: speed * np.array(list(itertools.product((-1.0, 0.0, 1.0), repeat=2)), np.float32)
POINTS = PointTask(jnp.array([[0.2, -0.1], [0.3, 0.3], [-0.2, 0.0]]))
CASES = {
    "gridnavi": Case(lambda: tasks.gridnavi(size=3, horizon=4, num_episodes=2), ALL),
    "gridnavi, goal seen": Case(lambda: tasks.gridnavi(size=3, horizon=4, num_episodes=2, goal_visible=True), ALL),
    "gridnavi, paid late": Case(
        lambda: tasks.gridnavi(size=3, horizon=4, num_episodes=2, pay_every=3), ("optimal", "random")
    ),
    "treasure": Case(
        lambda: tasks.treasure(layout=HUNT, horizon=5, num_episodes=2, climb_cost=0.2),
        (*ALL, "without_map"),
        see=lambda observation: observation[..., :14],
    ),
    "bandit": Case(
        lambda: tasks.bandit(num_arms=2, num_pulls=5),
        ALL,
        BanditTask(jnp.array([[0.9, 0.1], [0.8, 0.3], [0.2, 0.6]])),
        TENTHS,
        own=False,
    ),
    "bandit-dependent": Case(
        lambda: tasks.dependent_bandit(low=0.2, num_pulls=6),
        ALL,
        BanditTask(jnp.array([[0.2, 0.8], [0.8, 0.2]])),
        TENTHS,
    ),
    "tabular": Case(
        lambda: tasks.tabular(num_states=2, num_actions=2, horizon=2, num_episodes=3), ALL, MDPS, QUARTERS, own=False
    ),
    "from_arrays": Case(
        lambda: tasks.from_arrays(MDPS.transition, MDPS.reward, horizon=2, num_episodes=3), ALL, None, QUARTERS
    ),
    "discounting-chain": Case(lambda: tasks.discounting_chain(best=(0, 1, 2), delays=(1, 2, 3), num_episodes=3), ALL),
    "key-to-door": Case(
        lambda: tasks.key_to_door(num_actions=3, length=1, num_episodes=3), ALL, noises=jnp.array([-1.0, 1.0])
    ),
    "key-to-door, unseen": Case(
        lambda: tasks.key_to_door(num_actions=3, length=1, num_episodes=2, key_visible=False),
        ALL,
        noises=jnp.array([-1.0, 1.0]),
    ),
    "umbrella": Case(lambda: tasks.umbrella(length=1, num_episodes=3), ALL, noises=SIGNS),
    "grids": Case(
        lambda: tasks.grids(kind="sparse", size=2, horizon=3, num_episodes=2),
        ("optimal", "random"),
        "draws",
        jnp.concatenate([QUARTERS[0][:, None], jnp.full((4, 3), 0.5)], axis=1),
        fixed=False,
        own=False,
    ),
    "maze": Case(lambda: tasks.maze(layouts=(ROOMS,), horizon=7, trial_steps=7), SEARCH, fixed=False),
    "maze, a split": Case(
        lambda: tasks.maze(layouts=(ROOMS,), split="train-goals", horizon=7, trial_steps=7), SEARCH, fixed=False
    ),
    "maze, layouts that look alike": Case(
        lambda: tasks.maze(layouts=(HALL, ROOMS), split="held-out-goals", horizon=9, trial_steps=9), SEARCH, fixed=False
    ),
    "maze, goals seen": Case(
        lambda: tasks.maze(layouts=(HALL, ROOMS), goal_observable=True, horizon=7, trial_steps=7), SEARCH, fixed=False
    ),
    "maze-random": Case(
        lambda: tasks.random_maze(rows=5, columns=5, openness=0.0, horizon=9, trial_steps=9),
        SEARCH,
        "draws",
        fixed=False,
        own=False,
    ),
    "maze-view": Case(
        lambda: tasks.view_maze(size=3, view=3, num_walls=2, horizon=6, num_episodes=2),
        ("optimal",),
        "draws",
        fixed=False,
        own=False,
    ),
    "navigation": Case(
        lambda: tasks.navigation(horizon=3, num_episodes=2), ("optimal",), POINTS, actions=MOVES(0.1), own=False
    ),
    "navigation-sparse": Case(
        lambda: tasks.sparse_navigation(radius=0.9, horizon=2, num_episodes=2),
        ("optimal",),
        PointTask(jnp.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])),
        actions=MOVES(0.1),
        own=False,
    ),
    "navigation-corners": Case(
        lambda: tasks.corner_navigation(reward="distance", horizon=3, num_episodes=1), ("optimal",), actions=MOVES(0.2)
    ),
    "navigation-corners, progress": Case(
        lambda: tasks.corner_navigation(horizon=3, num_episodes=1), (), actions=MOVES(0.2)
    ),
}
OTHERS = {  # nothing is known, or it was measured and is stored, or tasks are too large for this
    "gate", "cheetah-dir", "cheetah-vel", "cheetah-broken", "walker-dynamics", "walker-slope", "hopper-dynamics",
    "maze-100", "maze-200", "maze-view-named",
}  # fmt: skip
SETS = {"own": None, "two of them": (0, 2), "one twice": (1, 0, 1), "one": (1,)}


@functools.cache
def machine(name: str, blind: bool = False) -> tuple[TaskDistribution, Machine]:
    case, distribution = CASES[name], CASES[name].make()
    batch = distribution.tasks if case.batch is None else case.batch
    if isinstance(batch, str):
        batch = jax.vmap(distribution.sample)(jax.random.split(jax.random.key(4), 3))
    env = distribution.env
    actions = np.arange(env.spec.num_actions or 0) if case.actions is None else case.actions
    options = {"see": case.see} if blind else {}
    return distribution, Machine(env, batch, actions, case.noises, **options)


def wanted(name: str, rows: list[int], steps: int, role: str) -> Any:
    """The value of a role in a trial in one of ``rows``, by exhaustive search; None where this test knows none."""
    distribution, made = machine(name)
    if role == "optimal":
        return np.array([made.best([n], steps) for n in rows])
    if role == "random" and CASES[name].actions is None:
        return np.array([made.random(n, steps) for n in rows])
    if role == "bayes":
        return made.best(rows, steps)
    if role == "without_map":
        return machine(name, blind=True)[1].best(rows, steps)
    if role == "non_adaptive" and CASES[name].fixed:  # the same behaviour in every episode, all of one length
        return steps // distribution.horizon * made.best(rows, distribution.horizon)
    return None


@pytest.mark.parametrize("which", SETS)
@pytest.mark.parametrize("name", CASES)
def test_references_are_what_exhaustive_search_finds(name, which):
    case, (family, made) = CASES[name], machine(name)
    rows = [n for n in SETS[which] or range(made.size) if n < made.size]
    if which == "own" and not case.own:
        return
    some = jax.tree.map(lambda x: x[np.array(rows)], made.tasks)
    asked = family if which == "own" else tasks.finite(family, some)
    steps, exact = family.trial_steps, set()
    assert asked.references is not None
    for reference in asked.references(some, steps):
        value = wanted(name, rows, steps, reference.role)
        if reference.of or value is None:
            continue
        found = np.asarray(reference.trial_return, float)
        mean = np.mean(value)
        assert found.shape in ((), (len(rows),))
        if reference.kind == "exact":
            np.testing.assert_allclose(found.mean(), mean, atol=1e-5, err_msg=reference.role)
            if found.ndim and np.ndim(value):
                np.testing.assert_allclose(found, value, atol=1e-5, err_msg=reference.role)
            exact.add(reference.role)
        elif reference.kind == "upper":
            assert found.mean() >= mean - 1e-5, reference.role
        elif reference.kind == "lower":
            assert found.mean() <= mean + 1e-5, reference.role
        if reference.by_episode is not None:
            np.testing.assert_allclose(np.sum(reference.by_episode), found.mean(), atol=1e-5)
    assert exact >= set(case.roles), f"these must be known: {set(case.roles) - exact}"


def test_every_family_has_its_case():
    assert {name.split(",")[0] for name in CASES} - {"from_arrays"} | OTHERS == set(tasks.REGISTRY)


def known(asked: TaskDistribution) -> list[Reference]:
    assert asked.references is not None
    return asked.references(asked.tasks, asked.trial_steps)


@pytest.mark.parametrize("name", ["cheetah-dir", "walker-dynamics"])
def test_what_was_measured_is_not_of_a_part_of_the_tasks(name):
    family = tasks.REGISTRY[name]()
    batch = jax.vmap(family.sample)(jax.random.split(jax.random.key(0), 2)) if family.tasks is None else family.tasks
    assert not any(r.of for r in known(family._replace(tasks=batch)))
    part = known(tasks.finite(family, jax.tree.map(lambda x: x[:1], batch)))
    assert part and all(r.of for r in part)
    if family.tasks is not None:  # the same set, though its rows are doubled
        assert not any(r.of for r in known(tasks.finite(family, jax.tree.map(lambda x: x.repeat(2, axis=0), batch))))
