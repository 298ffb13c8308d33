"""What is said of sets of tasks: against counts by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import tasks
from metarl_jax.config import ConfigError
from metarl_jax.tasks.mazes.view_maze import ViewTask


def row(*goals: int, wall: int | None = None) -> ViewTask:
    """Mazes of 5 x 5 cells, start at the left end of the first row, looking right: a goal in that row each."""
    count = len(goals)
    walls = np.zeros((count, 5, 5), bool)
    if wall is not None:
        walls[:, :, wall] = True
    start = jnp.zeros(count, jnp.int32)
    return ViewTask(jnp.asarray(walls), start, start, jnp.asarray(goals, jnp.int32))


def test_a_set_of_mazes_by_hand():
    family = tasks.view_maze(size=5, view=3, num_walls=0, horizon=10)
    open_ones, shut = row(1, 2, 2, 4), row(4, wall=2)
    batch = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), open_ones, shut)
    found = tasks.diversity(family, batch)
    worth = np.array([10 * (1 - 0.09), 5 * (1 - 0.18), 5 * (1 - 0.18), 2 * (1 - 0.36), 0.0])
    assert (found.num_tasks, found.distinct) == (5, 4)
    assert found.mean == pytest.approx(worth.mean(), rel=1e-5) and found.std == pytest.approx(worth.std(), rel=1e-5)
    np.testing.assert_allclose(found.quantiles, sorted(worth), rtol=1e-5)
    assert found.unsolvable == pytest.approx(0.2)
    np.testing.assert_allclose(found.shortest, [1.0, 1.75, 2.0, 2.5, 4.0])
    brief = tasks.diversity(tasks.view_maze(size=5, view=3, num_walls=0, horizon=3), batch, trial_steps=3)
    assert brief.unsolvable == pytest.approx(0.4) and brief.mean == pytest.approx((3 * 0.7 + 2 * 0.4) / 5, rel=1e-5)
    none = tasks.diversity(family, shut)
    assert none.unsolvable == 1.0 and none.shortest is None and none.mean == 0.0


def test_more_choice_in_the_drawing_is_more_diversity():
    def drawn(**options):
        family = tasks.view_maze(size=7, view=3, horizon=80, **options)
        return tasks.diversity(family, jax.jit(jax.vmap(family.sample))(jax.random.split(jax.random.key(0), 200)))

    plain, mixed = drawn(num_walls=15), drawn(num_walls=(0, 40), sizes=(2, 7))
    assert mixed.std > 1.2 * plain.std and mixed.unsolvable > plain.unsolvable
    assert plain.distinct == 200 and 100 < mixed.distinct < 200  # some of 2 x 2 cells are equal


def test_finite_sets_and_families_without_distance():
    named = tasks.diversity(tasks.named_mazes())
    assert (named.num_tasks, named.distinct, named.unsolvable) == (12, 12, 0.0)
    assert named.shortest is not None and named.shortest[::4] == (12.0, 93.0)
    grid = tasks.diversity(tasks.gridnavi())
    assert grid.unsolvable is grid.shortest is None and grid.mean == pytest.approx(4 * 11.0714, rel=1e-4)
    family = tasks.gridnavi()._replace(optimum=None)  # by its reference then
    planned = tasks.diversity(family)
    assert planned[:4] == pytest.approx(grid[:4], rel=1e-5) and planned.quantiles == pytest.approx(grid.quantiles)


def test_tasks_of_others_are_refused():
    gate = tasks.gate()
    with pytest.raises(ConfigError, match=r"batch=.*give tasks of maze-view"):
        tasks.diversity(tasks.view_maze(), jax.vmap(gate.sample)(jax.random.split(jax.random.key(0), 3)))
    with pytest.raises(ConfigError, match=r"batch=.*give tasks of gate"):
        tasks.diversity(gate, gate.sample(jax.random.key(0)))


def test_what_has_no_optimum_is_refused():
    gate = tasks.gate()
    batch = jax.vmap(gate.sample)(jax.random.split(jax.random.key(0), 5))
    with pytest.raises(ConfigError, match="tasks='gate': no optimal return is known"):
        tasks.diversity(gate, batch)
    with pytest.raises(ConfigError, match="batch=None: maze-view is no finite set"):
        tasks.diversity(tasks.view_maze())
    with pytest.raises(ConfigError, match="trial_steps=0"):
        tasks.diversity(tasks.named_mazes(), trial_steps=0)
