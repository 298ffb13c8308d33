"""What users may get wrong: each is answered in words (field, value, fix) before anything is compiled.

``BAD`` holds lists of (name, function, words): another mistake is one line there.
"""

import itertools
import random
from pathlib import Path
from typing import Any, NamedTuple

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnax.environments import environment, spaces
from gymnax.wrappers import purerl

import metarl_jax as mrl
from metarl_jax.config import ConfigError
from metarl_jax.records import Spec, TaskDistribution
from metarl_jax.training import memory


class State(NamedTuple):
    time: Any


class Own(mrl.tasks.Environment):
    """A sound environment; a test replaces parts of it. The task is a number."""

    horizon = 5
    spec = Spec((2,), num_actions=2)

    def reset(self, noise, task):
        return State(jnp.int32(0))

    def step(self, noise, state, action, task):
        return State(state.time + 1), 1.0, jnp.bool_(False), {}

    def observe(self, state, task):
        return jnp.ones(2)


def own(env: Any = None, sample=jax.random.uniform, horizon: Any = 5, trial_steps: Any = 10, **fields):
    return TaskDistribution("own", env or Own(), sample, horizon, trial_steps)._replace(**fields)


def train(tasks: Any, algorithm: Any = "ppo", **options):
    return mrl.train(algorithm, tasks, **{"num_updates": 1, "num_tasks": 8, "quiet": True} | options)


def with_method(name: str, function):
    """Training in ``Own`` with another method (without self)."""
    kind = type("Changed", (Own,), {name: lambda self, *inputs: function(*inputs)})
    return lambda: train(own(kind()))


def step(state=lambda s: State(s.time + 1), reward=lambda: 1.0, done=lambda: jnp.bool_(False), info=dict):
    return with_method("step", lambda noise, s, action, task: (state(s), reward(), done(), info()))


def with_spec(*arguments, **fields):
    kind = type("Changed", (Own,), {"spec": Spec(*arguments, **fields)})
    return lambda: train(own(kind()))


def with_bounds(low: Any, high: Any):
    return with_spec((2,), action_size=2, action_low=low, action_high=high)


def with_fields(**fields):
    return lambda: train(own(**fields))


RNG, COUNT = np.random.default_rng(0), itertools.count()
counted = jax.jit(lambda key: jnp.float32(next(COUNT)))
onto_host = lambda state: State(jax.pure_callback(lambda t: t + 1, jax.ShapeDtypeStruct((), jnp.int32), state.time))

ENVIRONMENTS = [
    (
        "observation of another shape",
        with_method("observe", lambda s, task: jnp.ones(3)),
        r"observe=float32\[3\]: .*\(2,\)",
    ),
    ("observation in a dict", with_method("observe", lambda s, task: {"a": jnp.ones(2)}), "observe=.*'a'.*one array"),
    ("observation in a tuple", with_method("observe", lambda s, task: (jnp.ones(1), 1.0)), "observe=.*one array"),
    ("complex observation", with_method("observe", lambda s, task: jnp.ones(2, complex)), "observe=complex.*real"),
    ("no observation", with_method("observe", lambda s, task: None), "observe=.*None.*one array"),
    ("reward of shape (1,)", step(reward=lambda: jnp.ones(1)), r"reward=float32\[1\]: must be one real number"),
    ("complex reward", step(reward=lambda: 1j), r"reward=complex64\[\]: must be one real number"),
    ("no reward", step(reward=lambda: None), "reward=.*None.*: must be one real number"),
    ("reward in words", step(reward=lambda: "much"), "step='much': must return arrays and numbers"),
    ("done as a whole number", step(done=lambda: jnp.int32(0)), r"terminated=int32\[\]: must be one boolean"),
    ("done as a float", step(done=lambda: jnp.float32(0)), r"terminated=float32\[\]: must be one boolean"),
    ("done of shape (1,)", step(done=lambda: jnp.zeros(1, bool)), r"terminated=bool\[1\]: must be one boolean"),
    ("info is no dict", step(info=lambda: None), "step=.*info a dict"),
    ("mean reward of shape (1,)", step(info=lambda: {"mean_reward": jnp.ones(1)}), r"mean_reward.*=float32\[1\]"),
    (
        "state drifts to float",
        step(lambda s: State(s.time + 1.0)),
        r"state.time=float32\[\]: must be int32\[\], as reset",
    ),
    ("state grows", step(lambda s: State(jnp.stack([s.time, s.time]))), r"state.time=int32\[2\]: must be int32\[\]"),
    ("state of another kind", step(lambda s: {"time": s.time}), "state=.*must have the structure that reset"),
    (
        "three results",
        with_method("step", lambda n, s, a, task: (s, 1.0, jnp.bool_(False))),
        "step=.*must return",
    ),
    (
        "gymnax's six",
        with_method("step", lambda n, s, a, task: (1.0, s, 1.0, True, True, {})),
        "step=.*must return",
    ),
    ("state without time", with_method("reset", lambda n, task: jnp.zeros(2)), "step: .*has no attribute '?time"),
    (
        "truncated as a number",
        with_method("is_truncated", lambda s, task: s.time),
        r"is_truncated=int32\[\]: .*boolean",
    ),
    ("branch on the task", with_method("reset", lambda n, task: State(1 if task > 0.5 else 0)), "reset: .*jnp.where"),
    ("NumPy on what is traced", step(lambda s: State(np.sin(s.time))), "step: .*Tracer.*test_bad_inputs.py line"),
    ("an error of one's own", step(lambda s: {}["heat"]), "step: .*KeyError: 'heat', test_bad_inputs.py line"),
    ("other arguments", with_method("reset", lambda noise: State(0)), "reset: .*TypeError.*positional argument"),
    (
        "nothing written",
        lambda: train(own(type("E", (mrl.tasks.Environment,), dict(spec=Own.spec, horizon=5))())),
        "reset: .*NotImpl",
    ),
    ("no environment", with_fields(env=object()), "env=.*lacks sample_noise: derive it"),
    ("a class of environments", with_fields(env=Own), "sample_noise: .*missing"),
    (
        "no spec",
        lambda: train(own(type("E", (Own,), {"spec": (2,)})())),
        r"env.spec=\(2,\): give a metarl_jax.records.Spec",
    ),
    (
        "noise of one step",
        with_method("sample_noise", lambda key, shape: jax.random.uniform(key)),
        r"sample_noise.*=float32\[\]: .*\[3,2\]",
    ),
    ("NumPy's randomness", step(reward=lambda: float(RNG.uniform())), "step='random': .*jax.random"),
    ("Python's randomness", with_method("reset", lambda n, task: State(random.randrange(1 << 30))), "reset='random'"),
    ("a call to the host", step(onto_host), "step, of many tasks at once: .*vmap_method"),
]

SPACES = [
    ("shape as a list", with_spec([2], num_actions=2), r"observation_shape=\[2\]: give a tuple"),
    ("shape as a number", with_spec(2, num_actions=2), "observation_shape=2: give a tuple"),
    ("shape of no numbers", with_spec((0,), num_actions=2), r"observation_shape=\(0,\)"),
    ("no actions", with_spec((2,), num_actions=0), "num_actions=0: must be"),
    ("half an action", with_spec((2,), num_actions=2.5), "num_actions=2.5: must be"),
    ("neither kind of actions", with_spec((2,)), "action_size=0: must be at least 1 where num_actions is None"),
    ("negative size", with_spec((2,), action_size=-1), "action_size=-1"),
    ("infinite bounds", with_bounds(-jnp.inf, jnp.inf), "action_low=.*inf.*finite"),
    ("NaN among bounds", with_bounds(-1.0, np.array([1.0, np.nan])), "action_high=.*nan.*finite"),
    ("bounds of three actions", with_bounds(-np.ones(3), 1.0), "action_low=.*one or 2 of them"),
    ("bounds in words", with_bounds("low", "high"), "action_low='low'"),
    ("bounds upside down", with_bounds(np.array([-1.0, 5.0]), 1.0), "action_low=.*below action_high=1.0"),
]

SET = jnp.linspace(0.0, 1.0, 4)
SAMPLES = [
    ("no function", with_fields(sample=5), "sample=5: give a function key -> task"),
    ("a task of nothing", with_fields(sample=lambda key: None), "sample=None: returns no array"),
    ("an empty task", with_fields(sample=lambda key: ()), r"sample=\(\): returns no array"),
    ("a task in words", with_fields(sample=lambda key: "hard"), "sample='hard': must return arrays and numbers"),
    (
        "branch on the key",
        with_fields(sample=lambda key: 1.0 if jax.random.uniform(key) > 0.5 else 0.0),
        "sample: .*jnp.where",
    ),
    ("no key", with_fields(sample=lambda: 1.0), "sample: .*TypeError"),
    ("key and more", with_fields(sample=lambda key, size: 1.0), "sample: .*missing"),
    ("NumPy's randomness", with_fields(sample=lambda key: RNG.uniform()), "sample='random': .*jax.random"),
    ("a generator's array", with_fields(sample=lambda key: jnp.asarray(RNG.uniform(size=3))[0]), "sample='random'"),
    ("a counter, jitted", with_fields(sample=counted), "sample='random'"),
    (
        "another structure each time",
        with_fields(sample=lambda key: {str(next(COUNT)): jax.random.uniform(key)}),
        "sample='random'",
    ),
    (
        "a set of unequal leaves",
        with_fields(sample=lambda key: (1.0, 1.0), tasks=(SET, SET[:2])),
        r"tasks=\[2, 4\]: .*same N",
    ),
    ("an empty set", with_fields(tasks=SET[:0]), r"tasks=\[0\]: a finite set"),
    ("a set of one number", with_fields(tasks=jnp.float32(1)), r"tasks=\[0\]: a finite set"),
    ("a set of lists", with_fields(tasks=[0.0, 1.0]), "tasks=.*a finite set"),
    (
        "a set of other tasks",
        with_fields(tasks=jnp.ones((4, 2))),
        r"tasks\[0\]=float32\[2\]: must be float32\[\], as sample",
    ),
    ("a set of whole numbers", with_fields(tasks=jnp.arange(4)), r"tasks\[0\]=int32\[\]: must be float32\[\]"),
    ("NaN in a set", with_fields(tasks=SET.at[2].set(jnp.nan)), "tasks='NaN'"),
    ("no horizon", with_fields(horizon=0), "horizon=0: must be a whole number of at least 1"),
    ("half a horizon", with_fields(horizon=2.5), "horizon=2.5"),
    ("a trial of no steps", with_fields(trial_steps=0), "trial_steps=0"),
    ("a true trial", with_fields(trial_steps=True), "trial_steps=True"),
    ("longer episodes than the horizon", with_fields(horizon=4), "horizon=4: must be the longest.* 5 steps"),
    ("no name", with_fields(name=""), "name=''"),
    ("mutants of another type", with_fields(mutate=lambda key, task: 1), r"mutate=int32\[\]: must be float32\[\]"),
    ("mutants of nothing", with_fields(mutate="some"), "mutate='some': give a function, or None"),
    ("mutants by branches", with_fields(mutate=lambda key, task: -task if task > 0 else task), "mutate: .*jnp.where"),
    ("targets of another shape", with_fields(target=lambda key: jnp.ones(2)), r"target=float32\[2\]"),
    ("an optimum for each action", with_fields(optimum=lambda task, steps: jnp.ones(2)), r"optimum=float32\[2\]"),
    ("best episodes for each action", with_fields(best_episode=lambda task: jnp.ones(2)), r"best_episode=float32\[2\]"),
]


@struct.dataclass
class Params(environment.EnvParams):
    low: float = -1.0


@struct.dataclass
class Limitless:
    low: float = -1.0


class Foreign(environment.Environment):
    """A sound gymnax environment; a test replaces parts of it."""

    actions: Any = spaces.Discrete(2)
    observations: Any = spaces.Box(0, 1, (1,))
    limit = True

    def reset_env(self, key, params):
        return jnp.ones(1), environment.EnvState(time=0)

    def step_env(self, key, state, action, params):
        return jnp.ones(1), environment.EnvState(time=state.time + 1), 1.0, jnp.bool_(False), {}

    def action_space(self, params):
        return self.actions

    def observation_space(self, params):
        return self.observations


class ByTask(Foreign):
    def action_space(self, params):
        return spaces.Box(params.low, 1.0, (1,))


class ManyRewards(Foreign):
    def step_env(self, key, state, action, params):
        return *super().step_env(key, state, action, params)[:2], jnp.ones(3), jnp.bool_(False), {}


class Forgetful(purerl.GymnaxWrapper):
    def step(self, key, state, action, params=None):
        return self._env.step(key, state, action)


class Past(purerl.GymnaxWrapper):
    def step_env(self, key, state, action, params):
        return self._env.step_env(key, state, action, params)


class Restarting(purerl.GymnaxWrapper):
    def step(self, key, state, action, params=None):
        observation, state, reward, done, info = self._env.step_env(key, state, action, params)
        return observation, state, reward, done, jnp.bool_(False), info


class Limited(purerl.GymnaxWrapper):
    def is_truncated(self, state, params):
        return state.time >= 2


class Duck:
    """Has what an environment must have, but for its action space."""

    reset_env, step_env, is_truncated = Foreign.reset_env, Foreign.step_env, Foreign.is_truncated
    observation_space, observations = Foreign.observation_space, Foreign.observations


def adapt(env: Any = None, sample: Any = lambda key: Params(), wrapper: Any = None, **options):
    """``from_gymnax``, and nothing further."""
    parts = {name: options.pop(name) for name in ("actions", "observations") if name in options}
    made = env or type("Foreign", (Foreign,), parts)()
    wrapped = made if wrapper is None else wrapper(made)
    return lambda: mrl.tasks.from_gymnax(wrapped, sample, **{"name": "foreign", "horizon": 5} | options)


BOX = spaces.Box(0, 1, (1,))
GYMNAX = [
    ("environment and params", adapt(gymnax.make("CartPole-v1")), "env=.*give the environment"),
    ("params, no function", adapt(sample=Params()), "sample=.*give a function key -> params"),
    (
        "params of another environment",
        adapt(gymnax.make("CartPole-v1")[0], sample=lambda key: 3.0),
        "sample: must return params of CartPole",
    ),
    ("no params", adapt(gymnax.make("Pendulum-v1")[0], sample=lambda key: None), "sample: .*params of Pendulum"),
    (
        "branch on the key",
        adapt(sample=lambda key: Params(2.0 if jax.random.uniform(key) > 0.5 else 0.5)),
        "sample: .*jnp.where",
    ),
    ("NumPy's randomness", adapt(sample=lambda key: Params(low=RNG.uniform())), "sample='random'"),
    ("no limit", adapt(sample=lambda key: Limitless(), horizon=None), "horizon=None: .*give one"),
    (
        "a limit for each task",
        adapt(sample=lambda key: Params(jax.random.randint(key, (), 1, 9)), horizon=None),
        "horizon=None: .*longest",
    ),
    ("no steps", adapt(horizon=0), "horizon=0: must be at least 1"),
    ("horizon in words", adapt(horizon="5"), "horizon='5': must be a whole number"),
    ("a true horizon", adapt(horizon=True), "horizon=True"),
    ("no episodes", adapt(num_episodes=0), "num_episodes=0"),
    ("half an episode", adapt(num_episodes=1.5), "num_episodes=1.5"),
    ("no name", adapt(name=None), "name=None"),
    ("observations in a dict", adapt(observations=spaces.Dict({"a": BOX})), "observation_space=Dict.*must be a Box"),
    ("observations in a tuple", adapt(observations=spaces.Tuple((BOX, BOX))), "observation_space=Tuple.*must be a Box"),
    ("actions in a tuple", adapt(actions=spaces.Tuple((BOX, BOX))), "action_space=Tuple.*must be a Box"),
    ("actions in a dict", adapt(actions=spaces.Dict({"a": BOX})), "action_space=Dict.*must be a Box"),
    ("a matrix of actions", adapt(actions=spaces.Box(0, 1, (2, 2))), "action_space=.*must be a vector"),
    ("whole actions", adapt(actions=spaces.Box(0, 3, (2,), jnp.int32)), "action_space=.*int32.*whole numbers"),
    ("unbounded actions", adapt(actions=spaces.Box(-jnp.inf, 1, (2,))), "action_space=.*must be bounded"),
    ("no action space", adapt(Duck()), "sample: must return params of Duck: action_space fails"),
    ("no actions", adapt(actions=spaces.Discrete(0)), "action_space=Discrete.*at least one"),
    (
        "bounds of the task",
        adapt(ByTask(), sample=lambda key: Params(low=-jax.random.uniform(key))),
        "action_space=.*same in all tasks",
    ),
    ("another observation", adapt(observations=spaces.Box(0, 1, (2,))), r"observe=float32\[1\]: .*\(2,\)"),
    ("three rewards", adapt(ManyRewards()), "step: .*"),
    ("a wrapper without params", adapt(wrapper=Forgetful), "env='Foreign': a wrapper does not hand params on"),
    (
        "a wrapper past the others",
        adapt(wrapper=lambda env: Past(purerl.LogWrapper(env))),
        "env='Past': overrides .*_env",
    ),
    (
        "a wrapper that restarts",
        adapt(wrapper=Restarting),
        "env='Foreign': its step must call that .*final_observation",
    ),
    ("a limit that gymnax does not ask", adapt(wrapper=Limited), "env='Limited': overrides is_truncated"),
]


def written(save) -> str:
    """The name of a file that ``save(name)`` wrote, in the test's own folder."""
    save("tasks.npz")
    return "tasks.npz"


def load_tasks(save):
    return lambda: mrl.tasks.load_tasks(written(save), own())


def from_arrays(transition=1.0, reward=0.0, **options):
    """One state, one action."""
    return lambda: mrl.tasks.from_arrays([[[[transition]]]], [[[reward]]], **{"horizon": 2} | options)


SETS = [
    ("no tasks", lambda: mrl.tasks.finite(own(), None), r"batch=\[\]: give tasks of own"),
    ("words", lambda: mrl.tasks.finite(own(), "easy"), "batch=.*give tasks of own"),
    ("other tasks", lambda: mrl.tasks.finite(own(), jnp.ones((4, 2))), "batch=.*give tasks of own"),
    ("objects", lambda: mrl.tasks.finite(own(), np.array([{}])), "batch=.*give tasks of own"),
    ("NaN", lambda: mrl.tasks.finite(own(), SET.at[1].set(jnp.nan)), "batch='NaN'"),
    ("of a name", lambda: mrl.tasks.finite("maze", SET), "tasks='maze': give a TaskDistribution"),
    ("of unsound tasks", lambda: mrl.tasks.finite(own(sample=lambda key: None), SET), "sample=None: returns no array"),
    ("saved in a number", lambda: mrl.tasks.save_tasks(5, own(tasks=SET)), "path=5: give the name of a .npz file"),
    ("saved elsewhere", lambda: mrl.tasks.save_tasks("tasks.csv", own(tasks=SET)), "path='tasks.csv'"),
    ("saved under a file", lambda: mrl.tasks.save_tasks(f"{__file__}/a.npz", own(tasks=SET)), "cannot be written"),
    ("saved without any", lambda: mrl.tasks.save_tasks("tasks.npz", own()), "tasks='own': is no finite set"),
    ("loaded from nowhere", lambda: mrl.tasks.load_tasks("nowhere.npz", own()), "there is no such file"),
    ("loaded from text", load_tasks(lambda name: Path(name).write_text("1, 2")), "path='tasks.npz': is no file of"),
    ("loaded from nothing", load_tasks(lambda name: Path(name).touch()), "path='tasks.npz': is no file of save_tasks"),
    ("loaded from objects", load_tasks(lambda name: np.savez(name, np.array([{}]))), "path='tasks.npz': is no file of"),
    ("loaded from other arrays", load_tasks(lambda name: np.savez(name, x=np.ones(3))), "path='tasks.npz': is no file"),
    ("loaded from more", load_tasks(lambda name: np.savez(name, SET, SET)), "holds 2 arrays, a task of own has 1"),
    ("diversity of a name", lambda: mrl.tasks.diversity("maze"), "tasks='maze': give a TaskDistribution"),
    ("diversity of no set", lambda: mrl.tasks.diversity(own()), "batch=None: own is no finite set"),
    ("arrays in words", from_arrays("likely"), "transition, reward: must be arrays of numbers"),
    ("complex arrays", from_arrays(reward=1j), "transition, reward: must be arrays of numbers"),
    ("NaN rewards", from_arrays(reward=np.nan), "reward=.*must hold finite numbers"),
    ("NaN transitions", from_arrays(np.nan), "transition=.*must be a distribution"),
    ("transitions to nowhere", from_arrays(0.5), "transition=.*must be a distribution"),
    ("noise in words", from_arrays(reward_std="a"), "reward_std='a': must be float"),
    ("boundless noise", from_arrays(reward_std=np.inf), "reward_std=inf: must be finite"),
    ("a true horizon of arrays", from_arrays(horizon=True), r"horizon, num_episodes=\(True, 10\): must be whole"),
    ("arrays of half a step", from_arrays(horizon=0.5), r"horizon, num_episodes=\(0.5, 10\): must be whole"),
]


def folder(config: str) -> str:
    """A folder, in the test's own, with such a ``config.json``."""
    Path("run").mkdir()
    Path("run/config.json").write_text(config)
    return "run"


RUNS = [
    ("unknown tasks", lambda: train("mazes"), "unknown task distribution 'mazes': did you mean 'maze'"),
    ("unknown algorithm", lambda: train(own(), "rl3"), "unknown algorithm 'rl3': did you mean 'rl2'"),
    ("an environment as tasks", lambda: train(Own()), "tasks=.*give a name from the registry or an object"),
    ("a family as tasks", lambda: train(mrl.tasks.bandit), "tasks=.*give a name from the registry or an object"),
    ("a curriculum as algorithm", lambda: train(own(), mrl.curricula.REGISTRY["adr"]()), "algorithm=.*give a name"),
    ("unknown curriculum", lambda: train(own(), curriculum="plrr"), "unknown curriculum 'plrr'"),
    ("no updates", lambda: train(own(), num_updates=0), "num_updates=0"),
    ("half a task", lambda: train(own(), num_tasks=2.5), "num_tasks=2.5"),
    ("seeds in words", lambda: train(own(), num_seeds="3"), "num_seeds='3'"),
    ("a negative seed", lambda: train(own(), seed=-1), "seed=-1"),
    ("a folder of another type", lambda: train(own(), out=5), "out=5: give the path of a folder"),
    ("tasks that lack what the curriculum needs", lambda: train(own(), curriculum="self-paced"), "has no target"),
    (
        "whole numbers for adr",
        lambda: train(own(sample=lambda key: jax.random.randint(key, (), 0, 9)), curriculum="adr"),
        "needs tasks of real numbers",
    ),
    (
        "elsewhere is unsound",
        lambda: train("bandit", "lpg", also=[("lpg", own(sample=5))]),
        r"also\[0\]: tasks 'own': sample=5",
    ),
    (
        "tuned where nothing is sound",
        lambda: mrl.tune("ppo", own(sample=5), {"discount": [0.9]}, out="unused"),
        "sample=5",
    ),
    ("no run there", lambda: mrl.load("nowhere"), "nowhere holds no run"),
    ("a damaged run", lambda: mrl.load(folder("{")), "config.json is damaged"),
    ("a list for a run", lambda: mrl.load(folder("[]")), "config.json is not the config.json of a run"),
    ("an empty run", lambda: train(own(), out=folder('{"config": {}}')), "config.json is not the config.json of a run"),
    ("a file for a folder", lambda: train(own(), out=__file__), "is no empty folder and holds no run"),
    ("a folder in a file", lambda: train(own(), out=f"{__file__}/run"), "cannot be made"),
    ("seconds in words", lambda: train(own(), checkpoint_seconds="60"), "checkpoint_seconds='60'"),
    ("algorithms without tasks", lambda: train(own(), also=["lpg"]), "also: give a list of pairs"),
    ("a function for an algorithm", lambda: train(own(), mrl.algorithms.rl2), "algorithm=.*give a name"),
    (
        "tasks that do not divide",
        lambda: train(own(), mrl.algorithms.rl2(num_minibatches=3)),
        "must divide num_tasks=8",
    ),
    ("a run of another type", lambda: mrl.load(3), "path=3: give the folder of a run"),
    ("the folder for the run", lambda: mrl.evaluate("runs/own"), "run='runs/own': give what train or load returned"),
]

BAD = {"environment": ENVIRONMENTS, "space": SPACES, "sample": SAMPLES, "gymnax": GYMNAX, "set": SETS, "run": RUNS}
CASES = [pytest.param(*case[1:], id=f"{kind}: {case[0]}") for kind, cases in BAD.items() for case in cases]


@pytest.fixture(autouse=True)
def nothing_is_compiled(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(memory, "compile_ahead", lambda *_: pytest.fail("compiled"))


@pytest.mark.parametrize(("function", "words"), CASES)
def test_it_is_answered_in_words(function, words):
    with pytest.raises(ConfigError, match=words) as caught:
        function()
    cause = caught.value.__cause__
    assert cause is None and (caught.value.__suppress_context__ or caught.value.__context__ is None)  # no traceback


def test_there_are_many():
    assert len(CASES) >= 60


def test_what_is_sound_is_accepted():
    """What the cases change one thing of."""
    mrl.tasks.check_tasks(own())
    adapt()()
    mrl.tasks.check_tasks(own(sample=lambda key: jnp.float32(1)))  # all the same, as in a set of one


@pytest.mark.parametrize("algorithm", ["ppo-oracle", "posterior-sampling"])
def test_what_python_calls_a_number_is_accepted(algorithm):
    """Observations, rewards and ends that are no arrays: what is accepted can be trained on, wrappers included."""
    parts = {
        "spec": Spec((), num_actions=2),
        "observe": lambda self, state, task: 1.0,
        "step": lambda self, noise, state, action, task: (State(state.time + 1), 1, False, {}),
    }
    tasks = own(type("Changed", (Own,), parts)())
    mrl.tasks.check_tasks(tasks)
    made = mrl.algorithms.REGISTRY[algorithm]().build(tasks)
    batch = jax.eval_shape(jax.vmap(tasks.sample), jax.random.split(jax.random.key(0), 8))
    update = lambda key, tasks: made.update(key, made.init(key, 8), tasks)[1].trial_return
    assert jax.eval_shape(update, jax.random.key(0), batch).shape == (8,)
