"""Which environment a run was trained in: what its tasks draw, the shapes they share, and a short fixed rollout."""

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.files import key_data, plain
from metarl_jax.networks import first_timestep
from metarl_jax.rollout import Place, advance
from metarl_jax.types import Task, TaskDistribution

TASKS, STEPS = 3, 4  # of the rollout
TOLERANCE = 1e-3  # another device computes the same rollout to other last bits


def describe_tasks(tasks: TaskDistribution, rollout: bool = False) -> dict[str, Any]:
    """What a run's configuration says of its tasks: plain data.

    Of a registered family its name and options rebuild it. Of any other object: a digest of what it draws and the
    shapes of its spaces; with ``rollout`` also the rewards, ends and mean observations of a few fixed random steps, by
    which an environment that was edited is told from the one before.
    """
    shape = {"horizon": tasks.horizon, "trial_steps": tasks.trial_steps}
    if tasks.recipe is not None:
        return {**tasks.recipe, **shape}
    found = {"name": tasks.name, "options": None, **shape, "digest": digest(tasks), "spec": plain(tasks.env.spec)}
    return found | ({"rollout": short_rollout(tasks)} if rollout else {})


def digest(tasks: TaskDistribution) -> str:
    """Of the bytes of the whole set, if it is finite, and of three draws."""
    drawn = tasks.tasks, [tasks.sample(jax.random.key(i)) for i in range(3)]
    hashed = hashlib.sha256()
    for leaf in jax.tree.leaves(drawn):
        hashed.update(np.ascontiguousarray(key_data(leaf)).tobytes())
    return hashed.hexdigest()[:16]


def short_rollout(tasks: TaskDistribution) -> dict[str, Any]:
    """Rewards and ends ``[STEPS x TASKS]`` of random actions in fixed draws, and each step's mean observation."""
    spec, env = tasks.env.spec, tasks.env

    def run(key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        task_key, start_key, action_key, noise_key = jax.random.split(key, 4)
        batch: Task = jax.vmap(tasks.sample)(jax.random.split(task_key, TASKS))
        state = jax.vmap(env.begin)(env.draw(start_key, (TASKS,)), batch)
        start = Place(state, first_timestep(spec, (TASKS,), jax.vmap(env.observe)(state, batch)), ())
        if spec.num_actions is not None:
            actions = jax.random.randint(action_key, (STEPS, TASKS), 0, spec.num_actions)
        else:
            actions = jax.random.uniform(action_key, (STEPS, TASKS, spec.action_size), minval=-1.0)

        def step(place: Place, now: tuple):
            action, noise = now
            state, timestep, (reward, _, terminated, truncated, *_) = advance(env, noise, place, action, batch)
            seen = timestep.observation.astype(jnp.float32).mean()
            return Place(state, timestep, ()), (reward, terminated | truncated, seen)

        return jax.lax.scan(step, start, (actions, env.draw(noise_key, (STEPS, TASKS))))[1]

    reward, ended, observation = (np.asarray(x, np.float64) for x in jax.jit(run)(jax.random.key(0)))
    numbers = {"reward": reward, "ended": ended, "observation": observation}
    return {name: plain([float(f"{x:.6g}") for x in values.ravel()]) for name, values in numbers.items()}


def same(name: str, saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether two flat configurations agree in ``name``: numbers of a rollout up to rounding. What an older version did
    not keep of an environment cannot differ."""
    old: Any = saved.get(name)
    new: Any = wanted.get(name)
    parts = name.split(".")
    described = "tasks" in parts and parts[-1] != "tasks" and parts[parts.index("tasks") + 1] in ("spec", "rollout")
    if described and (name not in saved or name not in wanted):
        return True
    if described and "rollout" in parts and len(old) == len(new):
        a, b = (np.asarray([np.nan if x is None else x for x in values], float) for values in (old, new))
        return bool(np.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE * 1e-2, equal_nan=True))
    return old == new
