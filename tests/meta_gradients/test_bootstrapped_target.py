"""Bootstrapped targets against finite differences and identities, on frozen lives in double precision."""

import functools

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.enumeration import NO_VALUES, POLICY, at, episodes, error, inner, scripted

from metarl_jax.algorithms.lifetime.actor_critic import OPTIMIZERS
from metarl_jax.algorithms.lifetime.meta_learner import divergence, said
from metarl_jax.meta_gradients import OuterLoss, Target, backprop
from metarl_jax.records import Inner, Trajectory

RATE, VALUE_COST = 0.3, 0.7


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def one_life(num_updates: int) -> Trajectory:
    """``[num_updates, T, 1]``."""
    trajectory, _ = episodes()
    index = np.random.default_rng(0).integers(0, len(trajectory.reward), num_updates)
    return jax.tree.map(lambda x: x[index], trajectory)


def learned(made: Inner, meta, task: Trajectory, num_updates: int):
    """The agent after as many updates of a window, the first of which only lives."""
    agent = made.init(jax.random.key(0), meta, None)
    for k in range(num_updates - 1):
        agent, _ = made.learn(jax.random.key(0), meta, agent, at(task, k))
    return agent


def outer_loss(params, agent, episode: Trajectory) -> jax.Array:
    to_go = jnp.flip(jnp.cumsum(jnp.flip(episode.reward, 0), 0), 0)
    return -(said(POLICY, agent._replace(params=params), episode).log_prob * to_go).mean()


def stepped(agent, episode: Trajectory, rate: float):
    """After a step on the outer loss."""
    gradient = jax.grad(outer_loss)(agent.params, agent, episode)
    return agent._replace(params=optax.tree.add_scale(agent.params, -rate, gradient))


def apart(goal, agent, episode: Trajectory) -> jax.Array:
    """``KL + c (difference of values)^2 / 2`` from what the policies say, by the definition."""
    (p, v), (q, w) = (POLICY.unroll(x.params, None, episode.timestep) for x in (goal, agent))
    p, q = jax.nn.softmax(p), jax.nn.softmax(q)
    return ((p * (jnp.log(p) - jnp.log(q))).sum(axis=-1) + VALUE_COST * (v - w) ** 2 / 2).mean()


def squares(goal, agent, episode: Trajectory) -> jax.Array:
    return optax.tree.norm(optax.tree.sub(goal.params, agent.params), squared=True) / 2


def estimates(made: Inner, meta, task: Trajectory, window: int, target: Target | None, times: int = 1):
    """(gradient, what is kept) of as many outer updates of one life, which lasts as long as ``task``."""
    estimator = backprop(scripted(), made, len(task.reward), window, OuterLoss(), NO_VALUES, target=target)
    kept, found, batch = estimator.init(jax.random.key(0), task, 1), [], jax.tree.map(lambda x: x[None], task)
    step = jax.jit(estimator.estimate)
    for _ in range(times):
        gradient, kept, _ = step(jax.random.key(0), meta, kept, batch)
        found.append((gradient, kept))
    return found


@pytest.mark.parametrize(  # rmsprop, which is adam without momentum, with ``-m slow``
    "optimizer", [pytest.param(name, marks=(pytest.mark.slow,) if name == "rmsprop" else ()) for name in OPTIMIZERS]
)
def test_meta_gradients_are_finite_differences_of_the_way_to_a_fixed_target(optimizer, window=3, updates=3):
    made = inner(optimizer)
    meta, task = made.meta(jax.random.key(0)), one_life(window + updates - 1)
    end = len(task.reward)

    @jax.jit
    def went(meta):
        """The agent at the stretch's end, and the target."""
        later = learned(made, meta, task, end)
        return later, stepped(later, at(task, end - 1), RATE)

    loss = jax.jit(lambda meta, goal: apart(goal, learned(made, meta, task, window), at(task, end - 1)))
    later, goal = went(meta)
    target = Target(updates, RATE, functools.partial(divergence, POLICY, VALUE_COST))
    ((gradient, kept),) = estimates(made, meta, task, window, target)
    small = 1e-5
    for name, value in meta.items():
        moved = [loss(meta | {name: value + sign * small}, goal) for sign in (1, -1)]
        np.testing.assert_allclose(gradient[name], (moved[0] - moved[1]) / (2 * small), rtol=1e-6, atol=1e-9)
        # Optimisers that normalise hardly feel the weights of losses.
        assert abs(gradient[name]) > 1e-6 or (name in ("entropy_cost", "value_cost") and optimizer != "sgd"), name
    # The agent lives on as it would without a target.
    agent = jax.tree.map(lambda x: x[0], kept.lives.agent)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-15), agent, later)
    assert kept.lives.age.tolist() == [end] == kept.lives.place.tolist()


def test_with_one_update_and_squares_it_is_the_plain_meta_gradient():
    """``grad |target - theta|^2 / 2 = rate * grad f(theta)`` where ``target = theta - rate * grad_theta f``; and the
    lives are the same."""
    made = inner("adam")
    meta, task = made.meta(jax.random.key(0)), one_life(3)
    both = [estimates(made, meta, task, 1, target, 3) for target in (None, Target(1, RATE, squares))]
    for i, ((plain, lives), (found, same)) in enumerate(zip(*both, strict=True)):
        jax.tree.map(np.testing.assert_array_equal, lives, same)
        if i == 0:
            assert optax.tree.norm(found) == optax.tree.norm(plain) == 0  # a newborn has learned nothing yet
        else:
            assert error(found, optax.tree.scale(RATE, plain)) < 1e-12


def test_a_small_step_and_divergence_precondition_the_plain_meta_gradient():
    """``grad KL(pi_target || pi) / rate -> (d theta / d meta)' F grad_theta f``, linearly; Fisher's information ``F``
    is made of the policy's Jacobian. With squares in place of the divergence ``F`` is 1, at any rate; a window of
    several updates is judged at its end alone."""
    made = inner("sgd")
    meta, task = made.meta(jax.random.key(0)), one_life(3)

    @jax.jit
    def expected(meta):
        agent, back = jax.vjp(lambda meta: learned(made, meta, task, 3).params, meta)
        vector, whole = jax.flatten_util.ravel_pytree(agent)
        gradient = jax.grad(outer_loss)(agent, made.init(jax.random.key(0), meta, None), at(task, 2))
        logits = lambda x: POLICY.unroll(whole(x), None, at(task, 2).timestep)[0].reshape(-1, POLICY.actions.size)
        jacobian, chances = jax.jacobian(logits)(vector), jax.nn.softmax(logits(vector))
        spread = jax.vmap(lambda p: jnp.diag(p) - jnp.outer(p, p))(chances)
        fisher = jnp.einsum("sap,sab,sbq->pq", jacobian, spread, jacobian) / len(chances)
        return back(whole(fisher @ jax.flatten_util.ravel_pytree(gradient)[0]))[0], back(gradient)[0]

    preconditioned, plain = expected(meta)
    match = functools.partial(divergence, POLICY, 0.0)

    @functools.partial(jax.jit, static_argnums=1)
    def found(rate, match):
        return optax.tree.scale(1 / rate, estimates(made, meta, task, 3, Target(1, rate, match))[0][0])

    errors = [error(found(rate, match), preconditioned) for rate in (1e-2, 1e-4)]
    assert errors[1] < 1e-3
    np.testing.assert_allclose(errors[0] / errors[1], 100, rtol=0.1)
    assert error(found(RATE, squares), plain) < 1e-12
    assert error(plain, preconditioned) > 0.1


def test_lives_begin_and_end_between_stretches():
    """Of two windows' stretches each, born one apart; each life's gradient is cut by itself."""
    made = inner("rmsprop")
    task, meta = one_life(6), made.meta(jax.random.key(0))
    target = Target(2, RATE, functools.partial(divergence, POLICY, VALUE_COST))
    estimator = backprop(scripted(), made, 6, 2, OuterLoss(max_norm=1e-3), NO_VALUES, target=target)
    kept, ended = estimator.init(jax.random.key(0), task, 2), []
    batch, step = jax.tree.map(lambda x: jnp.stack([x, x]), task), jax.jit(estimator.estimate)
    for _ in range(4):
        gradient, kept, outcome = step(jax.random.key(0), meta, kept, batch)
        assert all(jnp.isfinite(x) for x in gradient.values()) and 0 < optax.tree.norm(gradient) <= 1.001e-3
        ended.append(outcome.ended.tolist())
    assert ended == [[False, True], [True, False]] * 2
