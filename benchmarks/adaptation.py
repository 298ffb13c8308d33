"""What adapting by gradient costs: seconds of MAML's outer iteration and their shares, and the memory of second order.

For the table of ``speed`` (``python benchmarks/speed.py adaptation memory``). The peer: a PyTorch MAML-TRPO with the
same networks and outer step, 8.7 s an outer iteration on two cores of this kind.
"""

import functools
import importlib
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp

import metarl_jax as mrl
from metarl_jax.algorithms import _adaptation, _outer
from metarl_jax.curricula import uniform
from metarl_jax.driver import driver
from metarl_jax.sharding import shard_tasks, task_mesh

PEER_SECONDS = 8.7
NUM_TASKS = 20
AT_ONCE = 2  # one a device: a Fisher product took 0.147 CPU seconds instead of 0.195 with all 20, 0.174 with 4
MIB = 2**20


def pieces(recipe: Any, tasks: Any) -> tuple[Any, ...]:
    """(algorithm, its Inner, its action distribution, its outer options)."""
    module, kept = importlib.import_module("metarl_jax.algorithms.maml"), []

    def keep(tasks, actions, inner, *rest):
        kept.append((inner, actions, rest[2]))
        return _outer.meta_learner(tasks, actions, inner, *rest)

    with mock.patch.object(module, "meta_learner", keep):
        algorithm = recipe.build(tasks)
    return algorithm, *kept[0]


def outer_iteration(shortest: Any, num_episodes: int = 20) -> dict[str, Any]:
    """Least seconds of an outer iteration (as ``train`` runs it, tasks spread over the devices) and of its parts, each
    compiled alone: living, the loss, its gradient, conjugate gradient (ten Fisher products of one linearisation)."""
    tasks = mrl.tasks.navigation(num_episodes=2 * num_episodes)
    recipe = mrl.algorithms.maml(outer="trust-region", tasks_at_once=AT_ONCE)
    algorithm, inner, actions, options = pieces(recipe, tasks)
    mesh = task_mesh() if NUM_TASKS % jax.device_count() == 0 else None
    program = driver(algorithm, uniform().build(tasks), NUM_TASKS, mesh)
    seeds, kept = jnp.zeros(1, jnp.int32), []
    kept[:] = [program.init(seeds), 0]

    def update():
        kept[0], metrics, _, _ = program.advance(seeds, kept[0], kept[1], 1)
        kept[1] += 1
        return metrics

    seconds = {"whole": shortest(update, 8)}
    state = jax.tree.map(lambda x: x[0], kept[0].algorithm)
    keys = jax.random.split(jax.random.key(0), NUM_TASKS)
    batch_tasks = jax.jit(jax.vmap(tasks.sample))(keys)

    @jax.jit
    def live():
        lifetime = functools.partial(_adaptation.lifetime, inner)
        return jax.vmap(lifetime, in_axes=(0, None, None, 0), out_axes=1)(
            keys, state.meta, state.baseline, shard_tasks(batch_tasks, mesh)
        )

    windows = live()
    batch = _outer.Batch(windows, jax.tree.map(lambda x: x[None], batch_tasks))

    def loss(meta, batch, inner=inner):
        return _outer.outer_loss(inner, actions, options, lambda meta, tasks: jnp.zeros(()), meta, batch)[0]

    @jax.jit
    def solve(meta, batch):
        fisher = _outer.fisher_product(inner, actions, meta, batch)
        return jax.lax.fori_loop(0, 10, lambda _, v: fisher(v), meta)

    gradient = jax.jit(jax.value_and_grad(loss))
    again = jax.jit(jax.value_and_grad(functools.partial(loss, inner=inner._replace(remat=True))))
    loss = jax.jit(loss)
    seconds["living"] = shortest(live, 5)
    seconds["loss"] = shortest(lambda: loss(state.meta, batch), 5)
    seconds["gradient"] = shortest(lambda: gradient(state.meta, batch), 5)
    seconds["gradient, rematerialised"] = shortest(lambda: again(state.meta, batch), 5)
    seconds["conjugate gradient"] = shortest(lambda: solve(state.meta, batch), 5)
    return seconds


def adaptation_rows(row: Any, shortest: Any) -> list[dict[str, Any]]:
    """Against the peer, and where the time goes."""
    seconds = outer_iteration(shortest)
    whole = seconds.pop("whole")
    ratio = PEER_SECONDS / whole
    return [
        row("maml trust region, 20 x 20 x 100: seconds an outer iteration", whole),
        row("maml trust region against PyTorch's 8.7 s: ratio", ratio, 5.0, ratio >= 5.0, [PEER_SECONDS, whole]),
        *(row(f"maml trust region: seconds of {name}", value) for name, value in seconds.items()),
    ]


def memory(num_tasks: int, inner_steps: int, remat: bool, at_once: int = 0) -> float:
    """MiB of temporaries of an update with 10 inner episodes of 200 steps, as the compiler plans them (no run)."""
    tasks = mrl.tasks.navigation(horizon=200, num_episodes=10)
    options = dict(episodes=10, inner_steps=inner_steps, remat=remat, tasks_at_once=at_once)
    algorithm = mrl.algorithms.maml(outer="clip", **options).build(tasks)
    shapes = jax.eval_shape(algorithm.init, jax.random.key(0))
    batch = jax.eval_shape(jax.vmap(tasks.sample), jax.random.split(jax.random.key(0), num_tasks))
    compiled: Any = jax.jit(algorithm.update).lower(jax.random.key(0), shapes, batch).compile()
    plan = compiled.memory_analysis()
    return plan.temp_size_in_bytes / MIB


def memory_rows(row: Any) -> list[dict[str, Any]]:
    """Keeping all, ``remat``, and ``remat`` with two tasks at once (the value).

    One inner step in 20 tasks: 154, 156 and 44 MiB; three in 40: 882, 236 and 92. ``remat`` alone spares what the other
    inner steps hold, groups of tasks what the other tasks do. Its cost in time is a row of ``adaptation_rows``.
    """
    rows = []
    for num_tasks in (20, 40):
        for inner_steps in (1, 3):
            ways = ((False, 0), (True, 0), (True, 2))
            spread = [memory(num_tasks, inner_steps, *way) for way in ways]
            name = f"maml second order, {num_tasks} tasks x 10 x 200, {inner_steps} inner steps"
            rows.append(row(f"{name}: MiB, rematerialised, 2 tasks at once", spread[-1], spread=spread))
    return rows
