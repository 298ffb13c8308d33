"""Returns, advantages, losses and gradient steps: pure functions, time first."""

from metarl_jax.estimators.advantages import discounted_sums, generalised_advantages
from metarl_jax.estimators.epochs import minibatch_epochs
from metarl_jax.estimators.losses import clipped_surrogate, squared_error

__all__ = ["clipped_surrogate", "discounted_sums", "generalised_advantages", "minibatch_epochs", "squared_error"]
