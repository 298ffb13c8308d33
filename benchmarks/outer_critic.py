"""The outer critic beside exact values: agents that never change, 600 updates at default options.

    python -m benchmarks.quality outer-critic

Agents are frozen by a learning rate of 1e-30, and all updates have the same tasks. The critic sees neither task nor
agent, so its exact value at an observation and a time is the mean over the tasks, weighted by how likely that
observation is in each then: dynamic programming, forwards and backwards. The error is the root mean square over all
observations and times that are visited, as a share of the range of returns: from the least to the most that an episode
returns in expectation, over all tasks and policies.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import metarl_jax as mrl
from benchmarks.record import Clock, seeded, timed
from benchmarks.sizes import size
from metarl_jax import planning
from metarl_jax.algorithms.lifetime import meta_learner as lifetimes
from metarl_jax.config import Recipe
from metarl_jax.records import TaskDistribution, TimeStep, Trajectory

UPDATES, TASKS = size((600, 64), (1, 2))
FROZEN = dict(learning_rate=1e-30)


class Model(NamedTuple):
    """All tasks, from state 0: ``transition [N, S, A, S]``, ``reward [N, S, A]``, ``observation [S, F]``."""

    transition: np.ndarray
    reward: np.ndarray
    observation: np.ndarray


def tabular_model(tasks: TaskDistribution, batch: Any) -> Model:
    return Model(np.asarray(batch.transition), np.asarray(batch.reward), np.eye(batch.reward.shape[1]))


def key_model(tasks: TaskDistribution, batch: Any) -> Model:
    """States: time, and whether the key is held."""
    count, horizon, actions = len(batch.action), tasks.horizon, tasks.env.spec.num_actions or 0
    transition, reward = np.zeros((count, 2 * horizon, actions, 2 * horizon)), np.zeros((count, 2 * horizon, actions))
    for n, (action, prize) in enumerate(zip(np.asarray(batch.action), np.asarray(batch.prize), strict=True)):
        for time in range(horizon):
            for holds in range(2):
                after = [int(a == action) if time == 0 else holds for a in range(actions)]
                for a, held in enumerate(after):
                    transition[n, 2 * time + holds, a, 2 * min(time + 1, horizon - 1) + held] = 1.0
                    reward[n, 2 * time + holds, a] = prize * held if time == horizon - 1 else 0.0
    time, holds = np.divmod(np.arange(2 * horizon), 2)
    visible = tasks.env.spec.observation_shape[0] > horizon
    seen = np.concatenate([np.eye(horizon)[time], holds[:, None]] if visible else [np.eye(horizon)[time]], axis=1)
    return Model(transition, reward, seen)


PLACES: dict[str, tuple[Callable[[], TaskDistribution], Callable[[TaskDistribution, Any], Model]]] = {
    "random MDPs, 5 states": (lambda: mrl.tasks.tabular(num_states=5, num_episodes=240), tabular_model),
    "key-to-door": (mrl.tasks.key_to_door, key_model),
    "key-to-door, noise 3": (lambda: mrl.tasks.key_to_door(num_actions=5, noise=3.0, num_episodes=800), key_model),
}
METHODS: dict[str, Callable[..., Recipe]] = {
    "lpg": mrl.algorithms.lpg,
    "pairwise-weights": mrl.algorithms.pairwise_weights,
    "intrinsic-reward": functools.partial(mrl.algorithms.intrinsic_reward, gradient="backprop"),
    "self-tuning": functools.partial(mrl.algorithms.self_tuning, tuned=("entropy_cost",)),
}


def exact(model: Model, policy: np.ndarray, horizon: int, discount: float) -> tuple[np.ndarray, np.ndarray]:
    """(values ``[T, O]``, chances to be there ``[T, O]``) of distinct observations; ``policy [N, S, A]``."""
    moves = np.einsum("nsa,nsat->nst", policy, model.transition)
    pay, value = np.einsum("nsa,nsa->ns", policy, model.reward), np.zeros((horizon + 1, *policy.shape[:2]))
    for time in reversed(range(horizon)):
        value[time] = pay + discount * np.einsum("nst,nt->ns", moves, value[time + 1])
    there = np.zeros((horizon, *policy.shape[:2]))
    there[0, :, 0] = 1.0
    for time in range(1, horizon):
        there[time] = np.einsum("ns,nst->nt", there[time - 1], moves)
    kinds, of_state = np.unique(model.observation, axis=0, return_inverse=True)
    chance = there @ np.eye(len(kinds))[of_state.reshape(-1)]  # [T, N, O]
    earned = (there * value[:horizon]) @ np.eye(len(kinds))[of_state.reshape(-1)]
    total = chance.sum(axis=1)
    return earned.sum(axis=1) / np.where(total > 0, total, 1.0), total / total.sum(axis=1, keepdims=True)


def range_of(model: Model, horizon: int) -> float:
    """Of expected returns of an episode, over tasks and policies."""
    best = jax.vmap(lambda p, r: planning.backward_induction(p, r, horizon).value[0, 0])
    transition, reward = jnp.asarray(model.transition), jnp.asarray(model.reward)
    return float(best(transition, reward).max() + best(transition, -reward).max())


def measured(recipe: Recipe, place: str, seed: int, updates: int = UPDATES) -> dict[str, float]:
    """``error``: root mean square over visited observations and times; ``weighted``: by how often these are visited;
    ``range``: of returns; ``start``: the critic's value of an episode's start."""
    make, model_of = PLACES[place]
    tasks = make()
    algorithm, keys = recipe.build(tasks), jax.random.split(jax.random.key(seed), 3)
    batch = jax.vmap(tasks.sample)(jax.random.split(keys[0], TASKS))
    state = algorithm.init(keys[1], TASKS)
    body = lambda i, state: algorithm.update(jax.random.fold_in(keys[2], i), state, batch)[0]
    state = jax.jit(lambda state: jax.lax.fori_loop(0, updates, body, state))(state)
    model, horizon = model_of(tasks, batch), tasks.horizon
    value, chance = exact(model, uniform(state, model), horizon, recipe.options["outer_discount"])
    kinds = jnp.asarray(np.unique(model.observation, axis=0), jnp.float32)
    valued = np.asarray(critic_values(tasks, recipe, state, kinds))
    wrong, visited = np.square(valued - value), chance > 1e-9
    return {
        "error": float(np.sqrt(wrong[visited].mean())),
        "weighted": float(np.sqrt((wrong * chance).sum() / chance.sum())),
        "range": range_of(model, horizon),
        "start": float((valued[0] * chance[0]).sum()),
        "exact start": float((value[0] * chance[0]).sum()),
    }


def uniform(state: Any, model: Model) -> np.ndarray:
    """The policy ``[N, S, A]`` of agents that never learned anything: uniform but for their weights at first."""
    actions = model.reward.shape[-1]
    acted = jax.nn.softmax(state.kept.lives.pending.outputs[0])
    assert float(jnp.abs(acted - 1 / actions).max()) < 0.02
    return np.full(model.reward.shape, 1 / actions)


def critic_values(tasks: TaskDistribution, recipe: Recipe, state: Any, kinds: jax.Array) -> jax.Array:
    """``[T, O]``."""
    options, horizon = recipe.options, tasks.horizon
    encoder = options.get("outer_encoder", options["encoder"])
    critic = lifetimes.outer_critic(
        tasks.env.spec, tuple(encoder), options["outer_critic_rate"], horizon, options["outer_discount"]
    )
    seen = jnp.broadcast_to(kinds, (horizon, *kinds.shape))
    time = jnp.broadcast_to(jnp.arange(horizon)[:, None], seen.shape[:2])
    none = jnp.zeros(seen.shape[:2])
    step = TimeStep(seen, none, none, none, none)
    trajectory = Trajectory(step, none, none, none, none, none, seen, (), (), ())
    return critic.values(state.kept.critic, trajectory, time)[0]


def rows(seeds: list[int]) -> list[dict[str, Any]]:
    made = []
    for method, recipe in METHODS.items():
        for place in PLACES:
            with Clock() as clock:
                found = [measured(recipe(**FROZEN), place, seed) for seed in seeds]
            print(f"{method}, {place}: {found} in {clock.seconds:.0f} s", flush=True)
            shares = [one["error"] / one["range"] for one in found]
            name = f"outer critic, {method} on {place}: error over the range of returns, the worst seed"
            parts = {key: float(np.mean([one[key] for one in found])) for key in found[0]}
            one = seeded(name, shares, "share", max, at_most=0.05, parts=parts)
            made += timed([one], [round(clock.seconds / len(seeds), 1)] * len(seeds))
    return made
