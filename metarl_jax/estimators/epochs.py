"""Several epochs of minibatch gradient steps on one batch."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from metarl_jax.types import Key, PyTree


def minibatch_epochs(
    key: Key,
    params: PyTree,
    optimizer_state: PyTree,
    batch: PyTree,
    loss: Callable[[PyTree, PyTree], tuple[jax.Array, dict[str, jax.Array]]],
    optimizer: optax.GradientTransformation,
    num_epochs: int,
    num_minibatches: int,
) -> tuple[PyTree, PyTree, dict[str, jax.Array]]:
    """``num_epochs`` passes over ``batch`` (any pytree, leaves ``[T, N, ...]``) in shuffled minibatches of tasks.

    Only the task axis is shuffled: a trial is never cut. Metrics are means over all gradient steps.
    """
    num_tasks = jax.tree.leaves(batch)[0].shape[1]

    def step(carry, rows):
        params, state = carry
        minibatch = jax.tree.map(lambda x: jnp.take(x, rows, axis=1), batch) if num_minibatches > 1 else batch
        gradients, metrics = jax.grad(loss, has_aux=True)(params, minibatch)
        updates, state = optimizer.update(gradients, state, params)
        metrics = metrics | {"gradient_norm": optax.tree.norm(gradients)}
        return (optax.apply_updates(params, updates), state), metrics

    orders = jax.vmap(lambda k: jax.random.permutation(k, num_tasks))(jax.random.split(key, num_epochs))
    rows = orders.reshape(num_epochs * num_minibatches, num_tasks // num_minibatches)
    (params, state), metrics = jax.lax.scan(step, (params, optimizer_state), rows)
    return params, state, jax.tree.map(jnp.mean, metrics)
