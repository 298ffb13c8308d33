"""Several epochs of minibatch gradient steps on one batch."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from metarl_jax.records import Key, PyTree


def minibatch_epochs(
    key: Key,
    params: PyTree,
    optimizer_state: PyTree,
    batch: PyTree,
    loss: Callable[..., tuple[jax.Array, dict[str, jax.Array]]],
    optimizer: optax.GradientTransformation,
    num_epochs: int,
    num_minibatches: int,
    loss_key: Key | None = None,
) -> tuple[PyTree, PyTree, dict[str, jax.Array]]:
    """Passes over a batch in shuffled minibatches of tasks, with a gradient step for each.

    Only the task axis is shuffled: a trial is never cut. Each minibatch takes one of every ``num_minibatches``
    neighbouring tasks, at random: tasks are drawn independently, so that any choice is as good, and rows move only
    between neighbours, which stay on one device.

    Args:
      key: of the shuffles.
      params: what is learned.
      optimizer_state: of ``optimizer``.
      batch: any pytree, leaves ``[T, N, ...]``; ``N`` is a multiple of ``num_minibatches``.
      loss: ``(params, minibatch) -> (loss, metrics)``; with ``loss_key`` it takes another key at each step, last.
      optimizer: whose steps are taken.
      num_epochs: passes over the batch.
      num_minibatches: gradient steps a pass.
      loss_key: split into the loss's keys.

    Returns:
      Parameters, optimiser state, and metrics: means over all gradient steps, with ``gradient_norm``.
    """
    groups = jax.tree.leaves(batch)[0].shape[1] // num_minibatches
    grouped = jax.tree.map(lambda x: x.reshape(x.shape[0], groups, num_minibatches, *x.shape[2:]), batch)

    def step(carry, inputs):
        params, state = carry
        chosen, *rest = inputs
        minibatch = jax.tree.map(lambda x: pick(x, chosen), grouped)
        gradients, metrics = jax.grad(loss, has_aux=True)(params, minibatch, *rest)
        updates, state = optimizer.update(gradients, state, params)
        metrics = metrics | {"gradient_norm": optax.tree.norm(gradients)}
        return (optax.apply_updates(params, updates), state), metrics

    keys = jax.random.split(key, (num_epochs, groups))
    orders = jax.vmap(jax.vmap(lambda k: jax.random.permutation(k, num_minibatches)))(keys)
    chosen = jnp.swapaxes(orders, 1, 2).reshape(num_epochs * num_minibatches, groups)
    rest = () if loss_key is None else (jax.random.split(loss_key, num_epochs * num_minibatches),)
    (params, state), metrics = jax.lax.scan(step, (params, optimizer_state), (chosen, *rest))
    return params, state, jax.tree.map(jnp.mean, metrics)


def pick(x: jax.Array, chosen: jax.Array) -> jax.Array:
    """The chosen one of each group.

    Args:
      x: ``[T, G, M, ...]``.
      chosen: ``[G]``, an index below ``M`` for each group.

    Returns:
      ``[T, G, ...]``.
    """
    index = chosen.reshape(1, -1, 1, *(1,) * (x.ndim - 3))
    return jnp.take_along_axis(x, index, axis=2)[:, :, 0]


def falling_cost(cost: float, num_steps: int, optimizer_state: PyTree) -> float | jax.Array:
    """A cost that falls linearly to a tenth over ``num_steps`` gradient steps.

    Args:
      cost: at first.
      num_steps: over which it falls (0: constant).
      optimizer_state: of an optax optimiser, which has counted the steps so far.

    Returns:
      The cost of the next step.
    """
    if not num_steps:
        return cost
    (_, count), *_ = optax.tree.get_all_with_path(optimizer_state, "count")
    return cost * (1.0 - 0.9 * jnp.minimum(count / num_steps, 1.0))


def falling_rate(rate: float, num_steps: int) -> float | optax.Schedule:
    """A learning rate that falls linearly to a tenth over ``num_steps`` gradient steps.

    Args:
      rate: at first.
      num_steps: over which it falls (0: constant).

    Returns:
      The rate, or optax's schedule of it.
    """
    return optax.linear_schedule(rate, rate / 10, num_steps) if num_steps else rate
