"""Choices that pay much later, with noise in between: a key and a door (Hung et al. 2019), an umbrella (bsuite)."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax import planning
from metarl_jax.config import check, check_all, family
from metarl_jax.records import Reference, Spec, TaskDistribution
from metarl_jax.tasks.environment import Environment, another_of, one_of
from metarl_jax.tasks.priors import of_these, prior_of

GROUND, WAY, DOOR, HERE = (236, 236, 232), (200, 208, 216), (120, 95, 75), (213, 94, 0)
KEY, HELD = (240, 200, 90), (0, 158, 115)
RAIN, SUN = (66, 120, 180), (250, 225, 120)


class CreditTask(NamedTuple):
    """How a thing (key, umbrella) is taken, and what it is worth.

    Attributes:
      action: which one takes the thing, int32.
      prize: what the last step pays where it is as it should be.
      noise: the standard deviation of the rewards in between.
    """

    action: jax.Array
    prize: jax.Array
    noise: jax.Array


class CreditState(NamedTuple):
    """Whether the thing is held, and wanted.

    Attributes:
      holds: whether the thing was taken.
      forecast: 1 where it is wanted, -1 where not to have it is.
      time: steps since the episode began.
    """

    holds: jax.Array
    forecast: jax.Array
    time: jax.Array


class CreditEnv(Environment):
    """The first action of an episode takes a thing or not; the last of its ``length + 2`` steps pays a prize or not.

    The other actions do nothing; each of the ``length`` steps in between pays noise of mean 0.

    Without ``weather`` (key to door) the thing is always wanted, the last step pays ``prize`` or 0, noise is normal.
    With it (umbrella) a forecast is drawn for each episode, the last step pays ``prize`` where the thing is held if
    and only if it says so, else ``-prize``; noise is a random sign.

    The observation is the time, one-hot by step; whether the thing is held (where ``visible``); and the forecast.
    """

    def __init__(self, num_actions: int, length: int, weather: bool, visible: bool):
        self.horizon, self.weather, self.visible = length + 2, weather, visible
        self.random_start = weather
        self.spec = Spec(observation_shape=(self.horizon + visible + weather,), num_actions=num_actions)

    def sample_noise(self, key, shape):
        if not self.weather:
            return jax.random.normal(key, shape)
        return jax.random.rademacher(key, (*shape, 2), jnp.float32)  # of the reward, of the forecast that may follow

    def reset(self, noise, task: CreditTask):
        return CreditState(jnp.bool_(False), noise[1] if self.weather else jnp.float32(1.0), jnp.int32(0))

    def step(self, noise, state: CreditState, action, task: CreditTask):
        holds = jnp.where(state.time == 0, action == task.action, state.holds)
        time, lasts = state.time + 1, (state.time > 0) & (state.time < self.horizon - 1)
        fits = holds == (state.forecast > 0)
        prize = jnp.where(fits, task.prize, -task.prize if self.weather else 0.0)
        mean = jnp.where(time == self.horizon, prize, 0.0)
        reward = mean + jnp.where(lasts, task.noise * (noise[0] if self.weather else noise), 0.0)
        return CreditState(holds, state.forecast, time), reward, jnp.bool_(False), {"mean_reward": mean}

    def observe(self, state: CreditState, task: CreditTask) -> jax.Array:
        parts = [jnp.arange(self.horizon) == state.time]
        if self.visible:
            parts.append(state.holds[None])
        if self.weather:
            parts.append(state.forecast[None])
        return jnp.concatenate([part.astype(jnp.float32) for part in parts])

    def picture(self, task: CreditTask, state: CreditState | None = None) -> np.ndarray:
        """Draws a row an action, a column a step: the action that takes the thing, the way, the door or the weather.

        Args:
          task: the action that takes the thing.
          state: marks the current step, and shows the weather; None: neither.

        Returns:
          uint8 RGB ``[A, horizon, 3]``.
        """
        image = np.full((self.spec.num_actions or 0, self.horizon, 3), WAY, np.uint8)
        image[:, 0], image[:, -1] = GROUND, DOOR
        image[int(task.action), 0] = KEY
        if state is not None:
            if self.weather:
                image[:, -1] = RAIN if state.forecast > 0 else SUN
            image[:, min(int(state.time), self.horizon - 1)] = HELD if state.holds else HERE
        return image


@family("key-to-door")
def key_to_door(
    *,
    num_actions: int = 4,
    length: int = 20,
    prize: float = 5.0,
    noise: float = 1.0,
    num_episodes: int = 8,
    key_visible: bool = True,
) -> TaskDistribution:
    """A key that opens a door much later, and noisy rewards on the way (the chain of Hung et al. 2019's task).

    The first action of an episode picks up the key or does not: which one does is the task. Then come ``length`` steps
    whose rewards are noise, whatever is done, and a door behind which the prize is, for who has the key.

    References are exact: the key known; Bayes-optimal (an untried action each episode, the likeliest first, until the
    key is found: the door tells without noise); one action for all tasks; random.

    Args:
      num_actions: the tasks: each of them may be the one that picks up the key.
      length: steps between key and door.
      prize: what the door pays to who has the key.
      noise: standard deviation of the (normal) rewards on the way.
      num_episodes: episodes in a trial.
      key_visible: whether the agent sees that it has the key.

    Returns:
      The distribution of these tasks, a finite set.
    """
    check(num_actions >= 2, "key-to-door: num_actions", num_actions, "must be at least 2")
    env = CreditEnv(num_actions, length, weather=False, visible=key_visible)

    def values(some: CreditTask, weight: np.ndarray, episodes: int) -> dict:
        pays = np.where(np.arange(num_actions) == np.asarray(some.action)[:, None], _prizes(some)[:, None], 0.0)
        fixed = np.full(episodes, (weight @ pays).max())
        known = {"non_adaptive": (fixed, "one action for all tasks")}
        bayes = planning.hidden_choice_return(pays, np.zeros(pays.shape), episodes, weight)
        if bayes is None or len(np.unique(some.noise)) > 1:  # the noise on the way may tell of the task, too
            return known
        return known | {"bayes": (bayes, "the likeliest action not tried yet, until the key is found")}

    return _chains("key-to-door", env, prize, noise, num_episodes, values)


@family("umbrella")
def umbrella(*, length: int = 20, prize: float = 1.0, noise: float = 1.0, num_episodes: int = 8) -> TaskDistribution:
    """An umbrella that is wanted or not much later, after bsuite's umbrella_length (Osband et al. 2020).

    Each episode has a forecast, seen throughout. The first action takes the umbrella or leaves it: which of the two
    takes it is the task. Then come ``length`` steps whose rewards are ``noise`` times a random sign, whatever is done;
    the last step pays the prize where the umbrella is held in rain or not held in sunshine, else minus the prize.

    References are exact: the action known; Bayes-optimal (the first episode tells all); the best that starts
    anew at each episode, 0 where both actions are as likely; random, 0.

    Args:
      length: steps between the choice and the weather.
      prize: what is won or lost by it.
      noise: size of the rewards on the way (1 in bsuite).
      num_episodes: episodes in a trial.

    Returns:
      The distribution of these two tasks, a finite set.
    """
    env = CreditEnv(2, length, weather=True, visible=True)

    def values(some: CreditTask, weight: np.ndarray, episodes: int) -> dict:
        worth = weight * _prizes(some)
        guess = abs(worth @ np.where(np.asarray(some.action) == 0, 1, -1))
        told = np.append(guess, np.full(episodes - 1, worth.sum()))
        fixed = np.full(episodes, guess)
        return {
            "bayes": (told, "the likelier action, then the action known"),
            "non_adaptive": (fixed, "the likelier action in every episode"),
        }

    return _chains("umbrella", env, prize, noise, num_episodes, values)


def _prizes(tasks: CreditTask) -> np.ndarray:
    return np.asarray(tasks.prize, np.float64)


def _chains(name: str, env: CreditEnv, prize: float, noise: float, num_episodes: int, values) -> TaskDistribution:
    """The set of all actions that may take the thing.

    ``values(tasks [G], weight [G], episodes)``: what each episode returns on average over these tasks, by role,
    ``[E]``, and how.
    """
    check_all(dict(length=env.horizon - 2, num_episodes=num_episodes), lambda x: x >= 1, "must be at least 1", name)
    check(prize > 0, f"{name}: prize", prize, "must be above 0")
    check(noise >= 0, f"{name}: noise", noise, "must not be negative")
    count = env.spec.num_actions or 0
    tasks = CreditTask(
        jnp.arange(count, dtype=jnp.int32),
        jnp.full(count, prize, jnp.float32),
        jnp.full(count, noise, jnp.float32),
    )

    def references(some: CreditTask, trial_steps: int, prior: CreditTask | None = None) -> list[Reference]:
        episodes, rest = divmod(trial_steps, env.horizon)
        if rest:
            return []
        prior = tasks if prior is None else prior
        best, repeat, (candidates, weight, _) = _prizes(some), np.ones(episodes), prior_of(prior)
        drift = 0.0 * best if env.weather else best / count  # in any weather random play is right half the time
        known = [
            Reference("optimal", "exact", episodes * best, best.mean() * repeat, "the action known"),
            Reference("random", "exact", episodes * drift, drift.mean() * repeat, "uniform over the actions"),
        ]
        of_prior = values(candidates, weight, episodes).items()
        found = [Reference(role, "exact", each.sum(), each, note) for role, (each, note) in of_prior]
        return [*known, *of_these(found, some, prior)]

    return TaskDistribution(
        name=name,
        env=env,
        sample=functools.partial(one_of, tasks),
        horizon=env.horizon,
        trial_steps=env.horizon * num_episodes,
        tasks=tasks,
        references=references,
        mutate=functools.partial(another_of, tasks),
        optimum=lambda task, trial_steps: trial_steps // env.horizon * task.prize,  # the last step of an episode pays
    )
