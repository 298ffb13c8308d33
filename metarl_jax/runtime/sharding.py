"""Global-view sharding: one mesh axis over tasks, parameters replicated, the compiler does the rest."""

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from metarl_jax.records import PyTree

AXIS = "tasks"


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def task_mesh(num_devices: int | None = None) -> Mesh:
    """A mesh of all devices (or the first ``num_devices``) with the one axis ``tasks``."""
    devices = jax.devices()[:num_devices]
    # make_mesh would default to explicit axes, which break grad inside vmap over sharded tasks.
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def shard_tasks(tasks: PyTree, mesh: Mesh | None) -> PyTree:
    """Spreads the leading axis ``[N]`` of every leaf over the mesh (inside ``jit``); no mesh, no constraint."""
    if mesh is None or mesh.size == 1:
        return tasks
    return jax.lax.with_sharding_constraint(tasks, NamedSharding(mesh, PartitionSpec(AXIS)))
