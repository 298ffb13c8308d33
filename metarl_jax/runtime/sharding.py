"""Global-view sharding: one mesh axis over tasks, parameters replicated, the compiler does the rest."""

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from metarl_jax.records import PyTree

AXIS = "tasks"


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of what every device holds whole.

    Args:
      mesh: of the devices.

    Returns:
      A NamedSharding.
    """
    return NamedSharding(mesh, PartitionSpec())


def task_mesh(num_devices: int | None = None) -> Mesh:
    """A mesh with the one axis ``tasks``.

    Args:
      num_devices: the first so many (by default all).

    Returns:
      The Mesh.
    """
    devices = jax.devices()[:num_devices]
    # make_mesh would default to explicit axes, which break grad inside vmap over sharded tasks.
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def shard_tasks(tasks: PyTree, mesh: Mesh | None) -> PyTree:
    """Spreads the leading axis of every leaf over the mesh (inside ``jit``).

    Args:
      tasks: leaves ``[N, ...]``.
      mesh: without one there is no constraint.

    Returns:
      The same tasks.
    """
    if mesh is None or mesh.size == 1:
        return tasks
    return jax.lax.with_sharding_constraint(tasks, NamedSharding(mesh, PartitionSpec(AXIS)))
