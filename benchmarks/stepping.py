"""Random-policy stepping of our environments and of gymnax's, in one and the same kind of loop."""

import jax
import jax.numpy as jnp

from benchmarks.timing import shortest
from metarl_jax.networks import first_timestep
from metarl_jax.rollout import RolloutState, advance
from metarl_jax.runtime.sharding import shard_tasks


def random_actions(key, shape: tuple[int, ...], num_actions: int | None, size: int = 0):
    """A byte of randomness an action, in both loops (uniform where ``num_actions`` divides 256, else nearly); vectors
    ``[..., size]`` between -1 and 1 where actions are continuous."""
    if num_actions is None:
        return jax.random.uniform(key, (*shape, size), minval=-1.0)
    return (jax.random.bits(key, shape, "uint8").astype(jnp.int32) * num_actions) >> 8


def ours(tasks, num_tasks: int, num_steps: int, mesh=None):
    """A compiled loop ``(key) -> checksum``: every task its own, trials restart episodes in the same task. Tasks
    are spread over the devices of ``mesh``, as ``train`` does."""
    env = tasks.env
    batch = jax.jit(jax.vmap(tasks.sample))(jax.random.split(jax.random.key(0), num_tasks))

    @jax.jit
    def loop(key, batch):
        env_key, action_key = jax.random.split(key)
        batch = shard_tasks(batch, mesh)
        state = jax.vmap(env.reset)(env.sample_noise(env_key, (num_tasks,)), batch)
        place = RolloutState(state, first_timestep(env.spec, (num_tasks,)), ())

        def step(carry, noise):
            place, total = carry
            env_noise, action = noise
            state, timestep, (reward, *_) = advance(env, env_noise, place, action, batch)
            # Everything that an agent would be given is used.
            total = total + reward + timestep.observation.reshape(num_tasks, -1).sum(axis=-1)
            return (RolloutState(state, timestep, ()), total), None

        shape = (num_steps, num_tasks)
        noise = (
            env.sample_noise(env_key, shape),
            random_actions(action_key, shape, env.spec.num_actions, env.spec.action_size),
        )
        return jax.lax.scan(step, (place, jnp.zeros(num_tasks)), noise)[0][1].sum()

    return lambda key: loop(key, batch)


def gymnax_loop(name: str, num_tasks: int, num_steps: int):
    """The same loop over ``vmap(env.step)`` as gymnax documents it, with its auto-reset and its default params."""
    import gymnax

    env, params = gymnax.make(name)

    @jax.jit
    def loop(key):
        _, state = jax.vmap(env.reset, in_axes=(0, None))(jax.random.split(key, num_tasks), params)

        def step(carry, inputs):
            state, total = carry
            key, action = inputs
            keys = jax.random.split(key, num_tasks)
            observation, state, reward, *_ = jax.vmap(env.step, in_axes=(0, 0, 0, None))(keys, state, action, params)
            return (state, total + reward + observation.reshape(num_tasks, -1).sum(axis=-1)), None

        actions = random_actions(key, (num_steps, num_tasks), env.num_actions)
        inputs = (jax.random.split(key, num_steps), actions)
        return jax.lax.scan(step, (state, jnp.zeros(num_tasks)), inputs)[0][1].sum()

    return loop


def steps_per_second(loop, num_tasks: int, num_steps: int, repeats: int = 5) -> float:
    """The best of ``repeats`` timed calls, after one that compiles."""
    return num_tasks * num_steps / shortest(lambda: loop(jax.random.key(0)), repeats)
