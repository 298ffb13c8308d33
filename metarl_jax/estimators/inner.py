"""The policy gradient of an inner loop, and the credit that its samples get in the outer gradient. Time first.

An inner step moves ``theta`` to ``theta' = theta + rate * grad J(theta; D)`` on trials ``D`` of ``pi_theta``.
The outer gradient of the return of ``theta'`` has two parts: through the step, and through the choice of ``D``. The
objectives below have one gradient and differ in their second derivative, that is, in what the first part sees of how
``D`` depends on ``theta``; ``sampling_score`` is the second part as a term of its own.

All take ``log_prob``, ``data_log_prob`` (of the policy that collected ``D``: a constant), advantages and first steps,
``[T, ...]``. Where an outer loop makes several gradient steps on one batch, ``theta`` leaves the policy of the data:
``_lvc_objective`` corrects for that, the others take ``D`` as if ``pi_theta`` had collected it.

Sources: Finn et al. 2017 (MAML: none); Stadie et al. 2018 (E-MAML: the score); Foerster et al. 2018 and Farquhar et al.
2019 (DiCE, with advantages: Loaded DiCE); Rothfuss et al. 2019 (ProMP: the low-variance curvature, LVC).
"""

import chex
import jax
import jax.numpy as jnp

from metarl_jax.estimators.advantages import discounted_sums


def _log_prob_objective(
    log_prob: jax.Array, data_log_prob: jax.Array, advantage: jax.Array, episode_start: jax.Array
) -> jax.Array:
    """``log pi_t A_t``: its second derivative ignores that the samples depend on the parameters. ``[T, ...]``."""
    del data_log_prob, episode_start
    chex.assert_equal_shape([log_prob, advantage])
    return log_prob * advantage


def _lvc_objective(
    log_prob: jax.Array, data_log_prob: jax.Array, advantage: jax.Array, episode_start: jax.Array
) -> jax.Array:
    """``pi_t / pi_data,t A_t``: sees how each action's own chance depends on the parameters, not those before it.

    The likelihood ratio objective ``J^LR`` of ProMP: its gradient is right for data of the policy ``pi_data`` up to the
    states that this leads to; at ``pi = pi_data`` it is that of ``log pi_t A_t``.
    """
    del episode_start
    chex.assert_equal_shape([log_prob, data_log_prob, advantage])
    return jnp.exp(log_prob - jax.lax.stop_gradient(data_log_prob)) * advantage


def _dice_objective(
    log_prob: jax.Array, data_log_prob: jax.Array, advantage: jax.Array, episode_start: jax.Array
) -> jax.Array:
    """``(box(L_t) - box(L_t - log pi_t)) A_t``, ``L_t`` the sum of ``log pi`` from the episode's start to ``t``.

    All derivatives are unbiased for those of the expected return, ``box(x) = exp(x - stop(x))``.
    """
    del data_log_prob
    chex.assert_equal_shape([log_prob, advantage, episode_start])
    flip = lambda x: jnp.flip(x, axis=0)
    so_far = flip(discounted_sums(flip(log_prob), flip(1.0 - episode_start.astype(log_prob.dtype))))
    return (_magic_box(so_far) - _magic_box(so_far - log_prob)) * advantage


OBJECTIVES = {"none": _log_prob_objective, "lvc": _lvc_objective, "dice": _dice_objective}


def _magic_box(x: jax.Array) -> jax.Array:
    """1, with the derivatives of ``exp(x)`` (Foerster et al. 2018)."""
    return jnp.exp(x - jax.lax.stop_gradient(x))


def sampling_score(log_prob: jax.Array, earned: jax.Array) -> jax.Array:
    """The score of the sampled actions times the return after the inner step: ``stop(earned) * sum log pi``.

    Added to the outer objective, with the plain inner objective (``log pi A``), it makes the outer gradient unbiased.

    Args:
      log_prob: of the actions that the inner step learned from.
      earned: scalar, the return after the inner step.

    Returns:
      A scalar, whose gradient is the score's.
    """
    return jax.lax.stop_gradient(earned) * log_prob.sum()
