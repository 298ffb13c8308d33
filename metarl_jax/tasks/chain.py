"""The discounting chain of bsuite (Osband et al. 2020): one choice, and a reward that comes later or much later."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax import planning
from metarl_jax.config import check, family
from metarl_jax.records import Reference, Spec, TaskDistribution
from metarl_jax.tasks.environment import Environment, another_of, episode_after_episode, one_of
from metarl_jax.tasks.priors import of_these, prior_of

GROUND, WAIT, PAID, HERE = (236, 236, 232), (200, 208, 216), (86, 140, 200), (213, 94, 0)


class ChainTask(NamedTuple):
    """What each chain pays, and when.

    Attributes:
      reward: ``[C]``, what a chain pays, once.
      delay: ``[C]``, after how many steps of the episode.
    """

    reward: jax.Array
    delay: jax.Array


class ChainState(NamedTuple):
    """Which chain was chosen.

    Attributes:
      chain: its index, -1 before.
      time: steps since the episode began.
    """

    chain: jax.Array
    time: jax.Array


class ChainEnv(Environment):
    """The first action of an episode chooses a chain, the others do nothing.

    The observation is the chain, and the share of the episode that has gone.
    """

    def __init__(self, num_chains: int, horizon: int):
        self.horizon = horizon
        self.spec = Spec(observation_shape=(2,), num_actions=num_chains)

    def reset(self, noise, task: ChainTask):
        return ChainState(jnp.int32(-1), jnp.int32(0))

    def step(self, noise, state: ChainState, action, task: ChainTask):
        chain = jnp.where(state.time == 0, action, state.chain).astype(jnp.int32)
        time = state.time + 1
        reward = jnp.where(time == task.delay[chain], task.reward[chain], 0.0)
        return ChainState(chain, time), reward, jnp.bool_(False), {}

    def observe(self, state: ChainState, task: ChainTask):
        return jnp.stack([state.chain.astype(jnp.float32), state.time / self.horizon])

    def picture(self, task: ChainTask, state: ChainState | None = None) -> np.ndarray:
        """Draws a row a chain and a column a step: the waiting, and the step that pays (the darker, the less).

        Args:
          task: the chains.
          state: marks the chain chosen, at the current step; None: no mark.

        Returns:
          uint8 RGB ``[3 C + 1, horizon + 1, 3]``.
        """
        delays, rewards = np.asarray(task.delay), np.asarray(task.reward)
        image = np.full((3 * len(delays) + 1, self.horizon + 1, 3), GROUND, np.uint8)
        for chain, (delay, reward) in enumerate(zip(delays, rewards, strict=True)):
            rows = slice(3 * chain + 1, 3 * chain + 3)
            image[rows, :delay] = WAIT
            image[rows, delay] = np.asarray(PAID) * (reward / rewards.max()) ** 4
            if state is not None and chain == int(state.chain):
                image[rows, int(state.time)] = HERE
        return image


@family("discounting-chain")
def discounting_chain(
    *,
    best: tuple[int, ...] = (0, 1, 2, 3, 4),
    bonus: float = 0.1,
    delays: tuple[int, ...] = (1, 3, 10, 30, 100),
    num_episodes: int = 10,
) -> TaskDistribution:
    """Chains that pay 1 after different delays, but for one that pays more: agents that discount take the shortest.

    References are exact: the best chain known; Bayes-optimal (an untried chain each episode until the best is found,
    the likeliest first); one chain for all tasks; random.

    Args:
      best: the tasks: which chain pays ``1 + bonus`` (one of them, ``(3,)``, is bsuite's with mapping seed 3).
      bonus: what it pays more.
      delays: steps until each chain pays; an episode lasts as long as the longest.
      num_episodes: episodes in a trial.

    Returns:
      The distribution of these tasks, a finite set.
    """
    count = len(delays)
    check(
        count > 0 and 1 <= min(delays) <= max(delays) <= 10**6,
        "discounting-chain: delays",
        delays,
        "give numbers from 1 to a million",
    )
    distinct = len(set(best)) == len(best) > 0 and all(0 <= i < count for i in best)
    check(distinct, "discounting-chain: best", best, f"give each at most once, from 0 to {count - 1}")
    check(bonus > 0, "discounting-chain: bonus", bonus, "must be above 0")
    check(num_episodes >= 1, "discounting-chain: num_episodes", num_episodes, "must be at least 1")
    rewards = 1.0 + bonus * jnp.eye(count)[jnp.array(best)]
    tasks = ChainTask(rewards, jnp.tile(jnp.array(delays, jnp.int32), (len(best), 1)))
    horizon = max(delays)

    def optimum(task: ChainTask, trial_steps: int) -> jax.Array:
        paid = lambda steps: jnp.where(task.delay <= steps, task.reward, 0.0).max()
        return episode_after_episode(paid, horizon, trial_steps)

    def references(some: ChainTask, trial_steps: int, prior: ChainTask | None = None) -> list[Reference]:
        prior = tasks if prior is None else prior
        episodes, rest = divmod(trial_steps, horizon)
        return [] if rest else _planned(some, prior, horizon, episodes)

    return TaskDistribution(
        name="discounting-chain",
        env=ChainEnv(count, horizon),
        sample=functools.partial(one_of, tasks),
        horizon=horizon,
        trial_steps=horizon * num_episodes,
        tasks=tasks,
        references=references,
        mutate=functools.partial(another_of, tasks),
        optimum=optimum,
    )


def payoffs(tasks: ChainTask, horizon: int) -> np.ndarray:
    """The return of an episode, by the chain chosen.

    Args:
      tasks: leaves ``[N, ...]``.
      horizon: steps in an episode.

    Returns:
      ``[N, C]``, 0 where a chain does not pay within the episode.
    """
    delay = np.asarray(tasks.delay)
    return np.where((delay >= 1) & (delay <= horizon), np.asarray(tasks.reward, np.float64), 0.0)


def _planned(tasks: ChainTask, prior: ChainTask, horizon: int, episodes: int) -> list[Reference]:
    """Known answers of a trial of whole episodes."""
    pays, repeat, (candidates, weight, _) = payoffs(tasks, horizon), np.ones(episodes), prior_of(prior)
    per_task = {
        "optimal": (pays.max(axis=1), "the best chain"),
        "random": (pays.mean(axis=1), "uniform over the chains"),
    }
    known = [
        Reference(role, "exact", episodes * value, value.mean() * repeat, note)
        for role, (value, note) in per_task.items()
    ]
    expected = payoffs(candidates, horizon)
    fixed = float((weight @ expected).max())
    found = [Reference("non_adaptive", "exact", episodes * fixed, fixed * repeat, "one chain for all tasks")]
    bayes = planning.hidden_choice_return(expected, candidates.delay, episodes, weight)
    if bayes is not None:
        note = "the likeliest chain not tried yet, until the best is found"
        found.append(Reference("bayes", "exact", bayes.sum(), bayes, note))
    return [*known, *of_these(found, tasks, prior)]
