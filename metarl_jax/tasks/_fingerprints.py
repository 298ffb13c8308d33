"""Which tasks are the same."""

import jax
import jax.numpy as jnp

from metarl_jax.types import Task


def fingerprints(tasks: Task) -> jax.Array:
    """A number ``[M]`` for each task, the same for equal tasks; two others share one in four billion times."""
    parts = []
    for seed, leaf in enumerate(jax.tree.leaves(tasks)):
        flat = leaf.reshape(leaf.shape[0], -1)
        flat = flat + 0.0 if jnp.issubdtype(flat.dtype, jnp.floating) else flat  # 0 has one sign
        bits = jax.lax.bitcast_convert_type(flat, jnp.uint32) if flat.dtype.itemsize == 4 else flat.astype(jnp.uint32)
        odd = jax.random.bits(jax.random.key(seed), flat.shape[1:], jnp.uint32) | 1
        odd = jnp.broadcast_to(odd, bits.shape)
        mixed = (bits + odd) * ((odd ^ (odd >> 15)) | 1)
        parts.append(((mixed ^ (mixed >> 13)) * odd).sum(axis=1, dtype=jnp.uint32))
    return sum(parts[1:], parts[0])
