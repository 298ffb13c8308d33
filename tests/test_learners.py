"""Algorithms and curricula of the registries keep the promises of ``records``: a new one needs no line here."""

import collections
import contextlib
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.conformance import host, pendulum, rows
from helpers.sharing import programs_once

import metarl_jax as mrl
from metarl_jax import algorithms, curricula, tasks
from metarl_jax.config import options_of
from metarl_jax.networks import MEMORIES
from metarl_jax.records import Outcome, TaskDistribution, Trajectory
from metarl_jax.rollout import first_half
from metarl_jax.runtime.sharding import task_mesh
from metarl_jax.storage import checkpoint
from metarl_jax.training import train as training
from metarl_jax.training.build import build_program, fit_to_memory
from metarl_jax.training.experiment import Experiment

# Algorithms.

FAMILIES = {  # discrete actions and episodes that terminate; continuous ones and episodes cut short
    "bandit": lambda: tasks.bandit(num_arms=3, num_pulls=6),
    "pendulum": lambda: pendulum(horizon=4, num_episodes=2),
}
# What goes through the steps of an episode cannot move where there is one: not a bandit, but small grids.
THROUGH_EPISODES = ("lpg", "intrinsic-reward", "recurrent-ppo")
TINY = {"memory_size": 8, "encoder": (8,), "num_minibatches": 2, "num_epochs": 2, "model_minibatches": 2}
TINY |= {"life": 4, "window": 2, "size": 8, "interval": 1, "sigma": 2.0}  # pairs that earn alike move nothing
FORGETTING_MATTERS = {
    "rl2": True,
    "varibad": True,
    "ppo": False,
    "ppo-oracle": False,
    "recurrent-ppo": False,
}  # by what the critic says after the first episode
FORGETFUL = ("recurrent-ppo",)  # wipe their memory at each episode, whatever they are asked
# Conjugate gradient makes rounding larger and a line search has steps: these are compared after one update, loosely.
AMPLIFIED = ("maml", "fomaml", "e-maml", "meta-sgd", "anil", "cavia")
NUM_TASKS = 8


# Every algorithm, and as ``name, variant`` one with each other kind of memory (all of them reach memories through one
# function), one with a bootstrapped target and one under a strategy of evosax.
VARIANTS = {f"rl2, {kind}": {"memory": kind} for kind in MEMORIES if kind not in ("gru", "none")}
VARIANTS |= {
    "self-tuning, target": {"target_updates": 3, "life": 8},
    "self-tuning, snes": {"gradient": "snes", "window": 4, "members": 4},
}
LEARNERS = [*algorithms.REGISTRY, *VARIANTS]


# These differ from another learner by an option: they live in pendulums, and in full only with ``-m slow``, to keep the
# tests within minutes.
KIN = (
    "fomaml",
    "e-maml",
    "promp",
    "meta-sgd",
    "anil",
    "cavia",
    "reptile",
    "varibad-task",
    "hyperx",
    "posterior-sampling",
    "ppo-oracle",
    "random-search",
    "grid-search",
)
KIN += ("rl2, lstm", "rl2, s5", "rl2, transformer", "self-tuning, target", "self-tuning, snes")
# The others live in bandits, as in their runs below, and in pendulums only with ``-m slow``, but for
# these, whose kin are not many.
BOTH = ("intrinsic-reward", "recurrent-ppo")


def rarely(learner: str, family: str = "bandit") -> tuple:
    often = learner in KIN + BOTH if family == "pendulum" else learner not in KIN
    return () if often else (pytest.mark.slow,)


def family_of(learner: str, family: str) -> TaskDistribution:
    if family == "bandit" and learner in THROUGH_EPISODES:
        return tasks.grids(kind="dense", size=3, horizon=4)
    return FAMILIES[family]()


def tiny(learner: str):
    make = algorithms.REGISTRY[learner.partition(", ")[0]]
    options = {option: value for option, value in TINY.items() if option in options_of(make)}
    return make(**options | VARIANTS.get(learner, {}))


class Learning(NamedTuple):
    name: str
    algorithm: Any
    batch: Any
    update: Any
    states: list
    outcome: Outcome
    horizon: int


class Plain(NamedTuple):
    """A learner's own functions, jitted: what they are compiled to is compiled once."""

    algorithm: Any
    sample: Any
    init: Any
    update: Any


@functools.lru_cache(maxsize=1)
def plain(name: str, family: str) -> Plain:
    """One learner in one family at a time, and its executables go before the next's come: a process that held those of
    all crashed once in XLA."""
    jax.clear_caches()
    distribution = family_of(name, family)
    algorithm = tiny(name).build(distribution)
    init = jax.jit(algorithm.init, static_argnums=1)
    return Plain(algorithm, jax.jit(jax.vmap(distribution.sample)), init, jax.jit(algorithm.update))


PLACES = [pytest.param((a, f), id=f"{a}-{f}", marks=rarely(a, f)) for f in FAMILIES for a in LEARNERS]
# Of one learner all tests in bandits run one after the other, and share its programs.
in_bandits = pytest.mark.parametrize("learning", PLACES[: len(LEARNERS)], indirect=True)


@pytest.fixture(scope="module", params=PLACES)
def learning(request) -> Learning:
    """Two updates in a row."""
    name, family = request.param
    algorithm, sample, init, update = plain(name, family)
    algorithm.check(NUM_TASKS)
    batch = sample(jax.random.split(jax.random.key(0), NUM_TASKS))
    states = [init(jax.random.key(0), NUM_TASKS)]
    for i in range(2):
        state, outcome = update(jax.random.key(i), states[-1], batch)
        states.append(state)
    return Learning(name, algorithm, batch, update, states, outcome, family_of(name, family).horizon)


def test_update_compiles_once_and_keeps_its_types(learning):
    states = learning.states
    assert learning.update._cache_size() == 1
    typed = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), tree)
    assert typed(states[0]) == typed(states[1]) == typed(states[2])


def is_lived(path) -> bool:
    """What lives that go on from update to update are made of beside their agents, and counts of rare events."""
    name = jax.tree_util.keystr(path)
    return (".lives" in name and ".agent" not in name) or "finite" in name


def difference(tree) -> float:
    """The largest between first axes of its leaves, which hold two."""
    return max(jax.tree.leaves(jax.tree.map(lambda x: np.abs(np.diff(np.asarray(x, float)[:2], axis=0)).max(), tree)))


def test_every_parameter_group_moves(learning):
    states = learning.states
    for before, after in ((states[0], states[1]), (states[1], states[2])):
        paths = jax.tree_util.tree_leaves_with_path((before, after))
        half = len(paths) // 2
        groups = collections.defaultdict(bool)
        for (path, old), (_, new) in zip(paths[:half], paths[half:], strict=True):
            assert np.isfinite(new).all()
            if is_lived(path) or (before is states[0] and ".critic" in jax.tree_util.keystr(path)):
                continue  # the first update gives a critic its targets' scale, the second its weights' first step
            groups[jax.tree_util.keystr(path[1:-1])] |= bool((np.asarray(old) != np.asarray(new)).any())
        assert len(groups) > 1 and all(groups.values()), groups


def test_outcome_says_what_was_lived(learning):
    outcome = learning.outcome
    jax.tree.map(np.testing.assert_array_equal, outcome.tasks, learning.batch)
    assert outcome.trial_return.shape == outcome.ended.shape == (NUM_TASKS,) and outcome.ended.dtype == bool
    assert outcome.metrics and all(np.shape(x) == () and np.isfinite(x) for x in outcome.metrics.values())


def test_adapt_lives_one_trial(learning):
    name, algorithm, batch, _, states, _, horizon = learning
    adapt = jax.jit(algorithm.adapt, static_argnums=(3, 5))  # `forget` is traced: one program for all
    one, other = (jax.tree.map(lambda x, i=i: x[i], batch) for i in range(2))
    steps = algorithm.steps + 2  # any length, not only the training's
    live = lambda task, forget, first: host(
        adapt(jax.random.key(0), states[-1], task, steps, jnp.int32(forget), False, first)
    )
    trajectory, forgot = (live(one, forget, one) for forget in range(2))
    assert isinstance(trajectory, Trajectory)
    assert all(leaf.shape[0] == steps for leaf in jax.tree.leaves(trajectory))
    assert trajectory.reward.shape == trajectory.terminated.shape == trajectory.truncated.shape == (steps,)
    begins = trajectory.timestep.episode_start if name in FORGETFUL else np.arange(steps) == 0
    np.testing.assert_array_equal(trajectory.timestep.trial_start, begins)
    assert trajectory.timestep.episode_start.sum() > 1
    jax.tree.map(np.testing.assert_array_equal, live(one, 0, one), trajectory)
    first = np.argmax(trajectory.timestep.episode_start[1:]) + 1
    same = lambda a, b, stop: jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[:stop], y[:stop]), a, b)
    same(trajectory.outputs, forgot.outputs, first)  # the first episode is the same, to the last bit
    matters = FORGETTING_MATTERS.get(name.partition(", ")[0])
    if matters is True:
        assert np.abs(trajectory.outputs[1][first:] - forgot.outputs[1][first:]).max() > 1e-4
    elif matters is False:
        for field in ("action", "reward", "outputs", "next_observation"):
            jax.tree.map(np.testing.assert_array_equal, getattr(trajectory, field), getattr(forgot, field))
    # With the memory of another task: the first half is in that one, the second in the trial's own.
    swapped, elsewhere = live(one, 0, other), live(other, 0, other)
    length = algorithm.window if algorithm.window > 1 else horizon
    start = first_half(steps, length) * length
    if start < steps:
        fields = lambda some: (some.action, some.reward, some.outputs, some.next_env_state)
        same(fields(swapped), fields(elsewhere), start)
        assert swapped.timestep.episode_start[start]
        assert name in FORGETFUL or not swapped.timestep.trial_start[1:].any()
        if matters is False:
            again = lambda some: jax.tree.map(lambda x: x[start:], fields(some))
            jax.tree.map(np.testing.assert_array_equal, again(swapped), again(trajectory))


def train(name: str, out=None, **options):
    options = {"num_tasks": NUM_TASKS, "num_updates": 6, "num_seeds": 2, "quiet": True} | options
    return mrl.train(tiny(name), family_of(name, "bandit"), out=out, **options)


@pytest.fixture(scope="module")
def unbroken(learning, tmp_path_factory):
    """A learner's name, and six updates of two seeds without a break, over two devices. What has the same shapes until
    the next learner comes is the same executable."""
    assert jax.device_count() >= 2
    with programs_once():
        yield learning.name, train(learning.name, tmp_path_factory.mktemp("unbroken") / "run")


# The others go on by the program that they began with.
BUILT_ANEW = ("ppo", "maml", "population", "self-tuning")


@in_bandits
def test_resuming_is_bit_exact(unbroken, tmp_path):
    name, whole = unbroken
    half = train(name, tmp_path / "run", num_updates=3)
    with programs_once() if name in BUILT_ANEW else contextlib.nullcontext():
        parts = train(name, tmp_path / "run")
    assert (half.num_updates, parts.num_updates) == (3, 6)
    jax.tree.map(np.testing.assert_array_equal, host(parts.state), host(whole.state))
    lines = [(run.path / "metrics.jsonl").read_bytes() for run in (whole, parts)]
    assert lines[0] == lines[1] and lines[0].count(b"\n") == 6
    for seed in range(2):
        both = jax.tree.map(lambda *x, i=seed: np.stack([y[i] for y in x]), host(half.state), host(whole.state))
        assert difference(both) > 1e-3


def plain_run(name: str, seed: int, num_updates: int):
    """(state, metrics of each update) of a loop over the algorithm's own update, on one device."""
    _, sample, init, update = plain(name, "bandit")
    key, keys = jax.random.split(jax.random.key(seed))
    state, rows = init(jax.random.split(key)[0], NUM_TASKS), []
    for index in range(num_updates):
        task_key, update_key = jax.random.split(jax.random.fold_in(keys, index))
        state, outcome = update(update_key, state, sample(jax.random.split(task_key, NUM_TASKS)))
        rows.append(outcome.metrics | {"trial_return": outcome.trial_return.mean()})
    assert all(len(leaf.devices()) == 1 for leaf in jax.tree.leaves(state))
    return host(state), host(rows)


@in_bandits
def test_seeds_side_by_side_over_two_devices_are_each_alone_on_one(unbroken):
    name, _ = unbroken
    count, rounding = (1, 5e-3) if name in AMPLIFIED else (3, 1e-4)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=rounding, atol=rounding)
    sharded = train(name, num_updates=count)
    for seed in range(2):
        state, rows = plain_run(name, seed, count)
        jax.tree.map(lambda a, b, i=seed: close(a[i], b), host(sharded.state), state)
        for column in rows[0]:
            close(sharded.metrics[column][:, seed], [row[column] for row in rows])
    assert difference(sharded.state) > 1e-2
    # The work was really shared.
    setting = Experiment(tiny(name), family_of(name, "bandit"), curricula.uniform())
    made, seeds = training.build_program(setting, NUM_TASKS, task_mesh()), jnp.arange(2, dtype=jnp.int32)
    shared = fit_to_memory(made, seeds, jax.eval_shape(made.driver.init, seeds), True, str)[0].driver.advance.as_text()
    assert "all-reduce" in shared


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "ppo" else (pytest.mark.slow,)) for name in LEARNERS]
)
def test_seeds_side_by_side_are_runs_of_each_alone(name):
    rounding, options = (5e-3, {"num_updates": 1}) if name in AMPLIFIED else (1e-4, {})
    with programs_once():
        both = train(name, **options)
        for i in range(2):
            alone = train(name, seed=i, num_seeds=1, **options)
            jax.tree.map(
                lambda a, b, i=i: np.testing.assert_allclose(a[i], b[0], rtol=rounding, atol=rounding),
                host(both.state),
                host(alone.state),
            )
            np.testing.assert_allclose(
                both.metrics["trial_return"][:, i], alone.metrics["trial_return"][:, 0], rtol=rounding
            )


# Curricula.

# Options under which a set fills within a few updates of few tasks.
REPLAY = {"capacity": 12, "fill": 0.7}
SMALL_CURRICULA = {name: REPLAY for name in ("plr", "robust-plr", "accel")}
SMALL_CURRICULA |= {
    "sfl": {"rounds": 2, "trials": 2, "period": 2, "kept": 0.5},
    "self-paced": {"ways": 8, "candidates": 4, "neighbours": 2, "remembered": 16},
    "adr": {"trials": 2, "step": 0.2},
    "space": {"instances": 10, "start": 6, "growth": 2, "period": 2},
    "vds": {"hidden": (8,), "num_candidates": 20, "remembered": 2, "num_steps": 2, "batch_size": 8},
}
CURRICULUM_FAMILIES = {  # one that can change tasks, values or none, trials or lives under way
    "rl2": lambda: tasks.view_maze(size=4, view=3, num_walls=4, horizon=6, num_episodes=2),
    "maml": lambda: tasks.gridnavi(size=4, horizon=5, num_episodes=4),
    "self-tuning": lambda: tasks.gridnavi(size=4, horizon=4, num_episodes=4),
    "ppo": lambda: tasks.gate(horizon=5, num_episodes=2),
}


def curriculum_for(name: str, learner: str):
    options = dict(SMALL_CURRICULA.get(name, {}))
    if "capacity" in options and learner != "rl2":
        options["score"] = "learnability"
    if learner != "rl2" and (name == "sfl" or "capacity" in options):
        options["solved_above"] = 0.0
    return curricula.REGISTRY[name](**options)


# The others with ``-m slow``.
OFTEN = (
    ("accel", "rl2"),
    ("sfl", "rl2"),
    ("vds", "rl2"),
    ("space", "rl2"),
    ("plr", "self-tuning"),
    ("self-paced", "ppo"),
    ("adr", "ppo"),
)
WITH_CURRICULA = [
    pytest.param(name, learner, marks=() if (name, learner) in OFTEN else (pytest.mark.slow,))
    for name in curricula.REGISTRY
    for learner in CURRICULUM_FAMILIES
    if (learner == "ppo") == (name in ("self-paced", "adr"))  # tasks of real numbers, that have a target
]


@functools.cache
def taught(name: str, learner: str):
    """A driver of two seeds, their seeds, and its ``advance`` as the one program for all."""
    small = {"gradient": "pes", "outer_critic": False} if learner == "self-tuning" else {}  # less to compile
    recipe = algorithms.REGISTRY[learner](**tiny(learner).options | small)
    setting = Experiment(recipe, CURRICULUM_FAMILIES[learner](), curriculum_for(name, learner))
    made, seeds = build_program(setting, NUM_TASKS).driver, jnp.array([3, 5], jnp.int32)
    return made, seeds, made.advance.lower(seeds, jax.eval_shape(made.init, seeds), 0, 1).compile()


@pytest.mark.parametrize(("name", "learner"), WITH_CURRICULA)
def test_every_curriculum_serves_every_kind_of_learner_and_resumes_bit_for_bit(name, learner, tmp_path):
    made, seeds, advance = taught(name, learner)
    whole, metrics, done, finite = advance(seeds, made.init(seeds), 0, 9)
    assert int(done) == 9 and bool(finite.all())
    assert all(x.ndim == 2 and x.shape[1] == len(seeds) for x in jax.tree.leaves(metrics))  # [updates, seeds]
    first, *_ = advance(seeds, made.init(seeds), 0, 5)
    checkpoint.save(tmp_path, 5, first, {}, keep=1)
    found = checkpoint.latest(tmp_path, jax.eval_shape(made.init, seeds))
    assert found is not None
    resumed, *_ = advance(seeds, found[1], 5, 4)
    jax.tree.map(np.testing.assert_array_equal, host(whole), host(resumed))
    for column, values in host(metrics).items():
        assert np.isfinite(values[:9]).all(), column
    if made.curriculum.buffer is not None:  # what is kept: real tasks, not the zeros of an empty place
        kept = host(jax.vmap(made.curriculum.buffer)(whole.curriculum))
        assert np.isfinite(kept["score"]).mean() > 0.5
        held = jax.tree.map(lambda x: x[np.isfinite(kept["score"])], kept["tasks"])
        assert len(set(rows(held))) > NUM_TASKS / 2


def test_a_curriculum_on_two_devices_is_the_curriculum_on_one():
    setting = Experiment(tiny("rl2"), CURRICULUM_FAMILIES["rl2"](), curriculum_for("accel", "rl2"))
    made, seeds, advance = taught("accel", "rl2")
    wide, ends = build_program(setting, NUM_TASKS, task_mesh()).driver, []
    for init, run in ((made.init, advance), (wide.init, wide.advance)):
        learner, metrics, done, finite = run(seeds, init(seeds), 0, 6)
        assert int(done) == 6 and bool(finite.all())
        assert np.isfinite(learner.curriculum.score).mean() > 0.7 and learner.curriculum.replayed.sum() > 0
        ends.append(host((learner, metrics)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), *ends)
