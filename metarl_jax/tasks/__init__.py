"""Sets of MDPs. A new family is one file and one line here."""

from metarl_jax.tasks.adapters import from_gymnax
from metarl_jax.tasks.bandit import bandit, dependent_bandit
from metarl_jax.tasks.chain import discounting_chain
from metarl_jax.tasks.checks import check_tasks
from metarl_jax.tasks.credit import key_to_door, umbrella
from metarl_jax.tasks.diversity import Diversity, diversity
from metarl_jax.tasks.environment import Environment
from metarl_jax.tasks.gate import gate
from metarl_jax.tasks.gridnavi import gridnavi
from metarl_jax.tasks.grids import grids
from metarl_jax.tasks.locomotion import (
    cheetah_broken,
    cheetah_dir,
    cheetah_vel,
    hopper_dynamics,
    walker_dynamics,
    walker_slope,
)
from metarl_jax.tasks.mazes.maze import maze, maze_100, maze_200, random_maze
from metarl_jax.tasks.mazes.named import maze_names
from metarl_jax.tasks.mazes.view_maze import named_mazes, view_maze
from metarl_jax.tasks.mjx import from_brax, from_mjx
from metarl_jax.tasks.navigation import corner_navigation, navigation, sparse_navigation
from metarl_jax.tasks.sets import finite, load_tasks, save_tasks
from metarl_jax.tasks.tabular import from_arrays, tabular
from metarl_jax.tasks.treasure import treasure

REGISTRY = {
    "bandit": bandit,
    "bandit-dependent": dependent_bandit,
    "tabular": tabular,
    "discounting-chain": discounting_chain,
    "key-to-door": key_to_door,
    "umbrella": umbrella,
    "gridnavi": gridnavi,
    "grids": grids,
    "treasure": treasure,
    "maze": maze,
    "maze-100": maze_100,
    "maze-200": maze_200,
    "maze-random": random_maze,
    "maze-view": view_maze,
    "maze-view-named": named_mazes,
    "gate": gate,
    "navigation": navigation,
    "navigation-sparse": sparse_navigation,
    "navigation-corners": corner_navigation,
    "cheetah-dir": cheetah_dir,
    "cheetah-vel": cheetah_vel,
    "cheetah-broken": cheetah_broken,
    "walker-dynamics": walker_dynamics,
    "walker-slope": walker_slope,
    "hopper-dynamics": hopper_dynamics,
}

__all__ = [
    "REGISTRY",
    "Diversity",
    "Environment",
    "bandit",
    "check_tasks",
    "cheetah_broken",
    "cheetah_dir",
    "cheetah_vel",
    "corner_navigation",
    "dependent_bandit",
    "discounting_chain",
    "diversity",
    "finite",
    "from_arrays",
    "from_brax",
    "from_gymnax",
    "from_mjx",
    "gate",
    "gridnavi",
    "grids",
    "hopper_dynamics",
    "key_to_door",
    "load_tasks",
    "maze",
    "maze_100",
    "maze_200",
    "maze_names",
    "named_mazes",
    "navigation",
    "random_maze",
    "save_tasks",
    "sparse_navigation",
    "tabular",
    "treasure",
    "umbrella",
    "view_maze",
    "walker_dynamics",
    "walker_slope",
]
