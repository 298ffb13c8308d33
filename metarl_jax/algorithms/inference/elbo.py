"""What is learned about beliefs: the evidence bound of a trial (ELBO), and the readout of the task from a belief."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.networks.actions import normal_divergence
from metarl_jax.networks.belief import Belief, Decoder, facts
from metarl_jax.networks.mlp import MLP
from metarl_jax.networks.policy import flat
from metarl_jax.records import Policy, Spec, Task, TaskDistribution, TimeStep, Trajectory
from metarl_jax.rollout import replay
from metarl_jax.tasks.priors import prior_of
from metarl_jax.tasks.sets import which

MOST_CANDIDATES = 1024  # of a finite set: larger ones are read out as numbers, not as one of so many


class Costs(NamedTuple):
    """Weights of the losses of the model.

    Attributes:
      reward: of decoding rewards.
      transition: of decoding what followed.
      task: of decoding the task.
      kl: of the divergence between one belief and the next.
    """

    reward: float
    transition: float
    task: float
    kl: float


class Trials(NamedTuple):
    """What the model learns from.

    Attributes:
      timestep: ``[T, N]``, what the encoder sees.
      facts: ``[T, N, F]``, what a reward is predicted from.
      reward: ``[T, N]``.
      next_observation: ``[T, N, F]``.
      truth: ``[T, N, C]``, the task, see ``task_readout``.
    """

    timestep: TimeStep
    facts: jax.Array
    reward: jax.Array
    next_observation: jax.Array
    truth: jax.Array


class TaskReadout(NamedTuple):
    """How a task is decoded.

    Attributes:
      size: of the readout.
      truth: ``tasks [N] -> [N, C]``.
      loss: ``(readout [..., size], truth [..., C]) -> [...]``.
      mean: ``readout -> [..., C]``, the probability of each candidate, or the task's numbers.
    """

    size: int
    truth: Callable[[Task], jax.Array]
    loss: Callable[[jax.Array, jax.Array], jax.Array]
    mean: Callable[[jax.Array], jax.Array]


def task_readout(tasks: TaskDistribution) -> TaskReadout:
    """The readout of a distribution's tasks.

    A finite set: which of its distinct tasks, by cross-entropy. Else its numbers, each a Gaussian, by likelihood.

    Args:
      tasks: the distribution.

    Returns:
      The TaskReadout.
    """
    candidates, weight, _ = ((), (), ()) if tasks.tasks is None else prior_of(tasks.tasks)
    if 0 < len(weight) <= MOST_CANDIDATES:
        among = jax.vmap(functools.partial(which, candidates))
        return TaskReadout(len(weight), among, _cross_entropy, jax.nn.softmax)
    size = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(tasks.sample, jax.random.key(0))))
    return TaskReadout(2 * size, _flat_tasks, _gaussian_loss, lambda said: said[..., :size])


def _flat_tasks(some: Task) -> jax.Array:
    """The leaves of ``[N]`` tasks as one vector each: ``[N, D]``."""
    leaves = jax.tree.leaves(some)
    return jnp.concatenate([leaf.astype(jnp.float32).reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)


def _cross_entropy(logits: jax.Array, truth: jax.Array) -> jax.Array:
    return -(truth * jax.nn.log_softmax(logits)).sum(axis=-1)


def _gaussian_loss(said: jax.Array, truth: jax.Array) -> jax.Array:
    """Minus the log-likelihood of numbers under means and log-variances, without its constant."""
    mean, log_var = jnp.split(said, 2, axis=-1)
    log_var = jnp.clip(log_var, -10.0, 10.0)
    return 0.5 * (jnp.square(truth - mean) * jnp.exp(-log_var) + log_var).sum(axis=-1)


class Model(NamedTuple):
    """Decoders and readout beside an encoder.

    Attributes:
      init: ``key -> params`` (those of weight 0 have none).
      trials: ``(trajectory [T, N], tasks) -> Trials``.
      loss: ``(params, trials, key) -> (loss, metrics)``.
      surprise: ``(params, belief, trials) -> [T, N]``, how wrong each step's prediction was.
      decode: ``(params, belief) -> [..., C]``, the probability of each candidate, or the task's numbers.
    """

    init: Callable
    trials: Callable[[Trajectory, Task], Trials]
    loss: Callable
    surprise: Callable
    decode: Callable


def belief_model(
    tasks: TaskDistribution,
    encoder: Policy,
    costs: Costs,
    layers: Sequence[int],
    heads: int,
    latent_size: int,
    num_beliefs: int,
) -> Model:
    """The model of ``varibad``; see there.

    Args:
      tasks: those of training.
      encoder: whose outputs are a Belief.
      costs: weights of the losses.
      layers: of each decoder and of the readout.
      heads: see ``varibad``.
      latent_size: L.
      num_beliefs: that are decoded of a trial.

    Returns:
      The Model.
    """
    spec, task = tasks.env.spec, task_readout(tasks)
    size = math.prod(spec.observation_shape)
    parts = Parts(encoder, Decoder(layers, heads, 1), Decoder(layers, heads, size), MLP(layers, task.size), task.loss)

    def init(key):
        keys, latent = jax.random.split(key, 3), jnp.zeros((1, latent_size))
        action = spec.num_actions or spec.action_size
        params = {"readout": parts.readout.init(keys[0], jnp.zeros(2 * latent_size))["params"]}
        if costs.reward:
            params["reward"] = parts.reward.init(keys[1], latent, jnp.zeros((1, 2 * size + action)))["params"]
        if costs.transition:
            params["transition"] = parts.transition.init(keys[2], latent, jnp.zeros((1, size + action)))["params"]
        return params

    def decode(params, belief: Belief):
        return task.mean(jnp.asarray(parts.readout.apply({"params": params["readout"]}, belief.vector())))

    return Model(
        init=init,
        trials=lambda trajectory, some: trials(spec, trajectory, task.truth(some)),
        loss=functools.partial(_model_loss, parts, costs, num_beliefs),
        surprise=functools.partial(surprise, parts, costs),
        decode=decode,
    )


class Parts(NamedTuple):
    encoder: Policy
    reward: Decoder
    transition: Decoder
    readout: MLP
    task_loss: Callable[[jax.Array, jax.Array], jax.Array]


def trials(spec: Spec, trajectory: Trajectory, truth: jax.Array) -> Trials:
    """A trajectory as the model learns from it.

    Args:
      spec: of the environment.
      trajectory: ``[T, N]``.
      truth: ``[N, C]``.

    Returns:
      The Trials.
    """
    told = facts(spec, trajectory.timestep.observation, trajectory.action, trajectory.next_observation)
    reached = flat(trajectory.next_observation, trajectory.reward.shape)
    truth = jnp.broadcast_to(truth[None], (trajectory.reward.shape[0], *truth.shape))
    return Trials(trajectory.timestep, told, trajectory.reward, reached, truth)


def divergence(belief: Belief) -> jax.Array:
    """``KL(q_t || q_{t-1})`` of a trial's beliefs, ``q_{-1} = N(0, I)``.

    Args:
      belief: ``[T, ..., L]``.

    Returns:
      ``[T, ...]``.
    """
    before_mean, before_log_var = (jnp.concatenate([jnp.zeros_like(x[:1]), x[:-1]]) for x in belief)
    return normal_divergence(belief.mean, 0.5 * belief.log_var, before_mean, 0.5 * before_log_var)


def _model_loss(
    parts: Parts, costs: Costs, num_beliefs: int, params: dict, batch: Trials, key: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Minus the evidence bound of whole trials, a mean over beliefs ``t`` and trials.

    ``E_{m ~ q_t} sum_t' (r_t' - r(m, x_t'))^2 / 2 + ... + kl_cost KL(q_t || q_{t-1})``: every belief accounts for the
    whole trial, what is past and what is to come. The readout learns from beliefs as they are (its gradient stops
    there) unless the task is decoded, too.
    """
    belief = replay(parts.encoder, params["encoder"], batch.timestep)
    latent = sample(key, belief, num_beliefs)
    metrics = {"kl": divergence(belief).mean()} | {
        f"{name}_error": error.sum(axis=1).mean() for name, error in errors(parts, costs, params, latent, batch).items()
    }
    loss = costs.kl * metrics["kl"]
    for name in ("reward", "transition"):
        if f"{name}_error" in metrics:
            loss = loss + getattr(costs, name) * metrics[f"{name}_error"]
    seen = belief.vector() if costs.task else jax.lax.stop_gradient(belief.vector())
    told = jnp.asarray(parts.readout.apply({"params": params["readout"]}, seen))
    metrics["task_error"] = parts.task_loss(told, batch.truth).mean()
    return loss + (costs.task or 1.0) * metrics["task_error"], metrics


def errors(parts: Parts, costs: Costs, params: dict, latent: jax.Array, batch: Trials) -> dict[str, jax.Array]:
    """Half the squared error of what is decoded from each latent, of each step.

    Args:
      parts: the decoders.
      costs: which of them there are.
      params: theirs.
      latent: ``[B, N, L]``.
      batch: the trials.

    Returns:
      ``[B, T, N]`` by name.
    """
    found = {}
    if costs.reward:
        said = jnp.asarray(parts.reward.apply({"params": params["reward"]}, latent, batch.facts))
        found["reward"] = 0.5 * jnp.square(said[..., 0] - batch.reward[None])
    if costs.transition:
        known = batch.facts[..., : -batch.next_observation.shape[-1]]
        said = jnp.asarray(parts.transition.apply({"params": params["transition"]}, latent, known))
        found["transition"] = 0.5 * jnp.square(said - batch.next_observation[None]).sum(axis=-1)
    return found


def surprise(parts: Parts, costs: Costs, params: dict, belief: Belief, batch: Trials) -> jax.Array:
    """The error of what is decoded from the belief's mean, of the step at hand.

    Args:
      parts: the decoders.
      costs: their weights.
      params: theirs.
      belief: ``[T, N, L]``.
      batch: the trials.

    Returns:
      ``[T, N]``.
    """
    one = jax.tree.map(lambda x: x[None], batch)  # all steps side by side: each belief with its own step alone
    found = errors(parts, costs, params, belief.mean[None], one)
    total = sum(getattr(costs, name) * error[0, 0] for name, error in found.items())
    return jnp.asarray(total) + jnp.zeros_like(batch.reward)


def sample(key: jax.Array, belief: Belief, most: int) -> jax.Array:
    """A latent from each of a trial's beliefs, or from some of them.

    Args:
      key: of the draws.
      belief: ``[T, N, L]``.
      most: beliefs at most.

    Returns:
      ``[B, N, L]``.
    """
    choose_key, noise_key = jax.random.split(key)
    steps = belief.mean.shape[0]
    if steps > most:
        index = jax.random.permutation(choose_key, steps)[:most]
        belief = jax.tree.map(lambda x: x[index], belief)
    return belief.mean + jnp.exp(0.5 * belief.log_var) * jax.random.normal(noise_key, belief.mean.shape)
