"""Which tasks are the same."""

import jax
import jax.numpy as jnp

from metarl_jax.records import Task

UNSIGNED = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint32}  # by bytes of a number; 8 become two of them


def fingerprints(tasks: Task) -> jax.Array:
    """A number for each task, the same for equal tasks; two others share one in four billion times.

    Every bit of every leaf counts, whatever its type: real and complex numbers of any precision, typed keys.

    Args:
      tasks: leaves ``[M, ...]``.

    Returns:
      uint32 ``[M]``.
    """
    parts = []
    for seed, leaf in enumerate(jax.tree.leaves(tasks)):
        bits = words(leaf)
        odd = jax.random.bits(jax.random.key(seed), bits.shape[1:], jnp.uint32) | 1
        odd = jnp.broadcast_to(odd, bits.shape)
        mixed = (bits + odd) * ((odd ^ (odd >> 15)) | 1)
        parts.append(((mixed ^ (mixed >> 13)) * odd).sum(axis=1, dtype=jnp.uint32))
    return sum(parts[1:], parts[0])


def words(leaf: jax.Array) -> jax.Array:
    """The bits of an array, the same for 0 and -0.

    Args:
      leaf: ``[M, ...]``, of any type.

    Returns:
      uint32 ``[M, W]``.
    """
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    flat = leaf.reshape(leaf.shape[0], -1)
    if jnp.issubdtype(flat.dtype, jnp.complexfloating):
        flat = jnp.concatenate([flat.real, flat.imag], axis=1)
    if jnp.issubdtype(flat.dtype, jnp.floating):
        flat = flat + jnp.zeros((), flat.dtype)  # -0 + 0 is 0
    elif flat.dtype.itemsize <= 4:
        return flat.astype(jnp.uint32)
    bits = jax.lax.bitcast_convert_type(flat, UNSIGNED[flat.dtype.itemsize])
    return bits.reshape(leaf.shape[0], -1).astype(jnp.uint32)
