"""A learned update rule: a network reads what an agent lived, backwards, and says what it should have done and thought.

Learned policy gradient (LPG, Oh et al. 2020). Axis letters: ``[T]`` steps, ``[M]`` numbers of a prediction, ``[H]``
units.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.learned.layers import dense, dense_init, mlp_applied, mlp_init, scaled
from metarl_jax.networks.lstm import lstm_sequence
from metarl_jax.records import Key, PyTree

EMBEDDING = 16  # units between a prediction and the number that the rule sees of it
FEATURES = 7
GATES = ("input", "forget", "cell", "output")


class RuleInputs(NamedTuple):
    """What a rule reads of a trajectory ``[T, ...]``.

    Attributes:
      reward: ``[T, ...]``.
      going_on: 0 where the MDP ended, else 1.
      ended: bool, the episode's last step, for whatever reason.
      chance: pi(a | s) of the action taken.
      prediction: ``[T, ..., M]``, the distribution ``y`` in the state.
      next_prediction: ``[T, ..., M]``, that in what followed it.
      progress: scalar, the share of the agent's lifetime that has gone; 0 for rules that do not know it.
      life: scalar, the log of how many updates the lifetime has.
    """

    reward: jax.Array
    going_on: jax.Array
    ended: jax.Array
    chance: jax.Array
    prediction: jax.Array
    next_prediction: jax.Array
    progress: jax.Array
    life: jax.Array


class RuleTargets(NamedTuple):
    """What a rule returns.

    Attributes:
      push: ``[T, ...]``, by how much each action is to become more likely.
      prediction: ``[T, ..., M]``, logits of what was to be predicted.
    """

    push: jax.Array
    prediction: jax.Array


def init(key: Key, memory_size: int, predictions: int) -> PyTree:
    """Weights of a rule whose targets are small, and random.

    Args:
      key: of the kernels.
      memory_size: H, units of the LSTM.
      predictions: M, numbers of a prediction.

    Returns:
      ``{"embedding": ..., "inputs": ..., "recurrent": ..., "heads": ...}``.
    """
    keys = jax.random.split(key, 4)
    inputs, recurrent = (jax.random.split(k, len(GATES)) for k in keys[:2])
    sizes = {"push": 1, "prediction": predictions}
    heads = zip(sizes.items(), jax.random.split(keys[2]), strict=True)
    return {
        "embedding": mlp_init(keys[3], (predictions, EMBEDDING, 1)),
        "inputs": {gate: dense_init(k, FEATURES, memory_size) for gate, k in zip(GATES, inputs, strict=True)},
        "recurrent": {
            gate: jax.random.normal(k, (memory_size, memory_size)) for gate, k in zip(GATES, recurrent, strict=True)
        },
        "heads": {name: dense_init(k, memory_size, size, 0.1) for (name, size), k in heads},
    }


def read(weights: PyTree, seen: RuleInputs) -> RuleTargets:
    """Applies the rule to a trajectory.

    An LSTM reads ``(r, going on, pi(a | s), e(y), e(y'), progress, life)`` from the last step to the first, and starts
    anew with each episode.

    Args:
      weights: the rule's.
      seen: what it reads.

    Returns:
      The rule's targets.
    """
    embed = lambda y: mlp_applied(weights["embedding"], y, jax.nn.relu)[..., 0]
    shape = seen.reward.shape
    known = (seen.reward, seen.going_on, seen.chance, embed(seen.prediction), embed(seen.next_prediction))
    x = jnp.stack([jnp.broadcast_to(part, shape) for part in (*known, seen.progress, seen.life)], axis=-1)
    projections = tuple(dense(weights["inputs"][gate], x) for gate in GATES)
    kernels = tuple(scaled(weights["recurrent"][gate]) for gate in GATES)
    states = lstm_sequence(projections, seen.ended, kernels, True)
    heads = weights["heads"]
    return RuleTargets(dense(heads["push"], states)[..., 0], dense(heads["prediction"], states))


def agent_loss(wanted: RuleTargets, log_prob: jax.Array, prediction: jax.Array, prediction_cost: float) -> jax.Array:
    """The loss whose gradient is the rule's update: ``mean(prediction_cost KL(y || wanted y) - push log pi(a | s))``.

    Args:
      wanted: the rule's targets.
      log_prob: ``[T, ...]``, of the actions taken.
      prediction: ``[T, ..., M]``, the agent's logits of ``y``.
      prediction_cost: weight of the divergence.

    Returns:
      A scalar.
    """
    now, goal = jax.nn.log_softmax(prediction), jax.nn.log_softmax(wanted.prediction)
    divergence = (jnp.exp(now) * (now - goal)).sum(axis=-1)
    return (prediction_cost * divergence - wanted.push * log_prob).mean()
