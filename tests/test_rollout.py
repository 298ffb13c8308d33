"""The trial loop on environments whose every number is known."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.algorithms.recurrent.ppo import advantages_of, learning_batch
from metarl_jax.networks import actor_critic
from metarl_jax.networks.actions import categorical
from metarl_jax.records import Policy, Spec
from metarl_jax.rollout import init_rollout, replay, rollout
from metarl_jax.tasks import Environment

N = 4


class CountTask(NamedTuple):
    """``length``: the step that ends the episode; ``reward``: of each step, times the number of the step."""

    length: jax.Array
    reward: jax.Array


class CountState(NamedTuple):
    time: jax.Array
    action: jax.Array
    noise: jax.Array


class Count(Environment):
    """The observation is (step of the episode, last action in it, the noise it began with). Terminates after
    ``task.length`` steps, is truncated after ``horizon``."""

    def __init__(self, horizon: int = 5):
        self.horizon = horizon
        self.spec = Spec(observation_shape=(3,), num_actions=3)

    def sample_noise(self, key, shape):
        return jax.random.uniform(key, shape)

    def reset(self, noise, task):
        return CountState(jnp.int32(0), jnp.int32(-1), noise)

    def step(self, noise, state, action, task):
        time = state.time + 1
        reward = task.reward * time
        return CountState(time, action, state.noise), reward, time >= task.length, {"mean_reward": reward + 0.5}

    def observe(self, state, task):
        return jnp.stack([state.time.astype(jnp.float32), state.action.astype(jnp.float32), state.noise])


# Tasks 0 and 1 terminate (after 2 and 3 steps), task 2 is truncated after 5; task 3 terminates at the same moment.
TASKS = CountTask(jnp.array([2, 3, 99, 5]), jnp.array([1.0, 10.0, 100.0, 1000.0]))
ENV = Count()
LENGTHS = [2, 3, 5, 5]


class Cycle:
    """A policy without parameters that plays 0, 1, 2, 0, 1, 2 over its trial: its memory counts steps."""

    @staticmethod
    def policy() -> Policy:
        def step(params, memory, timestep):
            memory = jnp.where(timestep.trial_start, 0, memory)
            logits = 50.0 * jax.nn.one_hot(memory % 3, 3)
            return memory + 1, (logits, memory.astype(jnp.float32))

        def unroll(params, memory, timesteps):
            return jax.lax.scan(lambda m, t: step(params, m, t), memory, timesteps)[1]

        return Policy(lambda key: (), lambda batch: jnp.zeros(batch, jnp.int32), step, unroll, categorical(3))


@functools.cache
def live(num_steps: int, forget: bool = False, continued: bool = False):
    policy = Cycle.policy()
    if continued:
        return jax.jit(lambda key, place: rollout(key, ENV, policy, (), TASKS, num_steps, place, forget))
    return jax.jit(lambda key: rollout(key, ENV, policy, (), TASKS, num_steps, forget=forget))


@pytest.fixture(scope="module")
def collected():
    place, trajectory = live(20)(jax.random.key(0))
    return jax.tree.map(np.asarray, place), jax.tree.map(np.asarray, trajectory)


def test_episodes_start_when_the_last_one_ended(collected):
    _, trajectory = collected
    starts = trajectory.timestep.episode_start
    assert starts.shape == (20, N) and starts.dtype == bool
    for n, length in enumerate(LENGTHS):
        np.testing.assert_array_equal(starts[:, n], np.arange(20) % length == 0)
        np.testing.assert_array_equal(trajectory.timestep.observation[:, n, 0], np.arange(20) % length)
        np.testing.assert_array_equal(trajectory.env_state.time[:, n], np.arange(20) % length)
    assert trajectory.timestep.trial_start[0].all() and not trajectory.timestep.trial_start[1:].any()


def test_terminated_and_truncated_are_apart(collected):
    _, trajectory = collected
    ends = (np.arange(20)[:, None] + 1) % LENGTHS == 0
    np.testing.assert_array_equal(trajectory.terminated, ends & [True, True, False, True])
    np.testing.assert_array_equal(trajectory.truncated, ends & [False, False, True, False])


def test_last_action_and_reward_are_those_of_the_step_before(collected):
    """Across the end of an episode too: RL^2 must see what ended it."""
    _, trajectory = collected
    np.testing.assert_array_equal(trajectory.action, np.tile(np.arange(20)[:, None] % 3, (1, N)))
    rewards = np.asarray(TASKS.reward) * (np.arange(20)[:, None] % LENGTHS + 1)
    np.testing.assert_array_equal(trajectory.reward, rewards)
    np.testing.assert_array_equal(trajectory.mean_reward, rewards + 0.5)
    np.testing.assert_array_equal(trajectory.timestep.last_action[1:], trajectory.action[:-1])
    np.testing.assert_array_equal(trajectory.timestep.last_reward[1:], rewards[:-1])
    assert not trajectory.timestep.last_action[0].any() and not trajectory.timestep.last_reward[0].any()


def test_next_observation_is_what_came_before_the_new_episode(collected):
    _, trajectory = collected
    seen, following = trajectory.timestep.observation, trajectory.next_observation
    for n, length in enumerate(LENGTHS):
        np.testing.assert_array_equal(following[:, n, 0], np.arange(20) % length + 1)
    inside = ~(trajectory.terminated | trajectory.truncated)
    np.testing.assert_array_equal(following[:-1][inside[:-1]], seen[1:][inside[:-1]])
    np.testing.assert_array_equal(following[..., 1], trajectory.action)
    assert (seen[..., 1] == -1)[trajectory.timestep.episode_start].all()


def test_each_episode_begins_with_fresh_noise(collected):
    _, trajectory = collected
    for n, length in enumerate(LENGTHS):
        noise = trajectory.timestep.observation[: 20 // length * length, n, 2].reshape(-1, length)
        assert (noise == noise[:, :1]).all() and len(np.unique(noise[:, 0])) == len(noise)
    first = trajectory.timestep.observation[0, :, 2]
    assert len(set(first.tolist())) == N


def test_values_of_the_policy_are_kept(collected):
    _, trajectory = collected
    logits, values = trajectory.outputs
    np.testing.assert_array_equal(values, np.tile(np.arange(20.0)[:, None], (1, N)))
    np.testing.assert_array_equal(logits.argmax(-1), trajectory.action)


def test_a_rollout_goes_on_from_its_place(collected):
    whole_place, whole = collected
    place, first = live(8)(jax.random.key(1))
    place, second = live(12, continued=True)(jax.random.key(2), place)
    joined = jax.tree.map(lambda a, b: np.concatenate([a, b]), first, second)

    def known(trajectory, place):
        """All that is not drawn."""
        timestep = trajectory.timestep._replace(observation=trajectory.timestep.observation[..., :2])
        following = trajectory.next_observation[..., :2]
        return (
            trajectory._replace(
                timestep=timestep,
                next_observation=following,
                env_state=trajectory.env_state._replace(noise=0),
                next_env_state=trajectory.next_env_state._replace(noise=0),
            ),
            place.env_state.time,
            place.timestep._replace(observation=place.timestep.observation[..., :2]),
            place.memory,
        )

    jax.tree.map(np.testing.assert_array_equal, known(joined, place), known(whole, whole_place))
    np.testing.assert_array_equal(place.memory, np.full(N, 20))
    np.testing.assert_array_equal(place.timestep.last_reward, joined.reward[-1])
    # The episode that was open at the seam (task 2 after 8 steps) goes on with the noise that it began with.
    assert joined.timestep.observation[8, 2, 2] == joined.timestep.observation[7, 2, 2]


def test_forget_wipes_at_each_episode():
    _, trajectory = jax.tree.map(np.asarray, live(20, forget=True)(jax.random.key(0)))
    starts = trajectory.timestep.episode_start
    np.testing.assert_array_equal(trajectory.timestep.trial_start, starts)
    for n, length in enumerate(LENGTHS):
        np.testing.assert_array_equal(starts[:, n], np.arange(20) % length == 0)
        np.testing.assert_array_equal(trajectory.outputs[1][:, n], np.arange(20) % length)  # its memory
        np.testing.assert_array_equal(trajectory.action[:, n], np.arange(20) % length % 3)
    assert not trajectory.timestep.last_action[starts].any() and not trajectory.timestep.last_reward[starts].any()
    inside = ~starts[1:]
    np.testing.assert_array_equal(trajectory.timestep.last_reward[1:][inside], trajectory.reward[:-1][inside])
    np.testing.assert_array_equal(trajectory.timestep.last_action[1:][inside], trajectory.action[:-1][inside])
    assert (trajectory.reward > 0).all()  # the record itself keeps every reward


def test_greedy_takes_the_mode():
    cycle = Cycle.policy()

    def nearly_even(params, memory, timestep):
        memory, (logits, value) = cycle.step(params, memory, timestep)
        return memory, (logits / 50.0, value)

    policy = cycle._replace(step=nearly_even)
    actions = {
        greedy: rollout(jax.random.key(0), ENV, policy, (), TASKS, 12, greedy=greedy)[1].action
        for greedy in (True, False)
    }
    np.testing.assert_array_equal(actions[True], np.tile(np.arange(12)[:, None] % 3, (1, N)))
    assert 0.1 < np.mean(np.asarray(actions[True] == actions[False])) < 0.95


def test_enter_is_the_start_of_a_trial():
    place = init_rollout(jax.random.key(0), ENV, Cycle.policy(), TASKS)
    assert place.timestep.episode_start.all() and place.timestep.trial_start.all()
    assert not place.env_state.time.any() and not place.memory.any()
    np.testing.assert_array_equal(place.timestep.observation[:, 2], place.env_state.noise)


def born(policy: Policy):
    """Parameters none of which is near zero, so that every input has its effect."""
    shapes, normal = jax.eval_shape(policy.init, jax.random.key(0)), np.random.default_rng(0).normal
    return jax.tree.map(lambda s: jnp.asarray(normal(scale=0.4, size=s.shape), jnp.float32), shapes)


class Targets(Environment):
    """Continuous: reward is what the environment was given, its observation likewise."""

    horizon = 3
    spec = Spec(observation_shape=(2,), action_size=2, action_low=(0.0, -5.0), action_high=(1.0, 5.0))

    def reset(self, noise, task):
        return CountState(jnp.int32(0), jnp.zeros(2), task)

    def step(self, noise, state, action, task):
        return CountState(state.time + 1, action, task), action.sum(), jnp.bool_(False), {}

    def observe(self, state, task):
        return state.action


def test_continuous_actions_reach_the_environment_within_bounds():
    policy = actor_critic(Targets.spec, "gru", 4, (), True)
    params = born(policy)
    tasks = jnp.zeros(16)
    live = jax.jit(
        lambda key, forget: rollout(key, Targets(), policy, params, tasks, 9, forget=forget), static_argnums=1
    )
    _, trajectory = jax.tree.map(np.asarray, live(jax.random.key(1), False))
    given = trajectory.next_observation
    np.testing.assert_allclose(given[..., 0], np.clip(trajectory.action[..., 0], -1, 1) / 2 + 0.5, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(given[..., 1], 5 * np.clip(trajectory.action[..., 1], -1, 1), rtol=1e-5, atol=1e-6)
    assert np.abs(trajectory.action).max() > 1  # the record keeps the raw sample, whose log-probability it is
    np.testing.assert_array_equal(trajectory.timestep.last_action[1:], trajectory.action[:-1])
    _, trajectory = jax.tree.map(np.asarray, live(jax.random.key(1), True))
    assert not trajectory.timestep.last_action[trajectory.timestep.episode_start].any()


@pytest.fixture(scope="module")
def recurrent():
    policy = actor_critic(ENV.spec, "gru", 8, (6,), True)
    params = born(policy)
    _, trajectory = jax.jit(lambda key: rollout(key, ENV, policy, params, TASKS, 20))(jax.random.key(1))
    return policy, params, trajectory


def test_replay_says_what_the_rollout_said(recurrent):
    policy, params, trajectory = recurrent
    logits, values = jax.jit(lambda params, t: replay(policy, params, t))(params, trajectory.timestep)
    old_logits, old_values = trajectory.outputs
    assert float(jnp.std(old_values)) > 0.01
    np.testing.assert_allclose(values, old_values, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        policy.actions.log_prob(logits, trajectory.action),
        policy.actions.log_prob(old_logits, trajectory.action),
        rtol=1e-5,
        atol=1e-5,
    )


def test_replay_from_memory_in_the_middle(recurrent):
    policy, params, trajectory = recurrent
    memory, step = policy.carry((N,)), jax.jit(policy.step)
    for t in range(7):
        memory, _ = step(params, memory, jax.tree.map(lambda x, t=t: x[t], trajectory.timestep))
    rest = jax.tree.map(lambda x: x[7:], trajectory.timestep)
    again = jax.jit(lambda *rest: replay(policy, params, *rest))
    _, values = again(rest, memory)
    np.testing.assert_allclose(values, trajectory.outputs[1][7:], rtol=1e-5, atol=1e-5)
    _, without = again(rest)
    assert float(jnp.abs(without - values).max()) > 1e-3


def test_the_first_action_of_a_trial_sees_no_last_action(recurrent):
    """Zero is an action: before the first step there was none, and the encoder must be able to tell."""
    policy, params, trajectory = recurrent
    first = jax.tree.map(lambda x: x[0], trajectory.timestep)
    memory = policy.carry((N,))
    step = jax.jit(policy.step)
    said = lambda t: step(params, memory, t)[1][1]
    np.testing.assert_array_equal(said(first), said(first._replace(last_action=first.last_action + 2)))
    inside = first._replace(trial_start=jnp.zeros(N, bool))
    assert float(jnp.abs(said(first) - said(inside)).min()) > 1e-5


GAMMA = 0.9


def batch_of(policy, params, collected, trace, across_episodes):
    judge = functools.partial(advantages_of, policy, GAMMA, trace, across_episodes)
    return jax.jit(lambda params, collected: learning_batch(policy, collected, judge(params, collected)))(
        params, collected
    )


def test_learning_batch_of_ppo_cuts_at_termination_and_bootstraps_at_truncation():
    policy = actor_critic(ENV.spec, "none", 8, (6,), False)
    params = born(policy)
    _, collected = jax.jit(lambda key: rollout(key, ENV, policy, params, TASKS, 7))(jax.random.key(1))
    batch = batch_of(policy, params, collected, 0.0, False)
    step = jax.jit(policy.step)
    value = lambda observation: np.asarray(
        step(params, (), jax.tree.map(lambda x: x[0], collected.timestep)._replace(observation=observation))[1][1]
    )
    for t in range(7):
        # lambda = 0: the target is r + gamma V(next), nothing after termination.
        going_on = np.where(collected.terminated[t], 0.0, value(collected.next_observation[t]))
        np.testing.assert_allclose(batch.target[t], collected.reward[t] + GAMMA * going_on, rtol=1e-4)
    assert bool(collected.truncated.any()) and bool(collected.terminated.any())
    # lambda = 1: returns of each episode alone. Task 0 (two steps): 1 + gamma 2; task 2 is truncated after 5.
    batch = batch_of(policy, params, collected, 1.0, False)
    np.testing.assert_allclose(batch.target[:6, 0], [1 + GAMMA * 2, 2.0] * 3, rtol=1e-4)
    last = value(collected.next_observation[4])[2]
    wanted = sum(GAMMA**k * 100.0 * (k + 1) for k in range(5)) + GAMMA**5 * last
    np.testing.assert_allclose(batch.target[0, 2], wanted, rtol=1e-4)
    # The trial's end (step 7) is a truncation too: task 1 is then at step 1 of its third episode.
    np.testing.assert_allclose(batch.target[6, 1], 10.0 + GAMMA * value(collected.next_observation[6])[1], rtol=1e-4)


def test_learning_batch_of_rl2_runs_through_the_whole_trial(recurrent):
    policy, params, collected = recurrent
    batch = batch_of(policy, params, collected, 1.0, True)
    wanted, total = np.zeros((20, N)), np.zeros(N)
    for t in reversed(range(20)):
        total = np.asarray(collected.reward[t]) + GAMMA * total
        wanted[t] = total
    np.testing.assert_allclose(batch.target, wanted, rtol=1e-4)
    batch = batch_of(policy, params, collected, 0.0, True)
    values = np.asarray(collected.outputs[1])
    following = np.concatenate([values[1:], np.zeros((1, N))])  # the end of the trial is worth nothing
    np.testing.assert_allclose(batch.target, collected.reward + GAMMA * following, rtol=1e-4)


def test_learning_batch_of_a_memory_within_episodes_is_made_of_each_alone(recurrent):
    """Generalised advantages, by hand: an episode's end is worth nothing however it came, and one that the trial's end
    leaves unfinished is worth what its last step said."""
    policy, params, _ = recurrent
    _, collected = jax.jit(lambda key: rollout(key, ENV, policy, params, TASKS, 18, forget=True))(jax.random.key(1))
    batch = batch_of(policy, params, collected, 0.8, False)
    rewards, values, done = (
        np.asarray(x) for x in (collected.reward, collected.outputs[1], collected.terminated | collected.truncated)
    )
    assert bool(collected.truncated.any()) and 0 < done[-1].sum() < N
    for task in range(N):
        for steps in np.split(np.arange(18), np.flatnonzero(done[:-1, task]) + 1):
            reward, value = rewards[steps, task], values[steps, task]
            if not done[steps[-1], task]:
                np.testing.assert_allclose(batch.target[steps[-1], task], value[-1], rtol=1e-5)
                steps, reward = steps[:-1], reward[:-1]
            else:
                value = np.append(value, 0.0)
            advantage = 0.0
            for t in reversed(range(len(steps))):
                advantage = reward[t] + GAMMA * value[t + 1] - value[t] + GAMMA * 0.8 * advantage
                np.testing.assert_allclose(batch.target[steps[t], task], value[t] + advantage, rtol=1e-4, atol=1e-4)


def test_learning_batch_standardises_and_keeps_old_log_probs(recurrent):
    policy, params, collected = recurrent
    batch = batch_of(policy, params, collected, 0.95, True)
    assert abs(float(batch.advantage.mean())) < 1e-5 and abs(float(batch.advantage.std()) - 1) < 1e-3
    np.testing.assert_array_equal(batch.log_prob, policy.actions.log_prob(collected.outputs[0], collected.action))
    assert batch.timestep is not None and (batch.action == collected.action).all()
