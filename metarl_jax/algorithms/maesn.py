"""MAESN (Gupta et al. 2018): exploration by latents held through an episode, which the inner loop adapts.

Their latents ``z ~ N(mean, std)`` are drawn once an episode, so that exploration is one purposeful walk, not a jitter;
in meta-training each task owns its ``(mean, std)``, kept near ``N(0, I)``, from which meta-test starts. What we do
otherwise, and why, is in ``maesn``.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl_jax import estimators
from metarl_jax.algorithms import _adaptation as adaptation
from metarl_jax.algorithms import _structured_noise as structured
from metarl_jax.algorithms._structured_noise import Agent, Latent
from metarl_jax.algorithms._task_vectors import vectors
from metarl_jax.config import check, check_all, recipe
from metarl_jax.networks import Network, mlp
from metarl_jax.rollout import replay
from metarl_jax.types import Algorithm, Outcome, Policy, Task, TaskDistribution, TimeStep, Trajectory

LOG_STD = (-3.0, 0.0)  # where latents' log standard deviations are kept


class Step(NamedTuple):
    """An inner step's size, meta-learned; see ``learn``."""

    actions: jax.Array  # [Z, Z]
    draws: jax.Array  # [Z, Z]
    log_widths: jax.Array  # [Z]
    narrowing: jax.Array
    threshold: jax.Array
    log_scale: jax.Array


class Meta(NamedTuple):
    """All that is meta-learned; ``proposal`` (of a task's latents) and ``critic`` serve meta-training alone."""

    params: optax.Params
    step: Step
    proposal: optax.Params
    critic: optax.Params


class LearnerState(NamedTuple):
    meta: Meta
    optimizer: optax.OptState


class Window(NamedTuple):
    """Episodes lived with one agent, ``[T, E, ...]``; ``ended``: the step was its episode's last."""

    timestep: TimeStep
    action: jax.Array
    log_prob: jax.Array
    reward: jax.Array
    ended: jax.Array


class Draws(NamedTuple):
    """Latents ``[..., T, E, Z]``, how likely they were and where they were drawn, ``[..., T, E]``: a draw is one more
    action of the agent, taken before that step's own."""

    latent: jax.Array
    log_prob: jax.Array
    fresh: jax.Array


class Batch(NamedTuple):
    """What the epochs learn from, leaves ``[1, N, ...]``: whole trials and the episodes of agents who knew the task."""

    windows: Window  # [K, T, E]
    draws: Draws  # [K, T, E]
    facts: jax.Array  # [K, T, E, F], what the critic sees
    advantage: jax.Array  # [K, T, E]
    target: jax.Array  # [K, T, E]
    informed: Window  # [T, E]
    informed_draws: Draws  # [T, E]
    informed_advantage: jax.Array  # [T, E]
    informed_return: jax.Array  # [T, E]
    task: jax.Array  # [F]


@recipe("maesn")
def maesn(
    tasks: TaskDistribution,
    *,
    latents: int = 6,
    hold: int = 0,
    episodes: int = 1,
    inner_steps: int = 0,
    inner_discount: float = 0.9,
    informed: int = 3,
    informed_weight: float = 3.0,
    prior_cost: float = 0.01,
    match_cost: float = 0.0,
    discount: float = 0.99,
    trace: float = 0.95,
    learning_rate: float = 2e-3,
    num_epochs: int = 3,
    num_minibatches: int = 4,
    clip: float = 0.2,
    value_cost: float = 0.5,
    entropy_cost: float = 0.0,
    encoder: tuple[int, ...] = (64, 64),
    spread: float = 1.0,
    rate_decay: float = 1.0,
) -> Algorithm:
    """MAESN: structured exploration by latents held through an episode, adapted by gradient in the inner loop.

    An agent acts on ``(o, z, log std)``, where ``z = mean + std e`` and ``e ~ N(0, I)`` is drawn as an episode begins
    and held in it. A trial starts from ``N(0, I)``; after every ``episodes`` episodes an inner step (``learn``) moves
    ``mean`` and ``std`` along the policy gradient, by meta-learned steps. Where we differ from the paper:

    - Trials are lived in meta-training as they are tested, from ``N(0, I)``, and the outer loss is PPO's on whole
      trials (as in RL^2, the latents in place of the memory): an early episode has credit for all that is earned after
      it. The paper starts from the task's own latents and improves the episodes after the last inner step, which never
      trains the search for what the task is.
    - The paper keeps a ``(mean, std)`` for each training task. Tasks are drawn afresh here, so these are the output of
      a network that sees the task, ``q(z | task)``. Some episodes of an update are lived from it and add to the outer
      loss; ``KL(q || N(0, I))`` does as in the paper; and ``KL(q || adapted latents)``, which is ours, asks inner steps
      to lead where q is, once something was earned. q and the critic see the task: a privileged signal, in
      meta-training only. No reward is shaped.
    - Sigmas are visible to the policy, so that it may search where they are wide and settle where they are narrow.
    - ``learn`` is not the plain pathwise gradient; its docstring says what it is.

    Args:
      latents: Z, how many.
      hold: steps for which a draw is held (0: the episode, as in the paper). Shorter, an episode tries several things,
        and credit goes to the draw after which reward came.
      episodes: lived before each inner step.
      inner_steps: in a trial of meta-training (0: as many as leave a window after the last one in the distribution's
        trial). At meta-test as many as fit.
      inner_discount: gamma of the inner step's returns; they end with their episode.
      informed: episodes lived from ``q(z | task)`` in each task, at least 2 (each is the others' baseline).
      informed_weight: of these in the outer loss.
      prior_cost: weight of ``KL(q || N(0, I))``.
      match_cost: weight of ``KL(q || adapted latents)``.
      discount: gamma of the outer loss, a step; an episode's end does not cut it.
      trace: lambda of the outer loss's generalised advantages, a step.
      learning_rate: Adam's.
      num_epochs: passes over the trials of an update.
      num_minibatches: gradient steps a pass; must divide the number of tasks.
      clip: how far PPO lets a probability ratio move from 1.
      value_cost: weight of the value loss, which is divided by the variance of its targets.
      entropy_cost: weight of the entropy bonus, in trials alone.
      encoder: sizes of the policy's tanh layers; the critic's are the same.
      spread: how far apart the behaviours of different latents are at birth.
      rate_decay: at meta-test, each inner step beyond those of training is this much smaller.
    """
    sizes = dict(latents=latents, episodes=episodes, num_epochs=num_epochs, num_minibatches=num_minibatches)
    positive = sizes | dict(learning_rate=learning_rate, clip=clip, spread=spread)
    check_all(positive, lambda x: x > 0, "must be above 0")
    weights = dict(prior_cost=prior_cost, match_cost=match_cost, value_cost=value_cost, entropy_cost=entropy_cost)
    costs = weights | dict(hold=hold, inner_steps=inner_steps, informed_weight=informed_weight)
    check_all(costs, lambda x: x >= 0, "must not be negative")
    shares = dict(inner_discount=inner_discount, discount=discount, trace=trace, rate_decay=rate_decay)
    check_all(shares, lambda x: 0 <= x <= 1, "must lie between 0 and 1")
    check(informed >= 2, "informed", informed, "must be at least 2: each episode is the others' baseline")
    policy = structured.latent_actor(tasks.env.spec, latents, encoder, spread)
    describe, width = vectors(tasks)
    window_steps = tasks.horizon * episodes
    windows = 1 + (inner_steps or max(1, math.ceil(tasks.trial_steps / window_steps) - 1))
    noisy = tasks._replace(env=structured.HeldNoise(tasks.env, latents, hold))
    inner = adaptation.Inner(
        live=functools.partial(adaptation.live, noisy, policy, episodes),
        window=functools.partial(window, policy),
        said=functools.partial(adaptation.said, policy),
        learn=functools.partial(learn, policy, inner_discount),
        start=lambda meta, task: Agent(meta.params, structured.standard_normal(latents)),
        num_steps=windows - 1,
    )
    seen = int(math.prod(tasks.env.spec.observation_shape))
    parts = Parts(
        inner=inner,
        live_informed=functools.partial(adaptation.live, noisy, policy, informed),
        proposal=mlp(width, (32,), 2 * latents, head_scale=0.3),
        critic=mlp(seen + 2 * latents + windows + 3 + width, encoder, 1, head_scale=0.1),
        options=Options(informed_weight, prior_cost, match_cost, value_cost, entropy_cost, clip, discount, trace),
        entropy=policy.actions.entropy,
        horizon=tasks.horizon,
    )
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(learning_rate, eps=1e-5))

    def init(key):
        keys = jax.random.split(key, 3)
        critic = parts.critic.init(keys[2])
        meta = Meta(policy.init(keys[0]), first_step(latents), parts.proposal.init(keys[1]), critic)
        return LearnerState(meta, optimizer.init(meta))

    def update(key, state: LearnerState, batch_tasks):
        live_key, epoch_key = jax.random.split(key)
        keys = jax.random.split(live_key, jax.tree.leaves(batch_tasks)[0].shape[0])
        lived = jax.vmap(functools.partial(live_one, parts, describe), in_axes=(0, None, 0))
        batch, earned = lived(keys, state.meta, batch_tasks)
        batch = jax.tree.map(lambda x: x[None], standardised(batch))
        loss = functools.partial(outer_loss, parts)
        meta, optimizer_state, metrics = estimators.minibatch_epochs(
            epoch_key, state.meta, state.optimizer, batch, loss, optimizer, num_epochs, num_minibatches
        )
        trial_return = episodes * earned.sum(axis=1)
        told = {"return_before": earned[:, 0].mean(), "return_after": earned[:, -1].mean()}
        told["return_informed"] = batch.informed.reward.sum(axis=2).mean()
        outcome = Outcome(batch_tasks, trial_return, jnp.ones_like(trial_return, bool), metrics | told)
        return LearnerState(meta, optimizer_state), outcome

    def adapt(key, state: LearnerState, task, trial_steps: int, forget: bool = False, greedy: bool = False):
        lived = adaptation.trial(inner, rate_decay, key, state.meta, (), task, trial_steps, forget, greedy)
        return structured.without_noise(lived, tasks.env.spec.observation_shape, latents)

    def check_tasks(num_tasks: int):
        fits = num_tasks % num_minibatches == 0
        check(fits, "num_minibatches", num_minibatches, f"must divide num_tasks={num_tasks}")

    steps = windows * window_steps + informed * tasks.horizon
    return Algorithm(init, update, adapt, steps=steps, check=check_tasks)


class Options(NamedTuple):
    """Of the outer loss, by the names under which ``maesn`` documents them."""

    informed_weight: float
    prior_cost: float
    match_cost: float
    value_cost: float
    entropy_cost: float
    clip: float
    discount: float
    trace: float


class Parts(NamedTuple):
    """What an update is made of."""

    inner: adaptation.Inner
    live_informed: Callable[..., Trajectory]
    proposal: Network
    critic: Network
    options: Options
    entropy: Callable[[jax.Array], jax.Array]
    horizon: int


def first_step(latents: int) -> Step:
    """Where the inner step starts to be learned: about to where a draw paid, and somewhat narrower there."""
    number = lambda x: jnp.asarray(x, jnp.float32)
    widths = jnp.zeros(latents)
    return Step(0.3 * jnp.eye(latents), jnp.eye(latents), widths, number(1.5), number(0.1), number(jnp.log(0.1)))


def window(policy: Policy, baseline: tuple, lived: Trajectory) -> Window:
    del baseline  # the inner step has a threshold instead
    log_prob = policy.actions.log_prob(lived.outputs[0], lived.action)
    return Window(lived.timestep, lived.action, log_prob, lived.reward, lived.terminated | lived.truncated)


def learn(policy: Policy, discount: float, meta: Meta, agent: Agent, seen: Window, scale: float | jax.Array) -> Agent:
    """An inner step: the latents' Gaussian moves along the policy gradient of a window's episodes.

    With the return ``G_t`` of the rest of the episode, credit is ``c_t = G_t / (|G_t| + C) - B``: bounded, so that one
    step's size serves hits of all sizes, and negative for what earned too little. Then, over the window,

    - ``g = grad_mean  E[c_t log pi(a_t | o_t, z = mean)]``: how the mean should move to make what paid likelier. At
      the mean and not at the latent that acted, as the plain pathwise gradient would have it: there the score has
      expectation zero whatever came of it, and a few episodes tell next to nothing; here it also tells how those who
      were paid behaved otherwise than the mean does. It is divided by ``sqrt(1 + |g|^2)``.
    - ``s = E[c_0 (z - mean)]``, over the episodes: the natural gradient of ``log N(z; mean, std)``, the drawn latent as
      an action, and ``v = E[c_0 ((e^2 - 1) / 2 - narrowing)]``, the same for ``log std`` with a learned preference for
      narrowing where it paid.

    ``mean' = mean + g A + s D`` and ``log std' = log std + exp(w) v`` with ``A, D [Z, Z]``, ``w``, ``narrowing``, ``B``
    and ``C`` meta-learned (a matrix as in Park and Oliva 2019, where the paper learns a step size a latent). Policy
    parameters do not adapt.
    """
    mean, log_std = agent.latent
    step, size = meta.step, agent.latent.mean.size
    plain, noise = structured.held(seen.timestep.observation, size)
    still = jnp.concatenate([plain, jnp.zeros_like(noise)], axis=-1)
    timestep = seen.timestep._replace(observation=still)
    returns = estimators.discounted_sums(seen.reward, discount * (1.0 - seen.ended.astype(seen.reward.dtype)))
    credit = returns / (jnp.abs(returns) + jnp.exp(step.log_scale)) - step.threshold

    def likelihood(mean):
        parameters, _ = replay(policy, Agent(agent.params, Latent(mean, log_std)), timestep)
        return (credit * policy.actions.log_prob(parameters, seen.action)).mean()

    towards = jax.grad(likelihood)(mean)
    towards = towards * jax.lax.rsqrt(1.0 + jnp.square(towards).sum())
    first = structured.fresh(seen.timestep, size)
    weight = credit * first / first.sum()
    draws = jnp.exp(log_std) * jnp.einsum("te,tez->z", weight, noise)
    widths = jnp.einsum("te,tez->z", weight, 0.5 * (jnp.square(noise) - 1.0) - step.narrowing)
    moved = mean + scale * (towards @ step.actions + draws @ step.draws)
    return Agent(agent.params, Latent(moved, jnp.clip(log_std + scale * jnp.exp(step.log_widths) * widths, *LOG_STD)))


def relive(parts: Parts, meta: Meta, windows: Window) -> tuple[Latent, tuple[jax.Array, jax.Array]]:
    """(latents ``[K]``, (action parameters, log-probabilities of the actions taken) ``[K, T, E]``): a trial adapted
    anew from its windows."""

    def body(agent, seen):
        return parts.inner.learn(meta, agent, seen, 1.0), (agent.latent, parts.inner.said(agent, seen))

    return jax.lax.scan(body, parts.inner.start(meta, None), windows)[1]


def proposed(parts: Parts, meta: Meta, task: jax.Array) -> Latent:
    """``q(z | task)``."""
    mean, log_std = jnp.split(parts.proposal.apply(meta.proposal, task), 2)
    return Latent(mean, jnp.clip(log_std - 1.0, *LOG_STD))


def drawn(latent: Latent, timestep: TimeStep) -> Draws:
    """What was drawn from ``latent`` in ``[T, E]`` steps."""
    size = latent.mean.size
    _, noise = structured.held(timestep.observation, size)
    z = latent.mean[None, None] + jnp.exp(latent.log_std)[None, None] * noise
    return Draws(z, structured.log_density(latent, z), structured.fresh(timestep, size))


def live_one(parts: Parts, describe: Callable, key, meta: Meta, task: Task) -> tuple[Batch, jax.Array]:
    """A trial in one task and the episodes of an agent who knows it: (its part of the batch, earned ``[K]``)."""
    keys = jax.random.split(key)
    code, o = describe(task), parts.options
    windows = adaptation.lifetime(parts.inner, keys[0], meta, (), task)
    latents, _ = relive(parts, meta, windows)
    facts = critics_facts(parts, windows, latents, code)
    flat = lambda x: x.reshape(-1, *x.shape[2:])  # windows one after the other: [K T, E]
    reward, value = flat(windows.reward), flat(values(parts, meta, facts))
    following = jnp.concatenate([value[1:], jnp.zeros_like(value[:1])])
    advantage = estimators.generalised_advantages(reward, value, following, jnp.full_like(value, o.discount), o.trace)
    known = proposed(parts, meta, code)
    informed = parts.inner.window((), parts.live_informed(keys[1], Agent(meta.params, known), task))
    returns = estimators.discounted_sums(informed.reward, o.discount * (1.0 - informed.ended.astype(jnp.float32)))
    others = (returns.sum(axis=1, keepdims=True) - returns) / (returns.shape[1] - 1)
    batch = Batch(
        windows=windows,
        draws=jax.vmap(drawn)(latents, windows.timestep),
        facts=facts,
        advantage=advantage.reshape(windows.reward.shape),
        target=(advantage + value).reshape(windows.reward.shape),
        informed=informed,
        informed_draws=drawn(known, informed.timestep),
        informed_advantage=returns - others,
        informed_return=returns,
        task=code,
    )
    return batch, windows.reward.sum(axis=1).mean(axis=1)


def critics_facts(parts: Parts, windows: Window, latents: Latent, code: jax.Array) -> jax.Array:
    """What the critic sees ``[K, T, E, F]``: the observation and the latents, where in the trial it is, what was earned
    in the window and before it (in logarithms), and the task."""
    count, length, lanes = windows.reward.shape
    spread = lambda x, axes: jnp.broadcast_to(jnp.expand_dims(x, axes), (count, length, lanes, x.shape[-1]))
    plain, _ = structured.held(windows.timestep.observation, latents.mean.shape[-1])
    time = jax.vmap(estimators.time_in_episode)(windows.timestep.episode_start)[..., None] / parts.horizon
    so_far = jnp.cumsum(windows.reward, axis=1) - windows.reward
    total = windows.reward.sum(axis=1).mean(axis=1)
    before = spread((jnp.cumsum(total) - total)[:, None], (1, 2))
    squash = lambda x: jnp.sign(x) * jnp.log1p(jnp.abs(x))
    parted = [plain, spread(latents.mean, (1, 2)), spread(latents.log_std, (1, 2)), spread(jnp.eye(count), (1, 2))]
    return jnp.concatenate([*parted, time, squash(so_far)[..., None], squash(before), spread(code, (0, 1, 2))], axis=-1)


def values(parts: Parts, meta: Meta, facts: jax.Array) -> jax.Array:
    """In units of one reward a step through an episode."""
    return parts.horizon * parts.critic.apply(meta.critic, facts)[..., 0]


def standardised(batch: Batch) -> Batch:
    """Advantages over the batch; those of the informed over their returns' size: they fade as these are learned."""
    advantage = (batch.advantage - batch.advantage.mean()) / (batch.advantage.std() + 1e-8)
    size = jnp.sqrt(jnp.square(batch.informed_return).mean()) + 1e-8
    return batch._replace(advantage=advantage, informed_advantage=batch.informed_advantage / size)


def outer_loss(parts: Parts, meta: Meta, minibatch: Batch, key=None) -> tuple[jax.Array, dict[str, jax.Array]]:
    """PPO's loss on whole trials and on informed episodes, the divergences of ``q``, and the critic's loss."""
    del key
    batch, o = jax.tree.map(lambda x: x[0], minibatch), parts.options

    def one(windows: Window, draws: Draws, informed: Window, informed_draws: Draws, task):
        latents, (parameters, log_prob) = relive(parts, meta, windows)
        entropy = parts.entropy(parameters).mean()
        known = proposed(parts, meta, task)
        said = parts.inner.said(Agent(meta.params, known), informed)[1]
        of_draws = jax.vmap(structured.log_density)(latents, draws.latent)
        apart = divergence_after_a_find(known, latents, windows.reward)
        prior = structured.divergence(known, structured.standard_normal(known.mean.size))
        return log_prob, of_draws, said, structured.log_density(known, informed_draws.latent), prior, apart, entropy

    log_prob, of_draws, said, of_known, prior, apart, entropy = jax.vmap(one)(
        batch.windows, batch.draws, batch.informed, batch.informed_draws, batch.task
    )
    surrogate = functools.partial(estimators.clipped_surrogate, clip=o.clip)
    policy_loss = surrogate(log_prob, batch.windows.log_prob, batch.advantage).mean()
    chosen = lambda new, draws, advantage: (draws.fresh * surrogate(new, draws.log_prob, advantage)).mean()
    draw_loss = chosen(of_draws, batch.draws, batch.advantage)
    informed_loss = surrogate(said, batch.informed.log_prob, batch.informed_advantage).mean()
    informed_loss += chosen(of_known, batch.informed_draws, batch.informed_advantage)
    value = values(parts, meta, batch.facts)
    value_loss = estimators.squared_error(value, batch.target).mean() / (batch.target.var() + 1e-4)
    metrics = {"policy_loss": policy_loss, "informed_loss": informed_loss, "value_loss": value_loss}
    metrics |= {"kl_prior": prior.mean(), "kl_adapted": apart.mean(), "entropy": entropy.mean()}
    weights = (o.informed_weight, o.prior_cost, o.match_cost, o.value_cost, -o.entropy_cost)
    others = (informed_loss, prior.mean(), apart.mean(), value_loss, entropy.mean())
    return policy_loss + draw_loss + sum(w * x for w, x in zip(weights, others, strict=True)), metrics


def divergence_after_a_find(known: Latent, latents: Latent, reward: jax.Array) -> jax.Array:
    """``KL(q || latents)``, a mean over the windows before which something was earned; ``q`` is given, not led."""
    given = jax.tree.map(lambda x: jax.lax.stop_gradient(x)[None], known)
    told = (jnp.abs(reward).sum(axis=(1, 2)) > 0).astype(jnp.float32)
    after = (jnp.cumsum(told) - told > 0).astype(jnp.float32)
    return (structured.divergence(given, latents) * after).sum() / jnp.maximum(after.sum(), 1.0)
