"""Values of a handful of small tasks by exhaustive search over what an agent may have been shown, in the environments
themselves: only ``reset``, ``step``, ``observe`` and ``is_truncated`` are asked, all noise from a short list of
equally likely values. Knows no family and no planner."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

CHUNK = 64  # states that are stepped in one call


class Outcome(NamedTuple):
    """One way that a step may go on: ``shown`` is all that the agent sees of it."""

    chance: float
    reward: float
    shown: tuple
    state: int


class Machine:
    """All states that are reached in tasks ``[N]`` and what follows each: ``after[state][action]``, a list of outcomes.

    ``noises``: leaves ``[W, ...]``, equally likely; () for none. ``actions [A, ...]``; ``see(observation)``: what the
    agent sees of an observation, all by default.
    """

    def __init__(
        self, env: Any, tasks: Any, actions: np.ndarray, noises: Any = (), see=lambda observation: observation
    ):
        self.tasks, self.size, self.see = tasks, jax.tree.leaves(tasks)[0].shape[0], see
        self.num_noises = jax.tree.leaves(noises)[0].shape[0] if jax.tree.leaves(noises) else 1
        noises = noises if jax.tree.leaves(noises) else None

        def begin(noise, task):
            state = env.reset(() if noises is None else noise, task)
            return state, env.observe(state, task)

        def step(state, task, action, noise):
            noise = () if noises is None else noise
            after, reward, terminated, _ = env.step(noise, state, action, task)
            done = terminated | env.is_truncated(after, task)
            after = jax.tree.map(lambda new, old: jnp.where(done, new, old), env.reset(noise, task), after)
            return after, reward, done, env.observe(after, task)

        number = jnp.arange(self.num_noises)
        listed = number if noises is None else jax.tree.map(jnp.asarray, noises)
        over_noise = jax.vmap(step, (None, None, None, 0))
        over_actions = jax.vmap(over_noise, (None, None, 0, None))
        self.step = jax.jit(
            lambda states, rows: jax.vmap(lambda s, n: over_actions(s, row(tasks, n), jnp.asarray(actions), listed))(
                states, rows
            )
        )
        starts = jax.jit(jax.vmap(lambda n: jax.vmap(lambda w: begin(w, row(tasks, n)))(listed)))(jnp.arange(self.size))
        self.numbers: dict[tuple, int] = {}
        self.states, self.rows, self.after = [], [], []
        states, seen = jax.device_get(starts)
        numbers = self.number(states, np.repeat(np.arange(self.size), self.num_noises), 2)
        self.starts = numbers.reshape(self.size, self.num_noises)
        self.first = self.labels(seen, 2).reshape(self.size, self.num_noises)
        while len(self.after) < len(self.states):
            self.expand(range(len(self.after), min(len(self.states), len(self.after) + CHUNK)))

    def number(self, states: Any, rows: np.ndarray, axes: int) -> np.ndarray:
        """The numbers of states whose leaves have ``axes`` leading axes, new ones for new states."""
        leaves, kind = jax.tree.flatten(states)
        leaves = [np.asarray(leaf).reshape(len(rows), -1) for leaf in leaves]
        shapes = [np.asarray(leaf).shape[axes:] for leaf in jax.tree.leaves(states)]
        found = np.zeros(len(rows), int)
        for i, n in enumerate(rows.tolist()):
            key = (n, *(leaf[i].tobytes() for leaf in leaves))
            if key not in self.numbers:
                self.numbers[key] = len(self.states)
                parts = [leaf[i].reshape(shape) for leaf, shape in zip(leaves, shapes, strict=True)]
                self.states.append(jax.tree.unflatten(kind, parts))
                self.rows.append(n)
            found[i] = self.numbers[key]
        return found

    def labels(self, observations: np.ndarray, axes: int) -> np.ndarray:
        """What the agent sees, as bytes, flat."""
        seen = np.round(np.asarray(self.see(observations), np.float64), 5) + 0.0
        flat = seen.reshape(int(np.prod(seen.shape[:axes])), -1)
        return np.array([one.tobytes() for one in flat], object)

    def expand(self, numbers: range) -> None:
        padded = [*numbers, *[numbers[0]] * (CHUNK - len(numbers))]
        states = jax.tree.map(lambda *x: np.stack(x), *(self.states[i] for i in padded))
        rows = np.array([self.rows[i] for i in padded])
        after, reward, done, seen = jax.device_get(self.step(states, rows))
        shape = reward.shape  # [CHUNK, A, W]
        following = self.number(after, rows.repeat(shape[1] * shape[2]), 3).reshape(shape)
        labels = self.labels(seen, 3).reshape(shape)
        for i in range(len(numbers)):
            self.after.append(
                [self.outcomes(reward[i, a], done[i, a], labels[i, a], following[i, a]) for a in range(shape[1])]
            )

    def outcomes(self, reward, done, labels, following) -> list[Outcome]:
        found: dict[tuple, float] = {}
        for r, d, label, state in zip(reward.tolist(), done.tolist(), labels, following.tolist(), strict=True):
            key = r, (round(r, 5), d, label), state
            found[key] = found.get(key, 0.0) + 1 / self.num_noises
        return [Outcome(chance, *key) for key, chance in found.items()]

    @functools.cached_property
    def memo(self) -> dict:
        return {}

    def start(self, rows) -> list[dict[int, float]]:
        """The beliefs that a trial in one of ``rows``, equally likely, may begin with: weights of states."""
        beliefs: dict[bytes, dict[int, float]] = {}
        for n in rows:
            for state, label in zip(self.starts[n].tolist(), self.first[n], strict=True):
                belief = beliefs.setdefault(label, {})
                belief[state] = belief.get(state, 0.0) + 1 / (len(rows) * self.num_noises)
        return list(beliefs.values())

    def best(self, rows, steps: int) -> float:
        """The most that any agent earns on average in ``steps`` steps, not knowing which of ``rows`` its task is."""
        return sum(self.value(belief, steps) for belief in self.start(rows))

    def value(self, belief: dict[int, float], steps: int) -> float:
        total = sum(belief.values())
        if steps == 0:
            return 0.0
        key = (steps, tuple(sorted((state, round(weight / total, 9)) for state, weight in belief.items())))
        if key not in self.memo:
            self.memo[key] = max(self.worth(belief, action, steps) for action in range(len(self.after[0]))) / total
        return total * self.memo[key]

    def worth(self, belief: dict[int, float], action: int, steps: int) -> float:
        earned, parts = 0.0, {}
        for state, weight in belief.items():
            for outcome in self.after[state][action]:
                mass = weight * outcome.chance
                earned += mass * outcome.reward
                part = parts.setdefault(outcome.shown, {})
                part[outcome.state] = part.get(outcome.state, 0.0) + mass
        return earned + sum(self.value(part, steps - 1) for part in parts.values())

    def random(self, n: int, steps: int) -> float:
        """What uniformly random actions earn on average in task ``n``."""
        reached, earned = {}, 0.0
        for state in self.starts[n].tolist():
            reached[state] = reached.get(state, 0.0) + 1 / self.num_noises
        for _ in range(steps):
            now, reached = reached, {}
            for state, weight in now.items():
                for outcomes in self.after[state]:
                    for outcome in outcomes:
                        mass = weight * outcome.chance / len(self.after[state])
                        earned += mass * outcome.reward
                        reached[outcome.state] = reached.get(outcome.state, 0.0) + mass
        return earned


def row(tasks: Any, n: Any) -> Any:
    return jax.tree.map(lambda x: x[n], tasks)
