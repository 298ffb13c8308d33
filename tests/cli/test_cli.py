import inspect
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from metarl_jax import algorithms, cli, tasks, tuning
from metarl_jax.cli import commands, options
from metarl_jax.config import ConfigError, options_of
from metarl_jax.storage.checkpoint import CheckpointError
from metarl_jax.training.train import Diverged, load

ROOT = Path(__file__).parents[2]
PROGRAM = "import sys; from metarl_jax.cli import main; sys.exit(main())"
SMALL = ["--num-tasks", "4", "--algorithm.memory-size", "4", "--algorithm.num-minibatches", "2"]
PAIRS = [(a, t) for a in algorithms.REGISTRY for t in tasks.REGISTRY]


def start(words, folder, **pipes) -> subprocess.Popen:
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = os.environ | {"PYTHONPATH": paths} | pipes
    command = [sys.executable, "-c", PROGRAM, *words]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def called(words, capsys) -> tuple[int, str, str]:
    """One command in this process: exit code, stdout, stderr."""
    try:
        code = cli.main(words)
    except SystemExit as done:  # tyro's
        code = done.code
    out, err = capsys.readouterr()
    return int(code or 0), out, err


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder that the command line trained."""
    folder = tmp_path_factory.mktemp("runs") / "grid"
    words = ["train", "rl2", "gridnavi", "--num-updates", "2", "--out", str(folder), *SMALL, "--quiet"]
    assert cli.main([*words, "--tasks.size", "3", "--tasks.num-episodes", "2", "--algorithm.encoder", "8", "8"]) == 0
    return folder


def test_train_passes_every_option_on(run):
    config = json.loads((run / "config.json").read_text())["config"]
    assert config["tasks"] == {
        "name": "gridnavi",
        "options": {"size": 3, "horizon": 15, "num_episodes": 2, "goal_visible": False, "pay_every": 1},
        "horizon": 15,
        "trial_steps": 30,
    }
    assert config["algorithm"]["options"]["encoder"] == [8, 8]
    assert config["algorithm"]["options"]["memory_size"] == 4
    assert (config["num_updates"], config["num_tasks"]) == (2, 4)


def test_evaluate_and_plot(run, capsys):
    code, out, _ = called(["evaluate", str(run), "--trials-per-task", "2"], capsys)
    assert code == 0
    assert "rl2 on gridnavi" in out
    assert "\x1b" not in out
    for name in ("report.json", "report.png", "trial.gif"):
        assert (run / name).exists()
        assert str(run / name) in out
    other = ["evaluate", str(run), "--tasks.num-episodes", "3", "--trials-per-task", "1"]
    code, out, _ = called(other, capsys)
    assert code == 0
    assert json.loads((run / "report-num_episodes-3.json").read_text())["name"]["trial_steps"] == 45
    assert json.loads((run / "report.json").read_text())["name"]["trial_steps"] == 30
    code, out, _ = called(["plot", str(run)], capsys)
    assert code == 0
    assert (run / "metrics.png").exists()
    assert out.split() == [str(run / n) for n in ("metrics.png", "report-num_episodes-3.png", "report.png")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "did you mean 'train'"),
        (["train"], "needs an algorithm and a task distribution"),
        (["train", "rl2"], "metarl train rl2 maze-100"),
        (["train", "rl3", "bandit"], "did you mean 'rl2'"),
        (["train", "rl2", "bandid"], "did you mean 'bandit'"),
        (["train", "rl2", "bandit", "--curriculum", "unifrom"], "did you mean 'uniform'"),
        (["train", "rl2", "bandit", "--curriculum"], "a value is missing"),
        (["train", "rl2", "bandit", "--tasks.num-arms", "0"], "num_arms=0: must be at least 1"),
        (["train", "rl2", "bandit", "--num-tasks", "3"], "must divide num_tasks=3"),
        (["train", "rl2", "bandit", "--seed", "-1"], "seed=-1"),
        (["train", "rl2", "bandit", "--seed", "x"], "--seed"),
        (["train", "rl2", "bandit", "--algorithm.memory", "elephant"], "--algorithm.memory"),
        (["train", "rl2", "bandit", "--algorithm.memory-sise", "3"], "--algorithm.memory-size"),
        (["tune", "rl2"], "tune needs an algorithm and a task distribution"),
        (["train", "lpg", "tabular", "--also", "{"], "--also {: is not JSON"),
        (["train", "lpg", "tabular", "--also", '[{"algorithm": "lpg"}]'], "give names and options"),
        (["train", "lpg", "tabular", "--also", "{}"], "give names and options"),
        (
            ["train", "lpg", "tabular", "--also", '[{"algorithm": {"name": "lgp"}, "tasks": {"name": "bandit"}}]'],
            "--also: unknown algorithm 'lgp'",
        ),
        (
            ["train", "lpg", "gate", "--also", '[{"w": 2, "algorithm": {"name": "lpg"}, "tasks": {"name": "gate"}}]'],
            "give names and options",
        ),
        (["tune", "rl2", "bandit"], "--space"),
        (["tune", "rl2", "bandit", "--space", "{"], "is not JSON"),
        (["tune", "rl2", "bandit", "--space", '{"encoders": [[]]}'], "did you mean 'encoder'"),
        (["evaluate"], "metarl evaluate runs/demo"),
        (["evaluate", "nowhere"], "holds no run"),
        (["evaluate", "run", "tasks", "more"], "metarl evaluate runs/demo"),
        (["plot"], "usage: metarl plot RUN"),
        (["plot", "nowhere"], "holds no run"),
        (["list", "x"], "cannot read 'x'"),
    ],
)
def test_mistakes_get_one_message(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = called(words, capsys)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())
    assert "Traceback" not in err
    assert not list(tmp_path.rglob("config.json"))


def test_another_configuration_is_refused(run, capsys):
    code, _, err = called(["train", "rl2", "gridnavi", "--out", str(run), *SMALL], capsys)
    assert code == 2
    assert "algorithm.options.encoder: [8, 8] there, [] asked for" in err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("a"), 2),
        (CheckpointError("a"), 2),
        (FileNotFoundError(2, "a"), 2),
        (Diverged("a"), 1),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError(), None),
    ],
)
def test_exit_codes(error, code, monkeypatch, capsys):
    def fail(words):
        raise error

    assert cli.exit_code(error) == code
    monkeypatch.setattr(commands, "list_names", fail)
    if code is None:
        with pytest.raises(ZeroDivisionError):
            cli.main(["list"])
        return
    assert cli.main(["list"]) == code
    err = capsys.readouterr().err
    assert err.startswith("metarl: ")
    assert err.count("\n") == 1


def test_list_names_everything(capsys):
    code, out, _ = called(["list"], capsys)
    assert code == 0
    for name in (*algorithms.REGISTRY, *tasks.REGISTRY, "uniform"):
        assert any(line.split()[:1] == [name] and len(line.split()) > 1 for line in out.splitlines())


@pytest.mark.parametrize(("algorithm", "family"), PAIRS)
def test_help_has_every_option_of_a_pair(algorithm, family, capsys):
    code, out, _ = called(["train", algorithm, family, "--help"], capsys)
    assert code == 0
    for part, function in (("algorithm", algorithms.REGISTRY[algorithm]), ("tasks", tasks.REGISTRY[family])):
        for name in options_of(function):
            assert f"--{part}.{name.replace('_', '-')}" in out
    assert "--num-updates" in out


@pytest.mark.parametrize("words", [["train"], ["train", "rl2"], ["tune"], ["evaluate"], ["plot"], ["list"], ["demo"]])
def test_help_needs_no_names(words, capsys):
    code, out, err = called([*words, "--help"], capsys)
    assert (code, err) == (0, "")
    assert f"usage: metarl {words[0]}" in out


def test_help_of_a_run_starts_from_its_own_options(run, capsys):
    out = called(["evaluate", str(run), "--help"], capsys)[1]
    assert "--tasks.size INT" in out
    assert "default: 3)" in " ".join(out.split())


def test_defaults_live_in_the_signatures():
    for function in (*algorithms.REGISTRY.values(), *tasks.REGISTRY.values()):
        made = options.group(function)()
        for name, parameter in options_of(function).items():
            assert getattr(made, name) == parameter.default


def test_help_texts_come_from_the_docstring():
    def function(first, *, one=1, two=2, three=3, four=4):
        """Does it. With care.

        Args:
          first: not an option. ``one``: the first, e.g. ``x: y``.
          two, three: both of
            them: yes.

        Returns:
          nothing.
        """

    assert options.summary(function) == "Does it"
    assert options.help_texts(function) == {
        "first": "not an option.",
        "one": "the first, e.g. x: y.",
        "two": "both of them: yes.",
        "three": "both of them: yes.",
    }
    assert options.help_texts(inspect.signature) == {}


def test_help_loads_nothing_heavy():
    code = "import sys; from metarl_jax.cli import main; main(['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"jax", "tyro", "rich", "matplotlib", "numpy"} & set(done.stdout.split())


def test_a_narrow_encoding_is_enough(tmp_path):
    process = start(["train", "rl2", "maze-100", "--help"], tmp_path, PYTHONIOENCODING="cp1252")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    assert "--algorithm.memory-size" in out


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_how_to_go_on(tmp_path, number, code):
    words = ["train", "rl2", "bandit", *SMALL, "--num-updates", "100000000", "--out", "run"]
    process = start(words, tmp_path)
    deadline = time.monotonic() + 200
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(number)
    _, err = process.communicate(timeout=100)
    assert process.returncode == code, err
    assert "the same command continues it: run" in err
    assert "Traceback" not in err
    assert list((tmp_path / "run" / "checkpoints").glob("*.ckpt"))


def test_demo_trains_evaluates_and_draws(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = ["--tasks.layouts", "#####\n#S..#\n#####", "--tasks.trial-steps", "8", "--tasks.horizon", "8"]
    code, out, err = called(["demo", "--num-updates", "1", *SMALL, *small, "--quiet"], capsys)
    assert code == 0, err
    folder = Path("runs", "demo")
    for name in ("report.json", "report.png", "trial.gif"):
        assert (folder / name).exists()
        assert str(folder / name) in out


def test_train_learns_in_several_distributions(tmp_path, capsys):
    small = {"life": 4, "window": 2, "gradient": "pes", "optimizer": "sgd"}
    learner = {"name": "self-tuning", "options": small | {"outer_critic": False}}
    also = [{"algorithm": learner, "tasks": {"name": "tabular", "options": {"horizon": 2}}}]
    words = ["train", "self-tuning", "gridnavi", "--quiet", "--out", str(tmp_path), "--num-updates", "1"]
    words += ["--num-tasks", "2", "--algorithm.no-outer-critic"]
    words += [word for key, value in small.items() for word in (f"--algorithm.{key.replace('_', '-')}", str(value))]
    code, _, err = called([*words, "--also", json.dumps(also)], capsys)
    assert code == 0, err
    code, out, err = called(["evaluate", str(tmp_path), "bandit", "--tasks.num-arms", "3", "--num-tasks", "2"], capsys)
    assert code == 0 and "self-tuning on bandit" in out, err
    assert (tmp_path / "report-bandit-num_arms-3.png").exists()
    assert "unknown task distribution 'bandits'" in called(["evaluate", str(tmp_path), "bandits"], capsys)[2]
    run = load(tmp_path)
    assert run.config["also"][0]["tasks"]["options"]["horizon"] == 2
    assert "tabular_step_reward" in run.metrics


def test_tune_looks_for_options(tmp_path, monkeypatch, capsys):
    pytest.importorskip("optuna")
    monkeypatch.chdir(tmp_path)
    outcome = lambda search, options, *_: tuning.Outcome(float(options["memory_size"]), None, 1, 1)
    monkeypatch.setattr(tuning, "outcome", outcome)
    words = ["tune", "rl2", "bandit", "--quiet", "--space", '{"memory_size": [4, 8]}']
    code, out, err = called(words, capsys)
    assert code == 0, err
    folder = str(Path("runs", "tune-rl2-bandit-seed0"))
    assert f"2 trials are in {folder}; trial 1 returns 8\n  memory_size: 8\n" in out
    assert f"metarl evaluate {Path(folder, 'trials', '0001')}" in out


def test_help_texts_pass_over_what_is_no_option():
    def made(tasks, *, size: int = 1):
        """A thing.

        Args:
          elsewhere: is none of its parameters.
          size: of it.
        """

    assert options.help_texts(made) == {"size": "of it."}
