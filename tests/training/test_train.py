"""The driver: a run is a function of its configuration, whatever happens to the process."""

import hashlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl_jax as mrl
from metarl_jax import algorithms, tasks
from metarl_jax.config import ConfigError, recipe
from metarl_jax.records import Algorithm, Outcome, TaskDistribution
from metarl_jax.storage import checkpoint
from metarl_jax.training import train as training

TINY = {"memory_size": 8, "num_minibatches": 2, "num_epochs": 1}
SMALL = {"encoder": (4,), "num_minibatches": 2, "num_epochs": 1}
UPDATES = 30
# Chunks of a few updates and a checkpoint after each; the same call in this process and in those that are killed.
SCRIPT = f"""
import sys
import jax
jax.config.update("jax_numpy_rank_promotion", "raise")
import metarl_jax as mrl
from metarl_jax import algorithms, tasks; from metarl_jax.training import train as train
train.chunk_length = lambda *_: 2
mrl.train(algorithms.rl2(**{TINY}), tasks.bandit(num_arms=3, num_pulls=4), num_updates=int(sys.argv[2]), num_tasks=8,
          seed=5, out=sys.argv[1], checkpoint_seconds=0.0, quiet=False)
print("done")
"""


class WalkState(NamedTuple):
    params: dict
    count: jax.Array


@recipe("walk")
def walk(tasks: TaskDistribution, *, rate: float = 0.5) -> Algorithm:
    """The driver knows only ``Algorithm``: this one compiles in a moment. ``noise`` depends on every key and task so
    far; ``sum`` is 1 + rate + rate^2 + ..."""

    def init(key, num_tasks):
        del num_tasks
        return WalkState({"noise": jax.random.normal(key, (3,)), "sum": jnp.zeros(2)}, jnp.int32(0))

    def update(key, state, batch):
        noise = state.params["noise"] * 0.9 + jax.random.normal(key, (3,)) + batch.probability.mean(0)
        value = batch.probability.max(-1)
        outcome = Outcome(batch, value, jnp.ones_like(value, bool), {"size": jnp.abs(noise).sum()})
        return WalkState({"noise": noise, "sum": state.params["sum"] * rate + 1.0}, state.count + 1), outcome

    return Algorithm(init, update, adapt=lambda *_: None, steps=4, check=lambda num_tasks: None)


BANDIT = {"num_arms": 3, "num_pulls": 4}


def train(out=None, recipe=None, family=None, **options):
    options = {"num_updates": 6, "num_tasks": 8, "seed": 5, "quiet": True} | options
    return mrl.train(recipe or walk(), family or tasks.bandit(**BANDIT), out=out, **options)


def load(folder: Path) -> mrl.Run:
    return mrl.load(folder, algorithm=walk())


def digest(run: mrl.Run) -> str:
    return hashlib.sha256(b"".join(np.asarray(x).tobytes() for x in jax.tree.leaves(run.state))).hexdigest()


def checkpoints(folder: Path) -> list[Path]:
    return sorted((folder / "checkpoints").glob("*.ckpt"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> mrl.Run:
    """An uninterrupted run, a checkpoint only at its end."""
    return train(tmp_path_factory.mktemp("whole") / "run", algorithms.rl2(**TINY), num_updates=UPDATES)


def start(folder: Path, num_updates: int = UPDATES) -> subprocess.Popen:
    command = [sys.executable, "-W", "error", "-c", SCRIPT, str(folder), str(num_updates)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )


def wait_for(process: subprocess.Popen, seen, what: str, seconds: float = 120.0) -> None:
    until = time.monotonic() + seconds
    while not seen():
        assert process.poll() is None, f"ended before {what}: {process.communicate()}"
        assert time.monotonic() < until, f"no {what} in {seconds} s"
        time.sleep(0.002)


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_killed_at_any_moment_it_ends_bit_identical(whole, tmp_path):
    """Three kills: somewhere while it starts or compiles, and twice while it trains and saves."""
    folder, generator, metrics = tmp_path / "run", random.Random(os.getpid()), tmp_path / "run" / "metrics.jsonl"
    lines = lambda: metrics.read_bytes().count(b"\n") if metrics.exists() else 0
    killed = 0
    for kill in range(3):
        process = start(folder)
        if kill == 0:
            wait_for(process, folder.exists, "folder")  # it compiles, before it says what it will do
            time.sleep(generator.uniform(0.0, 0.5))
        else:
            begun, alive = lines(), process.poll  # a quick machine may have done all before it could be killed
            wait_for(process, lambda n=begun, alive=alive: lines() > n or alive() is not None, "update")
            time.sleep(generator.uniform(0.0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        assert process.returncode in (0, -signal.SIGKILL)
    assert killed > 0
    survived = lines()
    process = start(folder)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0 and out == "done\n", err
    assert survived > 0 and "continuing" in err
    assert metrics.read_bytes() == (whole.path / "metrics.jsonl").read_bytes()
    ended = mrl.load(folder)
    assert ended.num_updates == UPDATES and digest(ended) == digest(whole)


@pytest.mark.skipif(os.name == "nt", reason="no SIGTERM")
def test_sigterm_saves_and_says_how_to_go_on(whole, tmp_path):
    folder = tmp_path / "run"
    process = start(folder, num_updates=10**6)
    wait_for(process, lambda: len(checkpoints(folder)) >= 2 if folder.exists() else False, "checkpoint")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode != 0 and "done" not in out
    assert "Stopped: stopped after update" in err and "the same command continues it" in err and str(folder) in err
    stopped = mrl.load(folder)
    assert f"stopped after update {stopped.num_updates} of 1000000" in err
    assert (folder / "metrics.jsonl").read_bytes().count(b"\n") == stopped.num_updates
    # What it saved is a run's beginning: the first updates are those of the uninterrupted one.
    count = min(stopped.num_updates, UPDATES)
    ours, theirs = ((p / "metrics.jsonl").read_bytes().splitlines()[:count] for p in (folder, whole.path))
    assert ours == theirs


def test_stopped_holds_the_run(tmp_path, monkeypatch):
    """In this process: the first Ctrl-C is noted, the chunk ends, the run so far is in the exception."""
    monkeypatch.setattr(training, "chunk_length", lambda *_: 1)
    before = signal.getsignal(signal.SIGINT)
    advance = training.Progress.advance

    def interrupt(self, updates, *rest):
        advance(self, updates, *rest)
        if self.done == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(training.Progress, "advance", interrupt)
    with pytest.raises(mrl.Stopped, match="stopped after update 2 of 6; it lives in memory") as caught:
        train()
    assert caught.value.run.num_updates == 2 and caught.value.signal_number == signal.SIGINT
    with pytest.raises(mrl.Stopped, match="the same command continues it"):
        train(tmp_path / "run")
    monkeypatch.setattr(training.Progress, "advance", advance)
    assert signal.getsignal(signal.SIGINT) is before
    went_on = train(tmp_path / "run")
    assert went_on.num_updates == 6 and digest(went_on) == digest(train())
    assert caught.value.run.metrics["trial_return"].shape == (2, 1)


def test_training_in_a_thread_leaves_signals_alone():
    before, runs = signal.getsignal(signal.SIGTERM), []
    thread = threading.Thread(target=lambda: runs.append(train(num_updates=1)))
    thread.start()
    thread.join()
    assert runs[0].num_updates == 1 and signal.getsignal(signal.SIGTERM) is before


def test_a_damaged_checkpoint_is_reported_and_the_one_before_used(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "chunk_length", lambda *_: 2)
    folder = tmp_path / "run"
    first = train(folder, checkpoint_seconds=0.0, keep_checkpoints=2)
    kept = checkpoints(folder)
    assert [p.name for p in kept] == ["checkpoint_0000000004.ckpt", "checkpoint_0000000006.ckpt"]
    lines = (folder / "metrics.jsonl").read_bytes()
    kept[-1].write_bytes(kept[-1].read_bytes()[:-9])
    with pytest.warns(checkpoint.DamagedCheckpointWarning, match="0000000006.ckpt is damaged"):
        assert load(folder).num_updates == 4
    with pytest.warns(checkpoint.DamagedCheckpointWarning, match="0000000006.ckpt is damaged"):
        again = train(folder)
    assert digest(again) == digest(first) and (folder / "metrics.jsonl").read_bytes() == lines
    assert digest(load(folder)) == digest(first)  # and a sound one took its place


def test_load_gives_the_same_run(whole):
    loaded = mrl.load(whole.path)
    assert jax.tree.structure(loaded.state) == jax.tree.structure(whole.state)
    assert digest(loaded) == digest(whole) and loaded.num_updates == whole.num_updates == UPDATES
    assert loaded.config == json.loads(json.dumps(whole.config)) and loaded.path == whole.path
    assert loaded.tasks.recipe == whole.tasks.recipe
    assert set(loaded.metrics) == set(whole.metrics) > {"update", "trial_return", "entropy"}
    for name, column in whole.metrics.items():
        np.testing.assert_array_equal(loaded.metrics[name], column)
    saved = json.loads((whole.path / "config.json").read_text())
    assert saved["versions"]["jax"] == jax.__version__ and saved["config"] == loaded.config
    assert "rl2 on bandit: 30 updates" in repr(loaded)


def test_a_finished_run_is_not_trained_again(whole):
    before = (whole.path / "metrics.jsonl").read_bytes()
    again = train(whole.path, algorithms.rl2(**TINY), num_updates=UPDATES)
    assert digest(again) == digest(whole) and (whole.path / "metrics.jsonl").read_bytes() == before
    with pytest.raises(ConfigError, match=rf"num_updates=3: the run in .* has {UPDATES} already"):
        train(whole.path, algorithms.rl2(**TINY), num_updates=3)


def test_objects_of_ones_own_are_given_to_load(tmp_path):
    family = tasks.bandit(**BANDIT)._replace(name="mine", recipe=None)
    run = train(tmp_path / "run", family=family, num_updates=1)
    with pytest.raises(ConfigError, match=r"algorithm 'walk' is not in the registry: give it, load\(path, algorithm="):
        mrl.load(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"tasks 'mine' is not in the registry: give it, load\(path, tasks=\.\.\.\)"):
        load(tmp_path / "run")
    assert digest(mrl.load(tmp_path / "run", algorithm=walk(), tasks=family)) == digest(run)


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ({"seed": 6}, ["seed: 5 there, 6 asked for"]),
        ({"num_tasks": 16, "num_seeds": 2}, ["num_seeds: 1 there, 2 asked for", "num_tasks: 8 there, 16 asked for"]),
        (
            {"recipe": algorithms.rl2(**TINY | {"memory_size": 9}), "family": tasks.bandit(num_arms=4, num_pulls=4)},
            ["algorithm.options.memory_size: 8 there, 9 asked for", "tasks.options.num_arms: 3 there, 4 asked for"],
        ),
    ],
)
def test_another_configuration_is_refused_with_the_difference(whole, options, lines):
    before = (whole.path / "metrics.jsonl").read_bytes()
    with pytest.raises(ConfigError) as caught:
        train(whole.path, **{"num_updates": UPDATES, "recipe": algorithms.rl2(**TINY)} | options)
    told = str(caught.value).splitlines()
    assert "another configuration" in told[0] and str(whole.path) in told[0]
    assert [line.strip() for line in told[1:-1]] == lines and "out=" in told[-1]
    assert (whole.path / "metrics.jsonl").read_bytes() == before


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("important")
    with pytest.raises(ConfigError, match="is no empty folder and holds no run: give another"):
        train(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(ConfigError, match=r"holds no run: config\.json is missing"):
        mrl.load(tmp_path)
    train(tmp_path / "new" / "nested", num_updates=1)
    (tmp_path / "new" / "nested" / "checkpoints" / "checkpoint_0000000001.ckpt").unlink()
    with pytest.raises(ConfigError, match="holds no checkpoint yet"):
        load(tmp_path / "new" / "nested")


def test_divergence_stops_and_names_the_update_and_the_leaf(tmp_path):
    """1, 1e30 + 1, and then infinity: update 2 is the first with a number that is not finite."""
    folder, wild = tmp_path / "run", walk(rate=1e30)
    good = train(folder, wild, num_updates=2)
    kept, lines = checkpoints(folder)[-1].read_bytes(), (folder / "metrics.jsonl").read_bytes()
    for out, where in ((folder, rf"the last good checkpoint is kept in {folder}"), (None, "")):
        with pytest.raises(mrl.Diverged, match=rf"^update 2: .*params.*sum.* \(Inf\) is not finite.*{where}"):
            train(out, wild)
    assert checkpoints(folder)[-1].read_bytes() == kept and (folder / "metrics.jsonl").read_bytes() == lines
    assert digest(mrl.load(folder, algorithm=wild)) == digest(good)


def test_a_learning_rate_out_of_bounds_diverges(tmp_path):
    """The real thing: nothing is patched. The update that is named is the first with a number that is not finite."""
    with pytest.raises(mrl.Diverged) as caught:
        train(
            tmp_path / "run", recipe=algorithms.rl2(**TINY | {"learning_rate": 1e38, "num_epochs": 3}), num_updates=50
        )
    words = str(caught.value)
    assert words.startswith("update ") and "is not finite" in words and ("(NaN)" in words or "(Inf)" in words)
    update = int(words.split(":")[0].removeprefix("update "))
    metrics = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert metrics.count("\n") <= update and "NaN" not in metrics and "Infinity" not in metrics


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mrl.train("rl3", "bandit"), r"unknown algorithm 'rl3': did you mean 'rl2'\?"),
        (lambda: mrl.train("rl2", "maze100"), r"unknown task distribution 'maze100': did you mean 'maze-100'\?"),
        (lambda: mrl.train("rl2", "bandit", curriculum="unform"), r"curriculum 'unform': did you mean 'uniform'\?"),
        (lambda: mrl.train("rl2", "bandit", num_updates=0), r"num_updates=0: must be a whole number of at least 1"),
        (lambda: mrl.train("rl2", "bandit", num_updates=2.5), r"num_updates=2\.5: must be a whole number"),
        (lambda: mrl.train("rl2", "bandit", num_tasks=-4), r"num_tasks=-4: must be"),
        (lambda: mrl.train("rl2", "bandit", num_seeds=0), r"num_seeds=0: must be"),
        (lambda: mrl.train("rl2", "bandit", seed=-1), r"seed=-1: must be a whole number from 0"),
        (lambda: mrl.train("rl2", "bandit", seed="0"), r"seed='0': must be a whole number from 0"),
        (lambda: mrl.train("rl2", "bandit", num_tasks=100), r"num_minibatches=8: must divide num_tasks=100"),
        (lambda: mrl.train(algorithms.rl2, "bandit"), r"algorithm=<function .*: give a name from the registry or"),
        (lambda: mrl.train(mrl.curricula.uniform(), "bandit"), r"algorithm=Recipe.*: give a name from the registry or"),
        (lambda: mrl.train("rl2", "bandit", curriculum=algorithms.rl2()), r"curriculum=Recipe.*: give a name from the"),
        (lambda: mrl.train("rl2", 7), r"tasks=7: give a name from the registry or an object"),
        (lambda: mrl.train(algorithms.rl2(learning_rate=-1.0), "bandit"), r"learning_rate=-1\.0: must be above 0"),
        (lambda: mrl.train(algorithms.rl2(memry=1), "bandit"), r"unknown option of rl2 'memry': did you mean 'memory'"),
    ],
)
def test_mistakes_are_answered_before_anything_is_compiled(call, words, caplog):
    with jax.log_compiles(), caplog.at_level(logging.WARNING), pytest.raises(ConfigError, match=words):
        call()
    compiled = [r.getMessage() for r in caplog.records if "driver" in r.name or "update" in r.getMessage()]
    assert not [message for message in compiled if "advance" in message or "update" in message]


def test_log_compiles_would_tell(caplog):
    """The guard of the test above can fail: training does log what it compiles."""
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        train(num_updates=1, seed=11)
    assert any("advance" in r.getMessage() for r in caplog.records)


def test_quiet_prints_nothing_and_loud_does(capfd):
    train(num_updates=1)
    assert capfd.readouterr() == ("", "")
    train(num_updates=1, quiet=False)
    out, err = capfd.readouterr()
    assert out == "" and "1/1 updates" in err and "return" in err


def test_tasks_that_do_not_divide_over_the_devices_train_on_one():
    with pytest.warns(UserWarning, match=r"num_tasks=9 is no multiple of 2 devices"):
        run = train(num_tasks=9, num_updates=1, quiet=False)
    assert run.num_updates == 1


def test_a_folder_is_trained_in_by_one_process_at_a_time(tmp_path):
    train(tmp_path / "run", num_updates=1)
    hold = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"
    command = [sys.executable, "-c", hold, str(tmp_path / "run" / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        before = (tmp_path / "run" / "config.json").read_bytes()
        with pytest.raises(ConfigError, match="another process is training in it"):
            train(tmp_path / "run", num_updates=2)
        assert (tmp_path / "run" / "config.json").read_bytes() == before
        other.communicate("\n")
    assert train(tmp_path / "run", num_updates=2).num_updates == 2


def test_what_is_refused_changes_nothing(tmp_path):
    train(tmp_path, num_updates=3)
    files = lambda: {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    before = files()
    with pytest.raises(ConfigError, match=r"num_updates=2: the run in .* has 3 already"):
        train(tmp_path, num_updates=2)
    assert files() == before
    (tmp_path / "metrics.jsonl").unlink()
    with pytest.raises(ConfigError, match="has 0 bytes, the checkpoint was saved when it had"):
        train(tmp_path, num_updates=4)
    assert not (tmp_path / "metrics.jsonl").exists()
    with pytest.raises(ConfigError, match=r"metrics\.jsonl is missing"):
        load(tmp_path)


# Evaluation.


def test_evaluate_on_the_runs_own_tasks_and_on_held_out_ones(tmp_path):
    layouts = ("######\n#S...#\n#.##.#\n#....#\n######", "######\n#S...#\n#.####\n#....#\n######")  # 9 and 8 goals
    options = {"layouts": layouts, "horizon": 12, "trial_steps": 12}
    family, test = (tasks.maze(split=split, **options) for split in ("train-goals", "held-out-goals"))
    run = train(tmp_path / "run", algorithms.ppo(**SMALL), family, num_updates=2, num_seeds=2)
    state = jax.tree.map(np.copy, run.state)
    report = mrl.evaluate(run, trials_per_task=2)
    count, held_out = len(family.tasks.goal), len(test.tasks.goal)
    assert report.name["num_tasks"] == count and report.name["seeds"] == 2 and report.name["trials_per_task"] == 2
    assert len(report.task_means) == count > held_out and 0 <= report.mean <= 12
    saved = (tmp_path / "run" / "report.json").read_bytes()
    assert mrl.Report.load(tmp_path / "run" / "report.json") == report
    other = mrl.evaluate(run, test, trials_per_task=2)
    assert other.name["num_tasks"] == len(other.task_means) == held_out
    assert (tmp_path / "run" / "report.json").read_bytes() == saved  # only its own tasks' report is the run's
    assert mrl.evaluate(mrl.load(run.path), trials_per_task=2) == report  # the same test, the same numbers
    assert mrl.evaluate(run, trials_per_task=2, seed=1, save=False).task_means != report.task_means
    assert (tmp_path / "run" / "report.json").read_bytes() == saved
    jax.tree.map(np.testing.assert_array_equal, run.state, state)
    with pytest.raises(ConfigError, match="must have the run's spaces"):
        mrl.evaluate(run, tasks.bandit())
    for wrong in ({"num_tasks": 0}, {"trial_steps": 0}, {"trials_per_task": -1}):
        with pytest.raises(ConfigError, match="must be a whole number of at least 1"):
            mrl.evaluate(run, **wrong)


def test_evaluate_shows_progress_unless_quiet(whole, capfd):
    mrl.evaluate(whole, num_tasks=50, save=False)
    told = capfd.readouterr().err
    assert "150/150 trials" in told and "planning the references" in told
    mrl.evaluate(whole, num_tasks=50, save=False, quiet=True)
    assert capfd.readouterr() == ("", "")


def test_evaluation_is_about_what_was_lived(whole):
    """The report's mean is that of the arms' chances that this very policy pulls, by another road."""
    report = mrl.evaluate(whole, num_tasks=600, save=False)
    family, algorithm = whole.tasks, whole.algorithm
    batch = jax.jit(jax.vmap(family.sample))(jax.random.split(jax.random.key(99), 600))
    params = jax.tree.map(lambda x: x[0], whole.state)
    trajectory = jax.jit(jax.vmap(lambda key, task: algorithm.adapt(key, params, task, 4, False), in_axes=(0, 0)))(
        jax.random.split(jax.random.key(98), 600), batch
    )
    totals = np.asarray(batch.probability)[np.arange(600)[:, None], trajectory.action].sum(1)
    spread = np.sqrt(2 * totals.var() / 600)
    assert abs(report.mean - totals.mean()) < 4 * spread
    assert len(report.by_episode["return"]) == 4
    np.testing.assert_allclose(sum(report.by_episode["return"]), report.mean, rtol=1e-5)


def test_a_distribution_of_ones_own_is_told_apart_by_what_it_draws(tmp_path):
    """No registry knows it: another one of the same name and shapes must not continue its run."""
    reward = np.zeros((2, 3, 2))
    transition = np.full((2, 3, 2, 3), 1 / 3)
    one, other = (tasks.from_arrays(transition, reward + r, horizon=4, num_episodes=2, name="bandit") for r in (0, 1))
    recipe = algorithms.rl2(memory_size=4, num_minibatches=2, num_epochs=1)
    mrl.train(recipe, one, num_updates=1, num_tasks=4, out=tmp_path, quiet=True)
    with pytest.raises(ConfigError, match=r"tasks\.rollout\.draws"):
        mrl.train(recipe, other, num_updates=2, num_tasks=4, out=tmp_path, quiet=True)
    with pytest.raises(ConfigError, match="give it, load"):
        mrl.load(tmp_path)
    assert mrl.load(tmp_path, tasks=one).num_updates == 1
