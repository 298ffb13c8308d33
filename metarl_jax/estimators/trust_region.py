"""A step of trust-region policy optimisation (TRPO, Schulman et al. 2015)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from metarl_jax.records import PyTree


def trust_region_step(
    params: PyTree,
    evaluate: Callable[[PyTree], tuple[jax.Array, jax.Array]],
    fisher: Callable[[PyTree], PyTree],
    max_kl: float,
    *,
    damping: float = 1e-3,
    iterations: int = 10,
    backtracks: int = 15,
    shrink: float = 0.8,
) -> tuple[PyTree, dict[str, jax.Array]]:
    """A step of trust-region policy optimisation (Schulman et al. 2015).

    ``theta - c x`` with ``F x = g`` by conjugate gradient and ``c = sqrt(2 max_kl / x F x)``, shrunk until it helps.

    Args:
      params: theta.
      evaluate: ``params -> (loss, KL from the policy that acted in the batch)``.
      fisher: ``v -> F v`` at ``params``.
      max_kl: of a step, on average over the batch.
      damping: added to ``F``.
      iterations: of conjugate gradient.
      backtracks: at most so many shorter steps are tried.
      shrink: how much shorter each is.

    Returns:
      The new parameters (the old ones where no step lowered the loss within ``max_kl``), and metrics.
    """
    before, gradient = jax.value_and_grad(lambda p: evaluate(p)[0])(params)
    damped = lambda v: optax.tree.add_scale(fisher(v), damping, v)
    direction, image = conjugate_gradient(damped, gradient, iterations)
    curvature = optax.tree.vdot(direction, image)
    length = jnp.sqrt(2.0 * max_kl / jnp.maximum(curvature, 1e-20))
    moved = lambda j: optax.tree.add_scale(params, -length * shrink**j, direction)

    def search(carry):
        j, *_ = carry
        loss, kl = evaluate(moved(j))
        return j + 1, loss, kl, jnp.isfinite(loss) & (loss < before) & (kl <= max_kl)

    start = (jnp.float32(0), before, jnp.zeros_like(before), jnp.bool_(False))
    tried, loss, kl, good = jax.lax.while_loop(lambda c: (c[0] < backtracks) & ~c[3], search, start)
    new = jax.tree.map(lambda a, b: jnp.where(good, a, b), moved(tried - 1), params)
    metrics = {"loss": before, "improvement": jnp.where(good, before - loss, 0.0), "kl": jnp.where(good, kl, 0.0)}
    return new, metrics | {"backtracks": tried - 1, "gradient_norm": optax.tree.norm(gradient)}


def conjugate_gradient(
    product: Callable[[PyTree], PyTree], vector: PyTree, iterations: int, tolerance: float = 1e-10
) -> tuple[PyTree, PyTree]:
    """Solves ``A x = vector`` for a positive definite ``A``, from 0, by conjugate gradient.

    One product an iteration and no other (jax's own takes one more, and does not return ``A x``).

    Args:
      product: ``v -> A v``.
      vector: a pytree.
      iterations: at most so many.
      tolerance: it ends early once ``|A x - vector|`` is that share of ``|vector|``.

    Returns:
      ``(x, A x)``.
    """
    enough = tolerance**2 * optax.tree.vdot(vector, vector)

    def improve(carry):
        i, x, residual, towards, squared = carry
        image = product(towards)
        step = squared / optax.tree.vdot(towards, image)
        x, residual = optax.tree.add_scale(x, step, towards), optax.tree.add_scale(residual, -step, image)
        left = optax.tree.vdot(residual, residual)
        return i + 1, x, residual, optax.tree.add_scale(residual, left / squared, towards), left

    start = (jnp.int32(0), optax.tree.zeros_like(vector), vector, vector, optax.tree.vdot(vector, vector))
    going = lambda carry: (carry[0] < iterations) & (carry[4] > enough)
    _, x, residual, *_ = jax.lax.while_loop(going, improve, start)
    return x, optax.tree.sub(vector, residual)
