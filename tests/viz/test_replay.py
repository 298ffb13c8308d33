import numpy as np
import pytest
from PIL import Image

import metarl_jax as mrl
from metarl_jax import viz
from metarl_jax.config import ConfigError
from metarl_jax.training.train import train
from metarl_jax.viz import replay


@pytest.fixture(scope="module")
def run():
    tasks = mrl.tasks.gridnavi(size=3, horizon=4, num_episodes=2)
    agent = mrl.algorithms.rl2(memory_size=4, num_minibatches=1, num_epochs=1)
    return train(agent, tasks, num_updates=1, num_tasks=2, quiet=True)


def test_animation_of_a_trial(run, tmp_path):
    path = viz.animate_trial(run, tmp_path / "trial.gif", task_index=2, milliseconds=50)
    with Image.open(path) as image:
        total = 0
        for frame in range(image.n_frames):
            image.seek(frame)
            total += image.info["duration"]
    assert total == 50 * (8 + 2 * replay.PAUSE)  # each step, and the end of both episodes
    assert (
        path.read_bytes() == viz.animate_trial(run, tmp_path / "again.gif", task_index=2, milliseconds=50).read_bytes()
    )


def test_tasks_side_by_side_and_a_view_that_moves(run, tmp_path):
    paths = (viz.animate_trial(run, tmp_path / f"{i}.gif", task_index=index) for i, index in enumerate(((0, 3), 0)))
    both, one = (Image.open(path) for path in paths)
    with both, one:
        assert both.width == 2 * one.width
    walkers = mrl.tasks.hopper_dynamics(horizon=6, num_episodes=2)
    agent = mrl.algorithms.ppo(encoder=(4,), num_minibatches=1)
    walking = train(agent, walkers, num_updates=1, num_tasks=2, quiet=True)
    with Image.open(viz.animate_trial(walking, tmp_path / "walk.gif", (0, 1), stride=3, milliseconds=50)) as image:
        total = 0
        for frame in range(image.n_frames):
            image.seek(frame)
            total += image.info["duration"]
        assert total == 50 * 2 * (2 + replay.PAUSE)
    for options, word in (
        ({"stride": 0}, "stride=0"),
        ({"task_index": "01"}, "task_index"),
        ({"task_index": ()}, "task_index"),
        ({"task_index": (0, 9)}, "task_index=9"),
    ):
        with pytest.raises(ConfigError, match=word):
            viz.animate_trial(run, tmp_path / "x.gif", **options)


def test_trail_and_rim():
    bare = np.full((4, 4, 3), 200, np.uint8)
    frame = bare.copy()
    frame[1, 1] = (255, 0, 0)
    trail = np.zeros((4, 4), bool)
    trail[0, 0] = True
    shown, after = replay.with_trail(frame, bare, trail)
    assert shown.shape == (20, 20, 3)
    assert shown[7, 7].tolist() == [255, 0, 0]
    assert shown[5, 5].tolist() == [200] * 3  # what the agent stands on is seen around it
    assert shown[2, 2].tolist() == [216, 140, 140]
    assert after.sum() == 2
    large = np.zeros((100, 100, 3), np.uint8)
    assert replay.with_trail(large, large, np.zeros((100, 100), bool))[0].shape == large.shape


def test_distributions_are_drawn(tmp_path):
    figure = viz.draw_distribution(mrl.tasks.maze_100(), tmp_path / "mazes.png")
    titles = [axes.get_title() for axes in figure.axes]
    assert (titles[0], titles[-1], len(titles)) == ("task 0", "task 99", 12)
    assert len(viz.draw_distribution(mrl.tasks.bandit(), num_tasks=3).axes) == 3
    assert len(viz.draw_distribution(mrl.tasks.gridnavi(size=3)).axes) == 6  # 5 tasks


def test_wrong_requests_are_refused(run, tmp_path):
    with pytest.raises(ConfigError, match="task_index=5: must be one of the 5 tasks"):
        viz.animate_trial(run, tmp_path / "x.gif", task_index=5)
    tasks = run.tasks._replace(env=mrl.tasks.Environment())
    assert not viz.has_picture(tasks)
    with pytest.raises(ConfigError, match="draws no pictures"):
        viz.draw_distribution(tasks)
