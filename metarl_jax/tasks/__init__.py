"""Sets of MDPs. A new family is one file and one line here."""

from metarl_jax.tasks.adapters import from_gymnax
from metarl_jax.tasks.bandit import bandit, dependent_bandit
from metarl_jax.tasks.environment import Environment
from metarl_jax.tasks.gridnavi import gridnavi
from metarl_jax.tasks.maze import maze, maze_100, maze_200, random_maze
from metarl_jax.tasks.navigation import corner_navigation, navigation, sparse_navigation
from metarl_jax.tasks.tabular import from_arrays, tabular
from metarl_jax.tasks.treasure import treasure

REGISTRY = {
    "bandit": bandit,
    "bandit-dependent": dependent_bandit,
    "tabular": tabular,
    "gridnavi": gridnavi,
    "treasure": treasure,
    "maze": maze,
    "maze-100": maze_100,
    "maze-200": maze_200,
    "maze-random": random_maze,
    "navigation": navigation,
    "navigation-sparse": sparse_navigation,
    "navigation-corners": corner_navigation,
}

__all__ = [
    "REGISTRY",
    "Environment",
    "bandit",
    "corner_navigation",
    "dependent_bandit",
    "from_arrays",
    "from_gymnax",
    "gridnavi",
    "maze",
    "maze_100",
    "maze_200",
    "navigation",
    "random_maze",
    "sparse_navigation",
    "tabular",
    "treasure",
]
