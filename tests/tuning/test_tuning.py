"""Sweeps with Optuna: what is found, that workers may die, and that nothing counts twice. The algorithm of these tests
compiles in a moment."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest

import metarl_jax as mrl
from metarl_jax import tasks, tuning
from metarl_jax.config import ConfigError, check, recipe
from metarl_jax.records import Algorithm, Outcome
from metarl_jax.tuning import sweep

optuna = pytest.importorskip("optuna")
UPDATES, TASKS, STEPS, PULLS = 3, 8, 5, 4


class Lived(NamedTuple):
    mean_reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array


@recipe("layered")
def layered(tasks, *, sizes: tuple[int, ...] = (2,), rate: float = 0.5, gain: float = 1.0, least: int = 1) -> Algorithm:
    """Its trials return ``gain`` squared for each pull and each of its layers; at large rates it diverges."""
    check(least <= sum(sizes), "least", least, f"must be at most sum(sizes)={sum(sizes)}")

    def update(key, state, batch):
        del key
        value = batch.probability.max(-1)
        state = {"sum": state["sum"] * rate + 1.0}
        return state, Outcome(batch, value, jnp.ones_like(value, bool), {"size": state["sum"].sum()})

    def adapt(key, state, task, steps, forget):
        del key, state, forget
        return Lived(jnp.full(steps, gain) * gain * len(sizes), *jnp.zeros((2, steps), bool))

    return Algorithm(lambda key, count: {"sum": jnp.ones(2)}, update, adapt, STEPS, lambda num_tasks: None)


SIZES = {"sizes": [(2,), (2, 3), (4,)]}


def tune(out: Path, space=None, algorithm=None, **options) -> mrl.Tuned:
    numbers = {
        "num_updates": UPDATES,
        "num_tasks": TASKS,
        "evaluation_tasks": 6,
        "num_seeds": 2,
        "quiet": True,
    } | options
    bandit = tasks.bandit(num_arms=3, num_pulls=PULLS)
    return mrl.tune(algorithm or layered(), bandit, space or SIZES, out=out, **numbers)


@pytest.fixture
def impatient(monkeypatch):
    """Workers are taken for dead soon."""
    monkeypatch.setattr(sweep, "HEARTBEAT_SECONDS", 1)
    monkeypatch.setattr(sweep, "GRACE_SECONDS", 1)
    monkeypatch.setattr(tuning, "POLL_SECONDS", 0.1)


@pytest.fixture
def scored(monkeypatch):
    """Nothing is trained: a trial's score is what the trained one's would be, a pull."""

    def outcome(search, options, *_):
        return tuning.Outcome(options.get("gain", 1.0) * len(options.get("sizes", (2,))), None, 1, 1)

    monkeypatch.setattr(tuning, "outcome", outcome)


def test_the_best_of_static_choices_is_found(tmp_path, capsys):
    found = tune(tmp_path / "sweep", quiet=False)
    assert found.best == layered(sizes=(2, 3)) and found.score == 2 * PULLS
    assert [trial["options"]["sizes"] for trial in found.trials] == SIZES["sizes"]  # each once, of 20 trials
    for number, trial in enumerate(found.trials):
        assert trial["train_steps"] == UPDATES * TASKS * STEPS * 2
        assert trial["evaluation_steps"] == 6 * PULLS * 2
        assert trial["seconds"] > 0 and trial["seed"] == 0 and trial["number"] == number
        run = mrl.load(tmp_path / "sweep" / trial["run"], algorithm=layered(**trial["options"]))
        assert run.num_updates == UPDATES
    assert [trial.params["sizes"] for trial in found.study.trials] == ["(2,)", "(2, 3)", "(4,)"]
    told = capsys.readouterr().err
    assert "trial 1: sizes=(2, 3): 8\n" in told and "3/3 trials" in told
    again = tune(tmp_path / "sweep", quiet=False)
    assert again[:3] == found[:3]
    assert "3 of 3 trials are done" in capsys.readouterr().err


def test_a_sweep_that_grows_is_the_sweep_in_one_go(tmp_path, scored):
    space = {"rate": mrl.Range(1e-3, 0.9, log=True), "gain": {"low": 1, "high": 2}, "least": mrl.Range(1, 2)} | SIZES
    grown = [tune(tmp_path / "grown", space, num_trials=n) for n in (2, 5)]
    whole = tune(tmp_path / "whole", space, num_trials=5)
    points = [[t["options"] for t in found.trials] for found in (*grown, whole)]
    assert points[0] == points[1][:2] and points[1] == points[2]
    for options in points[2]:
        assert 1e-3 <= options["rate"] <= 0.9 and isinstance(options["gain"], float)
        assert options["least"] in (1, 2) and options["sizes"] in SIZES["sizes"]
    assert len({options["rate"] for options in points[2]}) == 5
    assert whole.best.options in [layered().options | options for options in points[2]]
    assert whole.score == max(trial["score"] for trial in whole.trials)


def test_a_point_taken_again_gets_fresh_seeds(tmp_path, scored):
    space = {"least": mrl.Range(1, 2)}
    trials = tune(tmp_path / "sweep", space, num_trials=4, seed=3).trials
    taken = {}
    for trial in trials:
        taken.setdefault(trial["options"]["least"], []).append(trial["seed"])
    assert all(seeds == [3 + 2 * i for i in range(len(seeds))] for seeds in taken.values())


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = ["tests", "tests/tuning"]
from test_tuning import tune, tuning
live = tuning.outcome
def outcome(search, options, *rest):
    if options["sizes"] == (2, 3):
        os.kill(os.getpid(), signal.SIGKILL)
    return live(search, options, *rest)
tuning.outcome = outcome
tune(Path(sys.argv[1]))
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_after_a_kill_the_sweep_continues_and_nothing_counts_twice(tmp_path, impatient, capsys):
    folder, root = tmp_path / "sweep", Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-W", "error", "-c", KILLED, str(folder)], cwd=root, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    found = tune(folder, quiet=False)
    assert "1 of 3 trials are done" in capsys.readouterr().err
    assert found.best == layered(sizes=(2, 3))
    assert sorted(trial["options"]["sizes"] for trial in found.trials) == sorted(SIZES["sizes"])
    states = sorted((trial.params["sizes"], trial.state.name) for trial in found.study.trials)
    assert states == [("(2, 3)", "COMPLETE"), ("(2, 3)", "FAIL"), ("(2,)", "COMPLETE"), ("(4,)", "COMPLETE")]
    (retried,) = (trial for trial in found.trials if trial["score"] == found.score)
    assert retried["number"] > 1 and retried["run"] == "trials/0001"  # the folder of the one that was killed


def test_who_has_nothing_left_to_claim_waits_for_the_others(tmp_path, monkeypatch, scored, impatient, capsys):
    claim, others = sweep.claim, [None, None]
    monkeypatch.setattr(sweep, "claim", lambda *given: others.pop() if others else claim(*given))
    assert len(tune(tmp_path / "sweep", {"gain": [1.0]}, quiet=False).trials) == 1
    assert capsys.readouterr().err.count("waiting for the trials of other workers") == 1


def test_who_died_while_claiming_is_no_worker(tmp_path, scored, monkeypatch):
    folder = tmp_path / "sweep"
    with monkeypatch.context() as patch:
        patch.setattr(optuna.storages.RDBStorage, "record_heartbeat", lambda *_: os.nonexistent)
        with pytest.raises(AttributeError):
            tune(folder)
    assert len(tune(folder).trials) == 3  # at once: no heartbeat is waited for


def test_what_stopped_is_claimed_again(tmp_path, monkeypatch, scored):
    folder, outcome = tmp_path / "sweep", tuning.outcome

    def stop(*_):
        raise mrl.Stopped("stopped after update 2", None, 15)

    for _ in range(sweep.MOST_DEATHS + 1):  # to be stopped is not to die
        monkeypatch.setattr(tuning, "outcome", stop)
        with pytest.raises(
            mrl.Stopped, match=r"stopped in trial \d+; the same command continues it: .*sweep"
        ) as caught:
            tune(folder)
        assert caught.value.signal_number == 15
    monkeypatch.setattr(tuning, "outcome", outcome)
    trials = tune(folder).trials
    assert [t["options"]["sizes"] for t in trials] == SIZES["sizes"] and trials[0]["run"] == "trials/0000"


def test_options_under_which_all_workers_die_are_pruned(tmp_path, monkeypatch, scored):
    outcome = tuning.outcome

    def fail(search, options, *rest):
        if options["sizes"] == (2, 3):
            raise ZeroDivisionError
        return outcome(search, options, *rest)

    monkeypatch.setattr(tuning, "outcome", fail)
    for _ in range(sweep.MOST_DEATHS):
        with pytest.raises(ZeroDivisionError):
            tune(tmp_path / "sweep")
    found = tune(tmp_path / "sweep")
    assert [t["reason"] for t in found.trials if t["score"] is None] == [f"its worker died {sweep.MOST_DEATHS} times"]
    assert found.best.options["sizes"] in ((2,), (4,)) and len(found.trials) == 3


def test_a_result_of_one_taken_for_dead_does_not_count(tmp_path, monkeypatch, scored, capsys):
    outcome, slept = tuning.outcome, []

    def sleep(*given):
        if not slept:  # and meanwhile another worker has found no heartbeat
            slept.append(True)
            study = optuna.load_study(study_name="sweep", storage=f"sqlite:///{tmp_path / 'sweep' / 'study.db'}")
            study.tell(0, state=optuna.trial.TrialState.FAIL)
        return outcome(*given)

    monkeypatch.setattr(tuning, "outcome", sleep)
    found = tune(tmp_path / "sweep", quiet=False)
    assert "not counted: it was taken for dead" in capsys.readouterr().err
    assert [t["number"] for t in found.trials] == [1, 2, 3]
    assert sorted(t["options"]["sizes"] for t in found.trials) == sorted(SIZES["sizes"])


def test_what_diverges_is_pruned_with_its_reason(tmp_path):
    found = tune(tmp_path / "some", {"rate": [0.5, 1e38]})
    (lost,) = (trial for trial in found.trials if trial["score"] is None)
    assert lost["options"] == {"rate": 1e38} and "is not finite" in lost["reason"]
    assert 0 < lost["train_steps"] <= UPDATES * TASKS * STEPS * 2 and lost["evaluation_steps"] == 0
    assert found.study.trials[lost["number"]].state.name == "PRUNED" and found.best == layered(rate=0.5)
    everything = tune(tmp_path / "all", {"rate": [1e38]})
    assert (everything.best, everything.score, len(everything.trials)) == (None, None, 1)
    infinite = tune(tmp_path / "returns", {"gain": [1e38]})  # of four pulls
    assert infinite.trials[0]["reason"] == "the return of its trials is not finite"


def test_options_that_do_not_go_together_are_pruned(tmp_path):
    found = tune(tmp_path / "sweep", {"sizes": [(2,), (4,)], "least": [1, 3]}, layered(sizes=(3,)))
    reasons = {(t["options"]["sizes"], t["options"]["least"]): t["reason"] for t in found.trials}
    assert len(reasons) == 4
    (refused,) = (point for point, reason in reasons.items() if reason is not None)
    assert refused == ((2,), 3) and "do not go together: least=3" in reasons[refused]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "space={}: give a Range"),
        ({"size": [(2,)]}, "unknown option of layered 'size': did you mean 'sizes'"),
        ({"sizes": (2, 3)}, "space: sizes=2: give a list or tuple"),
        ({"sizes": []}, "give a list of choices"),
        ({"sizes": "2"}, "give a list of choices"),
        ({"sizes": [(2,), [2]]}, "choices must differ"),
        ({"sizes": mrl.Range(1, 2)}, "space: sizes=1: give a list or tuple"),
        ({"rate": ["x"]}, "space: rate='x': must be float"),
        ({"rate": mrl.Range(1.0, 0.5)}, "low below high"),
        ({"rate": mrl.Range(0.0, 0.5, log=True)}, "low must be above 0"),
        ({"rate": mrl.Range(0.0, float("inf"))}, "must be finite"),
        ({"rate": {"low": 0.1}}, "a range has low, high and log"),
        ({"rate": {"low": 0.1, "high": 0.2, "step": 1}}, "a range has low, high and log"),
        ({"least": mrl.Range(0.5, 1.5)}, "space: least=0.5: must be int"),
        ({"least": mrl.Range(1, 3)}, "least=3: must be at most"),
    ],
)
def test_mistakes_in_a_space_are_told_before_anything_compiles(space, message, tmp_path):
    with pytest.raises(ConfigError) as caught:
        mrl.tune(layered(), "bandit", space, out=tmp_path / "sweep", num_updates=1, num_tasks=8)
    assert message in str(caught.value)
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize("field", ["num_trials", "num_updates", "num_tasks", "num_seeds", "evaluation_tasks"])
def test_counts_are_checked(field, tmp_path):
    with pytest.raises(ConfigError, match=rf"{field}=0: must be a whole number of at least 1"):
        tune(tmp_path / "sweep", **{field: 0})
    with pytest.raises(ConfigError, match=r"seed=-1"):
        tune(tmp_path / "sweep", seed=-1)


def test_another_sweep_is_refused(tmp_path, scored):
    folder = tmp_path / "sweep"
    tune(folder)
    (folder / "trials" / "0000").mkdir(parents=True)
    with pytest.raises(
        ConfigError, match=r"holds a sweep of another configuration:\n  num_updates: 3 there, 4 asked for"
    ):
        tune(folder, num_updates=4)
    with pytest.raises(ConfigError, match=r"space.sizes: .* there, \[\[2\]\] asked for"):
        tune(folder, {"sizes": [(2,)]})
    with pytest.raises(ConfigError, match="is no empty folder and holds no run"):
        mrl.train(layered(), "bandit", out=folder, num_updates=1, num_tasks=8)
    with pytest.raises(ConfigError, match="is no empty folder and holds no sweep"):
        tune(folder / "trials")
    (folder / sweep.DATABASE).write_bytes(b"no database" * 1000)
    with pytest.raises(ConfigError, match="database cannot be opened"):
        tune(folder)


def test_another_database(tmp_path, scored):
    url = f"sqlite:///{tmp_path / 'other.db'}"
    for name in ("one", "two"):
        assert len(tune(tmp_path / name, storage=url).trials) == 3
        assert not (tmp_path / name / sweep.DATABASE).exists()
    assert {study.study_name for study in optuna.get_all_study_summaries(url)} == {"one", "two"}
    with pytest.raises(ConfigError, match="database cannot be opened"):
        tune(tmp_path / "three", storage="nothing://")


def test_a_missing_optuna_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install '.\[sweep\]'"):
        tune(tmp_path / "sweep")


def test_the_readme_tells_how(tmp_path, monkeypatch, scored, capsys):
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (program,) = (part for part in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S) if "mrl.tune" in part)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mrl, "train", lambda algorithm, *_, **__: print(algorithm.name))
    names = {}
    exec(program.replace("20,", "2,").replace("3,", "1,"), names)
    assert names["found"].score == 1.0 and set(names["found"].best.options) >= {"memory", "learning_rate", "encoder"}
    assert capsys.readouterr().out.strip() == "rl2"
