"""A learned intrinsic reward: of state and action, or of an agent's lifetime so far.

LIRPG (Zheng et al. 2018) and its successor with a memory (Zheng et al. 2020). Axis letters: ``[T]`` steps, ``[E]``
episodes side by side, ``[F]`` features, ``[H]`` units.
"""

import jax
import jax.numpy as jnp

from metarl_jax.learned.layers import dense, dense_init, mlp_applied, mlp_init, scaled
from metarl_jax.networks.gru import gru_sequence
from metarl_jax.records import Key, PyTree

GATES = ("reset", "update", "candidate")


def init(key: Key, features: int, hidden: tuple[int, ...], memory_size: int = 0) -> PyTree:
    """Weights of a reward that is nearly zero.

    Args:
      key: of the kernels.
      features: F, numbers of a step's observation and action; with a memory the reward and the episode's end are added.
      hidden: widths of the hidden layers.
      memory_size: H, units of the GRU; 0 for a reward of the step alone.

    Returns:
      A pytree; with a memory it has ``inputs``, ``recurrent`` and ``recurrent_bias`` beside ``reward``.
    """
    keys = jax.random.split(key, 3)
    if not memory_size:
        return {"reward": mlp_init(keys[0], (features, *hidden, 1), 0.01)}
    inputs, recurrent = (zip(GATES, jax.random.split(k, 3), strict=True) for k in keys[1:])
    return {
        "inputs": {gate: dense_init(k, features + 2, memory_size) for gate, k in inputs},
        "recurrent": {gate: jax.random.normal(k, (memory_size, memory_size)) for gate, k in recurrent},
        "recurrent_bias": {"candidate": jnp.zeros(memory_size)},
        "reward": mlp_init(keys[0], (memory_size, *hidden, 1), 0.01),
    }


def rewarded(weights: PyTree, memory: PyTree, x: jax.Array, reward: jax.Array, ended: jax.Array):
    """The intrinsic reward of each step, in ``[-1, 1]``.

    Args:
      weights: as ``init`` made them.
      memory: ``[E, H]`` of the lifetime so far, which nothing resets; ``()`` where only the step itself counts.
      x: ``[T, E, F]``, observation and action.
      reward: ``[T, E]``, the task's own.
      ended: ``[T, E]`` bool, an episode's last step.

    Returns:
      ``(memory, intrinsic reward [T, E])``.
    """
    if "inputs" in weights:
        x = jnp.concatenate([x, jnp.stack([reward, ended.astype(x.dtype)], axis=-1)], axis=-1)
        r, z, n = (dense(weights["inputs"][gate], x) for gate in GATES)
        kr, kz, kn = (scaled(weights["recurrent"][gate]) for gate in GATES)
        never = jnp.zeros(reward.shape, bool)
        x = gru_sequence((r, z, n), never, memory, (kr, kz, kn), weights["recurrent_bias"]["candidate"])
        memory = x[-1]
    return memory, jnp.tanh(mlp_applied(weights["reward"], x)[..., 0])
