"""Whether an agent adapted: of agents whose answer is known by construction the report must say it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import algorithms
from metarl_jax.config import options_of
from metarl_jax.evaluation import controls
from metarl_jax.evaluation.evaluate import evaluate, evaluation_tasks, live
from metarl_jax.networks.actions import categorical
from metarl_jax.records import Algorithm, Policy, Reference, Spec, TaskDistribution
from metarl_jax.rollout import first_half, rollout
from metarl_jax.tasks import Environment, grids
from metarl_jax.training.build import build_program
from metarl_jax.training.experiment import resolve
from metarl_jax.training.run import Run

HORIZON, EPISODES, HIDDEN = 6, 4, 4
SAFE = HIDDEN  # the arm that pays a half in every task


class Arms(Environment):
    """The task's arm, one of four, pays 1 a step; a fifth one 0.5 in every task. An episode has six steps."""

    spec = Spec(observation_shape=(1,), num_actions=HIDDEN + 1)

    def sample_noise(self, key, shape):
        return ()

    def reset(self, noise, task):
        return jnp.int32(0)

    def step(self, noise, state, action, task):
        reward = jnp.where(action == task, 1.0, jnp.where(action == SAFE, 0.5, 0.0))
        return state + 1, reward, jnp.bool_(False), {}

    def observe(self, state, task):
        return state.astype(jnp.float32)[None]

    def is_truncated(self, state, task):
        return state >= HORIZON


def known_answers(tasks, trial_steps: int, prior=None) -> list[Reference]:
    """A search that finds the arm at its i-th step has 7 - i of 6 steps paid: 4.5 on average of i = 1 ... 4."""
    episodes = trial_steps // HORIZON
    search, told = 4.5, 6.0
    return [
        Reference("non_adaptive", "exact", search * episodes),
        Reference("bayes", "exact", search + told * (episodes - 1)),
        Reference("optimal", "exact", told * episodes),
    ]


DRAWN = TaskDistribution(
    "arms",
    Arms(),
    lambda key: jax.random.randint(key, (), 0, HIDDEN),
    HORIZON,
    HORIZON * EPISODES,
    references=known_answers,
)
WHOLE = DRAWN._replace(tasks=jnp.arange(HIDDEN))


def agent(choose, across: bool = True) -> Algorithm:
    """Memory: (the arm that paid or the next one to try, whether it paid, episodes over); ``choose(memory, time)``."""

    def step(params, memory, timestep):
        arm, found, ended = jax.tree.map(lambda x: jnp.where(timestep.trial_start, 0, x), memory)
        paid = (timestep.last_reward == 1) & ~timestep.trial_start
        missed = ~found.astype(bool) & ~paid & (timestep.last_action < HIDDEN) & ~timestep.trial_start
        arm = jnp.where(paid, timestep.last_action, jnp.where(missed, (timestep.last_action + 1) % HIDDEN, arm))
        found, ended = jnp.where(paid, 1, found), ended + (timestep.episode_start & ~timestep.trial_start)
        if not across:
            arm, found = (jnp.where(timestep.episode_start, 0, x) for x in (arm, found))
        action = choose((arm, found, ended), timestep.observation[..., 0])
        return (arm, found, ended), (50.0 * jax.nn.one_hot(action, HIDDEN + 1), jnp.zeros(action.shape))

    carry = lambda shape: (jnp.zeros(shape, jnp.int32),) * 3
    policy = Policy(lambda key: (), carry, step, lambda *_: (), categorical(HIDDEN + 1))
    return played(policy)


def played(policy: Policy, env: Environment = DRAWN.env, horizon: int = HORIZON) -> Algorithm:
    def adapt(key, state, task, trial_steps, forget=False, greedy=False, first=None):
        one, other = (jax.tree.map(lambda x: x[None], some) for some in (task, first))
        half = None if first is None else (other, first_half(trial_steps, horizon))
        _, trajectory = rollout(key, env, policy, state, one, trial_steps, None, forget, greedy, half)
        return jax.tree.map(lambda x: x[:, 0], trajectory)

    return Algorithm(lambda key, n: (), lambda *_: (), adapt, 1, lambda n: None)


AGENTS = {
    "adapts": agent(lambda memory, time: memory[0]),
    "searches": agent(lambda memory, time: memory[0], across=False),
    "scheduled": agent(lambda memory, time: jnp.where(memory[2] == 0, 0, SAFE)),
    "still": agent(lambda memory, time: jnp.full(time.shape, SAFE)),
    "wastes": agent(lambda memory, time: jnp.where((memory[2] > 0) & (time > 1), 0, memory[0])),
}


def run_of(algorithm: Algorithm, tasks: TaskDistribution, seeds: int = 1) -> Run:
    config = {"algorithm": {"name": "by hand", "options": None}, "num_seeds": seeds}
    return Run(algorithm, tasks, jnp.zeros(seeds), config, {}, 0)


@functools.cache
def report_of(name: str, whole: bool, seeds: int = 1, episodes: int = EPISODES):
    run = run_of(AGENTS[name], WHOLE if whole else DRAWN, seeds)
    return evaluate(run, num_tasks=60, trials_per_task=6, trial_steps=episodes * HORIZON, quiet=True)


@pytest.mark.parametrize("whole", [True, False])
def test_an_agent_that_remembers_the_task_adapted(whole):
    report = report_of("adapts", whole)
    assert report.adapted and report.adapted_across and report.above_non_adaptive
    assert report.swap_gain == pytest.approx(12, abs=0.01)  # with the memory of another task it takes the wrong arm
    assert report.verdict.startswith("adapted: ") and "of this seed" in report.verdict
    assert report.gap_closed == pytest.approx(1.0, abs=0.15)
    low, high = report.gap_interval
    assert low is not None and high is not None and low <= report.gap_closed <= high
    assert report.intervals_over == ("trials" if whole else "tasks")


@pytest.mark.parametrize("whole", [True, False])
def test_another_behaviour_in_later_episodes_is_no_adaptation(whole):
    """It pays (a reset memory costs 4.5), and has nothing to do with the task."""
    report = report_of("scheduled", whole)
    assert report.gain == pytest.approx(4.5, abs=3) and report.gain_interval[0] > 0
    assert report.swap_gain == 0.0 and report.swap_interval == [0.0, 0.0]
    assert report.adapted is False and report.adapted_across is False
    assert report.verdict.startswith("did not adapt across episodes: ")


@pytest.mark.parametrize("whole", [True, False])
def test_learning_anew_within_each_episode_is_said(whole):
    report = report_of("searches", whole)
    assert report.gain == report.swap_gain == 0.0
    assert (report.adapted, report.adapted_across, report.adapted_within) == (False, False, True)
    assert report.within_gain == pytest.approx(4 * (4.5 - 1.5), abs=3)  # without memory: arm 0 at each step
    assert report.verdict.startswith("did not adapt across episodes: ") and "within episodes" in report.verdict
    alone = report_of("searches", whole, episodes=1)
    assert alone.adapted is None and alone.adapted_within and "within episodes" in alone.verdict


def test_no_memory_is_no_adaptation_of_any_kind():
    report = report_of("still", True)
    assert (report.adapted, report.adapted_across, report.adapted_within) == (False, False, False)
    assert report.within_gain == 0.0 and "within" not in report.verdict


def test_memory_of_the_task_that_leaves_the_return_below_not_adapting_is_said():
    report = report_of("wastes", True)
    assert report.adapted_across is True and report.above_non_adaptive is False and report.adapted is False
    assert report.verdict.startswith("did not adapt to any use: ") and "not above 18.00" in report.verdict


def test_above_a_bound_without_memory_across_episodes_is_said():
    """Between two known behaviours without memory: the search beats the bound that the safe arm is."""
    worse = lambda tasks, steps, prior=None: [Reference("non_adaptive", "lower", steps / 2)]
    report = evaluate(run_of(AGENTS["searches"], WHOLE._replace(references=worse)), quiet=True)
    assert report.above_non_adaptive is True and report.adapted is False
    assert "learns within episodes" in report.verdict


def test_of_several_seeds_the_interval_is_over_seeds():
    report = report_of("adapts", True, seeds=3)
    assert report.adapted and report.intervals_over == "seeds" and "of this seed" not in report.verdict


def test_another_task_is_another_one_and_each_as_often():
    key = jax.random.key(0)
    batch = evaluation_tasks(key, WHOLE, 0)
    some, which = controls.other_tasks(key, WHOLE, batch, 6)
    pairs = np.asarray(some)[which].reshape(HIDDEN, 6)
    for task, others in zip(np.asarray(batch), pairs, strict=True):
        assert sorted(others) == sorted([x for x in range(HIDDEN) if x != task] * 2)
    assert controls.other_tasks(key, WHOLE._replace(tasks=jnp.arange(1)), jnp.arange(1), 6) is None
    drawn = DRAWN._replace(sample=jax.random.uniform)
    some, which = controls.other_tasks(key, drawn, evaluation_tasks(key, drawn, 8), 2)
    assert some.shape == (8,) and which.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7]


def test_the_same_task_held_twice_or_drawn_again_is_no_other_task():
    key, batch = jax.random.key(0), jnp.array([2, 2, 2, 0, 3, 2])
    for tasks in (WHOLE._replace(tasks=batch), DRAWN):
        some, which = controls.other_tasks(key, tasks, batch, 7)
        assert (np.asarray(some)[which].reshape(6, 7) != np.asarray(batch)[:, None]).all()
    assert controls.other_tasks(key, WHOLE._replace(tasks=jnp.ones(4)), jnp.ones(4), 3) is None


@pytest.mark.parametrize("name", algorithms.REGISTRY)
def test_every_algorithm_offers_the_control_also_in_a_program_of_training(name):
    """What training wraps must not hide it: a report would fall back to the reset memory alone."""
    tasks = grids(kind="dense", size=3, horizon=4)
    made = algorithms.REGISTRY[name]
    options = {k: v for k, v in {"life": 4, "window": 2, "size": 8}.items() if k in options_of(made)}
    assert controls.offers(made(**options).build(tasks), "first")
    assert controls.offers(build_program(resolve(made(**options), tasks), 8).algorithm, "first")


class Luck(Arms):
    """An episode ends with reward 1, by chance, in the task's share of its steps."""

    def sample_noise(self, key, shape):
        return jax.random.uniform(key, shape)

    def step(self, noise, state, action, task):
        lucky = noise < task
        return state + 1, lucky.astype(jnp.float32), lucky, {}

    def is_truncated(self, state, task):
        return state >= 12


def test_second_halves_of_episodes_that_end_early_have_as_many_steps():
    """In hard tasks episodes are long and little of the trial is left: counted plainly, chance alone would seem to
    adapt. Both trials are counted for as many steps."""
    policy = Policy(
        lambda key: (),
        lambda shape: (),
        lambda params, memory, timestep: (memory, (jnp.zeros((*timestep.last_reward.shape, 5)), timestep.last_reward)),
        lambda *_: (),
        categorical(5),
    )
    tasks = DRAWN._replace(env=Luck(), tasks=jnp.array([0.08, 0.7]), horizon=12, references=None)
    run = run_of(played(policy, Luck(), 12), tasks)
    key, trials = jax.random.key(3), 4000
    others = controls.other_tasks(key, tasks, tasks.tasks, trials)
    own, other = (live(run, tasks.tasks, key, trials, 20, first=first) for first in (None, others))
    starts = [controls.begin(record.done, 1) for record in (own, other)]
    later = [controls.stretch(x.reward, start, 20 - start) for x, start in zip((own, other), starts, strict=True)]
    naive = later[0] - later[1]
    fair = np.subtract(*controls.second_halves(own, other, 1, 12))
    error = lambda x: x.mean(axis=(0, 1)).std() / np.sqrt(trials)
    assert naive.mean() > 8 * error(naive)
    assert abs(fair.mean()) < 3.5 * error(fair)
    assert np.abs(fair).max() > 0


def test_halves_are_cut_at_the_episodes_end_or_between_inner_updates():
    reward = np.arange(1.0, 13.0).reshape(1, 1, 1, 12)
    done = np.zeros((1, 1, 1, 12), bool)
    done[..., [2, 7]] = True
    late = np.zeros_like(done)
    late[..., 5] = True

    class Record:
        def __init__(self, done):
            self.reward, self.done = reward, done

    found = controls.second_halves(Record(done), Record(late), 1, 6)  # one of two episodes; 3 to 9 and 6 to 12
    assert (found.own.item(), found.other.item()) == (sum(range(4, 10)), sum(range(7, 13)))
    found = controls.second_halves(Record(done), Record(late), 4, 2)  # one of three windows of four
    assert found.own.item() == found.other.item() == sum(range(5, 13))
    assert controls.second_halves(Record(done & False), Record(late), 1, 6) is None


def test_a_trial_of_one_step_has_no_beliefs_to_compare():
    """Each is held before a step, from the second one on."""
    knowing = AGENTS["still"]._replace(
        decode=lambda state, trajectory: jnp.full((trajectory.reward.shape[0], HIDDEN), 0.25)
    )
    one, two = (evaluate(run_of(knowing, WHOLE), trials_per_task=2, trial_steps=n, quiet=True) for n in (1, 2))
    assert one.belief is None and two.belief["candidates"] == HIDDEN
