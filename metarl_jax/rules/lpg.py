"""A learned update rule: a network reads what an agent lived, backwards, and says what it should have done and thought.

Learned policy gradient (LPG, Oh et al. 2020). Axis letters: ``[T]`` steps, ``[M]`` numbers of a prediction, ``[H]``
units.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.networks.lstm import lstm_sequence
from metarl_jax.types import Key, PyTree

EMBEDDING = 16  # units between a prediction and the number that the rule sees of it
FEATURES = 7
GATES = ("input", "forget", "cell", "output")


class Seen(NamedTuple):
    """What a rule reads, ``[T, ...]`` (``progress``: a scalar).

    ``reward``; ``going_on``: 0 where the MDP ended, else 1; ``ended``: bool, the episode's last step, for whatever
    reason; ``chance``: pi(a | s) of the action taken; ``prediction``, ``next_prediction [T, ..., M]``: distributions
    ``y`` in the state and in what followed it; ``progress``: the share of the agent's life that has gone, 0 for rules
    that do not know it; ``life``: the log of how many updates it has.
    """

    reward: jax.Array
    going_on: jax.Array
    ended: jax.Array
    chance: jax.Array
    prediction: jax.Array
    next_prediction: jax.Array
    progress: jax.Array
    life: jax.Array


class Wanted(NamedTuple):
    """What a rule says: ``push [T, ...]``, by how much each action is to become more likely; ``prediction
    [T, ..., M]``: logits of what was to be predicted."""

    push: jax.Array
    prediction: jax.Array


def born(key: Key, memory_size: int, predictions: int) -> PyTree:
    """Weights, all about one in size: layers divide by the root of their width."""
    shapes = {
        "embedding": {"hidden": (predictions, EMBEDDING), "output": (EMBEDDING, 1)},
        "inputs": dict.fromkeys(GATES, (FEATURES, memory_size)),
        "recurrent": dict.fromkeys(GATES, (memory_size, memory_size)),
        "heads": {"push": (memory_size, 1), "prediction": (memory_size, predictions)},
    }
    keys = iter(jax.random.split(key, sum(len(group) for group in shapes.values())))
    made = {}
    for group, layers in shapes.items():
        made[group] = {name: {"kernel": jax.random.normal(next(keys), shape)} for name, shape in layers.items()}
        if group != "recurrent":  # one bias a gate is enough
            made[group] = {n: layer | {"bias": jnp.zeros(shapes[group][n][1])} for n, layer in made[group].items()}
    made["heads"] = jax.tree.map(lambda x: 0.1 * x, made["heads"])
    return made


def read(weights: PyTree, seen: Seen) -> Wanted:
    """What the rule says of a record: an LSTM over ``(r, going on, pi(a | s), e(y), e(y'), progress, life)`` from the
    last step to the first, which begins anew with each episode."""
    embedding = weights["embedding"]
    embed = lambda y: dense(embedding["output"], jax.nn.relu(dense(embedding["hidden"], y)))[..., 0]
    shape = seen.reward.shape
    known = (seen.reward, seen.going_on, seen.chance, embed(seen.prediction), embed(seen.next_prediction))
    x = jnp.stack([jnp.broadcast_to(part, shape) for part in (*known, seen.progress, seen.life)], axis=-1)
    projections = tuple(dense(weights["inputs"][gate], x) for gate in GATES)
    kernels = tuple(scaled(weights["recurrent"][gate]["kernel"]) for gate in GATES)
    states = lstm_sequence(projections, seen.ended, kernels, True)
    heads = weights["heads"]
    return Wanted(dense(heads["push"], states)[..., 0], dense(heads["prediction"], states))


def scaled(kernel: jax.Array) -> jax.Array:
    return kernel / math.sqrt(kernel.shape[0])


def dense(layer: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    bias = layer["bias"]
    return x @ scaled(layer["kernel"]) + bias.reshape((1,) * (x.ndim - 1) + (-1,))


def agent_loss(wanted: Wanted, log_prob: jax.Array, prediction: jax.Array, prediction_cost: float) -> jax.Array:
    """``mean(prediction_cost KL(y || wanted y) - push log pi(a | s))``, ``prediction [T, ..., M]`` the agent's logits
    of ``y``: its gradient is the rule's update."""
    now, goal = jax.nn.log_softmax(prediction), jax.nn.log_softmax(wanted.prediction)
    divergence = (jnp.exp(now) * (now - goal)).sum(axis=-1)
    return (prediction_cost * divergence - wanted.push * log_prob).mean()
