"""SPaCE, in tasks whose values are set by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.coins import COINS, STEPS, STUDENT, Coins, N, trials

from metarl_jax import curricula
from metarl_jax.records import Outcome


def expecting(value):
    """A student that expects ``value(learner, x)`` of a task."""

    def live(key, learner, batch, steps):
        assert steps == 1  # the start of a trial is enough
        trajectory = trials(key, (), batch, steps)
        return trajectory._replace(outputs=(None, value(learner, batch["x"])[None]))

    return STUDENT._replace(live=live)


def looks(made, progress):
    """The states after the looks of updates 0, 1, 2, ..., at which the learner is ``progress``; their batches."""
    state, states, batches = made.init(jax.random.key(0)), [], []
    for index, learner in enumerate(progress):
        key = jax.random.fold_in(jax.random.key(1), index)
        state, batch = made.sample(key, jnp.int32(index), state, jnp.float32(learner))
        states.append(state)
        batches.append(np.asarray(batch["x"]))
    return states, batches


def in_use(state) -> np.ndarray:
    return np.asarray(state.tasks["x"])[np.asarray(state.order)[: int(state.size)]]


def test_space_takes_the_tasks_whose_value_grew_not_those_with_the_highest():
    student = expecting(lambda learner, x: jnp.where(x > 0.5, 10.0, 1.0 + learner * x))  # below a half it grows
    made = curricula.value_gain(instances=40, start=5, growth=4, period=1).build(COINS, student)
    states, batches = looks(made, [0, 1, 2, 3])
    assert made.steps(1) == 48  # three times the 16 tasks of an update
    known = np.asarray(states[0].tasks["x"])
    np.testing.assert_array_equal(in_use(states[0]), known[np.asarray(made.init(jax.random.key(0)).order)[:5]])
    assert (in_use(states[0]) > 0.5).any()  # any ones, before there is a gain
    for state, batch in zip(states[1:], batches[1:], strict=True):
        wanted = np.sort(known[known <= 0.5])[::-1][: int(state.size)]
        np.testing.assert_allclose(np.sort(in_use(state))[::-1], wanted)
        assert set(batch.tolist()) <= set(in_use(state).tolist())
    outcome = Outcome({"x": jnp.zeros(N)}, jnp.zeros(N), jnp.ones(N, bool), {})
    _, metrics = made.update(jax.random.key(0), jnp.int32(0), states[-1], jnp.float32(3), outcome)
    assert float(metrics["value"]) == pytest.approx(1.0 + 3.0 * in_use(states[-1]).mean(), rel=1e-6)
    assert float(metrics["share"]) == pytest.approx(int(states[-1].size) / 40)
    kept = made.buffer(states[-1])
    assert np.isfinite(kept["score"]).sum() == int(states[-1].size)


@pytest.mark.parametrize(("level", "step", "grows"), [(1000.0, 0.09, True), (1.0, 0.11, False)])
def test_space_grows_where_values_stand_still_by_their_own_measure(level, step, grows):
    """A tenth of themselves, whatever that is; at the first look there is nothing to compare with."""
    made = curricula.value_gain(instances=40, start=5, growth=4, threshold=0.1, period=2).build(
        COINS, expecting(lambda learner, x: level * (1.0 + step * (learner > 1)) * jnp.ones_like(x))
    )
    states, _ = looks(made, [0, 1, 2, 3, 4])
    sizes = [int(state.size) for state in states]
    assert sizes == [5, 5, *([9, 9, 13] if grows else [5, 5, 9])]  # from the second look on nothing moves
    assert int(looks(made, [0] * 40)[0][-1].size) == 40


def test_space_asks_those_in_use_whether_to_grow():
    """What the others do does not count: of those in use none changes, at first."""
    born = np.asarray(curricula.value_gain(instances=40, start=5).build(COINS, STUDENT).init(jax.random.key(0)).order)
    drawn = curricula.value_gain(instances=40, start=5).build(COINS, STUDENT).init(jax.random.key(0)).tasks["x"]
    first = jnp.asarray(drawn)[born[:5]]
    still = lambda learner, x: jnp.where((x[:, None] == first[None]).any(axis=1), 1.0, 1.0 + 5.0 * learner)
    made = curricula.value_gain(instances=40, start=5, growth=4, period=1).build(COINS, expecting(still))
    assert int(looks(made, [0, 1])[0][1].size) == 9


@pytest.mark.parametrize("valued", [True, False])
def test_space_lives_a_trial_where_no_value_or_no_start_tells_tasks_apart(valued):
    """Its value is the mean return of the trial's episodes: the chance ``x``, give or take."""

    class Hidden(Coins):
        def observe(self, state, task):
            return jnp.zeros(1)

    tasks, student = (COINS._replace(env=Hidden()), STUDENT) if valued else (COINS, STUDENT._replace(advantages=None))
    made = curricula.value_gain(instances=40, start=6, growth=4, period=2).build(tasks, student)
    assert [made.steps(n) for n in (1, 2, 3)] == [48 * STEPS, 48 * STEPS, 2 * 48 * STEPS]
    states, _ = looks(made, range(21))
    x = np.asarray(states[-1].tasks["x"])
    assert np.abs(np.asarray(states[-1].value) - x).max() < 4 * 0.5 / np.sqrt(STEPS)
    sizes = [int(state.size) for state in states]
    assert sizes == sorted(sizes) and sizes[-1] > 20


def test_space_takes_the_whole_of_a_finite_set():
    few = COINS._replace(tasks={"x": jnp.linspace(0.0, 1.0, 6)})
    made = curricula.value_gain().build(few, STUDENT)
    state = made.init(jax.random.key(0))
    np.testing.assert_array_equal(state.tasks["x"], few.tasks["x"])
    assert int(state.size) == 6 and [made.steps(n) for n in (0, 1, 10, 11)] == [0, 16, 16, 32]
