"""The peer of ``mazes``: an update of PPO in JaxUED's mazes, with its wrapper that starts anew and its recurrent layer.

JaxUED is environments and layers; its learners are example scripts. This is what they do at their sizes, written anew,
without what they log; advantages and PPO's loss are ours. Needs ``pip install --no-deps jaxued``.
"""

import functools
import importlib
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from benchmarks.timing import shortest
from metarl_jax.estimators import clipped_surrogate, generalised_advantages, squared_error


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


class Peer(NamedTuple):
    """JaxUED's environment ``env`` of fresh mazes (``sample``), who lives in it, and at what sizes."""

    env: Any
    sample: Any
    agent: Any
    optimizer: optax.GradientTransformation
    num_tasks: int
    steps: int
    sizes: dict[str, Any]


def peer_of(num_tasks: int, steps: int, sizes: dict[str, Any]) -> Peer:
    """ImportError where JaxUED is not installed."""
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
    agent = Agent(reset_rnn, sizes, env.action_space(env.default_params).n)
    optimizer = optax.chain(optax.clip_by_global_norm(sizes["max_gradient_norm"]), optax.adam(sizes["learning_rate"]))
    return Peer(env, sample, agent, optimizer, num_tasks, steps, sizes)


def once(tree: Any) -> Any:
    return jax.tree.map(lambda x: x[None], tree)


def chosen(log_probs: jax.Array, action: jax.Array) -> jax.Array:
    return jnp.take_along_axis(log_probs, action[..., None], -1)[..., 0]


def live(peer: Peer, params, memory, seen, state, key):
    """``(memory, what is seen, state, trajectory [T, N], the values of what followed [N])``."""

    def step(carry, key):
        memory, seen, state, ended = carry
        action_key, step_key = jax.random.split(key)
        memory, log_probs, value = peer.agent.apply(params, once(seen), once(ended), memory)
        action = jax.random.categorical(action_key, log_probs[0])
        keys = jax.random.split(step_key, peer.num_tasks)
        stepped = jax.vmap(peer.env.step, (0, 0, 0, None))(keys, state, action, peer.env.default_params)
        following, state, reward, over, _ = stepped
        trajectory = (seen, ended, action, chosen(log_probs[0], action), value[0], reward, over)
        return (memory, following, state, over), trajectory

    start = (memory, seen, state, jnp.zeros(peer.num_tasks, bool))
    (memory, seen, state, ended), trajectory = jax.lax.scan(step, start, jax.random.split(key, peer.steps))
    return memory, seen, state, trajectory, peer.agent.apply(params, once(seen), once(ended), memory)[2][0]


def loss_of(params, peer: Peer, memory, trajectory, credit) -> jax.Array:
    (seen, starts, action, log_prob, value, _, _), sizes = trajectory, peer.sizes
    _, log_probs, predicted = peer.agent.apply(params, seen, starts, memory)
    weight = (credit - credit.mean()) / (credit.std() + 1e-5)
    policy_loss = clipped_surrogate(chosen(log_probs, action), log_prob, weight, sizes["clip"]).mean()
    kept, target = value + (predicted - value).clip(-sizes["clip"], sizes["clip"]), credit + value
    value_loss = jnp.maximum(squared_error(predicted, target), squared_error(kept, target)).mean()
    entropy = -(jnp.exp(log_probs) * log_probs).sum(-1).mean()
    return policy_loss + sizes["value_cost"] * value_loss - sizes["entropy_cost"] * entropy


def update(peer: Peer, carry):
    """Lives on and learns from it."""
    params, moments, memory, seen, state, key = carry
    key, live_key = jax.random.split(key)
    later, seen, state, trajectory, last = live(peer, params, memory, seen, state, live_key)
    *_, value, reward, over = trajectory
    following = jnp.concatenate([value[1:], last[None]])
    credit = generalised_advantages(reward, value, following, peer.sizes["discount"] * ~over, peer.sizes["trace"])

    def epoch(carry, _):
        params, moments = carry
        change, moments = peer.optimizer.update(jax.grad(loss_of)(params, peer, memory, trajectory, credit), moments)
        return (optax.apply_updates(params, change), moments), None

    (params, moments), _ = jax.lax.scan(epoch, (params, moments), None, peer.sizes["num_epochs"])
    return params, moments, later, seen, state, key


def rate(num_tasks: int, steps: int, sizes: dict[str, Any], repeats: int) -> float:
    """Steps a second, living and learning."""
    peer = peer_of(num_tasks, steps, sizes)
    keys = jax.random.split(jax.random.PRNGKey(0), num_tasks)
    levels = jax.vmap(peer.sample)(keys)
    seen, state = jax.vmap(peer.env.reset_to_level, (0, 0, None))(keys, levels, peer.env.default_params)
    memory = nn.OptimizedLSTMCell(sizes["memory_size"]).initialize_carry(keys[0], (num_tasks, sizes["memory_size"]))
    params = peer.agent.init(keys[0], once(seen), jnp.zeros((1, num_tasks), bool), memory)
    carry = (params, peer.optimizer.init(params), memory, seen, state, keys[0])
    one = jax.jit(functools.partial(update, peer))
    return num_tasks * steps / shortest(lambda: one(carry), repeats)
