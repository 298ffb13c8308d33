"""Which environment a run was trained in: what its tasks draw, the shapes they share, and a short fixed rollout."""

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.networks import first_timestep
from metarl_jax.records import Task, TaskDistribution
from metarl_jax.rollout import RolloutState, advance
from metarl_jax.storage.files import key_data, plain

TASKS, STEPS = 3, 4  # of the rollout
TOLERANCE = 1e-3  # another device computes the same rollout to other last bits


def describe_tasks(tasks: TaskDistribution, rollout: bool = False) -> dict[str, Any]:
    """What a run's configuration says of its tasks: plain data.

    Of a registered family its name and options rebuild it. Of any other object: a digest of what it draws and the
    shapes of its spaces; with ``rollout`` also the rewards, ends and mean observations of a few fixed random steps, by
    which an environment that was edited is told from the one before, and its draws up to rounding: another processor
    draws other last bits, and so has another digest.

    Args:
      tasks: any distribution.
      rollout: see above.

    Returns:
      A dict that JSON holds.
    """
    shape = {"horizon": tasks.horizon, "trial_steps": tasks.trial_steps}
    if tasks.recipe is not None:
        return {**tasks.recipe, **shape}
    drawn = draws(tasks)
    found = {"name": tasks.name, "options": None, **shape, "digest": digest(drawn), "spec": plain(tasks.env.spec)}
    return found | ({"rollout": short_rollout(tasks) | _rounded(drawn)} if rollout else {})


def draws(tasks: TaskDistribution) -> list[np.ndarray]:
    """The leaves of the whole set, if it is finite, and of three draws.

    Args:
      tasks: any distribution.

    Returns:
      NumPy arrays.
    """
    drawn = tasks.tasks, [tasks.sample(jax.random.key(i)) for i in range(3)]
    return [np.ascontiguousarray(key_data(leaf)) for leaf in jax.tree.leaves(drawn)]


def digest(leaves: list[np.ndarray]) -> str:
    """A digest of arrays.

    Args:
      leaves: NumPy arrays.

    Returns:
      16 hexadecimal digits.
    """
    hashed = hashlib.sha256()
    for leaf in leaves:
        hashed.update(leaf.tobytes())
    return hashed.hexdigest()[:16]


def _rounded(leaves: list[np.ndarray]) -> dict[str, Any]:
    """What is equal for draws that are equal up to rounding.

    Of real numbers it is two sums of each leaf, with random weights of both signs, so that one number of many that
    differs shows; of all else the digest.
    """
    real = [leaf.ravel().astype(np.float64) for leaf in leaves if leaf.dtype.kind == "f"]
    generator = np.random.default_rng(0)
    sums = [generator.normal(size=(2, x.size)) @ x / np.sqrt(max(1, x.size)) for x in real]
    numbers = [float(f"{x:.6g}") for x in np.ravel(sums)]
    return {"draws": plain(numbers), "draws_digest": digest([leaf for leaf in leaves if leaf.dtype.kind != "f"])}


def short_rollout(tasks: TaskDistribution) -> dict[str, Any]:
    """Rewards and ends ``[STEPS x TASKS]`` of random actions in fixed draws, and each step's mean observation.

    Args:
      tasks: any distribution.

    Returns:
      Lists by name.
    """
    spec, env = tasks.env.spec, tasks.env

    def run(key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        task_key, start_key, action_key, noise_key = jax.random.split(key, 4)
        batch: Task = jax.vmap(tasks.sample)(jax.random.split(task_key, TASKS))
        state = jax.vmap(env.reset)(env.sample_noise(start_key, (TASKS,)), batch)
        start = RolloutState(state, first_timestep(spec, (TASKS,), jax.vmap(env.observe)(state, batch)), ())
        if spec.num_actions is not None:
            actions = jax.random.randint(action_key, (STEPS, TASKS), 0, spec.num_actions)
        else:
            actions = jax.random.uniform(action_key, (STEPS, TASKS, spec.action_size), minval=-1.0)

        def step(place: RolloutState, now: tuple):
            action, noise = now
            state, timestep, (reward, _, terminated, truncated, *_) = advance(env, noise, place, action, batch)
            seen = timestep.observation.astype(jnp.float32).mean()
            return RolloutState(state, timestep, ()), (reward, terminated | truncated, seen)

        return jax.lax.scan(step, start, (actions, env.sample_noise(noise_key, (STEPS, TASKS))))[1]

    reward, ended, observation = (np.asarray(x, np.float64) for x in jax.jit(run)(jax.random.key(0)))
    numbers = {"reward": reward, "ended": ended, "observation": observation}
    return {name: plain([float(f"{x:.6g}") for x in values.ravel()]) for name, values in numbers.items()}


def same(name: str, saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether two flat configurations agree in ``name``, numbers of a rollout up to rounding.

    What an older version did not record of an environment cannot differ.

    Args:
      name: of the field.
      saved: one configuration.
      wanted: the other.

    Returns:
      Whether they agree.
    """
    old: Any = saved.get(name)
    new: Any = wanted.get(name)
    parts = name.split(".")
    described = "tasks" in parts and parts[-1] != "tasks" and parts[parts.index("tasks") + 1] in ("spec", "rollout")
    if described and (name not in saved or name not in wanted):
        return True
    if parts[-1] == "digest" and all(f"{name[:-6]}rollout.draws" in of for of in (saved, wanted)):
        return True  # the draws are compared up to rounding
    if described and isinstance(old, list) and isinstance(new, list) and len(old) == len(new) and "rollout" in parts:
        a, b = (np.asarray([np.nan if x is None else x for x in values], float) for values in (old, new))
        return bool(np.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE * 1e-2, equal_nan=True))
    return old == new
