"""Ranges that widen, with students of whom it is known what they solve."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import tasks
from metarl_jax.config import ConfigError
from metarl_jax.curricula import automatic_domain_randomisation as adr
from metarl_jax.records import Outcome, Spec, Student, TaskDistribution

N, UPDATES = 64, 300


class Plane:
    """A task is a point: ``x`` in [0, 4], ``y`` in [-1, 1]; ``z`` is the same in all."""

    spec = Spec((1,), num_actions=2)


def point(key):
    x, y = jax.random.uniform(key, (2,))
    return {"x": 4.0 * x, "y": 2.0 * y - 1.0, "z": jnp.float32(3.0)}


PLANE = TaskDistribution(name="plane", env=Plane(), sample=point, horizon=1, trial_steps=1)


def refuse(key, learner, batch):
    raise AssertionError("this curriculum was to live nothing of its own")


STUDENT = Student(refuse, N, True, True)


MADE = adr().build(PLANE, STUDENT)
ALL, NONE = ((0.0, 4.0), (-1.0, 1.0)), ((9.0, 9.0), (9.0, 9.0))


@jax.jit
def trajectory(boxes, ended):
    def one(state, now):
        index, box = now
        keys = jax.random.split(jax.random.fold_in(jax.random.key(1), index), 3)
        state, batch = MADE.sample(keys[0], index, state, ())
        place = jnp.stack([batch["x"], batch["y"]], axis=1)
        solved = ((box[None, :, 0] <= place) & (place <= box[None, :, 1])).all(axis=1)
        earned = jax.random.bernoulli(keys[1], jnp.where(solved, 0.9, 0.1)).astype(jnp.float32)
        state, metrics = MADE.update(keys[2], index, state, (), Outcome(batch, earned, jnp.full(N, ended), {}))
        return state, (state.share, batch, metrics["width"])

    return jax.lax.scan(one, MADE.init(jax.random.key(0)), (jnp.arange(UPDATES, dtype=jnp.int32), boxes))[1]


def taught(box, later=None, ended=True):
    """(shares ``[updates, 3, 2]``, tasks ``[updates, N]``, widths): what lies in the box (for the second half of the
    updates: ``later``) earns 1 nine times of ten, all else one time of ten."""
    boxes = np.repeat(np.array([box, later or box], np.float32), UPDATES // 2, axis=0)
    return jax.tree.map(np.asarray, trajectory(jnp.asarray(boxes), ended))


def test_what_is_solved_everywhere_widens_to_all():
    share, batch, width = taught(ALL)
    assert width[0] == pytest.approx(0.1) and width[-1] > 0.97
    np.testing.assert_allclose(share[-1, 2], 0.1)  # what is the same in all tasks has no range, and is not in the width
    assert (np.abs(batch["x"][0] - 2) < 0.25).all() and (np.abs(batch["y"][0]) < 0.15).all()
    shares = []
    for name, centre, reach in (("x", 2.0, 2.0), ("y", 0.0, 1.0)):
        away = (batch[name][-40:] - centre) / reach
        assert away.min() < -0.95 and away.max() > 0.95
        shares += [(np.abs(away + side) < 0.02).mean() for side in (-1, 1)]
    assert shares == pytest.approx([0.125] * 4, abs=0.03)  # half of the tasks stand at one of the four edges
    assert sum(shares) == pytest.approx(0.5 + 4 * 0.5 * 0.01, abs=0.03)
    np.testing.assert_array_equal(batch["z"], 3.0)
    assert MADE.steps(9) == 0


def test_what_is_never_solved_stays_narrow_and_so_does_what_never_ends():
    assert taught(NONE)[2].max() <= 0.125
    assert taught(ALL, ended=False)[2].max() == pytest.approx(0.1)


def test_each_edge_stops_where_returns_fall():
    """Above 3 (half of the upper range of x) and below -0.5 (half of the lower one of y) nothing is solved."""
    share, batch, _ = taught(((0.0, 3.0), (-0.5, 1.0)))
    late = share[150:]
    assert late[:, 0, 0].min() > 0.9 and late[:, 1, 1].min() > 0.9
    for number, side in ((0, 1), (1, 0)):
        assert late[:, number, side].min() >= 0.4 and late[:, number, side].max() <= 0.65
    assert batch["x"][150:].max() < 3.4 and batch["x"][150:].min() < 0.2
    assert batch["y"][150:].min() > -0.7 and batch["y"][150:].max() > 0.9


def test_edges_come_back_when_less_is_solved_and_go_on_when_more_is():
    middle = ((1.0, 3.0), (-1.0, 1.0))
    for first, later in ((ALL, middle), (middle, ALL)):
        share = taught(first, later)[0][[UPDATES // 2 - 1, -1], 0].mean(axis=-1)
        half, whole = share[::-1] if later == middle else share
        assert half == pytest.approx(0.5, abs=0.12) and whole > 0.95


def test_an_edge_moves_when_its_trials_are_enough_and_by_their_mean():
    made = adr(start=0.5, step=0.1, trials=4, widen_above=0.6, narrow_below=0.3).build(
        PLANE, Student(refuse, 4, True, True)
    )
    update = jax.jit(made.update)

    def after(state, x, earned, ended=(True,) * 4):
        batch = {"x": jnp.asarray(x, jnp.float32), "y": jnp.full(4, 0.3), "z": jnp.full(4, 3.0)}
        outcome = Outcome(batch, jnp.asarray(earned, jnp.float32), jnp.asarray(ended), {})
        return update(jax.random.key(0), jnp.int32(0), state, (), outcome)[0]

    def edge(state):
        return float(drawn.mean() + state.share[0, 1] * (drawn.max() - drawn.mean()))

    drawn = np.asarray(jax.vmap(point)(jax.random.split(jax.random.key(0), 256))["x"])
    first = made.init(jax.random.key(0))
    state = after(first, [2.0, 2.1, edge(first), edge(first)], [0.0, 10.0, 9.0, 9.0])
    assert state.tried[0].tolist() == [0, 2] and state.share[0].tolist() == [0.5, 0.5]
    state = after(state, [edge(first)] * 4, [0.0, 0.0, 10.0, 10.0], (True, True, False, False))  # two are not over
    assert state.share[0].tolist() == [0.5, 0.5]  # 4.5 of 10: neither well nor badly
    assert state.tried.sum() == 0  # and the next look is at others
    state = after(state, [edge(first)] * 4, [5.0, 7.0, 7.0, 7.0])
    assert np.allclose(state.share[0], [0.5, 0.6])
    state = after(state, [edge(first)] * 4, [0.0] * 4)  # where the edge was
    assert state.tried.sum() == 0 and np.allclose(state.share[0], [0.5, 0.6])
    state = after(state, [edge(state)] * 4, [2.0] * 4)
    assert np.allclose(state.share[0], [0.5, 0.5])
    assert np.allclose(after(state, [edge(state)] * 4, [2.0] * 4).share[0], 0.5)  # not narrower than at the start


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"start": 0.0}, "start=0.0: must be above 0"),
        ({"step": 1.5}, "step=1.5: must be above 0 and at most 1"),
        ({"boundary": 0.0}, "boundary=0.0: must be above 0"),
        ({"trials": 0}, "trials=0: must be a whole number"),
        ({"narrow_below": 0.7}, "narrow_below=0.7: must be below widen_above=0.6"),
    ],
)
def test_options_that_cannot_be_are_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        adr(**options).build(PLANE, STUDENT)


def test_tasks_that_have_no_ranges_are_refused():
    with pytest.raises(ConfigError, match=r"needs tasks of real numbers; .* of maze-view differs and is not"):
        adr().build(tasks.view_maze(), STUDENT)
    with pytest.raises(ConfigError, match="the tasks of plane are all the same"):
        adr().build(PLANE._replace(sample=lambda key: {"x": jnp.float32(1.0)}), STUDENT)


@pytest.mark.parametrize("level", [0.0, 1.0, -3.7, 1e6 / 3])
def test_who_is_perfect_from_the_start_goes_all_the_way(level):
    """All returns are equal: no edge is harder. Sums of large ones differ in their last bits, which is no sign."""
    made = adr(trials=7, step=0.3).build(PLANE, Student(refuse, N, True, True))

    def one(state, index):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(1), index))
        state, batch = made.sample(keys[0], index, state, ())
        outcome = Outcome(batch, jnp.full(N, level), jnp.ones(N, bool), {})
        return made.update(keys[1], index, state, (), outcome)

    state, metrics = jax.lax.scan(one, made.init(jax.random.key(0)), jnp.arange(20, dtype=jnp.int32))
    np.testing.assert_array_equal(state.share[:2], 1.0)
    assert (np.diff(np.asarray(metrics["width"])) >= 0).all()
