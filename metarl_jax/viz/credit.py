"""Which step gets the credit for what is earned at which: learned weights of pairs, beside others."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from metarl_jax.config import check
from metarl_jax.viz import style

if TYPE_CHECKING:
    from metarl_jax.training.run import Run


def credit_weights(run: "Run", num_episodes: int = 64, seed: int = 0) -> np.ndarray:
    """``[T, U]``: how much of what is earned at step ``u`` the action at ``t`` is credited with, by the weights that
    the run's first seed has learned; a mean over episodes of one that knows nothing, 0 below the diagonal.

    Raises:
      ConfigError: a run of another algorithm than ``pairwise-weights``.
    """
    import jax
    import jax.numpy as jnp

    from metarl_jax.learned import pairwise_credit_rule as pairwise
    from metarl_jax.networks import actor_critic, step_inputs, variance_scaled_init
    from metarl_jax.rollout import rollout

    name = run.config["algorithm"]["name"]
    check(name == "pairwise-weights", "run", name, "give a run of pairwise-weights")
    tasks, meta = run.tasks, jax.tree.map(lambda x: x[0], run.state.meta)
    policy = actor_critic(tasks.env.spec, "none", 0, (), False, scaled=variance_scaled_init)

    @jax.jit
    def mean(key):
        keys = jax.random.split(key, 3)
        drawn = jax.vmap(tasks.sample)(jax.random.split(keys[0], num_episodes))
        _, trajectory = rollout(keys[1], tasks.env, policy, policy.init(keys[2]), drawn, tasks.horizon)
        ended = trajectory.terminated | trajectory.truncated
        return pairwise.pair_weights(meta, step_inputs(tasks.env.spec, trajectory), jnp.asarray(ended)).mean(axis=-1)

    return np.asarray(mean(jax.random.key(seed)))


def draw_credit(weights: Mapping[str, np.ndarray], path: str | os.PathLike | None = None) -> Any:
    """Heat maps side by side, by title: ``[T, U]``, who earns across and who gets the credit down.

    Returns:
      the matplotlib figure, also written to ``path`` if given.

    Raises:
      ValueError: without maps, or for other arrays.
    """
    maps = {title: np.asarray(x, float) for title, x in weights.items()}
    if not maps or any(x.ndim != 2 or x.shape[0] != x.shape[1] for x in maps.values()):
        raise ValueError(f"give at least one map [T, U], not {[x.shape for x in maps.values()]}")
    with style.style():
        figure = style.new_figure(2.5 * len(maps) + 0.7, 2.9)
        grid = figure.subplots(1, len(maps), squeeze=False).ravel()
        shown = None
        for axes, (title, x) in zip(grid, maps.items(), strict=True):
            later = np.tril(np.ones_like(x), -1) > 0  # what was earned before is nobody's
            shown = axes.imshow(np.where(later, np.nan, x), cmap="magma_r", vmin=0, vmax=1, interpolation="nearest")
            axes.set_title(title, fontsize=9.5)
            axes.grid(visible=False)
            axes.set_xlabel("step that earns")
        grid[0].set_ylabel("step that gets the credit")
        figure.colorbar(shown, ax=list(grid), shrink=0.8)
        return style.save(figure, path)
