"""What can be known of the task, exactly, from what a trial has shown: the truth that learned beliefs are held to."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from metarl_jax.networks import first_timestep
from metarl_jax.rollout import Place, advance, select
from metarl_jax.tasks._priors import prior_of
from metarl_jax.types import Environment, ExactBelief, Task, TaskDistribution, Trajectory

TOLERANCE = 1e-4  # two programs may compute one reward to different last bits


def exact_belief(tasks: TaskDistribution) -> ExactBelief | None:
    """The exact belief over ``tasks``, or None where none is known.

    A distribution may bring its own (``tasks.belief``: the bandits). Every other one has one where it is a finite set
    (``tasks.tasks``), each row equally likely, and nothing random happens in it (its environment's ``draw`` returns
    nothing): gridnavi, mazes of known layouts, treasure hunts, the corners of navigation. There ``truth`` is one-hot
    over the ``[G]`` distinct tasks of the set, in their order, and all zeros for a task that is none of them. A task
    that is held twice is one of twice the weight.
    """
    if tasks.belief is not None:
        return tasks.belief
    if tasks.tasks is None or jax.tree.leaves(jax.eval_shape(lambda key: tasks.env.draw(key, ()), jax.random.key(0))):
        return None
    candidates, weight, _ = prior_of(tasks.tasks)
    posterior = candidate_posterior(tasks.env, candidates, weight)
    return ExactBelief(functools.partial(which, candidates), posterior, len(weight), tuple(weight.tolist()))


def which(candidates: Task, task: Task) -> jax.Array:
    """``[G]``: 1 for the one of ``candidates [G]``, all distinct, that ``task`` is, 0 for the others."""
    equal = lambda some, one: (some == jnp.asarray(one)[None]).reshape(some.shape[0], -1).all(axis=1)
    same = jax.tree.leaves(jax.tree.map(equal, candidates, task))
    return jnp.stack(same).all(axis=0).astype(jnp.float32)


def scores(exact: ExactBelief, task: Task, lived: Trajectory, decoded: jax.Array) -> dict[str, jax.Array]:
    """A trial's decoded beliefs ``[T, C]``, each held before its step, beside the exact ones: ``[T - 1]`` by name,
    after 1, 2, ... T - 1 steps.

    Of candidates: ``right`` (the likeliest is the true one), ``confidence`` (its chance), ``log_loss`` (of the truth,
    nats), ``best`` (the chance of the exactly likeliest: nobody is right more often), ``exact_log_loss`` and
    ``divergence`` (KL from the exact belief). Of numbers, root mean squares: ``error`` and ``exact_error`` from the
    truth, ``difference`` of the two.
    """
    known, said, truth = exact.posterior(lived)[:-1], decoded[1:], exact.truth(task)[None]
    if not exact.candidates:
        rms = lambda x: jnp.sqrt(jnp.square(x).mean(axis=-1))
        return {"error": rms(said - truth), "exact_error": rms(known - truth), "difference": rms(said - known)}
    log_said, log_known = (jnp.log(jnp.maximum(x, 1e-12)) for x in (said, known))
    return {
        "right": (said.argmax(axis=-1) == truth.argmax(axis=-1)).astype(jnp.float32),
        "confidence": said.max(axis=-1),
        "log_loss": -(truth * log_said).sum(axis=-1),
        "best": known.max(axis=-1),
        "exact_log_loss": -(truth * log_known).sum(axis=-1),
        "divergence": (known * (log_known - log_said)).sum(axis=-1),
    }


def described(scored: Mapping[str, ArrayLike], done: ArrayLike, candidates: int) -> dict[str, Any]:
    """Decoded beliefs beside exact ones, means over trials ``[..., T]``: ``by_step`` (after 1, 2, ... steps) and
    ``by_episode`` (when each episode ended, the last one a step before).

    Of candidates also ``calibration_error`` (see there) at each of these and over all beliefs, and ``calibration``: the
    share of all beliefs whose confidence lies in each tenth, their mean confidence and how often they are right.
    """
    found = {name: np.asarray(x, np.float64).reshape(-1, np.shape(x)[-1]) for name, x in scored.items()}
    done = np.asarray(done).reshape(-1, np.shape(done)[-1])
    steps = done.shape[1] - 1
    ended = np.cumsum(done, axis=1) * done  # the number of the episode that ended here
    ends = [np.nonzero(ended == episode) for episode in range(1, int(ended.max(initial=0)) + 1)]
    at_ends = [{name: x[row, np.minimum(column, steps - 1)] for name, x in found.items()} for row, column in ends]
    told = {
        "candidates": candidates,
        "by_step": {name: x.mean(axis=0) for name, x in found.items()},
        "by_episode": {name: [float(at[name].mean()) for at in at_ends] for name in found},
    }
    if not candidates:
        return told
    said, right = found["confidence"], found["right"]
    by_step = [calibration_error(said[:, t], right[:, t]) for t in range(steps)]
    told["by_step"]["calibration_error"] = np.array(by_step)
    told["by_episode"]["calibration_error"] = [calibration_error(at["confidence"], at["right"]) for at in at_ends]
    count, *sums = tenths(said, right)
    confidence, share = (np.where(count > 0, x / np.maximum(count, 1), np.nan) for x in sums)
    calibration = {"share": count / count.sum(), "confidence": confidence, "right": share}
    return told | {"calibration": calibration, "calibration_error": calibration_error(said, right)}


def tenths(confidence: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(number of beliefs, sum of their confidences, number of right ones) in each tenth of confidence: ``[10]``."""
    tenth = np.minimum((confidence * 10).astype(int), 9).reshape(-1)
    count = lambda weights: np.bincount(tenth, weights, minlength=10)
    return count(None), count(confidence.reshape(-1)), count(right.reshape(-1))


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """``sum_b |sum_{i in b} confidence_i - right_i| / n`` over tenths ``b`` of confidence (Guo et al. 2017).

    Chance alone makes it more than 0: for ``n`` independent beliefs by up to about ``1.3 / sqrt(n)``.
    """
    _, said, true = tenths(confidence, right)
    return float(np.abs(said - true).sum() / confidence.size)


def candidate_posterior(env: Environment, candidates: Task, weight: np.ndarray) -> Callable[[Trajectory], jax.Array]:
    """``posterior(trajectory [T, ...]) -> [T, G]`` over ``candidates [G]`` of chances ``weight`` in a deterministic
    ``env``.

    Every candidate is lived again with the actions of the record; what is not what it would have shown is out:
    ``p_t(g) = 1[g agrees with steps 0..t] weight_g / the weight of all that agree``. An agent is shown rewards, ends of
    episodes and the observations that it acts on. The observation that an episode ends with it never sees: the next one
    begins instead.
    """
    num = jax.tree.leaves(candidates)[0].shape[0]
    env_state = jax.vmap(lambda task: env.begin((), task))(candidates)
    first = first_timestep(env.spec, (num,), jax.vmap(env.observe)(env_state, candidates))
    start = Place(env_state, first, ())

    def same(some: jax.Array, one: jax.Array) -> jax.Array:
        near = jnp.abs(some - one[None]) <= TOLERANCE * (1 + jnp.abs(one[None]))
        return near.reshape(num, -1).all(axis=1)

    def step(carry: tuple[Place, jax.Array], record: tuple):
        lived, shown, visible = record
        begins = jnp.broadcast_to(lived.timestep.trial_start, num)
        place, possible = jax.tree.map(lambda new, old: select(begins, new, old), (start, begins), carry)
        possible &= ~begins | same(start.timestep.observation, lived.timestep.observation)
        action = jnp.broadcast_to(lived.action, (num, *lived.action.shape))
        env_state, timestep, (reward, *_) = advance(env, (), place, action, candidates)
        possible &= same(reward, lived.reward) & (timestep.episode_start == (lived.terminated | lived.truncated))
        possible &= same(timestep.observation, shown) | ~visible
        return (Place(env_state, timestep, ()), possible), possible

    def posterior(trajectory: Trajectory) -> jax.Array:
        observation = trajectory.timestep.observation
        shown = jnp.concatenate([observation[1:], trajectory.next_observation[-1:]])
        ends = (trajectory.terminated | trajectory.truncated)[-1]  # then what the last step shows is not on record
        visible = (jnp.arange(observation.shape[0]) < observation.shape[0] - 1) | ~ends
        lived = trajectory._replace(outputs=(), env_state=(), next_env_state=())
        _, possible = jax.lax.scan(step, (start, jnp.ones(num, bool)), (lived, shown, visible))
        left = possible * jnp.asarray(weight / weight.max(), jnp.float32)[None]
        total = left.sum(axis=1, keepdims=True)
        return left / jnp.where(total > 0, total, 1.0)

    return posterior
