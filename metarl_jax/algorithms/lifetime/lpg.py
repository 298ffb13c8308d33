"""Agents whose update rule is meta-learned: learned policy gradient (LPG, Oh et al. 2020; with the agent's age, TA-LPG,
Jackson et al. 2024)."""

import functools
import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl_jax.algorithms.lifetime import meta_learner as lifetimes
from metarl_jax.algorithms.lifetime.actor_critic import OPTIMIZERS, resolve_lifetime
from metarl_jax.algorithms.lifetime.meta_learner import Agent
from metarl_jax.algorithms.lifetime.outer_loop import (
    LifetimeConfig,
    MetaOptimizerConfig,
    OuterLossConfig,
    check_outer_loss,
    meta_learner,
)
from metarl_jax.config import check, check_all, check_counts, recipe
from metarl_jax.learned import rules
from metarl_jax.networks import Bounding, Network, actor, asymmetric_critic, flat, mlp, variance_scaled_init
from metarl_jax.records import Algorithm, Inner, Policy, PyTree, Spec, TaskDistribution, Trajectory


class Costs(NamedTuple):
    """Weights of losses, see ``lpg``.

    Attributes:
      agent: of the agents' prediction error.
      entropy: of the predictions' entropy, in the outer loss.
      push: of the squared push, in the outer loss.
      prediction: of the squared logits, in the outer loss.
    """

    agent: float
    entropy: float
    push: float
    prediction: float


@recipe("lpg")
def lpg(
    tasks: TaskDistribution,
    *,
    memory_size: int = 64,
    predictions: int = 8,
    lifetime: bool = False,
    learning_rate: float = 0.1,
    optimizer: Literal["sgd", "rmsprop", "adam"] = "rmsprop",
    agent_prediction_cost: float = 0.5,
    encoder: tuple[int, ...] = (),
    bounding: Bounding = "clip",
    episodes: int = 0,
    steps: int = 0,
    life: int = 0,
    window: int = 5,
    gradient: Literal["backprop", "es", "pes", "snes", "sep-cma-es"] = "backprop",
    meta_rate: float = 1e-2,
    decay_updates: int = 0,
    entropy_cost: float = 1e-3,
    push_cost: float = 1e-3,
    prediction_cost: float = 1e-3,
    outer_discount: float = 1.0,
    outer_trace: float = 1.0,
    outer_entropy_cost: float = 0.0,
    outer_normalisation: float = 0.0,
    outer_encoder: tuple[int, ...] = (32,),
    outer_critic_rate: float = 1e-2,
    max_gradient_norm: float = 0.5,
    max_life_gradient_norm: float = 0.0,
    score: bool = False,
    sigma: float = 0.1,
    members: int = 16,
    remat: bool | None = None,
    block: int = 0,
) -> Algorithm:
    """Agents that know nothing of policy gradients: a network says how they learn, and what there is to predict.

    Beside its policy an agent has predictions ``y(s)``, a distribution over ``predictions`` numbers that mean nothing
    at first. An LSTM reads what was lived backwards, and says for each step by how much the action is to become more
    likely (``push``) and what was to be predicted. The agent's parameters then follow the gradient of
    ``mean(agent_prediction_cost KL(y || wanted y) - push log pi(a | s))``. The outer loss is that of the policy
    gradient after ``window`` updates, plus ``push_cost push^2 + prediction_cost |logits of wanted y|^2 / M -
    entropy_cost H(y)``, means over steps.

    Where we differ from the paper: the rule is not told the discount, which is constant; agents of one run share their
    learning rate; the outer critic is shared by all tasks and lives; with continuous actions the rule sees
    ``sigmoid(log pi)`` in place of ``pi``.

    Args:
      memory_size: units of the LSTM.
      predictions: numbers of ``y``.
      lifetime: the rule also sees the agent's age, as a share of its life, and how long that is (TA-LPG).
      learning_rate: of the agents.
      optimizer: theirs. With ``sgd`` the rule alone says how large steps are.
      agent_prediction_cost: weight of the error of ``y``, see above.
      encoder: sizes of the tanh layers of the agents' two networks (none: both are linear, on one-hot states a table).
      bounding: how continuous actions keep to their bounds, see ``rl2``.
      episodes, steps, life: see ``self_tuning``.
      window: inner updates an outer one.
      gradient: see ``self_tuning``.
      meta_rate: Adam's learning rate of the rule's weights.
      decay_updates: updates over which it falls linearly to a tenth (0: constant).
      entropy_cost, push_cost, prediction_cost: of the outer loss, see above (M: ``predictions``; of back-propagation).
      outer_discount, outer_trace, outer_entropy_cost, outer_critic_rate, score: see ``self_tuning``.
      outer_normalisation: outer advantages of a life's window are divided by their standard deviation plus this, so
        that tasks whose advantages vary by far more than it weigh the same (0: as they are).
      outer_encoder: sizes of the tanh layers of the outer critic.
      max_gradient_norm: of the back-propagated gradient (0: any).
      max_life_gradient_norm: of each life's, before their mean is taken (0: any). Those of lives close to chaos are
        orders of magnitude longer than the others, and a few of them drown the rest. One that is not finite still
        costs the update.
      sigma, members, remat, block: see ``self_tuning``.

    Returns:
      The Algorithm.
    """
    check_counts(dict(memory_size=memory_size, predictions=predictions))
    costs = Costs(agent=agent_prediction_cost, entropy=entropy_cost, push=push_cost, prediction=prediction_cost)
    named = dict(agent_prediction_cost=agent_prediction_cost, entropy_cost=entropy_cost, push_cost=push_cost)
    check_all(named | dict(prediction_cost=prediction_cost), lambda x: x >= 0, "must not be negative")
    check(learning_rate > 0, "learning_rate", learning_rate, "must be above 0")
    check(all(size > 0 for size in encoder), "encoder", encoder, "each layer needs at least one unit")
    meta_optimizer = MetaOptimizerConfig(
        gradient=gradient,
        meta_rate=meta_rate,
        decay_updates=decay_updates,
        sigma=sigma,
        members=members,
        block=block,
    )
    outer_loss = OuterLossConfig(
        discount=outer_discount,
        trace=outer_trace,
        entropy_cost=outer_entropy_cost,
        critic=True,
        critic_rate=outer_critic_rate,
        score=score,
        remat=remat,
        max_gradient_norm=max_gradient_norm,
        normalisation=outer_normalisation,
        max_life_norm=max_life_gradient_norm,
    )
    check_outer_loss(meta_optimizer, outer_loss)
    horizon, tasks = tasks.horizon, lifetimes.with_rollout_length(tasks, steps)
    episodes, length = resolve_lifetime(tasks, episodes, life, window)
    policy, inner = lpg_agents(
        tasks.env.spec,
        encoder=encoder,
        bounding=bounding,
        memory_size=memory_size,
        predictions=predictions,
        optimizer=optimizer,
        learning_rate=learning_rate,
        costs=costs,
        length=length if lifetime else 0,
    )
    return meta_learner(
        tasks,
        lifetimes.actor_of(tasks, policy, episodes),
        inner,
        meta_optimizer=meta_optimizer,
        outer_loss=outer_loss,
        lifetime=LifetimeConfig(horizon=horizon, episodes=episodes, length=length, window=window),
        critic_encoder=outer_encoder,
        alike={"algorithm": "lpg", "lifetime": lifetime},
    )


def lpg_agents(
    spec: Spec,
    *,
    encoder: tuple[int, ...],
    bounding: Bounding,
    memory_size: int,
    predictions: int,
    optimizer: str,
    learning_rate: float,
    costs: Costs,
    length: int,
) -> tuple[Policy, Inner]:
    """Agents whose parameters move by ``-rate * optimizer(grad L)``, with ``L`` of ``rules.lpg.agent_loss``.

    Args:
      spec: of the environment.
      encoder: layers of the agents' networks.
      bounding: of continuous actions.
      memory_size: units of the rule's LSTM.
      predictions: numbers of ``y``.
      optimizer: the agents', by its name.
      learning_rate: theirs.
      costs: weights of losses.
      length: inner updates of a lifetime; 0 where the rule does not see it.

    Returns:
      The Policy and the Inner.
    """
    size = math.prod(spec.observation_shape)
    predictor = mlp(size, encoder, predictions, scaled=variance_scaled_init)
    policy, _ = asymmetric_critic(actor(spec, encoder, bounding=bounding, scaled=variance_scaled_init), predictor, size)
    agents = optax.chain(OPTIMIZERS[optimizer](), optax.scale(-learning_rate))

    def init(key, meta, task):
        del meta, task
        params = policy.init(key)
        return Agent(params, agents.init(params), jnp.int32(0))  # which remembers its age

    def learn(key, meta, agent: Agent, trajectory: Trajectory):
        del key
        seen = seen_by_rule(policy, predictor, agent, trajectory, length)
        wanted = rules.lpg.read(meta, seen)
        loss = functools.partial(_update_loss, policy, predictor, wanted, trajectory, costs.agent)
        updates, moments = agents.update(jax.grad(loss)(agent.params), agent.optimizer, agent.params)
        params = optax.apply_updates(agent.params, updates)
        entropy = -(seen.prediction * jnp.log(seen.prediction + 1e-8)).sum(axis=-1).mean()
        penalty = costs.push * jnp.square(wanted.push).mean() - costs.entropy * entropy
        penalty += costs.prediction * jnp.square(wanted.prediction).mean()
        return Agent(params, moments, agent.memory + 1), penalty

    meta = functools.partial(rules.lpg.init, memory_size=memory_size, predictions=predictions)
    return policy, Inner(meta, init, learn)


def predicted(predictor: Network, params: PyTree, observation: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """An agent's predictions.

    Args:
      predictor: the network.
      params: the agent's.
      observation: ``[*shape, ...]``.
      shape: leading axes.

    Returns:
      Logits ``[*shape, M]``.
    """
    return predictor.apply(params["critic"], flat(observation, shape))


def seen_by_rule(
    policy: Policy, predictor: Network, agent: Agent, trajectory: Trajectory, length: int
) -> rules.lpg.RuleInputs:
    """What the rule reads of a trajectory.

    Args:
      policy: of the agents.
      predictor: the network of their predictions.
      agent: that acted.
      trajectory: ``[T, E]``.
      length: inner updates of a lifetime; 0 where the rule does not see it.

    Returns:
      The RuleInputs.
    """
    shape = trajectory.reward.shape
    log_prob = lifetimes.said(policy, agent, trajectory).log_prob
    seen = trajectory.timestep.observation, trajectory.next_observation
    now, following = (jax.nn.softmax(predicted(predictor, agent.params, x, shape)) for x in seen)
    age = agent.memory / length if length else jnp.zeros(())
    life = jnp.log(jnp.float32(max(length, 1)))
    going_on = 1.0 - trajectory.terminated.astype(log_prob.dtype)
    ended = trajectory.terminated | trajectory.truncated
    discrete = jnp.issubdtype(trajectory.action.dtype, jnp.integer)
    chance = jnp.exp(log_prob) if discrete else jax.nn.sigmoid(log_prob)  # a density has no upper bound
    return rules.lpg.RuleInputs(trajectory.reward, going_on, ended, chance, now, following, age, life)


def _update_loss(
    policy: Policy,
    predictor: Network,
    wanted: rules.lpg.RuleTargets,
    trajectory: Trajectory,
    cost: float,
    params: PyTree,
) -> jax.Array:
    """``rules.lpg.agent_loss`` of an agent's parameters."""
    log_prob = lifetimes.said(policy, Agent(params, ()), trajectory).log_prob
    prediction = predicted(predictor, params, trajectory.timestep.observation, trajectory.reward.shape)
    return rules.lpg.agent_loss(wanted, log_prob, prediction, cost)
