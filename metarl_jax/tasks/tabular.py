"""Tabular MDPs: the random ones of RL^2, and any that are given as arrays."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax import planning
from metarl_jax.config import ConfigError, check, coerce, family, whole
from metarl_jax.records import Reference, Spec, TaskDistribution
from metarl_jax.runtime.devices import use_cpu_cores
from metarl_jax.tasks.environment import Environment, episode_after_episode, one_of
from metarl_jax.tasks.priors import elsewhere, of_these, prior_of


class TabularTask(NamedTuple):
    """A tabular MDP.

    Attributes:
      transition: ``[S, A, S]``, rows sum to one.
      reward: ``[S, A]``, mean rewards.
      reward_std: standard deviation of the rewards' Gaussian noise.
    """

    transition: jax.Array
    reward: jax.Array
    reward_std: jax.Array


class TabularState(NamedTuple):
    """Where the agent is.

    Attributes:
      state: index of the MDP's state.
      time: steps since the episode began.
    """

    state: jax.Array
    time: jax.Array


class TabularEnv(Environment):
    """Episodes of ``horizon`` steps from state 0; the observation is the state, one-hot."""

    def __init__(self, num_states: int, num_actions: int, horizon: int):
        self.num_states, self.horizon = num_states, horizon
        self.spec = Spec(observation_shape=(num_states,), num_actions=num_actions)

    def sample_noise(self, key, shape):
        next_key, reward_key = jax.random.split(key)
        return jax.random.uniform(next_key, shape), jax.random.normal(reward_key, shape)

    def reset(self, noise, task: TabularTask):
        return TabularState(jnp.int32(0), jnp.int32(0))

    def step(self, noise, state: TabularState, action, task: TabularTask):
        uniform, normal = noise
        # One row, then inverting its cumulative distribution; rounding may leave its end below 1.
        cumulative = jnp.cumsum(task.transition[state.state, action])[:-1]
        following = jnp.sum(uniform >= cumulative, dtype=jnp.int32)
        mean = task.reward[state.state, action]
        reward = mean + task.reward_std * normal
        return TabularState(following, state.time + 1), reward, jnp.bool_(False), {"mean_reward": mean}

    def observe(self, state: TabularState, task: TabularTask) -> jax.Array:
        return (jnp.arange(self.num_states) == state.state).astype(jnp.float32)

    def picture(self, task: TabularTask, state: TabularState | None = None) -> np.ndarray:
        """Draws mean rewards, states down and actions across: blue low, orange high; the state is marked on the left.

        Args:
          task: the MDP.
          state: the state to mark; None: no mark.

        Returns:
          uint8 RGB ``[S, 1 + A, 3]``.
        """
        reward = np.asarray(task.reward, float)
        share = (reward - reward.min()) / max(np.ptp(reward), 1e-9)
        low, high = np.array([66, 120, 180.0]), np.array([230, 140, 40.0])
        image = (low + share[..., None] * (high - low)).astype(np.uint8)
        mark = np.full((len(reward), 1, 3), 236, np.uint8)
        if state is not None:
            mark[int(state.state)] = 0
        return np.concatenate([mark, image], axis=1)


@family("tabular")
def tabular(
    *,
    num_states: int = 10,
    num_actions: int = 5,
    horizon: int = 10,
    num_episodes: int = 10,
    reward_std: float = 1.0,
    mean_reward: float = 1.0,
) -> TaskDistribution:
    """The random MDPs of RL^2 (Duan et al. 2016).

    ``P(. | s, a) ~ Dirichlet(1)``, mean reward ``~ N(1, 1)``, Gaussian reward noise, start in state 0.

    References: the optimal policy of each MDP (backward induction), and a lower bound on the best without
    memory between episodes: by symmetry every policy that is fixed before the MDP is drawn receives ``mean_reward`` a
    step in expectation. Of a small finite set of MDPs whose rewards have no noise also the Bayes-optimal value and the
    best without adapting, by dynamic programming over beliefs.

    Args:
      num_states: S.
      num_actions: A.
      horizon: steps in an episode.
      num_episodes: episodes in a trial.
      reward_std: standard deviation of the reward noise.
      mean_reward: mean of the N(mean, 1) that mean rewards are drawn from.

    Returns:
      The distribution of MDPs.
    """
    sizes = {"num_states": num_states, "num_actions": num_actions, "horizon": horizon, "num_episodes": num_episodes}
    for field, value in sizes.items():
        check(value >= 1, f"tabular: {field}", value, "must be at least 1")
    check(reward_std >= 0, "tabular: reward_std", reward_std, "must not be negative")

    def sample(key):
        transition_key, reward_key = jax.random.split(key)
        # Exponentials over their sum are Dirichlet(1).
        weights = jax.random.exponential(transition_key, (num_states, num_actions, num_states))
        reward = mean_reward + jax.random.normal(reward_key, (num_states, num_actions))
        return TabularTask(weights / weights.sum(-1, keepdims=True), reward, jnp.float32(reward_std))

    def references(tasks: TabularTask, trial_steps: int, prior: TabularTask | None = None):
        note = "any policy fixed beforehand; one that learns within an episode earns more"
        found = [Reference("non_adaptive", "lower", mean_reward * trial_steps, None, note)]
        if prior is not None:
            found = _over_beliefs(tasks, prior, horizon, trial_steps) or elsewhere(found)
        return [*_planned(tasks, horizon, trial_steps), *found]

    return TaskDistribution(
        name="tabular",
        env=TabularEnv(num_states, num_actions, horizon),
        sample=sample,
        horizon=horizon,
        trial_steps=horizon * num_episodes,
        references=references,
        mutate=mutate,
        optimum=functools.partial(optimum, horizon),
    )


def from_arrays(
    transition, reward, *, horizon: int, num_episodes: int = 10, reward_std: float = 0.0, name: str = "tabular-arrays"
) -> TaskDistribution:
    """A finite set of your own MDPs, which all start in state 0; references are those of ``tabular``.

    Args:
      transition: ``[N, S, A, S]``, rows sum to one.
      reward: ``[N, S, A]``, mean rewards.
      horizon: steps in an episode.
      num_episodes: episodes in a trial.
      reward_std: standard deviation of the rewards' Gaussian noise.
      name: of the distribution.

    Returns:
      The distribution, a finite set.

    Raises:
      ConfigError: for shapes that do not belong together, or rows that are no distributions.
    """
    use_cpu_cores()
    try:
        transition, reward = (np.asarray(x).astype(np.float32, casting="same_kind") for x in (transition, reward))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"transition, reward: must be arrays of numbers ({error})") from None
    fits = transition.ndim == 4 and transition.shape[1] == transition.shape[3] and transition.shape[:3] == reward.shape
    shapes = (transition.shape, reward.shape)
    check(fits, "transition, reward", shapes, "must have the shapes [N, S, A, S] and [N, S, A]")
    rows = np.isclose(transition.sum(-1), 1.0, atol=1e-4).all() and (transition >= 0).all()
    finite = bool(np.isfinite(reward).all()) and reward.size > 0
    check(finite, "reward", reward.shape, "must hold finite numbers, of at least one MDP")
    reward_std = coerce(reward_std, float, "reward_std")
    check(reward_std >= 0, "reward_std", reward_std, "must not be negative")
    counts = whole(horizon) and whole(num_episodes)
    check(counts, "horizon, num_episodes", (horizon, num_episodes), "must be whole numbers")
    check(bool(rows), "transition", "array", "each row transition[n, s, a] must be a distribution over S states")
    check(horizon >= 1 and num_episodes >= 1, "horizon, num_episodes", (horizon, num_episodes), "must be at least 1")
    count, num_states, num_actions = reward.shape
    tasks = TabularTask(jnp.asarray(transition), jnp.asarray(reward), jnp.full(count, reward_std, jnp.float32))

    def references(some: TabularTask, trial_steps: int, prior: TabularTask | None = None) -> list[Reference]:
        prior = tasks if prior is None else prior
        return [*_planned(some, horizon, trial_steps), *_over_beliefs(some, prior, horizon, trial_steps)]

    return TaskDistribution(
        name=name,
        env=TabularEnv(num_states, num_actions, horizon),
        sample=functools.partial(one_of, tasks),
        horizon=horizon,
        trial_steps=horizon * num_episodes,
        tasks=tasks,
        references=references,
        mutate=mutate,
        optimum=functools.partial(optimum, horizon),
    )


def optimum(horizon: int, task: TabularTask, trial_steps: int) -> jax.Array:
    """The optimal expected return of a trial, by backward induction.

    Args:
      horizon: steps in an episode.
      task: the MDP.
      trial_steps: steps in a trial.

    Returns:
      A scalar.
    """
    value = planning.backward_induction(task.transition, task.reward, horizon).value
    return episode_after_episode(lambda steps: value[horizon - steps, 0], horizon, trial_steps)


def _planned(tasks: TabularTask, horizon: int, trial_steps: int) -> list[Reference]:
    """Optimal and random play of each task ``[N]``, exactly, by backward induction."""
    num_states, num_actions = tasks.reward.shape[1:]
    best = jax.jit(jax.vmap(lambda task: planning.backward_induction(task.transition, task.reward, horizon).value))
    uniform = jnp.full((num_states, num_actions), 1.0 / num_actions)
    drift = jax.jit(jax.vmap(lambda task: planning.policy_value(task.transition, task.reward, uniform, horizon)))
    episodes, rest = divmod(trial_steps, horizon)
    found = []
    for role, values, note in (("optimal", best(tasks), "backward induction"), ("random", drift(tasks), "uniform")):
        values = np.asarray(values, np.float64)[:, :, 0]  # [N, T + 1], from state 0 at step t
        total = episodes * values[:, 0] + values[:, horizon - rest]
        by_episode = None if rest else np.full(episodes, values[:, 0].mean())
        found.append(Reference(role, "exact", total, by_episode, note))
    return found


def _over_beliefs(tasks: TabularTask, prior: TabularTask, horizon: int, trial_steps: int) -> list[Reference]:
    """Bayes-optimal and non-adaptive play of a small set of MDPs without noise in their rewards, exactly.

    Nothing where rewards are noisy, beliefs are too many, or the trial ends inside an episode.
    """
    candidates, weight, _ = prior_of(prior)
    episodes, rest = divmod(trial_steps, horizon)
    if rest or np.any(candidates.reward_std):
        return []
    solve = functools.partial(planning.hidden_mdp_return, candidates.transition, candidates.reward, horizon)
    bayes = solve(trial_steps, weight)
    if bayes is None:
        return []
    single = solve(horizon, weight)
    assert single is not None  # its beliefs are those of the trial's first episode
    fixed, by_episode = single.sum(), bayes.reshape(episodes, horizon).sum(axis=1)
    found = [
        Reference("bayes", "exact", bayes.sum(), by_episode, "dynamic programming over beliefs"),
        Reference("non_adaptive", "exact", episodes * fixed, np.full(episodes, fixed), "the best episode, repeated"),
    ]
    return of_these(found, tasks, prior)


def mutate(key: jax.Array, task: TabularTask) -> TabularTask:
    """Mixes a tenth of a fresh Dirichlet(1) row into each row, and moves each mean reward by about 0.1.

    Args:
      key: a random key.
      task: the MDP.

    Returns:
      The changed MDP.
    """
    transition_key, reward_key = jax.random.split(key)
    fresh = jax.random.exponential(transition_key, task.transition.shape)
    transition = 0.9 * task.transition + 0.1 * fresh / fresh.sum(-1, keepdims=True)
    return task._replace(
        transition=transition, reward=task.reward + 0.1 * jax.random.normal(reward_key, task.reward.shape)
    )
