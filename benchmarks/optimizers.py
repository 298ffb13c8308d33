"""The learned optimiser beside Adam and RMSprop with tuned rates, on tasks that it never saw.

    python -m benchmarks.quality learned-optimizer

trains it on small random mazes, once a seed, and lives whole lives of newborn agents with it: there (of 7 x 7 mazes
there are so few that it knows nearly all), in larger mazes, of which there are millions, for twice as long, and in
families that it knows nothing of. Adam and RMSprop have their rates chosen for each by two rounds (``choosing``), on
other lives. It sees the share of a life that is gone, so both also stand there with a rate that falls to 0 over it. The
first seed's is what the package ships.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import metarl_jax as mrl
from benchmarks.choosing import Choice, choose, tested_on
from benchmarks.record import RESULTS, Clock, compared, row, seeded, timed, written_to
from benchmarks.sizes import size
from benchmarks.timing import mesh_of, shortest
from metarl_jax import meta_gradients
from metarl_jax.algorithms.lifetime import meta_learner as lifetimes
from metarl_jax.algorithms.lifetime.actor_critic import NAMES as HYPERPARAMETERS
from metarl_jax.algorithms.lifetime.actor_critic import OPTIMIZERS, as_numbers, hyperparameters, make_agents
from metarl_jax.config import Recipe
from metarl_jax.learned.optimizers import init, scale_by_learned
from metarl_jax.records import Actor, Inner, PyTree, TaskDistribution
from metarl_jax.runtime.sharding import shard_tasks
from metarl_jax.viz.style import AGENT, CONTROL, MUTED, new_figure, style

LIFE, EPISODES, BLOCK = size((100, 8, 64), (2, 2, 4))
RATES = size(tuple(map(float, np.geomspace(2e-3, 0.3, 12))), (0.1,))
TRAINING: dict[str, Any] = size(dict(num_updates=400, num_tasks=48), dict(num_updates=1, num_tasks=2))
UNIT_RATE, SHIPPED_AS = {"learning_rate": 1.0}, "small-mazes"
OTHERS = {  # name: the optimiser, whether its rate falls
    "adam": ("adam", False),
    "adam, falling rate": ("adam", True),
    "rmsprop": ("rmsprop", False),
    "rmsprop, falling rate": ("rmsprop", True),
}


class Setting(NamedTuple):
    """Lives to be lived, and what is asked of the learned optimiser there, as a share of the best tuned one."""

    tasks: Callable[[], TaskDistribution]
    life: int
    bar: float


small_mazes = functools.partial(mrl.tasks.random_maze, rows=7, columns=7, horizon=size(32, 4))
larger_mazes = functools.partial(mrl.tasks.random_maze, rows=9, columns=9, horizon=48)
SETTINGS = {
    "small mazes": Setting(small_mazes, LIFE, 1.0),
    "unseen larger mazes": Setting(larger_mazes, LIFE, 1.0),
    "unseen larger mazes, twice the life": Setting(larger_mazes, 2 * LIFE, 1.0),
    "random MDPs": Setting(mrl.tasks.tabular, LIFE, 0.9),
    "random MDPs, twice the life": Setting(mrl.tasks.tabular, 2 * LIFE, 0.9),
    "gridnavi": Setting(mrl.tasks.gridnavi, LIFE, 0.9),
}
SETTINGS = size(SETTINGS, {name: SETTINGS[name] for name in ("small mazes",)})


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
    return make_agents(tasks, meta, lambda meta: numbers, optimizer_of, *known)[1:]


def curves(
    tasks: TaskDistribution, optimizer_of: Callable[[PyTree], optax.GradientTransformation], life: int
) -> Callable[[jax.Array, PyTree], jax.Array]:
    """``(keys [L], meta) -> [L, life]``: the return of an episode in each inner update, every life in its own task."""
    actor, inner = agents(tasks, lambda key: (), optimizer_of)

    def one(meta: PyTree, key: jax.Array) -> jax.Array:
        keys, steps = jax.random.split(key), life * EPISODES * tasks.horizon
        task = tasks.sample(keys[0])
        trajectory = lifetimes.trial(tasks, actor, inner, keys[1], meta, task, steps, EPISODES, False, False)
        return trajectory.mean_reward.reshape(life, -1).sum(axis=1) / EPISODES

    return jax.jit(lambda keys, meta: jax.lax.map(functools.partial(one, meta), keys, batch_size=BLOCK))


def with_rate(optimizer: str, falls: bool, life: int, rate: jax.Array) -> optax.GradientTransformation:
    """``optimizer`` at ``rate``, or at one that falls from it to 0 over a life."""
    schedule = lambda count: rate * (1.0 - count / life)
    return optax.chain(OPTIMIZERS[optimizer](), optax.scale_by_schedule(schedule) if falls else optax.scale(rate))


class Tuned(NamedTuple):
    """An optimiser at the rate chosen, and what newborn agents earn with it: ``[S, life]``."""

    choice: Choice
    curve: np.ndarray


def tuned(tasks: TaskDistribution, name: str, life: int, seeds: list[int]) -> Tuned:
    live = curves(tasks, functools.partial(with_rate, *OTHERS[name], life), life)
    score = lambda keys, setting: float(live(keys, jnp.float32(setting["rate"])).mean())
    choice = choose([dict(rate=rate) for rate in RATES], score)
    rate = jnp.float32(choice.setting["rate"])
    return Tuned(choice, np.stack([live(tested_on(seed), rate).mean(axis=0) for seed in seeds]))


def learned_rows(seeds: list[int]) -> list[dict[str, Any]]:
    """Trains the optimiser, once a seed, and sets what agents earn with it beside those of the best tuned rates."""
    metas, seconds = [], []
    for seed in seeds:
        with Clock() as clock:
            run = mrl.train(recipe(), small_mazes(), seed=seed, quiet=True, **TRAINING)
        if seed == seeds[0]:
            mrl.learned.optimizers.save(run, written_to(mrl.learned.optimizers.SHIPPED) / f"{SHIPPED_AS}.json")
        metas.append(jax.tree.map(lambda x: x[0], run.state.meta))
        seconds.append(round(clock.seconds, 1))
        print(f"seed {seed}: {clock.seconds:.0f} s, {float(run.metrics['trial_return'][-20:].mean()):.3f}", flush=True)
    rows, drawn = [], {}
    for name, setting in SETTINGS.items():
        tasks = setting.tasks()
        others = {other: tuned(tasks, other, setting.life, seeds) for other in OTHERS}
        live = curves(tasks, functools.partial(scale_by_learned, total_updates=setting.life), setting.life)
        pairs = zip(seeds, metas, strict=True)
        own = np.stack([live(tested_on(seed), meta).mean(axis=0) for seed, meta in pairs])
        rows += beside_others(name, own, others, setting.bar)
        drawn[name] = own, {other: found.curve.mean(axis=0) for other, found in others.items()}
    draw(drawn)
    return timed(rows, seconds)


def beside_others(name: str, own: np.ndarray, others: dict[str, Tuned], bar: float) -> list[dict[str, Any]]:
    """The best of the others is the one with the best score in the second round, on lives that are not reported."""
    best = max(others, key=lambda other: others[other].choice.told["score"])
    areas, start = own.mean(axis=1), own[:, 0]  # a newborn's
    known, where = others[best].curve.mean(axis=1), f"learned optimiser, {name}: area"
    settings = {other: found.choice.told for other, found in others.items()}
    above = areas - start, known - start
    share = f"{where}, share of the best tuned one"
    return [
        compared(share, areas, known, "share", at_least=bar, settings=settings, note=f"the best is {best}"),
        compared(f"{where} above a newborn's, share of the best", *above, "share"),
        *(
            seeded(f"{other}, {name}: area at its best rate", found.curve.mean(axis=1), "return")
            for other, found in others.items()
        ),
    ]


def draw(drawn: dict[str, tuple[np.ndarray, dict[str, np.ndarray]]]) -> None:
    with style():
        figure = new_figure(3.1 * len(drawn), 3.2)
        plots = figure.subplots(1, len(drawn), squeeze=False)[0]
        for axes, (name, (own, others)) in zip(plots, drawn.items(), strict=True):
            for i, (optimizer, curve) in enumerate(others.items()):
                style_of: dict[str, Any] = dict(color=(CONTROL, MUTED)[i // 2], ls="--" if i % 2 else "-")
                axes.plot(curve, label=f"{optimizer}, tuned", **style_of)
            axes.plot(own.mean(axis=0), color=AGENT, label="learned")
            axes.fill_between(range(own.shape[1]), own.min(axis=0), own.max(axis=0), color=AGENT, alpha=0.25, lw=0)
            axes.set_title(name, fontsize=9.5)
            axes.set_xlabel("inner updates")
        figure.axes[0].set_ylabel("return of an episode")
        figure.axes[0].legend()
        figure.savefig(RESULTS / "learned-optimizer.png")


def throughput_rows(num_tasks: int = size(64, 2), repeats: int = size(3, 1)) -> list[dict[str, Any]]:
    """Inner environment steps a second of an outer update on whole lives, and what of its time the optimiser takes: the
    same lives with Adam instead."""
    tasks = small_mazes()
    sizes = recipe().options["hidden"]
    learned = functools.partial(scale_by_learned, total_updates=LIFE)
    plain = lambda meta: optax.chain(OPTIMIZERS["adam"](), optax.scale(jnp.exp(meta["log_rate"])))
    seconds = [update_seconds(tasks, sizes, optimizer_of, num_tasks, repeats) for optimizer_of in (learned, plain)]
    steps, name = 2 * num_tasks * LIFE * EPISODES * tasks.horizon, f"learned optimiser, {num_tasks} pairs in mazes"
    with_adam = {"s of an update": seconds[0], "with Adam instead": seconds[1]}
    more = 1 - seconds[1] / seconds[0]
    return [
        row(f"{name}: k inner environment steps/s", steps / seconds[0] / 1e3, "k steps/s"),
        row(f"{name}: k inner environment steps/s with Adam instead", steps / seconds[1] / 1e3, "k steps/s"),
        row(f"{name}: share of the time that is the optimiser, beyond Adam's", more, "share", parts=with_adam),
    ]


def update_seconds(
    tasks: TaskDistribution, sizes: tuple[int, ...], optimizer_of: Callable, num_tasks: int, repeats: int
) -> float:
    meta = functools.partial(init, sizes=sizes, rate=0.03)
    estimator = meta_gradients.evolution(*agents(tasks, meta, optimizer_of), LIFE, LIFE, persistent=False)
    mesh = mesh_of(num_tasks)
    batch = jax.jit(jax.vmap(tasks.sample))(jax.random.split(jax.random.key(0), num_tasks))
    kept = estimator.init(jax.random.key(0), jax.eval_shape(tasks.sample, jax.random.key(0)), num_tasks)

    @jax.jit
    def gradient(key):
        return estimator.estimate(key, meta(jax.random.key(0)), kept, shard_tasks(batch, mesh))[0]

    return shortest(lambda: gradient(jax.random.key(1)), repeats)
