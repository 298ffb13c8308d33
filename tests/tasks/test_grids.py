"""The grids of Learned Policy Gradient: their rules, and references against agents that play them."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl_jax as mrl
from metarl_jax import planning
from metarl_jax.networks.actions import for_spec
from metarl_jax.records import Policy
from metarl_jax.rollout import rollout
from metarl_jax.tasks import grids
from metarl_jax.tasks.grids import KINDS, ObjectsEnv, ObjectsTask

STAY, NORTH, EAST, SOUTH, WEST = 0, 1, 3, 5, 7


def known(tasks, batch, steps: int) -> dict:
    return {(r.role, r.kind): r for r in tasks.references(batch, steps)}


def test_moves_and_what_is_collected_by_hand():
    """A 3 x 3 grid, an object in the middle that ends the episode by half, and comes back by a quarter a step."""
    env = ObjectsEnv(3, 10, 1, table=False)
    task = ObjectsTask(*(jnp.array([x]) for x in (4, 2.0, 0.5, 0.25)))
    begin = lambda uniform: env.reset(jnp.array([uniform, 0.0, 0.0]), task)
    assert [int(begin(u).cell) for u in (0.0, 0.5, 0.999999, 1.0)] == [0, 4, 8, 8]
    moves = [int(env.step(jnp.ones(3), begin(0.0), jnp.int32(a), task)[0].cell) for a in range(9)]
    assert moves == [0, 0, 1, 1, 4, 3, 3, 0, 0]  # from the north-west corner

    step = lambda state, action, end, back: env.step(jnp.array([0.0, end, back]), state, jnp.int32(action), task)
    state, reward, terminated, _ = step(begin(0.5), STAY, 0.6, 0.9)  # on it from the start: collected by staying
    assert (float(reward), bool(terminated), bool(state.present[0])) == (2.0, False, False)
    state, reward, terminated, _ = step(state, STAY, 0.0, 0.2)  # absent: nothing; then it comes back under the agent
    assert (float(reward), bool(terminated), bool(state.present[0])) == (0.0, False, True)
    state, reward, terminated, _ = step(state, EAST, 0.0, 0.9)
    assert (float(reward), bool(terminated), bool(state.present[0])) == (0.0, False, True)
    np.testing.assert_array_equal(env.observe(state, task), [0, 0, 0, 0, 0, 1, 0, 0, 0, 1])
    state, reward, terminated, _ = step(state, WEST, 0.4, 0.2)  # collected, back at once, and the episode is over
    assert (float(reward), bool(terminated), bool(state.present[0])) == (2.0, True, True)


def test_the_table_is_the_product():
    cell, table = (ObjectsEnv(3, 10, 2, table) for table in (False, True))
    task = ObjectsTask(jnp.array([4, 9]), *(jnp.zeros(2) for _ in range(3)))  # the second does not exist
    seen = set()
    for n in range(9):
        for present in ([True, True], [False, True]):
            state = table.reset(jnp.array([(n + 0.5) / 9, 0, 0, 0]), task)._replace(present=jnp.array(present))
            one_hot, apart = np.asarray(table.observe(state, task)), np.asarray(cell.observe(state, task))
            assert one_hot.shape == (36,) and one_hot.sum() == 1 and apart[10] == 0
            assert one_hot.argmax() == 4 * apart[:9].argmax() + apart[9]
            seen.add(one_hot.argmax())
    assert len(seen) == 18


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_are_the_papers(kind):
    tasks = grids(kind=kind)
    batch = jax.jit(jax.vmap(tasks.sample))(jax.random.split(jax.random.key(0), 200))
    wanted = KINDS[kind]
    cells = tasks.env.num_cells
    assert (tasks.env.size, tasks.horizon) == (wanted.size, wanted.horizon)
    existing = np.asarray(batch.position) < cells
    for position, here in zip(np.asarray(batch.position), existing, strict=True):
        assert len(set(position[here].tolist())) == here.sum() >= 1
    assert len(np.unique(batch.position[:, 0])) > 0.5 * cells
    if kind != "random":
        assert existing.all()
        for leaf, told in zip(batch[1:], zip(*wanted.objects, strict=True), strict=True):
            np.testing.assert_array_equal(leaf, np.broadcast_to(np.float32(told), leaf.shape))
        return
    assert set(existing.sum(1).tolist()) == {1, 2, 3, 4} and abs(existing.sum(1).mean() - 2.5) < 0.35
    assert abs(float(batch.reward.mean())) < 0.1 and np.ptp(batch.reward) > 1.9
    for chance in (batch.end, batch.respawn):
        assert (chance >= 1e-3).all() and (chance <= 1).all() and abs(np.log10(chance).mean() + 1.5) < 0.15


def plays(tasks, batch, steps: int, trials: int, action_of) -> np.ndarray:
    """Returns ``[N, trials]`` of a policy that is given task, step of the trial, cell and set of present objects."""
    many = jax.tree.map(lambda x: jnp.repeat(x, trials, axis=0), batch)
    num, cells, count = len(many.position), tasks.env.num_cells, tasks.env.num_objects

    def step(params, t, timestep):
        cell = timestep.observation[:, :cells].argmax(-1)
        present = (timestep.observation[:, cells:] * 2 ** jnp.arange(count)[None]).sum(-1).astype(jnp.int32)
        action = action_of(jnp.arange(num) // trials, t, cell, present)
        return t + 1, (1e4 * jax.nn.one_hot(action, 9), jnp.zeros(num))

    policy = Policy(lambda key: (), lambda batch: jnp.int32(0), step, None, for_spec(tasks.env.spec))
    trajectory = rollout(jax.random.key(1), tasks.env, policy, (), many, steps)[1]
    return np.asarray(trajectory.reward).sum(0).reshape(-1, trials)


def test_the_greedy_agent_earns_the_optimum():
    """What the planner says it does, played in the environment: it knows the task, the time, and what is present."""
    tasks = grids(size=4, horizon=25)
    batch = jax.vmap(tasks.sample)(jax.random.split(jax.random.key(3), 6))
    table = tasks.env.next_state

    def greedy(task):  # by the general planner's recursion, over all steps
        arrive = planning.collecting._arrival(planning.Objects(*task), 16)

        def step(carry, _):
            value, whole = carry
            q = arrive(value, whole)[table]
            value = q.max(axis=1)
            return (value, value[:, -1].mean()), q.argmax(axis=1)

        return jax.lax.scan(step, (jnp.zeros((16, 16)), jnp.float32(0.0)), None, length=25)[1][::-1]

    policy = jax.vmap(greedy)(batch)  # [N, T, S, M]
    earned = plays(tasks, batch, 25, 1000, lambda n, t, cell, present: policy[n, t, cell, present])
    optimal = known(tasks, batch, 25)["optimal", "exact"].trial_return
    error = earned.std(axis=1) / np.sqrt(earned.shape[1])
    assert (np.abs(earned.mean(axis=1) - optimal) < 4 * error).all() and (error < 0.05 * optimal).all()


@pytest.mark.parametrize("kind", ["dense", "long-dense", "random"])
def test_random_play_over_many_episodes(kind):
    tasks = grids(kind=kind, size=3, horizon=10)
    batch = jax.vmap(tasks.sample)(jax.random.split(jax.random.key(3), 5))
    draws = jax.random.randint(jax.random.key(4), (35, 5 * 2000), 0, 9)
    earned = plays(tasks, batch, 35, 2000, lambda n, t, cell, present: draws[t])
    exact = known(tasks, batch, 35)["random", "exact"].trial_return
    assert (np.abs(earned.mean(axis=1) - exact) < 4.5 * earned.std(axis=1) / np.sqrt(2000)).all()


def test_long_trials_are_bracketed(monkeypatch):
    """Exact where it can be done, and between the bounds that are given elsewhere."""
    tasks = grids(size=3, horizon=10)
    batch = jax.vmap(tasks.sample)(jax.random.split(jax.random.key(3), 5))
    exact = known(tasks, batch, 45)["optimal", "exact"].trial_return
    monkeypatch.setattr(sys.modules["metarl_jax.tasks.grids"], "MOST_WORK", 0)
    found = known(tasks, batch, 45)
    low, high = (found["optimal", kind].trial_return for kind in ("lower", "upper"))
    assert (low <= exact).all() and (exact <= high).all() and ("optimal", "exact") not in found
    assert (found["random", "exact"].trial_return <= low).all()
    within = known(tasks, batch, 10)  # in a trial of one horizon no episode is cut
    assert ("optimal", "exact") in within and within["optimal", "exact"].by_episode is None


def test_where_nothing_ends_an_episode_every_trial_is_exact():
    tasks = grids(kind="long-dense", size=3, horizon=10, num_episodes=3)
    batch = jax.vmap(tasks.sample)(jax.random.split(jax.random.key(3), 5))
    one, three, more = (known(tasks, batch, steps)["optimal", "exact"] for steps in (10, 30, 35))
    np.testing.assert_allclose(three.trial_return, 3 * one.trial_return)
    np.testing.assert_allclose(three.by_episode, np.full(3, one.trial_return.mean()))
    assert more.by_episode is None and (more.trial_return > three.trial_return).all()
    whole = planning.optimal_collection(tasks.env.next_state, planning.Objects(*(x[0] for x in batch)), 35, 10)
    np.testing.assert_allclose(more.trial_return[0], whole[35], rtol=1e-5)


def test_random_chances_are_log_uniform_within_their_ranges():
    tasks = grids(kind="random", end=(0.2, 0.8), respawn=(0.05, 0.05))
    many = jax.vmap(tasks.sample)(jax.random.split(jax.random.key(0), 2000))
    share = np.log(np.asarray(many.end) / 0.2) / np.log(4.0)
    quantiles = np.quantile(share, [0.0, 0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(quantiles, [0.0, 0.25, 0.5, 0.75, 1.0], atol=0.03)
    np.testing.assert_allclose(many.respawn, 0.05, rtol=1e-5)


def test_wrong_options_are_named():
    for options, word in (
        ({"kind": "denser"}, "dense"),
        ({"size": 1}, "size=1"),
        ({"size": 2}, "more cells than the 4"),
        ({"horizon": 0}, "horizon=0"),
        ({"num_episodes": 0}, "num_episodes=0"),
        ({"num_objects": 3}, "only for kind='random'"),
        ({"kind": "random", "num_objects": 11}, "at most 10"),
        ({"kind": "dense", "end": (0.1, 1.0)}, "end=.*only for kind='random'"),
        ({"kind": "random", "respawn": (0.0, 1.0)}, "respawn=.*above 0"),
        ({"kind": "random", "end": (0.5, 0.1)}, "end=.*the least and the greatest"),
        ({"observation": "pixels"}, "observation"),
    ):
        with pytest.raises(mrl.ConfigError, match=word):
            grids(**options)
