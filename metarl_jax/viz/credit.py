"""Heat maps of pairwise credit: how much the action at one step is credited with the reward of another."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from metarl_jax.config import check
from metarl_jax.viz import style

if TYPE_CHECKING:
    from metarl_jax.training.run import Run


def credit_weights(run: "Run", num_episodes: int = 64, seed: int = 0) -> np.ndarray:
    """The pairwise weights that a run's first seed has meta-learned, averaged over episodes of an untrained policy.

    Args:
      run: of ``pairwise-weights``.
      num_episodes: episodes to average over, each in a task drawn anew.
      seed: of tasks, policy and episodes.

    Returns:
      ``[T, T]``, T the horizon: entry ``[t, u]`` is the weight with which the reward of step ``u`` counts for the
      action of step ``t``; 0 below the diagonal.

    Raises:
      ConfigError: a run of another algorithm than ``pairwise-weights``.

    Example:
      ``metarl_jax.viz.draw_credit({"learned": metarl_jax.viz.credit_weights(run)}, "credit.png")``
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
    """Draws credit weights as heat maps side by side: the step of the reward across, the step credited down.

    Args:
      weights: by title a map ``[T, T]``, such as ``credit_weights`` returns.
      path: where to write the figure.

    Returns:
      The matplotlib figure, also written to ``path`` if given.

    Raises:
      ValueError: no maps, or one that is not square.

    Example:
      ``metarl_jax.viz.draw_credit({"learned": metarl_jax.viz.credit_weights(run)}, "credit.png")``
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
