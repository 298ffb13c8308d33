"""The peer of ``mazes``: an update of PPO in JaxUED's mazes, with its wrapper that starts anew and its recurrent layer.

JaxUED is environments and layers; its learners are example scripts. This is what they do at their sizes, written anew,
without what they log. Needs ``pip install --no-deps jaxued``.
"""

import functools
import importlib
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from timing import shortest


class Agent(nn.Module):
    """Filters, an LSTM, two heads with a layer of their own each."""

    reset_rnn: Any
    sizes: dict[str, Any]
    num_actions: int

    @nn.compact
    def __call__(self, seen, starts, memory):
        filters = self.sizes["filters"][0]
        view = nn.relu(nn.Conv(filters, (3, 3), padding="VALID")(seen.image))
        facing = nn.Dense(5)(jax.nn.one_hot(seen.agent_dir, 4))
        inputs = jnp.concatenate([view.reshape(*view.shape[:-3], -1), facing], axis=-1)
        cell = nn.OptimizedLSTMCell(self.sizes["memory_size"])
        memory, told = self.reset_rnn(cell)((inputs, starts), initial_carry=memory)
        head = lambda size: nn.Dense(size)(nn.relu(nn.Dense(32)(told)))
        return memory, jax.nn.log_softmax(head(self.num_actions)), head(1)[..., 0]


def update_of(num_tasks: int, steps: int, sizes: dict[str, Any]) -> Any:
    """``() -> carry``: one more update at each call."""
    numerics: Any = jax
    if not hasattr(numerics, "tree_map"):  # JaxUED still calls it
        numerics.tree_map = jax.tree.map
    environments: Any = importlib.import_module("jaxued.environments")
    wrappers: Any = importlib.import_module("jaxued.wrappers")
    levels: Any = importlib.import_module("jaxued.environments.maze")
    reset_rnn = importlib.import_module("jaxued.linen").ResetRNN
    sample = levels.make_level_generator(13, 13, 25)
    maze = environments.Maze(max_height=13, max_width=13, agent_view_size=5, normalize_obs=True)
    env = wrappers.AutoResetWrapper(maze, sample)
    params_of_env = env.default_params
    agent: Any = Agent(reset_rnn, sizes, env.action_space(params_of_env).n)
    rates: Any = optax.chain(optax.clip_by_global_norm(sizes["max_gradient_norm"]), optax.adam(sizes["learning_rate"]))
    chosen = lambda log_probs, action: jnp.take_along_axis(log_probs, action[..., None], -1)[..., 0]
    once = lambda tree: jax.tree.map(lambda x: x[None], tree)

    def live(params, memory, seen, state, key):
        def step(carry, key):
            memory, seen, state, ended = carry
            action_key, step_key = jax.random.split(key)
            memory, log_probs, value = agent.apply(params, once(seen), once(ended), memory)
            action = jax.random.categorical(action_key, log_probs[0])
            keys = jax.random.split(step_key, num_tasks)
            following, state, reward, over, _ = jax.vmap(env.step, (0, 0, 0, None))(keys, state, action, params_of_env)
            lived = (seen, ended, action, chosen(log_probs[0], action), value[0], reward, over)
            return (memory, following, state, over), lived

        start = (memory, seen, state, jnp.zeros(num_tasks, bool))
        (memory, seen, state, ended), lived = jax.lax.scan(step, start, jax.random.split(key, steps))
        return memory, seen, state, lived, agent.apply(params, once(seen), once(ended), memory)[2][0]

    def advantages(lived, last):
        def back(carry, x):
            ahead, next_value = carry
            value, reward, over = x
            surprise = reward + sizes["discount"] * next_value * ~over - value
            ahead = surprise + sizes["discount"] * sizes["trace"] * ~over * ahead
            return (ahead, value), ahead

        *_, value, reward, over = lived
        return jax.lax.scan(back, (jnp.zeros_like(last), last), (value, reward, over), reverse=True, unroll=16)[1]

    def loss(params, memory, lived, credit):
        seen, starts, action, log_prob, value, _, _ = lived
        _, log_probs, predicted = agent.apply(params, seen, starts, memory)
        ratio, clip, goal = jnp.exp(chosen(log_probs, action) - log_prob), sizes["clip"], credit + value
        weight = (credit - credit.mean()) / (credit.std() + 1e-5)
        gain = jnp.minimum(ratio * weight, ratio.clip(1 - clip, 1 + clip) * weight).mean()
        kept = value + (predicted - value).clip(-clip, clip)
        error = 0.5 * jnp.maximum((predicted - goal) ** 2, (kept - goal) ** 2).mean()
        entropy = -(jnp.exp(log_probs) * log_probs).sum(-1).mean()
        return sizes["value_cost"] * error - gain - sizes["entropy_cost"] * entropy

    @functools.partial(jax.jit, donate_argnums=0)
    def update(carry):
        params, moments, memory, seen, state, key = carry
        key, live_key = jax.random.split(key)
        later, seen, state, lived, last = live(params, memory, seen, state, live_key)
        credit = advantages(lived, last)

        def epoch(carry, _):
            change, moments = rates.update(jax.grad(loss)(carry[0], memory, lived, credit), carry[1])
            return (optax.apply_updates(carry[0], change), moments), None

        (params, moments), _ = jax.lax.scan(epoch, (params, moments), None, sizes["num_epochs"])
        return params, moments, later, seen, state, key

    keys = jax.random.split(jax.random.PRNGKey(0), num_tasks)
    seen, state = jax.vmap(env.reset_to_level, (0, 0, None))(keys, jax.vmap(sample)(keys), params_of_env)
    memory = nn.OptimizedLSTMCell(sizes["memory_size"]).initialize_carry(keys[0], (num_tasks, sizes["memory_size"]))
    params = agent.init(keys[0], once(seen), jnp.zeros((1, num_tasks), bool), memory)
    carry = (params, rates.init(params), memory, seen, state, keys[0])

    def call():
        nonlocal carry
        carry = update(carry)
        return carry

    return call


def rate(num_tasks: int, steps: int, sizes: dict[str, Any], repeats: int) -> float:
    """Steps a second, living and learning."""
    return num_tasks * steps / shortest(update_of(num_tasks, steps, sizes), repeats)
