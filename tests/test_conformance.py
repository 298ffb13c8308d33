"""All task distributions keep the promises of ``records``: a new entry is held to them without a line here (learners:
``test_learners``)."""

import collections
import functools
from typing import Any, NamedTuple

import gymnax
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from helpers.conformance import host, pendulum, rows

from metarl_jax import tasks
from metarl_jax.networks.actions import for_spec
from metarl_jax.records import Policy, TaskDistribution, Trajectory
from metarl_jax.rollout import rollout
from metarl_jax.tasks.bandit import BanditTask
from metarl_jax.tasks.chain import ChainTask
from metarl_jax.tasks.credit import CreditTask
from metarl_jax.tasks.gate import GateTask
from metarl_jax.tasks.gridnavi import GridTask
from metarl_jax.tasks.grids import ObjectsTask
from metarl_jax.tasks.locomotion import WalkerTask
from metarl_jax.tasks.mazes.maze import MazeTask
from metarl_jax.tasks.mazes.view_maze import ViewTask
from metarl_jax.tasks.navigation import PointTask
from metarl_jax.tasks.tabular import TabularTask
from metarl_jax.tasks.treasure import TreasureTask

N = 120

WALKERS = ("cheetah-dir", "cheetah-vel", "cheetah-broken", "walker-dynamics", "walker-slope", "hopper-dynamics")
LAYOUTS = ("######\n#S...#\n#.##.#\n#....#\n######", "######\n#S...#\n#.####\n#....#\n######")
SMALL = {  # options under which a walk takes seconds
    "bandit-dependent": {"num_pulls": 20},
    "tabular": {"num_states": 4, "num_actions": 3, "horizon": 5, "num_episodes": 4},
    "gridnavi": {"size": 4, "horizon": 8, "num_episodes": 3},
    "key-to-door": {"num_actions": 3, "length": 3},
    "umbrella": {"length": 3},
    "grids": {"size": 4, "horizon": 12, "num_episodes": 3},
    "treasure": {
        "layout": "#######\n#T...T#\n#P#.#.#\n#MS.C.#\n#.#.#.#\n#T...T#\n#######",
        "horizon": 8,
        "num_episodes": 3,
    },
    "gate": {"horizon": 20, "num_episodes": 3},
    "maze-view": {"size": 5, "view": 3, "num_walls": 8, "horizon": 20, "num_episodes": 3},
    "maze-view-named": {"horizon": 40, "num_episodes": 3},
    "maze-random": {"rows": 7, "columns": 9, "horizon": 40, "trial_steps": 120},
} | {name: {"horizon": 15, "num_episodes": 3} for name in WALKERS}


def arrays() -> TaskDistribution:
    generator = np.random.default_rng(0)
    return tasks.from_arrays(
        generator.dirichlet(np.ones(3), (6, 3, 2)), generator.normal(size=(6, 3, 2)), horizon=4, reward_std=0.5
    )


def mountain_car() -> TaskDistribution:
    env, params = gymnax.make("MountainCar-v0")

    def sample(key):
        gravity, goal = jax.random.uniform(key, (2,))
        return params.replace(gravity=0.001 + 0.002 * gravity, goal_position=-0.45 + 0.2 * goal)

    return tasks.from_gymnax(env, sample, name="mountain-car", horizon=30, num_episodes=3)


def mjx_pendulum() -> TaskDistribution:
    text = """<mujoco><option timestep="0.02"/><worldbody><body><joint name="hinge" axis="0 1 0" damping="0.1"/>
        <geom type="capsule" fromto="0 0 0 0 0 -1" size="0.05"/></body></worldbody>
        <actuator><motor joint="hinge" gear="5" ctrllimited="true" ctrlrange="-1 1"/></actuator></mujoco>"""
    model = mujoco.MjModel.from_xml_string(text)

    def sample(key):
        mass, damping = jax.random.uniform(key, (2,), minval=0.5, maxval=2.0)
        return {"body_mass": jnp.stack([0.0, 8.0 * mass]), "dof_damping": damping[None]}

    upright = lambda before, after, action, task: -jnp.cos(after.qpos[0]) - 0.01 * jnp.sum(action**2)
    return tasks.from_mjx(model, sample, upright, name="mjx-pendulum", horizon=10, num_episodes=3, spread=0.1)


BUILD = {name: functools.partial(make, **SMALL.get(name, {})) for name, make in tasks.REGISTRY.items()} | {
    "maze, view": functools.partial(tasks.maze, view=3, horizon=60, trial_steps=180),
    "maze, goal seen": functools.partial(tasks.maze, layouts=LAYOUTS, horizon=40, trial_steps=40, goal_observable=True),
    "gridnavi, goal seen": functools.partial(tasks.gridnavi, **SMALL["gridnavi"], goal_visible=True),
    "grids, table": functools.partial(
        tasks.grids, kind="random", size=3, horizon=12, num_episodes=3, observation="table"
    ),
    "bandit-dependent, uniform": functools.partial(tasks.dependent_bandit, low=None, num_pulls=20),
    "arrays": arrays,
    "pendulum": pendulum,
    "mountain-car": mountain_car,
    "mjx-pendulum": mjx_pendulum,
}


class Case(NamedTuple):
    """A distribution, ``N`` of its tasks, and one compiled program that lives any scripted trial in them."""

    distribution: TaskDistribution
    batch: Any
    live: Any  # (key, tasks [N], action parameters [T, N, P]) -> Trajectory [T, N]
    noise: Any  # action parameters of random play
    trajectory: Trajectory  # random play, on the host


def scripted(spec) -> Policy:
    """Says what its parameters hold for the step of the trial."""

    def step(params, t, timestep):
        del timestep
        return t + 1, (params[t], jnp.zeros(params.shape[1]))

    actions = for_spec(spec)
    if spec.num_actions is None:  # a script's actions are meant to the last bit

        def sample(parameters, noise):
            exact = parameters[..., spec.action_size :] <= -5.0
            return jnp.where(exact, actions.mode(parameters), for_spec(spec).sample(parameters, noise))

        actions = actions._replace(sample=sample)
    return Policy(lambda key: (), lambda batch: jnp.int32(0), step, None, actions)


@functools.cache
def case(name: str) -> Case:
    distribution = BUILD[name]()
    sample = jax.jit(jax.vmap(distribution.sample))
    batch = sample(jax.random.split(jax.random.key(0), N))
    if distribution.tasks is not None:
        count = jax.tree.leaves(distribution.tasks)[0].shape[0]
        spread = np.arange(N) * max(count, N) // N % count  # all of a small set, every so many of a large one
        batch = jax.tree.map(lambda x: x[spread], distribution.tasks)
    policy, steps = scripted(distribution.env.spec), distribution.trial_steps
    live = lambda key, batch, params: rollout(key, distribution.env, policy, params, batch, steps)[1]
    noise = jnp.zeros((steps, N, policy.actions.size))
    without_outputs = lambda *arguments: live(*arguments)._replace(outputs=())
    compiled = jax.jit(without_outputs).lower(jax.random.key(1), batch, noise).compile()
    jax.clear_caches()  # what was traced on the way there: gigabytes, over all distributions
    return Case(distribution, batch, compiled, noise, host(compiled(jax.random.key(1), batch, noise)))


def script(spec, actions: np.ndarray) -> jax.Array:
    """Action parameters under which these actions are (all but) certain."""
    if spec.num_actions is not None:
        return 1e4 * jax.nn.one_hot(actions, spec.num_actions)
    return jnp.concatenate([jnp.asarray(actions), jnp.full_like(actions, -5.0)], axis=-1)


def told(trajectory: Trajectory) -> dict[str, np.ndarray]:
    """All that an agent can learn of the task."""
    return {
        "observation": trajectory.timestep.observation,
        "next_observation": trajectory.next_observation,
        "reward": trajectory.reward,
        "mean_reward": trajectory.mean_reward,
        "terminated": trajectory.terminated,
        "truncated": trajectory.truncated,
    }


def is_deterministic(distribution: TaskDistribution) -> bool:
    return not jax.tree.leaves(distribution.env.sample_noise(jax.random.key(0), ()))


@pytest.fixture(params=BUILD)
def each(request) -> Case:
    return case(request.param)


# What a task distribution is.


def test_sample_matches_the_set_and_varies(each):
    distribution, batch = each.distribution, each.batch
    one = jax.eval_shape(distribution.sample, jax.random.key(0))
    assert jax.tree.leaves(one), "a task without leaves is no task"
    assert jax.tree.structure(one) == jax.tree.structure(batch)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(batch), strict=True):
        assert b.shape == (N, *a.shape) and a.dtype == b.dtype and not a.weak_type
    assert any((np.asarray(leaf) != np.asarray(leaf)[:1]).any() for leaf in jax.tree.leaves(batch)), "all tasks equal"
    if distribution.tasks is not None:
        # Draws are members of the set, and (here) reach all of it.
        many = jax.jit(jax.vmap(distribution.sample))(jax.random.split(jax.random.key(5), 2000))
        count = len(rows(distribution.tasks))
        assert len(set(rows(distribution.tasks))) == count, "a task is twice in the set"
        assert set(rows(many)) == set(rows(distribution.tasks))


def test_shapes_and_types_agree_with_the_spec(each):
    distribution, spec = each.distribution, each.distribution.env.spec
    env, one = distribution.env, jax.tree.map(lambda x: x[0], each.batch)
    noise = env.sample_noise(jax.random.key(0), ())
    for leaf, many in zip(
        jax.tree.leaves(noise), jax.tree.leaves(env.sample_noise(jax.random.key(0), (3, 2))), strict=True
    ):
        assert many.shape == (3, 2, *leaf.shape) and many.dtype == leaf.dtype
    action = jnp.int32(0) if spec.num_actions is not None else jnp.zeros(spec.action_size)
    state = jax.eval_shape(env.reset, noise, one)
    state_after, reward, terminated, info = jax.eval_shape(env.step, noise, state, action, one)
    observation, observation_after = (jax.eval_shape(env.observe, s, one) for s in (state, state_after))
    typed = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
    assert typed(observation) == typed(observation_after) and typed(state) == typed(state_after)
    assert observation.shape == spec.observation_shape and observation.dtype == jnp.float32
    assert reward.shape == terminated.shape == () and terminated.dtype == bool
    assert isinstance(info, dict) and all(leaf.shape == () for leaf in jax.tree.leaves(info))
    truncated = jax.eval_shape(env.is_truncated, state_after, one)
    assert truncated.shape == () and truncated.dtype == bool
    assert env.horizon == distribution.horizon >= 1 and distribution.trial_steps >= 1
    for leaf in jax.tree.leaves(told(each.trajectory)):
        assert leaf.shape[:2] == (distribution.trial_steps, N) and np.isfinite(leaf).all()


def test_as_gymnax(each):
    env, one = each.distribution.env.as_gymnax(), jax.tree.map(lambda x: x[0], each.batch)
    observation, state = env.reset(jax.random.key(0), one)
    space, actions = env.observation_space(one), env.action_space(one)
    assert isinstance(space, gymnax.environments.spaces.Box)
    assert isinstance(actions, gymnax.environments.spaces.Discrete | gymnax.environments.spaces.Box)
    assert observation.shape == space.shape
    assert isinstance(env.name, str) and env.num_actions >= 1
    action = actions.sample(jax.random.key(1))
    observation, state, reward, terminated, truncated, info = env.step(jax.random.key(2), state, action, one)
    assert bool(space.contains(observation)) and reward.shape == ()
    assert bool(info["terminated"]) == bool(terminated) and bool(info["truncated"]) == bool(truncated)
    assert info["final_observation"].shape == observation.shape


@pytest.mark.parametrize("name", tasks.REGISTRY)
def test_as_gymnax_restarts_an_episode_in_the_same_task(name):
    """To the end of an episode with gymnax's own loop, no part of ours."""
    own, one = case(name).distribution.env, jax.tree.map(lambda x: x[3], case(name).batch)
    env = own.as_gymnax()
    first, state = env.reset(jax.random.key(0), one)
    action = jnp.zeros(own.spec.action_size) if own.spec.num_actions is None else jnp.int32(0)
    for t in range(own.horizon):
        observation, state, _, terminated, truncated, info = env.step(jax.random.key(t), state, action, one)
        if terminated or truncated:
            break
        np.testing.assert_array_equal(info["final_observation"], observation)
    assert terminated or (truncated and t == own.horizon - 1)
    assert int(state.time) == 0
    if not own.random_start:
        np.testing.assert_array_equal(observation, first)


# What a trial is.


def test_episodes_end_by_the_horizon(each):
    ended = each.trajectory.terminated | each.trajectory.truncated
    assert not (each.trajectory.terminated & each.trajectory.truncated).any()
    length = np.zeros(N, int)
    for t in range(len(ended)):
        np.testing.assert_array_equal(each.trajectory.timestep.episode_start[t], length == 0)
        length += 1
        assert (length <= each.distribution.horizon).all()
        np.testing.assert_array_equal(
            each.trajectory.truncated[t], (length == each.distribution.horizon) & ~each.trajectory.terminated[t]
        )
        length[ended[t]] = 0
    if each.distribution.trial_steps > each.distribution.horizon:
        assert ended.any()


def test_nothing_about_the_task_is_drawn_at_the_start(each):
    """Resets under many keys, then the same actions: where the environment has no noise, the same trial."""
    env, one = each.distribution.env, jax.tree.map(lambda x: x[0], each.batch)
    if not is_deterministic(each.distribution):
        if hasattr(env, "env"):
            return  # gymnax's own: the start state is drawn, which test_adapted_gymnax looks into
        other = jax.tree.map(lambda x: x[1], each.batch)
        begin = jax.jit(jax.vmap(lambda key, task: env.reset(env.sample_noise(key, ()), task), (0, None)))
        keys = jax.random.split(jax.random.key(0), 50)
        for leaf, wanted in zip(jax.tree.leaves(begin(keys, one)), jax.tree.leaves(begin(keys, other)), strict=True):
            if env.random_start:  # under the same noise, the same place in every task
                np.testing.assert_array_equal(leaf, wanted)
            else:
                assert (np.asarray(leaf) == np.asarray(leaf)[:1]).all()
        return
    again = host(each.live(jax.random.key(77), each.batch, script(env.spec, each.trajectory.action)))
    jax.tree.map(np.testing.assert_array_equal, again, each.trajectory)
    other = host(each.live(jax.random.key(77), each.batch, each.noise))
    assert (other.action != each.trajectory.action).any()  # the key did matter


def test_a_task_does_not_change_inside_a_trial(each):
    """What the trial shows late, it would have shown at once."""
    spec, trajectory, steps = each.distribution.env.spec, each.trajectory, each.distribution.trial_steps
    if is_deterministic(each.distribution):
        # Start the trial with what was done from the second episode on: it must show the same.
        second = np.argmax(trajectory.timestep.episode_start[1:], axis=0) + 1
        several = trajectory.timestep.episode_start[1:].any(axis=0)
        index = np.minimum(np.arange(steps)[:, None] + second, steps - 1)
        again = host(each.live(jax.random.key(3), each.batch, script(spec, trajectory.action[index, np.arange(N)])))
        inside = (np.arange(steps)[:, None] + second < steps) & several
        assert several.any() and inside.sum() > 100
        for name, leaf in told(trajectory).items():
            np.testing.assert_array_equal(told(again)[name][inside], leaf[index, np.arange(N)][inside], err_msg=name)
    # The expected reward of what was seen and done is one number a task, and so is whether that ends the episode, but
    # in grids, where chance says. Mountain cars see new things at every step, views of mazes pay less with time.
    if spec.num_actions is not None:
        differs = set()
        for n in range(min(N, 60)):
            means = collections.defaultdict(set)
            for t in range(steps):
                seen = (trajectory.timestep.observation[t, n].tobytes(), int(trajectory.action[t, n]))
                ends = each.distribution.name != "grids" and bool(trajectory.terminated[t, n])
                means[seen].add((float(trajectory.mean_reward[t, n]), ends))
            if each.distribution.name not in ("mountain-car", "maze-view", "maze-view-named"):
                assert max(map(len, means.values())) == 1
            differs.add(tuple(sorted((key, tuple(value)) for key, value in means.items())))
        assert len(differs) > 1


CHANGES = (
    lambda x: x[::-1],  # another task's
    lambda x: np.flip(x, tuple(range(1, x.ndim))),
    lambda x: x if x.dtype == bool else (x - 1).astype(x.dtype) if x.dtype.kind == "i" else 0.5 * x + np.float32(0.1),
    lambda x: x if x.dtype == bool else (x + 1).astype(x.dtype) if x.dtype.kind == "i" else -x - np.float32(0.5),
)


def test_every_leaf_of_a_task_matters(each):
    """Change a leaf, keep the noise and the actions: the trial must change."""
    leaves, structure = jax.tree.flatten(host(each.batch))
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(each.batch)]
    for i, path in enumerate(paths):
        for change in CHANGES:
            changed = np.asarray(change(leaves[i]))
            if (changed == leaves[i]).all():
                continue
            batch = jax.tree.unflatten(structure, [*leaves[:i], changed, *leaves[i + 1 :]])
            trial = host(each.live(jax.random.key(1), jax.tree.map(jnp.asarray, batch), each.noise))
            np.testing.assert_array_equal(trial.action, each.trajectory.action)
            if any((told(trial)[name] != leaf).any() for name, leaf in told(each.trajectory).items()):
                break
        else:
            pytest.fail(f"the leaf {path} has no effect on any trial")


# Each family against its rules, written again in numpy.


def transitions(trajectory: Trajectory):
    """(task, state before, action, reward, terminated, observation after) of every step."""
    for t in range(len(trajectory.reward)):
        for n in range(N):
            state = jax.tree.map(lambda x: x[t, n], trajectory.env_state)  # noqa: B023
            yield (
                n,
                state,
                trajectory.action[t, n],
                trajectory.reward[t, n],
                trajectory.terminated[t, n],
                trajectory.next_observation[t, n],
            )


GRID_MOVES = {
    MazeTask: [(-1, 0), (0, 1), (1, 0), (0, -1)],
    GridTask: [(0, 0), (-1, 0), (0, 1), (1, 0), (0, -1)],
}


@pytest.mark.parametrize("name", [n for n in BUILD if n.startswith(("maze", "gridnavi")) and "maze-view" not in n])
def test_grids_obey_their_rules(name):
    distribution, batch, _, _, trajectory = case(name)
    env, batch = distribution.env, host(batch)
    is_maze = isinstance(batch, MazeTask)
    size = batch.walls.shape[1:] if is_maze else (env.size, env.size)
    found = 0
    trajectory = jax.tree.map(lambda x: x[:120], trajectory)
    for n, state, action, reward, terminated, after in transitions(trajectory):
        row, column = divmod(int(state.cell), size[1])
        move = GRID_MOVES[type(batch)][action]
        ahead = (row + move[0], column + move[1])
        outside = not (0 <= ahead[0] < size[0] and 0 <= ahead[1] < size[1])
        blocked = bool(batch.walls[n][ahead]) if is_maze else outside
        row, column = (row, column) if blocked else ahead
        at_goal = row * size[1] + column == batch.goal[n]
        assert reward == pytest.approx(float(at_goal) if is_maze else 1.0 if at_goal else -0.1)
        assert terminated == (at_goal if is_maze else False)
        wanted = [np.arange(size[0]) == row, np.arange(size[1]) == column]
        if env.goal_observable if is_maze else env.goal_visible:
            goal = divmod(int(batch.goal[n]), size[1])
            wanted += [np.arange(size[0]) == goal[0], np.arange(size[1]) == goal[1]]
        if is_maze and env.view:
            half = env.view // 2
            view = np.pad(batch.walls[n], half, constant_values=True)
            wanted.append(view[row : row + env.view, column : column + env.view].ravel())
        np.testing.assert_array_equal(after, np.concatenate(wanted))
        found += at_goal
    assert found > 20
    started = trajectory.timestep.episode_start
    cells = trajectory.env_state.cell
    np.testing.assert_array_equal(
        cells[started], np.broadcast_to(batch.start if is_maze else np.zeros(N, int), cells.shape)[started]
    )


def test_treasure_hunts_obey_their_rules():
    _, batch, _, _, trajectory = case("treasure")
    letters = np.array([list(line) for line in SMALL["treasure"]["layout"].splitlines()])
    rows, columns = letters.shape
    found = read = 0
    for n, state, action, reward, terminated, after in transitions(trajectory):
        row, column = divmod(int(state.cell), columns)
        move = GRID_MOVES[GridTask][action]
        if letters[row + move[0], column + move[1]] != "#":
            row, column = row + move[0], column + move[1]
        treasure = divmod(int(host(batch).treasure[n]), columns)
        assert letters[treasure] == "T" and not terminated
        at_treasure = (row, column) == treasure
        wanted = 1.0 if at_treasure else {"M": -1.0, "P": -1.0, "C": 0.02}.get(str(letters[row, column]), 0.0)
        assert reward == pytest.approx(wanted)
        seen = treasure if letters[row, column] == "P" else (-1, -1)
        places = zip((row, column, *seen), (rows, columns) * 2, strict=True)
        np.testing.assert_array_equal(after, np.concatenate([np.arange(size) == place for place, size in places]))
        found, read = found + at_treasure, read + (letters[row, column] == "P")
    assert found > 20 and read > 20
    cells = trajectory.env_state.cell[trajectory.timestep.episode_start]
    assert (letters.ravel()[cells] == "S").all()


@pytest.mark.parametrize("name", [n for n in BUILD if n.startswith("bandit")])
def test_bandits_pay_as_they_say(name):
    _, batch, _, _, trajectory = case(name)
    chance = np.asarray(batch.probability)[np.arange(N), trajectory.action]
    np.testing.assert_array_equal(trajectory.mean_reward, chance)
    assert set(np.unique(trajectory.reward)) == {0.0, 1.0} and trajectory.terminated.all()
    z = (trajectory.reward - chance).sum() / np.sqrt((chance * (1 - chance)).sum())
    assert abs(z) < 4
    for low in (0.0, 0.5):  # calibrated, not only right on average
        part = (chance >= low) & (chance < low + 0.5)
        z = (trajectory.reward - chance)[part].sum() / np.sqrt((chance * (1 - chance))[part].sum())
        assert abs(z) < 4


@pytest.mark.parametrize("name", ["tabular", "arrays"])
def test_tabular_moves_as_its_arrays_say(name):
    _, batch, _, _, trajectory = case(name)
    batch, state, action = host(batch), trajectory.env_state.state, trajectory.action
    task = np.broadcast_to(np.arange(N), state.shape)
    np.testing.assert_array_equal(trajectory.mean_reward, batch.reward[task, state, action])
    noise = (trajectory.reward - trajectory.mean_reward) / batch.reward_std
    assert abs(noise.mean()) < 4 / np.sqrt(noise.size) and abs(noise.std() - 1) < 4 / np.sqrt(2 * noise.size)
    probability = batch.transition[task, state, action]  # [T, N, S]
    following = trajectory.next_observation
    assert (following.sum(-1) == 1).all()
    z = (following - probability).sum((0, 1)) / np.sqrt((probability * (1 - probability)).sum((0, 1)))
    assert np.abs(z).max() < 4.5
    expected = (probability * probability).sum(-1)  # how probable the states are that came, on average
    z = ((following * probability).sum(-1) - expected).sum() / np.sqrt(((probability**3).sum(-1) - expected**2).sum())
    assert abs(z) < 4
    assert (state[trajectory.timestep.episode_start] == 0).all() and not trajectory.terminated.any()


@pytest.mark.parametrize("name", ["pendulum", "mountain-car"])
def test_adapted_gymnax_is_gymnax(name):
    """Our trial loop against gymnax's own step, state by state."""
    distribution, batch, _, _, trajectory = case(name)
    env = distribution.env.env
    step = jax.jit(jax.vmap(env.step_env))
    last = np.argmax(trajectory.truncated, axis=0)
    for t in (0, 7, 20, int(last.max())):
        action = trajectory.action[t]
        if distribution.env.spec.num_actions is None:
            action = 2.0 * np.clip(action[:, 0], -1, 1)  # the torque's bounds
        state = jax.tree.map(lambda x, t=t: x[t], trajectory.env_state.state)
        seen, _, reward, terminated, _ = step(jax.random.split(jax.random.key(0), N), state, jnp.asarray(action), batch)
        np.testing.assert_allclose(trajectory.next_observation[t], seen, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(trajectory.reward[t], reward, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(trajectory.terminated[t], terminated)
    starts = trajectory.timestep.observation[trajectory.timestep.episode_start]
    assert len(np.unique(starts, axis=0)) > 0.9 * len(starts)  # each episode its own start
    assert (np.asarray(batch.max_steps_in_episode) == distribution.horizon).all()


# Mutation, pictures, sets.

ADAPTED = ("pendulum", "mountain-car", "mjx-pendulum")  # of other suites: neither mutated nor planned for
MUTABLE = [name for name in BUILD if name not in ADAPTED]


@pytest.mark.parametrize("name", MUTABLE)
def test_mutate_makes_a_valid_neighbour(name):
    distribution, batch = case(name).distribution, case(name).batch
    assert distribution.mutate is not None
    mutated = jax.jit(jax.vmap(distribution.mutate))(jax.random.split(jax.random.key(0), N), batch)
    typed = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
    assert jax.tree.structure(mutated) == jax.tree.structure(batch) and typed(mutated) == typed(batch)
    before, after = host(batch), host(mutated)
    changed = np.mean([a != b for a, b in zip(rows(before), rows(after), strict=True)])
    assert changed > 0.5
    check_valid(distribution, before, after)


def check_valid(distribution: TaskDistribution, before: Any, after: Any) -> None:
    if isinstance(after, BanditTask):
        assert (after.probability >= 0).all() and (after.probability <= 1).all()
        assert 0.02 < np.abs(after.probability - before.probability).mean() < 0.2
        if distribution.name == "bandit-dependent":  # stays in its family: the arms' chances sum to one
            np.testing.assert_allclose(after.probability.sum(-1), 1.0, atol=1e-5)
    elif isinstance(after, TabularTask):
        assert (after.transition >= 0).all()
        np.testing.assert_allclose(after.transition.sum(-1), 1.0, atol=1e-5)
        assert np.abs(after.transition - before.transition).max() <= 0.1 + 1e-6
        np.testing.assert_array_equal(after.reward_std, before.reward_std)
    elif isinstance(after, GridTask):
        assert set(after.goal.tolist()) <= set(np.asarray(distribution.tasks.goal).tolist())
        size = distribution.env.size
        moved = np.abs(after.goal // size - before.goal // size) + np.abs(after.goal % size - before.goal % size)
        assert moved.max() == 1
    elif isinstance(after, TreasureTask):
        sites = np.asarray(distribution.tasks.treasure)
        index = [np.searchsorted(sites, task.treasure) for task in (before, after)]
        assert set(after.treasure.tolist()) <= set(sites.tolist())
        assert set(((index[1] - index[0]) % len(sites)).tolist()) == {1, len(sites) - 1}
    elif isinstance(after, PointTask):
        moved = np.linalg.norm(after.goal - before.goal, axis=-1).mean()
        if distribution.name == "navigation":
            assert (np.abs(after.goal) <= 0.5).all() and 0.02 < moved < 0.3
        elif distribution.name == "navigation-sparse":
            np.testing.assert_allclose(np.linalg.norm(after.goal, axis=-1), 1.0, rtol=1e-5)
            assert (after.goal[:, 1] >= -1e-6).all() and 0.05 < moved < 0.5
        else:
            assert set(rows(after)) == set(rows(distribution.tasks))
    elif isinstance(after, ChainTask):
        assert set(rows(after)) == set(rows(distribution.tasks)) and (after.reward != before.reward).any(axis=1).all()
    elif isinstance(after, CreditTask):
        assert set(rows(after)) == set(rows(distribution.tasks)) and (after.action != before.action).all()
    elif isinstance(after, ObjectsTask):
        moved = after.position != before.position
        assert (moved.sum(axis=1) == 1).all() and (after.position[moved] < distribution.env.num_cells).all()
        for leaf, old in zip(after[1:], before[1:], strict=True):
            np.testing.assert_array_equal(leaf, old)
        for position in after.position:
            existing = position[position < distribution.env.num_cells]
            assert len(set(existing.tolist())) == len(existing)
    elif isinstance(after, WalkerTask):
        check_walkers(distribution, before, after)
    elif isinstance(after, GateTask):
        moved = np.stack([after.position - before.position, after.width - before.width])
        assert (np.abs(after.position) <= 4).all() and (after.width >= 0.5).all() and (after.width <= 8).all()
        assert (np.sqrt(np.square(moved).mean(axis=1)) > 0.2).all() and (np.square(moved).mean(axis=1) < 0.2).all()
    elif isinstance(after, ViewTask):
        np.testing.assert_array_equal(after.start, before.start)
        np.testing.assert_array_equal(after.heading, before.heading)
        flipped = (after.walls != before.walls).sum(axis=(1, 2))
        assert (flipped + (after.goal != before.goal) == 1).all()
        rows_of, columns_of = np.divmod(np.stack([after.start, after.goal]), after.walls.shape[1])
        assert not after.walls[np.arange(N)[None], rows_of, columns_of].any() and (after.start != after.goal).all()
    else:
        assert isinstance(after, MazeTask), f"say here what a valid {type(after).__name__} is"
        np.testing.assert_array_equal(after.start, before.start)
        for n in range(N):
            distance = breadth_first(after.walls[n], after.start[n])
            assert distance[after.goal[n]] > 0  # can be reached, and is not the start
            flipped = (after.walls[n] != before.walls[n]).sum()
            assert flipped + (after.goal[n] != before.goal[n]) <= 1
            walls = after.walls[n]
            assert walls[[0, -1]].all() and walls[:, [0, -1]].all()


def check_walkers(distribution: TaskDistribution, before: WalkerTask, after: WalkerTask) -> None:
    """Only what the family varies has changed, and by little; members of finite sets stay members."""
    varies = {"walker-slope": ("slope",), "cheetah-broken": ("gear",)}
    if distribution.name.endswith("dynamics"):
        varies[distribution.name] = ("mass", "inertia", "damping", "friction")
    for name, old, new in zip(after.physics._fields, before.physics, after.physics, strict=True):
        if name not in varies.get(distribution.name, ()):
            jax.tree.map(np.testing.assert_array_equal, old, new)
        elif distribution.name.endswith("dynamics"):
            assert (new > 0).all() and 0.01 < np.abs(np.log(new / old)).max() < 0.4
        elif name == "slope":
            assert (np.abs(new) <= 0.2).all() and 0 < np.abs(new - old).max() < 0.15
    if distribution.tasks is not None:
        assert set(rows(after)) <= set(rows(distribution.tasks))
    if distribution.name == "cheetah-vel":
        assert (after.goal >= 0).all() and (after.goal <= 3).all() and np.abs(after.goal - before.goal).mean() < 0.5


def breadth_first(walls: np.ndarray, start: int) -> np.ndarray:
    """Steps from ``start`` to each cell, -1 where there is no way."""
    columns, flat = walls.shape[1], walls.ravel()
    distance = np.full(flat.size, -1)
    distance[start], queue = 0, collections.deque([int(start)])
    while queue:
        cell = queue.popleft()
        for ahead in (cell - columns, cell + 1, cell + columns, cell - 1):
            if not flat[ahead] and distance[ahead] < 0:
                distance[ahead] = distance[cell] + 1
                queue.append(ahead)
    return distance


@pytest.mark.parametrize("name", tasks.REGISTRY)
def test_pictures(name):
    env, one = case(name).distribution.env, jax.tree.map(lambda x: x[0], case(name).batch)
    other = jax.tree.map(lambda x: x[1], case(name).batch)
    state = env.reset(env.sample_noise(jax.random.key(0), ()), one)
    image = env.picture(one)
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[-1] == 3 and np.ptp(image) > 0
    assert env.picture(one, state).shape == image.shape and (env.picture(other) != image).any()


def test_maze_sets_and_splits():
    hundred, two_hundred = tasks.maze_100().tasks, tasks.maze_200().tasks
    assert {x.shape[0] for x in jax.tree.leaves(hundred)} == {100}
    assert {x.shape[0] for x in jax.tree.leaves(two_hundred)} == {200}
    assert hundred.walls.shape == (100, 13, 13) and len(set(np.asarray(hundred.goal).tolist())) == 100
    layouts, counts = np.unique(np.asarray(two_hundred.walls), axis=0, return_counts=True)
    assert len(layouts) == 2 and counts.tolist() == [100, 100]
    whole = set(rows(two_hundred))
    for parts, held_out in ((("train-goals", "held-out-goals"), 40), (("train-layouts", "held-out-layout"), 100)):
        train, test = (rows(tasks.maze_200(split=part).tasks) for part in parts)
        assert (len(train), len(test)) == (200 - held_out, held_out)
        assert not set(train) & set(test) and set(train) | set(test) == whole
    goals = tasks.maze_200(split="held-out-goals").tasks.walls
    assert len(np.unique(np.asarray(goals), axis=0)) == 2  # held-out goals of both layouts
    assert tasks.maze_100(split="held-out-goals").name == "maze-100"


def test_random_mazes_are_solvable_and_differ():
    batch = host(case("maze-random").batch)
    for n in range(N):
        distance = breadth_first(batch.walls[n], batch.start[n])
        assert distance[batch.goal[n]] > 0
        assert (distance[~batch.walls[n].ravel()] >= 0).all()  # one connected maze
    assert len(np.unique(batch.walls, axis=0)) > 0.7 * N
    closed = jax.jit(jax.vmap(tasks.random_maze(openness=0.0, rows=7, columns=9).sample))
    walls = np.asarray(closed(jax.random.split(jax.random.key(0), 20)).walls)
    assert ((~walls).sum((1, 2)) == 2 * (3 * 4) - 1).all()  # a spanning tree: 12 rooms and 11 doors
    opened = jax.jit(jax.vmap(tasks.random_maze(openness=1.0, rows=7, columns=9).sample))
    walls = np.asarray(opened(jax.random.split(jax.random.key(0), 2)).walls)
    assert ((~walls).sum((1, 2)) == 12 + (3 * 3 + 2 * 4)).all()  # every door


# References.

WITH_REFERENCES = [name for name in BUILD if name not in (*ADAPTED, *WALKERS, "gate")]


@functools.cache
def references(name: str):
    distribution, batch = case(name).distribution, case(name).batch
    return distribution.references(batch, distribution.trial_steps)


@pytest.mark.parametrize("name", WITH_REFERENCES)
def test_references_are_in_order(name):
    distribution = case(name).distribution
    found, steps, count = references(name), distribution.trial_steps, N
    if distribution.tasks is not None:  # all of the set, once
        found = distribution.references(distribution.tasks, steps)
        count = jax.tree.leaves(distribution.tasks)[0].shape[0]
    assert all(r.kind in ("exact", "estimate", "lower", "upper") for r in found)
    for r in found:
        assert np.shape(r.trial_return) in ((), (count,)), r.role
        assert np.isfinite(r.trial_return).all()
        if r.by_episode is not None:
            np.testing.assert_allclose(np.sum(r.by_episode), np.mean(r.trial_return), rtol=5e-3)
    values = {(r.role, r.kind): float(np.mean(r.trial_return)) for r in found}
    optimal = values.get(("optimal", "exact"), np.inf)
    slack = 1e-6 * steps
    for (role, kind), value in values.items():
        if kind != "upper":
            assert optimal >= value - slack, role
    low = values.get(("bayes", "exact"), values.get(("bayes", "lower")))
    if low is not None:
        assert low <= values.get(("bayes", "upper"), np.inf) + slack
        for role in ("non_adaptive", "random", "posterior_sampling"):
            assert low >= values.get((role, "exact"), values.get((role, "lower"), -np.inf)) - slack, role
    for r in found:
        if r.lengths is not None:  # and as many such episodes fit in the trial as it earns, at 1 each
            assert r.lengths.shape == (count, 2) and (r.lengths >= 1).all()
            fit = 1 + (steps - r.lengths[:, 0]) // r.lengths[:, 1]
            np.testing.assert_array_equal(np.where(r.trial_return == 0, 0, fit), r.trial_return)
    by_task = {r.role: np.asarray(r.trial_return) for r in found if r.kind == "exact" and np.ndim(r.trial_return)}
    if "random" in by_task:
        assert (by_task["optimal"] >= by_task["random"] - slack).all()


@pytest.mark.parametrize("name", WITH_REFERENCES)
def test_the_optimum_that_is_traced_is_the_reference(name):
    distribution, batch = case(name).distribution, case(name).batch
    optimum, compared, few = distribution.optimum, 0, 60
    if name == "navigation-corners":  # only a bound is known
        assert optimum is None
        return
    assert optimum is not None
    batch = jax.tree.map(lambda x: x[:few], batch)
    for steps in (distribution.trial_steps, 2 * distribution.horizon):
        found = jax.jit(jax.vmap(lambda task, steps=steps: optimum(task, steps)))(batch)
        assert found.shape == (few,) and found.dtype == jnp.float32
        known = references(name) if steps == distribution.trial_steps else distribution.references(batch, steps)
        for reference in known:
            if (reference.role, reference.kind) == ("optimal", "exact"):
                np.testing.assert_allclose(found, reference.trial_return[:few], rtol=1e-5, atol=1e-5)
                compared += 1
    assert compared == 2


@pytest.mark.parametrize("name", WITH_REFERENCES)
def test_random_play_earns_what_its_reference_says(name):
    known = [r for r in references(name) if r.role == "random"]
    if not known:
        assert name.startswith(("maze", "navigation")), "what random play earns is easily known"
        return
    (reference,) = known
    difference = case(name).trajectory.reward.sum(0) - np.asarray(reference.trial_return)
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(N)
    assert difference.std() > 0
    assert reference.kind == "exact"


@pytest.mark.parametrize("name", [n for n in BUILD if n.startswith("maze") and "maze-view" not in n])
def test_optimal_in_mazes_is_the_shortest_path(name):
    distribution, batch = case(name).distribution, host(case(name).batch)
    (optimal,) = [r for r in references(name) if r.role == "optimal"]
    for n in range(0, N, 7):
        distance = breadth_first(batch.walls[n], batch.start[n])[batch.goal[n]]
        wanted = distribution.trial_steps // distance if distance <= distribution.horizon else 0
        assert optimal.trial_return[n] == wanted
    assert (case(name).trajectory.reward.sum(0) <= optimal.trial_return).all()


@pytest.mark.parametrize("name", ["gridnavi", "tabular", "arrays"])
def test_optimal_is_reached_by_the_optimal_policy(name):
    """Play it: on the grid straight to the goal; in an MDP as dynamic programming in numpy says."""
    distribution, batch, live, _, _ = case(name)
    env, task, horizon = distribution.env, host(batch), distribution.horizon
    (optimal,) = [r for r in references(name) if r.role == "optimal"]
    if name == "gridnavi":
        row, column = np.divmod(task.goal, env.size)
        time = np.arange(distribution.trial_steps)[:, None] % horizon
        actions = np.where(time < row, 3, np.where(time < row + column, 2, 0))
        earned = host(live(jax.random.key(0), batch, script(env.spec, actions))).reward.sum(0)
        np.testing.assert_allclose(earned, optimal.trial_return, rtol=1e-4)
        return
    value = np.zeros(task.reward.shape[:2])
    for _ in range(horizon):
        value = (task.reward + np.einsum("nsat,nt->nsa", task.transition, value)).max(-1)
    np.testing.assert_allclose(optimal.trial_return, value[:, 0] * distribution.trial_steps / horizon, rtol=1e-4)
