"""What adapting by gradient costs: seconds of MAML's outer iteration and their shares, and the memory of second order.

For the table of ``speed`` (``python -m benchmarks.speed adaptation memory``). The peer: a PyTorch MAML-TRPO with the
same networks and outer step, 8.7 s an outer iteration on two cores of this kind.
"""

import functools
import inspect
from typing import Any

import jax

import metarl_jax as mrl
from benchmarks.record import beside, row
from benchmarks.sizes import size
from benchmarks.timing import mesh_of, shortest, update_of
from metarl_jax.algorithms.gradient import inner_loop as _adaptation
from metarl_jax.algorithms.gradient import outer_loop as _outer
from metarl_jax.runtime.sharding import shard_tasks

PEER_SECONDS = 8.7
NUM_TASKS, EPISODES, REPEATS = size((20, 20, 5), (2, 1, 1))
AT_ONCE = 2  # one on each of two cores: what a task needs stays in their caches
MIB = 2**20


def parts_of(algorithm: mrl.records.Algorithm) -> tuple[Any, ...]:
    """(``Inner``, action distribution, loss) of a trust region's outer step: the very ones that ``update`` holds."""
    step: Any = inspect.getclosurevars(algorithm.update).nonlocals["step"]
    return step.args[:3]


def outer_iteration(num_episodes: int = EPISODES) -> dict[str, Any]:
    """Least seconds of an outer iteration (as ``train`` runs it, tasks spread over the devices) and of its parts, each
    compiled alone: living, the loss, its gradient, conjugate gradient (ten Fisher products of one linearisation)."""
    tasks = mrl.tasks.navigation(num_episodes=2 * num_episodes)
    recipe = functools.partial(mrl.algorithms.maml, outer="trust-region", tasks_at_once=AT_ONCE)
    inner, actions, loss = parts_of(recipe().build(tasks))
    _, _, loss_again = parts_of(recipe(remat=True).build(tasks))
    update = update_of(recipe(), tasks, NUM_TASKS)
    seconds = {"whole": shortest(update, REPEATS + 3)}
    state = jax.tree.map(lambda x: x[0], update()[0].algorithm)
    keys = jax.random.split(jax.random.key(0), NUM_TASKS)
    batch_tasks, mesh = jax.jit(jax.vmap(tasks.sample))(keys), mesh_of(NUM_TASKS)

    @jax.jit
    def live():
        lifetime = functools.partial(_adaptation.lifetime, inner)
        return jax.vmap(lifetime, in_axes=(0, None, None, 0), out_axes=1)(
            keys, state.meta, state.baseline, shard_tasks(batch_tasks, mesh)
        )

    def solve(meta, windows):
        fisher = _outer.fisher_product(inner, actions, meta, windows)
        return jax.lax.fori_loop(0, 10, lambda _, v: fisher(v), meta)

    windows = live()
    seconds["living"] = shortest(live, REPEATS)
    parts = {
        "loss": loss,
        "gradient": jax.value_and_grad(lambda *at: loss(*at)[0]),
        "gradient, rematerialised": jax.value_and_grad(lambda *at: loss_again(*at)[0]),
        "conjugate gradient": solve,
    }
    for name, part in parts.items():
        compiled = jax.jit(part)
        seconds[name] = shortest(functools.partial(compiled, state.meta, windows), REPEATS)
    return seconds


def adaptation_rows() -> list[dict[str, Any]]:
    """Against the peer, and where the time goes."""
    seconds = outer_iteration()
    whole = seconds.pop("whole")
    return [
        row("maml trust region, 20 x 20 x 100: seconds an outer iteration", whole, "s"),
        beside(
            "maml trust region against PyTorch's 8.7 s: ratio",
            PEER_SECONDS,
            whole,
            ("s of PyTorch", "s of ours"),
            at_least=5.0,
        ),
        *(row(f"maml trust region: seconds of {name}", value, "s") for name, value in seconds.items()),
    ]


def memory(num_tasks: int, inner_steps: int, remat: bool, at_once: int = 0) -> float:
    """MiB of temporaries of an update with 10 inner episodes of 200 steps, as the compiler plans them (no run)."""
    tasks = mrl.tasks.navigation(horizon=size(200, 4), num_episodes=size(10, 4))
    options: dict[str, Any] = dict(episodes=size(10, 2), inner_steps=inner_steps, remat=remat, tasks_at_once=at_once)
    algorithm = mrl.algorithms.maml(outer="clip", **options).build(tasks)
    shapes = jax.eval_shape(functools.partial(algorithm.init, num_tasks=1), jax.random.key(0))
    batch = jax.eval_shape(jax.vmap(tasks.sample), jax.random.split(jax.random.key(0), num_tasks))
    compiled: Any = jax.jit(algorithm.update).lower(jax.random.key(0), shapes, batch).compile()
    plan = compiled.memory_analysis()
    return plan.temp_size_in_bytes / MIB


def memory_rows() -> list[dict[str, Any]]:
    """Keeping all, ``remat``, and ``remat`` with two tasks at once (the value); the row has all three.

    ``remat`` alone spares what the other inner steps hold, groups of tasks what the other tasks do. Its cost in time is
    a row of ``adaptation_rows``.
    """
    rows = []
    ways = {"keeping all": (False, 0), "rematerialised": (True, 0), "2 tasks at once, too": (True, 2)}
    for num_tasks in size((20, 40), (2,)):
        for inner_steps in size((1, 3), (1,)):
            plans = {name: memory(num_tasks, inner_steps, *way) for name, way in ways.items()}
            name = f"maml second order, {num_tasks} tasks x 10 x 200, {inner_steps} inner steps"
            value = plans["2 tasks at once, too"]
            rows.append(row(f"{name}: MiB, rematerialised, 2 tasks at once", value, "MiB", parts=plans))
    return rows
