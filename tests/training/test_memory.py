"""Memory: what is predicted is what is used, and what is left open is chosen so that it fits."""

import json
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl_jax as mrl
from metarl_jax import algorithms, curricula, meta_gradients, tasks
from metarl_jax.config import recipe
from metarl_jax.records import Algorithm, Outcome, TaskDistribution
from metarl_jax.runtime.sharding import task_mesh
from metarl_jax.training import memory
from metarl_jax.training.build import build_program, with_options
from metarl_jax.training.experiment import resolve

NUM_TASKS, SEEDS = 8, jnp.zeros(1, jnp.int32)
BANDIT = {"num_arms": 3, "num_pulls": 4}


@recipe("deep")
def deep(tasks: TaskDistribution, *, block: int = 0, remat: bool | None = None) -> Algorithm:
    """Learns through 30 layers of a million activations a task; compiles in a moment."""

    def loss(weight, task):
        body = lambda h, _: (jnp.tanh(h * weight + task.probability.sum()), None)
        step = jax.checkpoint(body) if remat else body
        return jax.lax.scan(step, jnp.full((128, 128), 0.1), None, length=30)[0].mean()

    def update(key, state, batch):
        one = lambda batch: (jax.grad(lambda w: jax.vmap(lambda t: loss(w, t))(batch).mean())(state), ())
        gradient, _ = meta_gradients.over_blocks(one, block, batch)
        value = batch.probability.max(-1)
        new = state + gradient + 0.01 * jax.random.normal(key, state.shape)
        return new, Outcome(batch, value, jnp.ones_like(value, bool), {"size": jnp.abs(new).sum()})

    memory_options = lambda *counts: meta_gradients.memory_options("block", block, remat, *counts)
    check = lambda num_tasks: None
    return Algorithm(lambda *_: jnp.ones(()), update, lambda *_: None, 4, check, memory_options=memory_options)


def needs(made=None, **options) -> int:
    """Bytes on each device."""
    program = build_program(resolve(made or deep(**options), tasks.bandit(**BANDIT)), NUM_TASKS, task_mesh())
    shapes = jax.eval_shape(program.driver.init, SEEDS)
    needed = memory.predicted(
        memory.compile_ahead(program.driver.advance, SEEDS, shapes, 0, 1, np.ones(len(SEEDS), bool))
    )
    assert needed is not None
    return needed


@pytest.fixture(scope="module")
def needed() -> list[int]:
    """Of all settings that are left open on two devices, in the order in which they are tried."""
    return [
        needs(**options)
        for options in memory.settings(deep().build(tasks.bandit(**BANDIT)).memory_options(NUM_TASKS, 2))
    ]


def train(out=None, made=None, **options):
    options = {"num_updates": 6, "num_tasks": NUM_TASKS, "quiet": True} | options
    return mrl.train(made or deep(), tasks.bandit(**BANDIT), out=out, **options)


def chosen(run: mrl.Run) -> tuple[bool, int]:
    options = run.config["algorithm"]["options"]
    return options["remat"], options["block"]


def test_settings_are_tried_from_the_most_memory_to_the_least(needed):
    assert list(memory.settings({"remat": (False, True), "block": (0, 4, 2)})) == [
        {"remat": False, "block": 0},
        {"remat": True, "block": 0},
        {"remat": True, "block": 4},
        {"remat": True, "block": 2},
    ]
    assert list(memory.settings({})) == [{}]
    assert needed == sorted(needed, reverse=True) and needed[0] > 2 * needed[1] > 2 * needed[-1]


@pytest.mark.parametrize(("index", "expected"), [(0, (False, 0)), (1, (True, 0)), (3, (True, 2))])
def test_the_first_that_fits_is_chosen_and_told(needed, monkeypatch, capfd, tmp_path, index, expected):
    monkeypatch.setenv(memory.SWITCH, str(needed[index]))
    run = train(tmp_path, quiet=False, num_updates=1)
    assert chosen(run) == expected
    told = capfd.readouterr().err
    amount = f"predicted memory {memory.size(needed[index])} of {memory.size(needed[index])} on each of 2 devices"
    spared = {0: "\n", 1: ", with remat=True to fit\n", 3: ", with remat=True, block=2 to fit\n"}[index]
    assert amount + spared in told and told.index(amount) < told.index("1/1 updates")
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["predicted_bytes"] == needed[index] and saved["config"] == json.loads(json.dumps(run.config))


def test_what_is_given_is_not_changed_and_what_does_not_fit_is_refused(needed, monkeypatch, tmp_path):
    monkeypatch.setenv(memory.SWITCH, str(needed[3]))
    with pytest.raises(
        mrl.ConfigError, match=r"num_tasks=8: predicted memory .* of .*, with block=2: lower num_tasks, num_seeds"
    ):
        train(tmp_path, deep(remat=False))
    assert not (tmp_path / "config.json").exists()
    assert chosen(train(tmp_path, deep(remat=True), num_updates=1)) == (True, 2)
    monkeypatch.setenv(memory.SWITCH, "1000")
    with pytest.raises(
        mrl.ConfigError, match=r"of 1 kB on each of 2 devices, with remat=True, block=2: lower num_tasks"
    ):
        train()
    with pytest.raises(
        mrl.ConfigError, match=r"predicted memory .* of 1 kB on each of 2 devices: lower num_tasks, .* of rl2 l"
    ):
        train(made=algorithms.rl2(memory_size=4, num_minibatches=2, num_epochs=1))


def test_a_run_goes_on_with_what_was_chosen_bit_for_bit(needed, monkeypatch, tmp_path):
    """The same command, on a machine with more memory and on one with less."""
    monkeypatch.setenv(memory.SWITCH, str(needed[2]))
    whole = train(tmp_path / "whole")
    train(tmp_path / "parts", num_updates=2)
    monkeypatch.setenv(memory.SWITCH, str(10 * needed[0]))
    train(tmp_path / "parts", num_updates=4)
    monkeypatch.setenv(memory.SWITCH, "1000")
    with pytest.warns(UserWarning, match=r"of 1 kB on each of 2 devices: it may run out"):
        parts = train(tmp_path / "parts")
    assert chosen(whole) == chosen(parts) == (True, 4)
    jax.tree.map(np.testing.assert_array_equal, whole.state, parts.state)
    assert (tmp_path / "whole" / "metrics.jsonl").read_bytes() == (tmp_path / "parts" / "metrics.jsonl").read_bytes()
    assert train(tmp_path / "parts").num_updates == 6  # finished: nothing is compiled, nothing warned of
    with pytest.raises(mrl.ConfigError, match=r"options\.block: 4 there, 2 asked for"):
        train(tmp_path / "parts", deep(block=2))


@pytest.mark.parametrize("name", ["self-tuning", "population", "maml"])
def test_learners_with_memory_to_spare_leave_it_open(name):
    made = algorithms.REGISTRY[name]()
    least = list(memory.settings(made.build(tasks.bandit(**BANDIT)).memory_options(NUM_TASKS, 2)))[-1]
    assert least == {"self-tuning": {"remat": True, "block": 2}, "population": {"block": 2}}.get(
        name, {"remat": True, "tasks_at_once": 2}
    )
    given = made._replace(options=made.options | least).build(tasks.bandit(**BANDIT))
    assert not given.memory_options(NUM_TASKS, 2)
    if name != "maml":
        with pytest.raises(mrl.ConfigError, match="block=3: must divide num_tasks=8"):
            train(made=made._replace(options=made.options | {"block": 3}))
        with pytest.raises(mrl.ConfigError, match="block=-1: must not be negative"):
            train(made=made._replace(options=made.options | {"block": -1}))


def test_the_gradients_of_evolution_need_no_rematerialisation():
    built = algorithms.self_tuning(gradient="pes").build(tasks.bandit(**BANDIT))
    assert set(built.memory_options(NUM_TASKS, 1)) == {"block"}


@pytest.mark.parametrize("name", ["self-tuning", pytest.param("population", marks=pytest.mark.slow)])
def test_learners_in_blocks_learn_alike_on_all_devices(name):
    made = algorithms.REGISTRY[name](encoder=(), life=4, window=4)
    runs = [train(made=made._replace(options=made.options | {"block": block}), num_updates=1) for block in (0, 2)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), *(run.state for run in runs))


def test_the_prediction_is_what_is_used():
    """Of self-tuning through 40 inner updates, as the process grows while it runs."""
    made = algorithms.self_tuning(
        window=40, life=40, episodes=64, encoder=(32,), tuned=("discount",), outer_critic=False
    )
    first = build_program(resolve(made, tasks.bandit(num_arms=2, num_pulls=64)), 32)
    predictions = []
    for options in ({}, {"remat": True}, {"remat": True, "block": 8}):
        program = with_options(first, options).driver
        compiled = memory.compile_ahead(program.advance, SEEDS, jax.eval_shape(program.init, SEEDS), 0, 1)
        predictions.append(memory.predicted(compiled))
        learner = jax.block_until_ready(program.init(SEEDS))
        grown = growth(lambda compiled=compiled, learner=learner: jax.block_until_ready(compiled(SEEDS, learner, 0, 1)))
        print(f"{options}: predicted {predictions[-1] / 1e6:.1f} MB, measured {grown / 1e6:.1f} MB")
        assert grown < 1.1 * predictions[-1] + 2e7
        if predictions[-1] > 1e8:  # smaller ones may be served from what the process holds already
            assert grown > 0.6 * predictions[-1]
    assert predictions[0] > 1e8 and predictions[0] > 3 * predictions[1] > 6 * predictions[2]


def growth(run) -> int:
    """By how many bytes the process grows while it runs."""
    resident = lambda: int(Path("/proc/self/statm").read_text().split()[1]) * memory.os.sysconf("SC_PAGE_SIZE")
    before, most, over = resident(), [0], threading.Event()

    def watch():
        while not over.is_set():
            most[0] = max(most[0], resident())
            time.sleep(5e-4)

    watcher = threading.Thread(target=watch)
    watcher.start()
    run()
    over.set()
    watcher.join()
    return most[0] - before


def test_a_limit_may_be_set(monkeypatch):
    monkeypatch.setenv(memory.SWITCH, "12345")
    assert memory.available(2) == 12345
    for wrong in ("much", "0", "-3"):
        monkeypatch.setenv(memory.SWITCH, wrong)
        with pytest.raises(mrl.ConfigError, match=f"{memory.SWITCH}='{wrong}': set a number of bytes"):
            memory.available()


def test_cpu_devices_share_the_least_that_anything_leaves(monkeypatch, tmp_path):
    monkeypatch.delenv(memory.SWITCH, raising=False)
    (tmp_path / "meminfo").write_text("MemTotal:  4000 kB\nMemAvailable:  3000 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "OWN", tmp_path / "own")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    share = lambda kilobytes: int(0.9 * (kilobytes * 1024 // 2))
    assert memory.available(2) == share(3000)
    for line, folder, names in (
        ("0::/outer/inner", tmp_path / "outer", ("memory.max", "memory.current", "inactive_file")),
        ("4:memory:/a", tmp_path / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")),
    ):
        (tmp_path / "own").write_text(f"9:cpuset:/\n{line}\n")
        folder.mkdir()
        (folder / "memory.stat").write_text(f"anon 7\n{names[2]} {500 * 1024}\n")
        (folder / names[1]).write_text(f"{1500 * 1024}\n")
        for limit, left in (("max", 3000), (str(1 << 62), 3000), (str(2000 * 1024), 1000)):
            (folder / names[0]).write_text(f"{limit}\n")
            assert memory.available(2) == share(left)


def test_a_curriculum_is_part_of_a_program():
    setting = resolve(deep(), tasks.bandit(**BANDIT), curricula.uniform())
    changed = with_options(build_program(setting, NUM_TASKS), {"block": 4})
    assert changed.setting.algorithm.options == {"block": 4, "remat": None} and changed.num_devices == 1
    assert set(changed.memory_options) == {"remat"} and changed.setting.curriculum == setting.curriculum
