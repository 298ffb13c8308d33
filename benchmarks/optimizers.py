"""The learned optimiser beside Adam and RMSprop with tuned rates, on tasks that it never saw.

    python benchmarks/quality.py learned-optimizer --seeds 0 1 2

trains it on small random mazes, once a seed, and lives whole lives of newborn agents with it: there (of 7 x 7 mazes
there are so few that it knows nearly all), in larger mazes, of which there are millions, for twice as long, and in
families that it knows nothing of. Adam and RMSprop have their rates tuned for each, on other lives. The first seed's is
what the package ships.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from record import RESULTS, Clock, row, trained
from timing import mesh_of, shortest

import metarl_jax as mrl
from metarl_jax import estimators
from metarl_jax.algorithms import _lifetimes as lifetimes
from metarl_jax.algorithms._actor_critics import NAMES as HYPERPARAMETERS
from metarl_jax.algorithms._actor_critics import OPTIMIZERS, as_numbers, hyperparameters, learners
from metarl_jax.config import Recipe
from metarl_jax.optimizers import born, scale_by_learned
from metarl_jax.sharding import shard_tasks
from metarl_jax.types import Actor, Inner, PyTree, TaskDistribution
from metarl_jax.viz.style import AGENT, CONTROL, MUTED, new_figure, style

LIFE, EPISODES, BLOCK, RATES = 100, 8, 64, np.geomspace(2e-3, 0.3, 12)
TUNING, TESTING = 128, 512  # lives
TRAINING: dict[str, Any] = dict(num_updates=400, num_tasks=48)
OTHERS, UNIT_RATE, SHIPPED_AS = ("adam", "rmsprop"), {"learning_rate": 1.0}, "small-mazes"


class Setting(NamedTuple):
    """Lives to be lived, and what is asked of the learned optimiser there, as a share of the best tuned one."""

    tasks: Callable[[], TaskDistribution]
    life: int
    bar: float


small_mazes = functools.partial(mrl.tasks.random_maze, rows=7, columns=7, horizon=32)
larger_mazes = functools.partial(mrl.tasks.random_maze, rows=9, columns=9, horizon=48)
SETTINGS = {
    "small mazes": Setting(small_mazes, LIFE, 1.0),
    "unseen larger mazes": Setting(larger_mazes, LIFE, 1.0),
    "unseen larger mazes, twice the life": Setting(larger_mazes, 2 * LIFE, 1.0),
    "random MDPs": Setting(mrl.tasks.tabular, LIFE, 0.9),
    "random MDPs, twice the life": Setting(mrl.tasks.tabular, 2 * LIFE, 0.9),
    "gridnavi": Setting(mrl.tasks.gridnavi, LIFE, 0.9),
}


def recipe() -> Recipe:
    return mrl.algorithms.learned_optimizer(
        episodes=EPISODES, life=LIFE, decay_updates=TRAINING["num_updates"], meta_rate=0.03
    )


def agents(
    tasks: TaskDistribution,
    meta: Callable[[jax.Array], PyTree],
    optimizer_of: Callable[[PyTree], optax.GradientTransformation],
) -> tuple[Actor, Inner]:
    """As ``learned_optimizer`` trains them, with any optimiser."""
    options = recipe().options
    numbers = hyperparameters(as_numbers({name: options[name] for name in HYPERPARAMETERS} | UNIT_RATE), 0.0, {})
    known = options["encoder"], options["bounding"], EPISODES
    return learners(tasks, meta, lambda meta: numbers, optimizer_of, *known)[1:]


def curves(
    tasks: TaskDistribution, optimizer_of: Callable[[PyTree], optax.GradientTransformation], life: int
) -> Callable[[jax.Array, PyTree], jax.Array]:
    """``(keys [L], meta) -> [L, life]``: the return of an episode in each inner update, every life in its own task."""
    actor, inner = agents(tasks, lambda key: (), optimizer_of)

    def one(meta: PyTree, key: jax.Array) -> jax.Array:
        keys, steps = jax.random.split(key), life * EPISODES * tasks.horizon
        task = tasks.sample(keys[0])
        lived = lifetimes.trial(tasks, actor, inner, keys[1], meta, task, steps, EPISODES, False, False)
        return lived.mean_reward.reshape(life, -1).sum(axis=1) / EPISODES

    return jax.jit(lambda keys, meta: jax.lax.map(functools.partial(one, meta), keys, batch_size=BLOCK))


def tuned(tasks: TaskDistribution, name: str, life: int) -> tuple[float, np.ndarray]:
    """(the best of ``RATES`` for optimiser ``name``, its mean curve ``[life]`` on other lives)."""
    live = curves(tasks, lambda rate: optax.chain(OPTIMIZERS[name](), optax.scale(rate)), life)
    keys = jax.random.split(jax.random.key(101), TUNING)
    areas = [float(live(keys, jnp.float32(rate)).mean()) for rate in RATES]
    best = float(RATES[int(np.argmax(areas))])
    return best, np.asarray(live(tested(), jnp.float32(best)).mean(axis=0))


def tested() -> jax.Array:
    return jax.random.split(jax.random.key(202), TESTING)


def learned_rows(seeds: list[int]) -> list[dict[str, Any]]:
    """Trains the optimiser, once a seed, and sets what agents earn with it beside those of the best tuned rates."""
    metas, seconds = [], []
    for seed in seeds:
        with Clock() as clock:
            run = mrl.train(recipe(), small_mazes(), seed=seed, quiet=True, **TRAINING)
        if seed == seeds[0]:
            mrl.optimizers.SHIPPED.mkdir(exist_ok=True)
            mrl.optimizers.save(run, mrl.optimizers.SHIPPED / f"{SHIPPED_AS}.json")
        metas.append(jax.tree.map(lambda x: x[0], run.state.meta))
        seconds.append(round(clock.seconds, 1))
        print(f"seed {seed}: {clock.seconds:.0f} s, {float(run.metrics['trial_return'][-20:].mean()):.3f}", flush=True)
    rows, drawn = [], {}
    for name, setting in SETTINGS.items():
        tasks = setting.tasks()
        others = {optimizer: tuned(tasks, optimizer, setting.life) for optimizer in OTHERS}
        live = curves(tasks, functools.partial(scale_by_learned, total_updates=setting.life), setting.life)
        own = np.stack([live(tested(), meta).mean(axis=0) for meta in metas])
        best = max(float(curve.mean()) for _, curve in others.values())
        start = float(own[:, 0].mean())  # a newborn's
        shares, above = own.mean(axis=1) / best, (own.mean(axis=1) - start) / (best - start)
        where = f"learned optimiser, {name}: area"
        rows.append(row(f"{where}, share of the best tuned one", float(shares.mean()), shares.tolist(), setting.bar))
        rows.append(row(f"{where} above a newborn's, share of the best", float(above.mean()), above.tolist()))
        for optimizer, (rate, curve) in others.items():
            rows.append(row(f"{optimizer}, {name}: area at its best rate", float(curve.mean())))
            rows.append(row(f"{optimizer}, {name}: its best rate", rate))
        drawn[name] = own, {optimizer: curve for optimizer, (_, curve) in others.items()}
    draw(drawn)
    return [made | trained("learned-optimizer", seeds, seconds) for made in rows]


def draw(drawn: dict[str, tuple[np.ndarray, dict[str, np.ndarray]]]) -> None:
    with style():
        figure = new_figure(3.1 * len(drawn), 3.2)
        for axes, (name, (own, others)) in zip(figure.subplots(1, len(drawn)), drawn.items(), strict=True):
            for (optimizer, curve), color in zip(others.items(), (CONTROL, MUTED), strict=True):
                axes.plot(curve, color=color, label=f"{optimizer}, tuned")
            axes.plot(own.mean(axis=0), color=AGENT, label="learned")
            axes.fill_between(range(own.shape[1]), own.min(axis=0), own.max(axis=0), color=AGENT, alpha=0.25, lw=0)
            axes.set_title(name, fontsize=9.5)
            axes.set_xlabel("inner updates")
        figure.axes[0].set_ylabel("return of an episode")
        figure.axes[0].legend()
        figure.savefig(RESULTS / "learned-optimizer.png")


def throughput_rows(num_tasks: int = 64, repeats: int = 3) -> list[dict[str, Any]]:
    """Inner environment steps a second of an outer update on whole lives, and what of its time the optimiser takes: the
    same lives with Adam instead."""
    tasks = small_mazes()
    sizes = recipe().options["hidden"]
    learned = functools.partial(scale_by_learned, total_updates=LIFE)
    plain = lambda meta: optax.chain(OPTIMIZERS["adam"](), optax.scale(jnp.exp(meta["log_rate"])))
    seconds = [update_seconds(tasks, sizes, optimizer_of, num_tasks, repeats) for optimizer_of in (learned, plain)]
    steps, name = 2 * num_tasks * LIFE * EPISODES * tasks.horizon, f"learned optimiser, {num_tasks} pairs in mazes"
    return [
        row(f"{name}: k inner environment steps/s", steps / seconds[0] / 1e3),
        row(f"{name}: k inner environment steps/s with Adam instead", steps / seconds[1] / 1e3),
        row(f"{name}: share of the time that is the optimiser, beyond Adam's", 1 - seconds[1] / seconds[0], seconds),
    ]


def update_seconds(
    tasks: TaskDistribution, sizes: tuple[int, ...], optimizer_of: Callable, num_tasks: int, repeats: int
) -> float:
    meta = functools.partial(born, sizes=sizes, rate=0.03)
    estimator = estimators.evolution(*agents(tasks, meta, optimizer_of), LIFE, LIFE, persistent=False)
    mesh = mesh_of(num_tasks)
    batch = jax.jit(jax.vmap(tasks.sample))(jax.random.split(jax.random.key(0), num_tasks))
    kept = estimator.init(jax.random.key(0), jax.eval_shape(tasks.sample, jax.random.key(0)), num_tasks)

    @jax.jit
    def gradient(key):
        return estimator.estimate(key, meta(jax.random.key(0)), kept, shard_tasks(batch, mesh))[0]

    return shortest(lambda: gradient(jax.random.key(1)), repeats)
