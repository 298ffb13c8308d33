"""What advantages of the inner and outer loop are measured against: a linear fit a window, or a meta-learned critic."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl_jax import estimators
from metarl_jax.networks import Critic
from metarl_jax.types import Key, PyTree, TaskDistribution, TimeStep


class Baseline(NamedTuple):
    """``init(key) -> state``; ``values(state, timestep, returns) -> [T, E]``;
    ``learn(state, timestep [..., T, E, ...], returns [..., T, E]) -> state``: the outer loop's regression."""

    init: Callable[[Key], PyTree]
    values: Callable[[PyTree, TimeStep, jax.Array], jax.Array]
    learn: Callable[[PyTree, TimeStep, jax.Array], PyTree]


class CriticState(NamedTuple):
    """The network says ``(V - mean) / scale``: running moments of the returns free it of the rewards' scale."""

    params: optax.Params
    optimizer: optax.OptState
    mean: jax.Array
    scale: jax.Array
    count: jax.Array


def linear() -> Baseline:
    """Linear in features of state and time, fitted to each window (``estimators.linear_baseline``): knows its task."""

    def values(state, timestep: TimeStep, returns: jax.Array):
        time = estimators.time_in_episode(timestep.episode_start)
        return estimators.linear_baseline(timestep.observation, time, returns)

    return Baseline(lambda key: (), values, lambda state, timestep, returns: state)


def critic(
    tasks: TaskDistribution, encoder: tuple[int, ...], learning_rate: float, num_steps: int, memory: float = 0.9
) -> Baseline:
    """An own network of observation and time, regressed on the returns of all windows of an update, before and after
    adaptation; ``num_steps`` of Adam an update. No inner step ever sees its loss.

    It does not know the task: what it cannot explain stays in the advantages, which are standardised a window.
    ``memory``: of the running moments.
    """
    network, spec = Critic(encoder), tasks.env.spec
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(learning_rate, eps=1e-5))

    def init(key):
        params = network.init(key, jnp.zeros(spec.observation_shape), jnp.zeros(()))["params"]
        return CriticState(params, optimizer.init(params), jnp.zeros(()), jnp.ones(()), jnp.zeros(()))

    def standard(params, timestep: TimeStep, axis: int = 0) -> Any:
        start = jnp.moveaxis(timestep.episode_start, axis, 0)
        time = jnp.moveaxis(estimators.time_in_episode(start), 0, axis) / tasks.horizon
        return network.apply({"params": params}, timestep.observation, time)

    def values(state: CriticState, timestep: TimeStep, returns: jax.Array):
        del returns
        return state.mean + state.scale * standard(state.params, timestep)

    def learn(state: CriticState, timestep: TimeStep, returns: jax.Array):
        rate = jnp.maximum(1.0 - memory, 1.0 / (state.count + 1.0))  # the first update's moments are its own
        mean = state.mean + rate * (returns.mean() - state.mean)
        scale = state.scale + rate * (returns.std() + 1e-4 - state.scale)
        target = (returns - mean) / scale
        time_axis = returns.ndim - 2

        def loss(params):
            return estimators.squared_error(standard(params, timestep, time_axis), target).mean()

        def step(carry, _):
            params, optimizer_state = carry
            updates, optimizer_state = optimizer.update(jax.grad(loss)(params), optimizer_state, params)
            return (optax.apply_updates(params, updates), optimizer_state), None

        (params, optimizer_state), _ = jax.lax.scan(step, (state.params, state.optimizer), length=num_steps)
        return CriticState(params, optimizer_state, mean, scale, state.count + 1.0)

    return Baseline(init, values, learn)
