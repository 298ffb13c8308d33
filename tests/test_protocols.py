"""How benchmarks are set up: tasks held out, optima of lives, rates that fall, jobs with seeds nobody looked at."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl_jax as mrl
from benchmarks import choosing, lives, optimizers, quality, teaching, transfer, tuners
from metarl_jax.records import ConfigError

SIDE, HORIZON = 3, 4


def test_every_fifth_task_of_a_set_is_held_out():
    home, away = lives.held_out(mrl.tasks.gridnavi(size=5))
    numbers = [np.ravel(jax.tree.leaves(tasks.tasks)[0]).tolist() for tasks in (home, away)]
    assert [len(each) for each in numbers] == [17, 4] and not set(numbers[0]) & set(numbers[1])


def test_the_optimum_of_a_life_counts_what_begins_anew():
    """By backward induction of our own over cells, ages and the steps that are left; an episode's own is less."""
    tasks = mrl.tasks.grids(kind="sparse", size=SIDE, horizon=HORIZON, num_episodes=4)
    found = lives.optimal(lives.Lives(tasks, episodes=1, life=4, steps=4), seed=5)
    drawn = [tasks.sample(jax.random.split(key)[0]) for key in choosing.tested_on(5)]
    by_hand = np.mean([induction(*np.asarray(task.position).tolist(), steps=16) for task in drawn]) / 16
    assert found == pytest.approx(by_hand, rel=1e-5)
    assert found > np.mean([induction(*np.asarray(task.position).tolist(), steps=HORIZON) for task in drawn]) / HORIZON


def induction(good: int, bad: int, steps: int) -> float:
    """Both objects end the episode; the next one begins in any cell, as it does after ``HORIZON`` steps."""
    value = np.zeros((HORIZON, SIDE**2))  # by age and cell
    for _ in range(steps):
        anew, known = value[0].mean(), value
        value = np.empty_like(known)
        for age in range(HORIZON):
            after = known[age + 1] if age + 1 < HORIZON else np.full(SIDE**2, anew)
            worth = after.copy()
            worth[good], worth[bad] = 1.0 + anew, -1.0 + anew
            value[age] = [max(worth[cell] for cell in around(start)) for start in range(SIDE**2)]
    return float(value[0].mean())


def around(cell: int) -> list[int]:
    """Where the nine actions lead; what would leave the grid goes along the other axis alone."""
    inside = lambda x, step: min(max(x + step, 0), SIDE - 1)
    row, column = divmod(cell, SIDE)
    return [inside(row, down) * SIDE + inside(column, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]


def test_a_rate_falls_to_zero_over_a_life():
    updates = []
    for falls in (False, True):
        optimizer = optimizers.with_rate("sgd", falls, 4, jnp.float32(0.5))
        state = optimizer.init(jnp.zeros(()))
        steps = []
        for _ in range(4):
            step, state = optimizer.update(jnp.ones(()), state)
            steps.append(float(step))
        updates.append(steps)
    assert np.abs(updates).tolist() == [[0.5] * 4, [0.5, 0.375, 0.25, 0.125]]


def test_no_job_reports_a_seed_that_its_settings_were_chosen_on():
    for name, job in quality.JOBS.items():
        assert not set(job.seeds) & set(job.chosen_on or ()), name
        assert job.chosen_on is None or len(job.seeds) >= 5, name
    with pytest.raises(ConfigError, match="'varibad-gridnavi' were chosen on them"):
        quality.run("varibad-gridnavi", [3, 1, 2])


def test_unseen_families_are_none_of_those_looked_at():
    described = lambda families: [str(make().tasks.recipe) for make in families.values()]
    unseen, looked_at = described(transfer.UNSEEN), described(transfer.LOOKED_AT)
    learned = [str(make().recipe) for make in (transfer.HOME, transfer.ENDING, transfer.LASTING, transfer.SMALL)]
    assert len({*unseen, *looked_at, *learned}) == len(unseen) + len(looked_at) + 2  # two are of those learned in
    assert len(transfer.SETTINGS) == 1  # at this size; the row's settings say of how many


def test_options_are_chosen_in_other_mazes_of_as_many_candidates():
    assert not set(tuners.WALLS) & set(tuners.OTHER_WALLS)
    for walls in (tuners.WALLS, tuners.OTHER_WALLS):
        assert tuners.mazes("all", walls).tasks is not None
    assert {len(candidates) for candidates in tuners.CANDIDATES.values()} == {1}
    assert [len(make) for make in (tuners.ALL_CANDIDATES["PBT"], tuners.ALL_CANDIDATES["self-tuning"])] == [9, 9]
    for make in teaching.ALL.values():
        make()
