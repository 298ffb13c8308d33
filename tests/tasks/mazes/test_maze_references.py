"""References of mazes against a recursion over all that an agent may do, by steps of the environment itself."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.brute_force import Machine

from metarl_jax import planning, tasks
from metarl_jax.records import TaskDistribution
from metarl_jax.tasks.layouts import COLUMNS, PILLARS, parse, successors
from metarl_jax.tasks.mazes import references as _maze_references

LEFT = "###########\n#G...S....#\n###########"
RIGHT = "###########\n#....S...G#\n###########"
ROOM = "#####\n#S..#\n#.#.#\n#...#\n#####"
DOOR = "#####\n#S..#\n#...#\n#...#\n#####"  # as ROOM, but for the middle
HOOK = "#####\n#S..#\n###.#\n#...#\n#####"


def brute_force(family: TaskDistribution, steps: int) -> tuple[float, float]:
    """``(Bayes-optimal, best of what starts anew with every episode)``: mean goals in a trial, of all policies. The
    latter reaches the goal ``floor(steps / t)`` times where the first episode takes ``t`` steps."""
    made = Machine(family.env, family.tasks, np.arange(4))
    rows = range(made.size)

    @functools.cache
    def best(step, belief):
        return 0.0 if step > steps else max(worth(step, belief, action) for action in range(4))

    def worth(step, belief, action):
        found, parts = 0.0, {}
        for state, weight in belief:
            (outcome,) = made.after[state][action]
            if outcome.reward:
                found += weight * (steps // step)
            else:
                parts.setdefault(outcome.shown, []).append((outcome.state, weight))
        return found + sum(best(step + 1, tuple(part)) for part in parts.values())

    return made.best(rows, steps), sum(best(1, tuple(belief.items())) for belief in made.start(rows))


def by_role(family: TaskDistribution, batch, steps: int) -> dict:
    assert family.references is not None
    found = family.references(batch, steps)
    assert not any(reference.of for reference in found)
    return {(reference.role, reference.kind): float(np.mean(reference.trial_return)) for reference in found}


def rows_of(family: TaskDistribution, *rows: int):
    return jax.tree.map(lambda leaf: leaf[np.array(rows)], family.tasks)


def test_two_corridors_that_look_alike():
    """To one side, and to the other if it is not there: 6 goals or 4; 6 or 2 by one who forgets what was found."""
    family = tasks.maze(layouts=(LEFT, RIGHT), horizon=24, trial_steps=24)
    known = by_role(family, family.tasks, 24)
    assert known == {("optimal", "exact"): 6.0, ("bayes", "exact"): 5.0, ("non_adaptive", "lower"): 4.0}
    assert brute_force(family, 24) == (5.0, 4.0)


SETS = {
    "one layout": ((HOOK,), 0, False, None),
    "splits": ((DOOR,), 0, False, "train-goals"),
    "layouts that look alike": ((ROOM, HOOK, DOOR), 0, False, (0, 3, 7, 9, 12, 15)),
    "told apart by what is seen around": ((ROOM, HOOK, DOOR), 3, False, (0, 3, 7, 9, 12, 15)),
    "goals that are shown": ((ROOM, HOOK), 0, True, (0, 1, 4, 8, 9, 11)),
    "a task held twice": ((ROOM, DOOR), 0, False, (2, 2, 5, 10, 10, 10, 13)),
}


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_its_own_prior(name):
    layouts, view, shown, some = SETS[name]
    split = some if isinstance(some, str) else "all"
    family = tasks.maze(layouts=layouts, horizon=14, trial_steps=14, view=view, goal_observable=shown, split=split)
    if isinstance(some, tuple):
        family = tasks.finite(family, rows_of(family, *some))
    for steps in (5, 14):
        known = by_role(family, family.tasks, steps)
        found = known["bayes", "exact"], known["non_adaptive", "lower"]
        assert found == pytest.approx(brute_force(family, steps), abs=1e-9)
        assert known["non_adaptive", "lower"] <= known["bayes", "exact"] <= known["optimal", "exact"]


@pytest.mark.parametrize("view", [0, 3])
def test_bounds_hold_in_sets_of_random_mazes(view, monkeypatch):
    """Where the search must do: as if there were too many tasks for the exact answer."""
    monkeypatch.setattr(planning, "belief_plan", lambda *_, **__: None)
    monkeypatch.setattr(_maze_references, "answer", _maze_references.answer.__wrapped__)
    random = tasks.random_maze(rows=5, columns=7, view=view, horizon=13, trial_steps=13)
    draw, close = jax.jit(jax.vmap(random.sample)), []
    for seed in range(3):
        family = tasks.finite(random, draw(jax.random.split(jax.random.key(seed), 4)))
        known = by_role(family, family.tasks, 13)
        best, repeated = brute_force(family, 13)
        assert known["bayes", "lower"] - 1e-9 <= best <= known["bayes", "upper"] + 1e-9
        assert known["non_adaptive", "lower"] <= repeated + 1e-9
        close.append(known["bayes", "lower"] >= 0.9 * best)
    assert sum(close) >= 2


def test_what_the_references_say_nothing_of():
    family = tasks.maze(layouts=(ROOM,), horizon=20, trial_steps=20)
    assert family.references is not None and family.mutate is not None
    changed = jax.vmap(family.mutate)(jax.random.split(jax.random.key(0), len(family.tasks.goal)), family.tasks)
    roles = lambda *args, **options: {r.role for r in family.references(*args, **options)}
    assert roles(changed, 20) == roles(family.tasks, 21) == {"optimal"}
    some = rows_of(family, 1, 2)  # the family's prior, some of its tasks
    found = {(r.role, r.kind): r for r in family.references(some, 20)}
    whole = {(r.role, r.kind): r for r in family.references(family.tasks, 20)}
    for pair, reference in found.items():
        np.testing.assert_array_equal(reference.trial_return, np.asarray(whole[pair].trial_return)[[1, 2]])
    better = {(r.role, r.kind): r for r in family.references(some, 20, prior=some)}
    assert better["bayes", "exact"].trial_return.mean() > found["bayes", "exact"].trial_return.mean()


@pytest.mark.parametrize("layout", [PILLARS, COLUMNS])
def test_the_search_is_for_goals_of_a_trial(layout):
    """24.06 of an independent local search; by walks that are good in the mean time to find 23.59 and 23.82."""
    walls, start, goals = parse(layout)
    table = np.asarray(successors(jnp.asarray(walls)))
    ones = np.ones(len(goals), int)
    candidates = planning.Candidates(table[None], np.arange(169)[None], start, 0 * ones, goals, ones)
    plan = planning.search_plan(candidates, 256)
    assert 24.06 <= plan.returns.mean() <= planning.trial_upper(table, start, goals, 256)
    np.testing.assert_array_equal(
        plan.returns, [len(range(f, 257, d)) for f, d in zip(plan.first, plan.later, strict=True)]
    )


def test_layouts_that_look_alike_are_worth_less_than_each_alone():
    steps = 30
    both = tasks.maze(layouts=(HOOK, DOOR), horizon=steps, trial_steps=steps)
    alone = [tasks.maze(layouts=(layout,), horizon=steps, trial_steps=steps) for layout in (HOOK, DOOR)]
    told = [by_role(family, family.tasks, steps)["bayes", "exact"] * len(family.tasks.goal) for family in alone]
    found = by_role(both, both.tasks, steps)["bayes", "exact"]
    assert found < sum(told) / len(both.tasks.goal)
    seen = tasks.maze(layouts=(HOOK, DOOR), horizon=steps, trial_steps=steps, view=3)
    told_apart = by_role(seen, seen.tasks, steps)
    assert told_apart["bayes", "exact"] == pytest.approx(sum(told) / len(both.tasks.goal))
