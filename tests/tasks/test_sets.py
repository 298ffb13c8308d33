"""Finite sets: of draws, of what a curriculum kept, there and back by a file."""

import jax
import numpy as np
import pytest

import metarl_jax as mrl
from metarl_jax.config import ConfigError

FAMILY = mrl.tasks.view_maze(size=4, view=3, num_walls=4, horizon=6, num_episodes=2)
BATCH = jax.vmap(FAMILY.sample)(jax.random.split(jax.random.key(0), 5))


def test_a_set_draws_its_tasks_alone_and_comes_back_from_a_file(tmp_path):
    made = mrl.tasks.finite(FAMILY, BATCH)
    path = mrl.tasks.save_tasks(tmp_path / "deep" / "held-out.npz", made)
    assert [x.name for x in path.parent.iterdir()] == ["held-out.npz"]
    again = mrl.tasks.load_tasks(path, FAMILY)
    jax.tree.map(np.testing.assert_array_equal, again.tasks, BATCH)
    drawn = jax.vmap(again.sample)(jax.random.split(jax.random.key(1), 60))
    rows = lambda batch: {tuple(np.concatenate([np.ravel(leaf[i]) for leaf in batch])) for i in range(len(batch.goal))}
    assert rows(drawn) == rows(BATCH)
    best = again.references(again.tasks, 12)[0].trial_return
    np.testing.assert_array_equal(best, FAMILY.references(BATCH, 12)[0].trial_return)


def test_what_a_curriculum_keeps_is_a_set_to_train_and_test_on():
    learner = mrl.algorithms.rl2(memory_size=8, num_minibatches=1, num_epochs=1)
    curriculum = mrl.curricula.prioritised_replay(capacity=10)
    options = dict(num_updates=4, num_tasks=8, quiet=True)
    run = mrl.train(learner, FAMILY, curriculum=curriculum, num_seeds=2, **options)
    kept = run.buffer_tasks(member=1)
    score = run.task_buffer["score"][1]
    assert len(kept.tasks.goal) == np.isfinite(score).sum() > 5
    np.testing.assert_array_equal(kept.tasks.goal[0], run.task_buffer["tasks"].goal[1, np.argmax(score)])
    assert mrl.evaluate(run, kept, trials_per_task=2, quiet=True).name["num_tasks"] == len(kept.tasks.goal)
    with pytest.raises(ConfigError, match="member=2: must be a whole number from 0 to 1"):
        run.buffer_tasks(member=2)
    with pytest.raises(ConfigError, match="curriculum='uniform': keeps no tasks"):
        mrl.train(mrl.algorithms.ppo(encoder=(), num_epochs=1), mrl.tasks.bandit(), **options).buffer_tasks()


def test_what_is_no_set_of_these_tasks_is_refused(tmp_path):
    other = jax.vmap(mrl.tasks.gridnavi().sample)(jax.random.split(jax.random.key(0), 5))
    with pytest.raises(ConfigError, match="give tasks of maze-view"):
        mrl.tasks.finite(FAMILY, other)
    with pytest.raises(ConfigError, match="give tasks of maze-view"):
        mrl.tasks.finite(FAMILY, jax.tree.map(lambda x: x[:0], BATCH))
    with pytest.raises(ConfigError, match="is no finite set"):
        mrl.tasks.save_tasks(tmp_path / "x.npz", FAMILY)
    with pytest.raises(ConfigError, match=r"give the name of a \.npz file"):
        mrl.tasks.save_tasks(tmp_path / "x.json", mrl.tasks.finite(FAMILY, BATCH))
    with pytest.raises(ConfigError, match="there is no such file"):
        mrl.tasks.load_tasks(tmp_path / "x.npz", FAMILY)
    path = mrl.tasks.save_tasks(tmp_path / "x.npz", mrl.tasks.finite(FAMILY, BATCH))
    with pytest.raises(ConfigError, match="holds 4 arrays, a task of gridnavi has"):
        mrl.tasks.load_tasks(path, mrl.tasks.gridnavi())
