"""What ``speed``, ``memories`` and ``adaptation`` time: an update as ``train`` runs it, and its rollout alone."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from metarl_jax.config import Recipe
from metarl_jax.networks import actor_critic
from metarl_jax.records import Policy, TaskDistribution
from metarl_jax.rollout import rollout
from metarl_jax.runtime.sharding import shard_tasks, task_mesh
from metarl_jax.training.update_loop import driver


def shortest(call: Callable[[], Any], repeats: int) -> float:
    """Least seconds of ``call``, after one that compiles."""
    jax.block_until_ready(call())
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        jax.block_until_ready(call())
        best = min(best, time.perf_counter() - started)
    return best


def mesh_of(num_tasks: int) -> Mesh | None:
    """As ``train`` has it."""
    return task_mesh() if num_tasks % jax.device_count() == 0 else None


def update_of(recipe: Recipe, tasks: TaskDistribution, num_tasks: int) -> Callable[[], Any]:
    """One more update of a training at each call: ``() -> (Learner [1, ...], metrics)``; the next call donates it."""
    program = driver(recipe.build(tasks), tasks, num_tasks, mesh_of(num_tasks))
    seeds = jnp.zeros(1, jnp.int32)
    learner, done = program.init(seeds), 0

    def update():
        nonlocal learner, done
        learner, metrics, _, _ = program.advance(seeds, learner, done, 1)
        done += 1
        return learner, metrics

    return update


def policy_of(recipe: Recipe, tasks: TaskDistribution) -> Policy:
    """RL^2's."""
    options = recipe.options
    memory = options["memory"], options["memory_size"], options["encoder"], options["meta_inputs"]
    window, filters = options["memory_window"] or tasks.trial_steps, options["filters"]
    return actor_critic(tasks.env.spec, *memory, window, filters=filters)


def living_only(recipe: Recipe, tasks: TaskDistribution, num_tasks: int) -> Callable[[], Any]:
    """The rollout of an update of RL^2 alone."""
    policy = policy_of(recipe, tasks)
    params = policy.init(jax.random.key(0))
    batch = jax.jit(jax.vmap(tasks.sample))(jax.random.split(jax.random.key(0), num_tasks))
    mesh = mesh_of(num_tasks)

    @jax.jit
    def live(key):
        return rollout(key, tasks.env, policy, params, shard_tasks(batch, mesh), tasks.trial_steps)[1]

    return lambda: live(jax.random.key(0))
