"""What was learned goes with the run: task features and all else that is derived from the tasks of training."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl_jax as mrl
from metarl_jax import algorithms, curricula, tasks
from metarl_jax.config import ConfigError, options_of
from metarl_jax.evaluation.evaluate import living_in
from metarl_jax.tasks.features import vectors
from metarl_jax.tasks.mazes.maze import MazeTask
from metarl_jax.tasks.mazes.view_maze import ViewTask
from metarl_jax.tasks.navigation import PointTask
from metarl_jax.training.build import build_program
from metarl_jax.training.experiment import resolve
from metarl_jax.training.run import Run

FAMILIES = {
    "grid": lambda: tasks.gridnavi(size=3, horizon=4, num_episodes=2),
    "plane": lambda: tasks.navigation(horizon=4, num_episodes=2),
}
VARIANTS = {
    "rl2, transformer": lambda: algorithms.rl2(memory="transformer", memory_size=8),
    "varibad, task": lambda: algorithms.varibad(critic="task", task_cost=1.0),
    "maml, critic": lambda: algorithms.maml(baseline="critic"),
}
TRIED = [(name, "grid") for name in (*algorithms.REGISTRY, *VARIANTS)]
TRIED += [(name, "plane") for name in ("ppo-oracle", "maml, critic", "maesn")]  # features that are numbers


def untrained(recipe, family) -> Run:
    return Run(recipe.build(family), family, None, {"algorithm": recipe.describe()}, {}, 0, recipe=recipe)


def subset(family, **changes):
    """Some of its tasks, of other statistics than all of them, in longer trials unless asked otherwise."""
    batch = jax.vmap(family.sample)(jax.random.split(jax.random.key(5), 3))
    return tasks.finite(family, batch)._replace(**changes)


@pytest.mark.parametrize(("name", "family"), TRIED)
def test_an_agent_acts_in_other_tasks_by_the_very_program_that_it_acts_by_in_its_own(name, family):
    """The environment is one and the same: the traced programs are equal, their constants included. (Agents that learn
    from scratch divide the trial that they are given: there its length stays.)"""
    recipe, home = (VARIANTS.get(name) or algorithms.REGISTRY[name])(), FAMILIES[family]()
    longer = "life" not in options_of(algorithms.REGISTRY[name.partition(",")[0]])
    other = subset(home, **({"trial_steps": 24} if longer else {}))
    run = untrained(recipe, home)
    state = jax.eval_shape(lambda key: run.algorithm.init(key, 8), jax.random.key(0))
    task = jax.tree.map(lambda x: x[0], other.tasks)
    own, there = (
        jax.make_jaxpr(lambda key, state, task, made=made: made.adapt(key, state, task, 12))(
            jax.random.key(0), state, task
        )
        for made in (run.algorithm, living_in(run, other))
    )
    assert str(own) == str(there)
    for a, b in zip(own.consts, there.consts, strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_agent_that_walks_where_it_is_told_walks_there_in_a_set_of_other_statistics():
    """Weights by hand, for features of goals that are uniform on [-.5, .5]^2: mean 0, variance 1/12."""
    family = tasks.navigation(horizon=20, num_episodes=1)
    recipe = algorithms.ppo_oracle(encoder=(), num_minibatches=1, num_epochs=1)
    run = mrl.train(recipe, family, num_updates=1, num_tasks=8, quiet=True)
    head = run.state.params["policy_head"]
    kernel = np.zeros_like(head["kernel"])
    kernel[0, :2, :2], kernel[0, 2:, :2] = -5.0 * np.eye(2), 5.0 * np.eye(2) / np.sqrt(12)
    params = run.state.params | {"policy_head": {"kernel": jnp.asarray(kernel), "bias": jnp.zeros_like(head["bias"])}}
    object.__setattr__(run, "state", run.state._replace(params=params))
    goals = 0.4 + 0.02 * jax.random.normal(jax.random.key(1), (50, 2))
    near = tasks.finite(family, PointTask(goals))
    found = {}
    for name, some in {"own": None, "near": near, "one": tasks.finite(family, PointTask(goals[:1]))}.items():
        report = mrl.evaluate(run, some, num_tasks=50, trials_per_task=1, greedy=True, quiet=True, save=False)
        found[name] = report.mean
    best = np.mean(family.references(PointTask(goals), 20)[0].trial_return)
    still = -20 * np.linalg.norm(goals, axis=1).mean()
    print(f"{found}, straight to the goals {best:.3f}, standing still {still:.3f}")
    assert found["near"] > best - 0.1 * (best - still)
    assert found["one"] > best - 0.1 * (best - still)


def test_noise_turns_at_the_pace_of_training_whatever_the_horizon():
    """Actions that are the first latent, ``sqrt(2) cos(2 pi (x + t / (2 period)))``: they recur by the period."""
    make = functools.partial(tasks.navigation, num_episodes=2)
    run = untrained(algorithms.maesn(episodes=2, encoder=()), make(horizon=6))
    state = run.algorithm.init(jax.random.key(0), 1)
    head = state.meta.params["policy_head"]
    kernel = jnp.zeros_like(head["kernel"]).at[2:, :2].set(0.5 * jnp.eye(2))
    params = state.meta.params | {"policy_head": {"kernel": kernel, "bias": jnp.zeros_like(head["bias"])}}
    state = state._replace(meta=state.meta._replace(params=params))
    adapt = jax.jit(living_in(run, make(horizon=10)).adapt, static_argnums=(3, 4, 5))
    task = PointTask(jnp.array([0.3, -0.2]))
    action = adapt(jax.random.key(1), state, task, 10, False, True).outputs[0][:, 0]
    np.testing.assert_allclose(action[2:] + action[:-2], 2 * np.cos(np.pi / 6) * action[1:-1], atol=1e-5)
    assert np.abs(action).max() > 0.1


# What cannot be described alike is refused, in words, before anything runs.


def goals(family, *numbers):
    return tasks.finite(family, jax.tree.map(lambda x: x[np.isin(family.tasks.goal, numbers)], family.tasks))


MAZE = tasks.maze(layouts=("######\n#S...#\n#.##.#\n#....#\n######",), horizon=8, trial_steps=8)
GRID = tasks.gridnavi(size=4, horizon=4, num_episodes=1)
PLANE = tasks.navigation(horizon=4, num_episodes=1)
LINE = tasks.finite(PLANE, PointTask(jnp.array([[-0.3, 0.2], [0.1, 0.2], [0.4, 0.2]])))


@pytest.mark.parametrize(
    ("trained", "other", "words"),
    [
        (goals(GRID, 2, 3, 7), GRID, "goal is 6 in some of them and in none of those learned in"),
        (tasks.maze(split="train-goals"), tasks.maze(split="held-out-goals"), "goal is .* in none of those learned"),
        (LINE, PLANE, r"goal is .* at \(1,\) in some of them and 0.2 in all of those learned in"),
        (
            MAZE,
            MAZE._replace(tasks=MazeTask(~MAZE.tasks.walls, MAZE.tasks.start, MAZE.tasks.goal)),
            r"walls is 0 at \(0, 0\) in some of them and 1 in all",
        ),
    ],
)
def test_tasks_that_the_features_of_training_do_not_describe_are_refused(trained, other, words):
    run = untrained(algorithms.ppo_oracle(), trained)
    with pytest.raises(ConfigError, match=f"tasks='{other.name}': {words}"):
        mrl.evaluate(run, other, num_tasks=20, quiet=True)
    for recipe in (algorithms.ppo(), algorithms.varibad(critic="task"), algorithms.maesn()):
        check = living_in(untrained(recipe, trained), other).check_tasks  # these see no features at meta-test
        assert check is None or check(other.name, other.tasks, False) is None
    check = run.algorithm.check_tasks
    assert check is not None and check("its own", trained.tasks, False) is None


def test_tasks_in_which_an_agents_options_do_not_hold_are_named():
    run = untrained(algorithms.self_tuning(steps=4), GRID)
    with pytest.raises(ConfigError, match=r"tasks='gridnavi.*': steps=4: must lie between 0 and 3"):
        mrl.evaluate(run, tasks.gridnavi(size=4, horizon=3, num_episodes=1), num_tasks=4, quiet=True)


def test_whole_numbers_have_the_range_that_is_known_and_no_guess_of_it():
    """All 169 cells are coded, those that no 256 draws show too; where no range is known, numbers stay numbers."""
    family = tasks.view_maze()
    features = vectors(family)
    walls = jnp.zeros((13, 13), bool)
    place = lambda cell: ViewTask(walls, jnp.int32(0), jnp.int32(1), cell)
    codes = np.asarray(jax.vmap(lambda cell: features.vector(place(cell)))(jnp.arange(169)))
    assert len(np.unique(codes, axis=0)) == 169
    assert (codes[:, 169:] == codes[:1, 169:]).all(axis=0).sum() == codes.shape[1] - 2 * 169
    random = vectors(tasks.random_maze(rows=5, columns=7))
    place = lambda cell: MazeTask(jnp.zeros((5, 7), bool), jnp.int32(8), cell)
    codes = np.asarray(jax.vmap(lambda cell: random.vector(place(cell)))(jnp.arange(35)))
    np.testing.assert_array_equal(codes[:, -35:], np.eye(35))
    rare = GRID._replace(tasks=None, sample=lambda key: type(GRID.tasks)(jax.random.randint(key, (), 0, 10**6)))
    features = vectors(rare)
    assert features.size == 1
    drawn = jax.vmap(lambda key: features.vector(rare.sample(key)))(jax.random.split(jax.random.key(9), 4000))
    np.testing.assert_allclose([drawn.mean(), drawn.std()], [0.0, 1.0], atol=0.2)


def test_small_numbers_are_numbers():
    """That vary by less than 1e-6: an inertia, say."""
    tiny = PLANE._replace(sample=lambda key: PointTask(1e-8 * jax.random.normal(key, (2,))))
    drawn = jax.vmap(lambda key: vectors(tiny).vector(tiny.sample(key)))(jax.random.split(jax.random.key(9), 4000))
    assert drawn.shape == (4000, 2)
    np.testing.assert_allclose(drawn.std(axis=0), 1.0, atol=0.2)


def test_curricula_that_make_tasks_which_features_do_not_describe_are_refused():
    accel = curricula.accel(score="learnability")
    for recipe in (algorithms.ppo_oracle(), algorithms.varibad(critic="task"), algorithms.maesn()):
        few = goals(GRID, 2, 3, 7)
        with pytest.raises(ConfigError, match="curriculum='accel': tasks='gridnavi-set': goal is"):
            build_program(resolve(recipe, few, curricula.accel(score="regret")), 8)
        build_program(resolve(recipe, few, curricula.prioritised_replay(score="regret")), 8)  # draws from the set alone
    with pytest.raises(ConfigError, match=r"curriculum='accel': tasks='maze': walls is 1 at"):
        build_program(resolve(algorithms.ppo_oracle(), MAZE, curricula.accel()), 8)
    wide = tasks.view_maze(size=4, view=3, num_walls=4, horizon=6, num_episodes=2)
    build_program(resolve(algorithms.ppo_oracle(), wide, accel), 8)
    moved = PLANE._replace(target=lambda key: PointTask(jax.random.normal(key, (2,))))
    line = moved._replace(sample=LINE.sample, tasks=LINE.tasks)
    with pytest.raises(ConfigError, match="target': goal is"):
        build_program(resolve(algorithms.ppo(), line, "self-paced"), 8)
    build_program(resolve(algorithms.ppo_oracle(), moved, "self-paced"), 8)


def test_a_run_is_loaded_with_the_tasks_that_it_was_trained_on_and_no_others(tmp_path):
    recipe = algorithms.ppo_oracle(encoder=(), num_minibatches=1, num_epochs=1)
    few = goals(GRID, 2, 3, 7)
    run = mrl.train(recipe, few, num_updates=1, num_tasks=2, quiet=True, out=tmp_path)
    for other in (few._replace(horizon=5), goals(GRID, 2, 3, 6, 7)):
        with pytest.raises(ConfigError, match="not those of the run"):
            mrl.load(tmp_path, tasks=other)
    loaded = mrl.load(tmp_path, tasks=few)
    some = goals(GRID, 3, 7)
    found = [mrl.evaluate(x, some, trials_per_task=3, quiet=True, save=False) for x in (run, loaded)]
    assert found[0] == found[1]
