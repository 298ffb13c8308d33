"""How settings are chosen: in two rounds, for baselines as for our own methods, and then reported on lifetimes that
chose nothing.

The first round scores every setting on few lifetimes, the second the best of these on many more, fresh ones. Its winner
is reported on yet others, a set for each seed, which are the same for all methods: so what is compared is paired, and
nobody's score is the luck of having been chosen.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.sizes import size

FIRST, FINAL, TESTED = 101, 303, 202  # keys of the lifetimes of the two rounds, and of those that are reported
TESTING = size(256, 2)  # lifetimes reported, for each seed
Setting = dict[str, Any]


class Rounds(NamedTuple):
    """Lifetimes of each setting in the first round, of each of ``finalists`` in the second."""

    first: int = size(64, 2)
    final: int = size(512, 2)
    finalists: int = size(8, 2)


class Choice(NamedTuple):
    """The setting chosen; what a row says of it and of the choice."""

    setting: Setting
    told: dict[str, Any]


def lifetimes(which: int, count: int, seed: int = 0) -> jax.Array:
    """Keys ``[count]``, of a life in a task of its own each."""
    return jax.random.split(jax.random.fold_in(jax.random.key(which), seed), count)


def tested_on(seed: int) -> jax.Array:
    return lifetimes(TESTED, TESTING, seed)


def seeds_of(keys: jax.Array) -> list[int]:
    """A run's seed of each key ``[R]``, where what is scored are runs: so large that none of those reported is met."""
    return jax.vmap(lambda key: (jax.random.bits(key) >> 1) | (1 << 20))(keys).tolist()


def choose(
    settings: Sequence[Setting], score: Callable[[jax.Array, Setting], float], rounds: Rounds | None = None
) -> Choice:
    """The best of ``settings`` by two rounds of ``score(keys, setting)``; one that is not finite is the worst."""
    rounds = rounds or Rounds()
    mean = lambda which, count: (
        lambda setting: float(np.nan_to_num(score(lifetimes(which, count), setting), nan=-np.inf))
    )
    ranked = sorted(settings, key=mean(FIRST, rounds.first), reverse=True)
    scores = [mean(FINAL, rounds.final)(setting) for setting in ranked[: rounds.finalists]]
    best = int(np.argmax(scores))
    told = dict(setting=ranked[best], of=len(settings), rounds=rounds._asdict(), score=scores[best])
    return Choice(ranked[best], told)
