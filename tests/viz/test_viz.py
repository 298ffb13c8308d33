import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import metarl_jax as mrl
from metarl_jax import cli, viz
from metarl_jax.evaluation.report import Trials, summarize
from metarl_jax.evaluation.trials import windows_of
from metarl_jax.records import Reference
from metarl_jax.viz import trials as pictures

GENERATOR = np.random.default_rng(0)


def record(episodes: int, slope: float, tasks: int = 30) -> Trials:
    returns = slope * np.arange(episodes) + GENERATOR.normal(size=(2, tasks, 3, episodes))
    return Trials(returns, np.full(returns.shape, 5.0), np.ones(returns.shape, bool), returns.sum(axis=-1))


def searches(shortest: int) -> Trials:
    """Trials of 60 steps whose episodes take at least ``shortest`` steps, so that their number varies."""
    lengths = GENERATOR.integers(shortest, 30, size=(1, 20, 2, 20)).astype(float)
    begin = np.cumsum(lengths, axis=-1) - lengths
    finished = begin + lengths <= 60
    returns = np.where(begin < 60, finished, np.nan)
    return Trials(returns, np.where(begin < 60, np.minimum(lengths, 60 - begin), np.nan), finished, finished.sum(-1))


def is_picture(path) -> bool:
    with Image.open(path) as image:
        image.load()
        return min(image.size) > 100 and len(image.convert("RGB").getcolors(1 << 24)) > 10


@pytest.mark.parametrize("episodes", [1, 3, 100])
def test_report_figure(tmp_path, episodes):
    references = [
        Reference("bayes", "lower", 10.0, np.linspace(0, 1, episodes)),
        Reference("optimal", "exact", np.linspace(5, 15, 30)),
        Reference("random", "exact", 0.0),
        Reference("non_adaptive", "exact", 1e6, np.full(episodes, 1e6), of="other tasks"),  # not drawn
    ]
    report = summarize(record(episodes, 0.1), record(episodes, 0.0), references, name={"algorithm": "rl2"})
    figure = viz.plot_report(report, tmp_path / "figures" / "report.png")
    assert is_picture(tmp_path / "figures" / "report.png")
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "Return by episode of the trial",
        "Return of a trial over tasks",
    ]
    assert report.verdict.split()[0] in figure.get_suptitle()
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[0] == "agent"
    assert "Bayes-optimal, lower bound" in legend
    assert len(legend) == len(set(legend)) == 6
    assert all(axes.get_ylim()[1] < 1e5 for axes in figure.axes)
    np.testing.assert_allclose(line(figure.axes[0], "agent").get_ydata(), report.by_episode["return"])


def test_report_figure_of_an_agent_that_learns_by_inner_steps(tmp_path):
    windows = windows_of(np.repeat(np.arange(3.0), 5).reshape(1, 1, 1, 15), steps=5, horizon=5)
    report = summarize(record(3, 0.1), record(3, 0.0), windows=windows)
    figure = viz.plot_report(report, tmp_path / "report.png")
    (axes,) = [axes for axes in figure.axes if "inner step" in axes.get_title(loc="left")]
    np.testing.assert_allclose(line(axes, "agent").get_xydata(), [[0, 0], [1, 5], [2, 10]])


def line(axes, name):
    return next(line for line in axes.lines if line.get_label() == name)


def test_report_figure_shows_lengths_where_they_vary(tmp_path):
    known = Reference("optimal", "exact", 9.0, None, "", np.full((20, 2), [4.0, 3.0]))
    report = summarize(searches(3), searches(20), [known])
    figure = viz.plot_report(report, tmp_path / "report.pdf")
    shown = line(figure.axes[1], "optimal, task known, exact").get_ydata()
    np.testing.assert_allclose(shown[np.isfinite(shown)], [4.0] + [3.0] * (np.isfinite(shown).sum() - 1))
    assert (tmp_path / "report.pdf").stat().st_size > 1000
    assert [axes.get_title(loc="left") for axes in figure.axes][1] == "Steps of the episodes that finished"
    drawn = line(figure.axes[1], "agent").get_ydata()
    began = np.array(report.by_episode["began"])[: len(drawn)]
    assert np.isnan(drawn[began < 0.5]).all()
    np.testing.assert_allclose(
        drawn[began >= 0.5], np.array(report.by_episode["length"], float)[: len(drawn)][began >= 0.5]
    )


def test_figures_show_in_notebooks_and_leave_settings_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    figure = viz.plot_report(summarize(record(2, 0.0, 1), record(2, 0.0, 1)))
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("shape", [(1,), (50,), (50, 3), (1000, 3)])
def test_metrics_figure(tmp_path, shape):
    metrics = {
        "update": np.arange(shape[0]),
        "env_steps": np.arange(shape[0]) * 4096,
        "entropy": GENERATOR.random(shape),
        "trial_return": GENERATOR.random(shape),
        "loss": np.where(GENERATOR.random(shape) < 0.1, np.nan, 1.0),
        "never": np.full(shape, np.nan),
        "name": np.array(["x"] * shape[0]),
    }
    figure = viz.plot_metrics(metrics, tmp_path / "metrics.png")
    assert is_picture(tmp_path / "metrics.png")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["trial return", "entropy", "loss"] or shape == (1,)
    assert len(figure.axes[0].lines[0].get_xdata()) == min(200, shape[0])
    assert figure.axes[0].get_xlabel() == "environment steps"
    if shape == (50, 3):
        np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), metrics["trial_return"].mean(axis=1))


def test_metrics_figure_of_many_or_no_metrics():
    figure = viz.plot_metrics({f"loss_{i}": np.arange(5.0) for i in range(7)})
    assert sum(axes.get_title(loc="left") != "" for axes in figure.axes) == 7
    for metrics in ({}, {"update": np.arange(3)}, {"loss": np.full(3, np.nan)}):
        with pytest.raises(ValueError, match="no metrics"):
            viz.plot_metrics(metrics)


def frames(num: int = 20) -> list[np.ndarray]:
    """An agent that walks along the diagonal of a picture of three colours."""
    background = np.where(GENERATOR.random((20, 20, 1)) < 0.5, np.uint8(40), np.uint8(245)).repeat(3, axis=2)
    walk = [background.copy() for _ in range(num)]
    for step, frame in enumerate(walk):
        frame[step % 20, step % 20] = (0, 114, 178)
    return walk


def test_animation_is_exact(tmp_path):
    walk = frames()
    path = viz.animate(walk, tmp_path / "new" / "trial.gif", scale=3, milliseconds=50)
    with Image.open(path) as image:
        assert (image.n_frames, image.size, image.info["duration"], image.info["loop"]) == (20, (60, 60), 50, 0)
        for number, frame in enumerate(walk):
            image.seek(number)
            np.testing.assert_array_equal(np.asarray(image.convert("RGB")), frame.repeat(3, axis=0).repeat(3, axis=1))


def test_captions_change_nothing_above_them(tmp_path):
    walk = frames(4)
    path = viz.animate(walk, tmp_path / "trial.gif", captions=[f"episode 1  step {i}" for i in range(4)])
    with Image.open(path) as image:
        assert image.size == (320, 344)
        strips = []
        for number, frame in enumerate(walk):
            image.seek(number)
            shown = np.asarray(image.convert("RGB"))
            np.testing.assert_array_equal(shown[:320:16, ::16], frame)
            strips.append(shown[320:])
    assert {tuple(colour) for strip in strips for colour in strip.reshape(-1, 3).tolist()} == {(34,) * 3, (255,) * 3}
    assert (strips[0] != strips[1]).any()


def test_many_colours_are_nearly_kept():
    smooth = GENERATOR.integers(0, 256, size=(2, 30, 30, 3)).astype(np.uint8)
    indices, palette = pictures.indexed(smooth)
    shown = np.frombuffer(palette, np.uint8).reshape(-1, 3)
    assert len(shown) <= 256
    assert np.abs(shown[indices].astype(int) - smooth).max() < 64
    few = smooth // 64
    indices, palette = pictures.indexed(few)
    np.testing.assert_array_equal(np.frombuffer(palette, np.uint8).reshape(-1, 3)[indices], few)


@pytest.mark.parametrize(("num", "columns"), [(1, 1), (3, 3), (6, 3), (8, 4), (100, 10), (97, 14)])
def test_pictures_of_tasks(tmp_path, num, columns):
    assert pictures.fitting_columns(num) == columns
    if num > 8:
        return
    figure = viz.draw_tasks(frames(num), tmp_path / "tasks.png", [f"task {i}" for i in range(num)])
    assert is_picture(tmp_path / "tasks.png")
    assert [axes.get_title() for axes in figure.axes[:num]] == [f"task {i}" for i in range(num)]


def test_wrong_pictures_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"not float64 \[2, 2, 3\]"):
        viz.draw_tasks([np.zeros((2, 2, 3))])
    with pytest.raises(ValueError, match="one title a picture"):
        viz.draw_tasks(frames(2), titles=["one"])
    with pytest.raises(ValueError, match="frames of one size"):
        viz.animate([frames(1)[0], frames(1)[0][:5]], tmp_path / "x.gif")
    with pytest.raises(ValueError, match="one caption a frame"):
        viz.animate(frames(2), tmp_path / "x.gif", captions=["one"])
    with pytest.raises(ValueError, match="frames of one size"):
        viz.animate([], tmp_path / "x.gif")


def test_frames_that_stand_still_keep_their_time(tmp_path):
    frame = frames(1)[0]
    path = viz.animate([frame, frame, frames(2)[1]], tmp_path / "x.gif", milliseconds=100)
    with Image.open(path) as image:
        assert (image.n_frames, image.info["duration"]) == (2, 200)


def test_import_loads_nothing_heavy():
    code = "import sys, metarl_jax.viz, metarl_jax.evaluation.report; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"matplotlib", "PIL", "rich"} & set(out.split())


def test_kept_tasks_are_drawn_in_order(tmp_path):
    tasks = mrl.tasks.view_maze(size=4, view=3, num_walls=4, horizon=6)
    options = dict(num_updates=6, num_tasks=8, quiet=True)
    curriculum = mrl.curricula.prioritised_replay(capacity=16)
    learner = mrl.algorithms.rl2(memory_size=8, num_minibatches=1, num_epochs=1)
    run = mrl.train(learner, tasks, curriculum=curriculum, out=tmp_path / "run", **options)
    assert run.task_buffer["score"].shape == (1, 16)
    again = mrl.load(tmp_path / "run")
    np.testing.assert_array_equal(again.task_buffer["score"], run.task_buffer["score"])
    figure = mrl.viz.draw_task_buffer(again, tmp_path / "kept.png", num_tasks=5)
    best = np.sort(run.task_buffer["score"][0])[::-1][:5]
    assert [axes.get_title() for axes in figure.axes][:5] == [f"score {x:.2g}" for x in best]
    cli.main(["plot", str(tmp_path / "run")])
    drawn = {path.name for path in (tmp_path / "run").glob("tasks-*.png")}
    assert drawn == {"tasks-score.png", "tasks-replayed.png", "tasks-best.png"}
    with pytest.raises(mrl.ConfigError, match="by='size': this curriculum knows score, replayed, best"):
        mrl.viz.draw_task_buffer(run, by="size")
    with pytest.raises(mrl.ConfigError, match="keeps no tasks"):
        mrl.viz.draw_task_buffer(mrl.train(mrl.algorithms.ppo(encoder=(), num_epochs=1), mrl.tasks.bandit(), **options))
