"""What each curriculum promises, with students whose every trial is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.coins import ASLEEP, COINS, STEPS, STUDENT, Coins, N, trials

from metarl_jax import curricula, tasks
from metarl_jax.config import ConfigError
from metarl_jax.curricula import task_buffer as buffers
from metarl_jax.records import Outcome


def taught(curriculum, updates: int, trajectory: bool = True):
    """(the state at the end, the tasks of each update ``[updates, N]``)."""

    def one(state, index):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(1), index), 3)
        state, batch = curriculum.sample(keys[0], index, state, ())
        record = trials(keys[1], (), batch)
        outcome = Outcome(batch, record.reward.sum(axis=0), jnp.ones(N, bool), {}, record if trajectory else None)
        state, metrics = curriculum.update(keys[2], index, state, (), outcome)
        return state, (batch["x"], metrics)

    state = curriculum.init(jax.random.key(0))
    state, found = jax.jit(lambda state: jax.lax.scan(one, state, jnp.arange(updates, dtype=jnp.int32)))(state)
    assert all(x.shape == (updates,) for x in found[1].values()), "a metric is one number per update"
    return state, found


def test_sfl_looks_for_what_is_solved_half_the_time():
    made = curricula.sampling_for_learnability(rounds=8, kept=0.25, period=10, trials=2).build(COINS, STUDENT)
    look = 8 * N * 2 * STEPS
    state, (x, metrics) = taught(made, 30)
    np.testing.assert_allclose(metrics["score"][-1], np.mean(state.score), rtol=1e-6)
    assert np.abs(np.asarray(state.tasks["x"]) - 0.5).max() < 0.25  # of 128 uniform ones: a quarter is within 0.125
    assert np.abs(np.asarray(state.tasks["x"]) - 0.5).mean() < 0.1
    chosen, new = np.asarray(x)[:, : N // 2], np.asarray(x)[:, N // 2 :]
    assert set(chosen[20:].ravel()) <= set(np.asarray(state.tasks["x"]).tolist())  # of the last look
    assert np.abs(new - 0.5).mean() == pytest.approx(0.25, abs=0.03)
    assert [made.steps(n) for n in (1, 10, 11)] == [look, look, 2 * look]


@pytest.mark.parametrize("score", ["learnability", "positive-value-loss"])
def test_plr_replays_what_surprises_most_and_lives_nothing_of_its_own(score):
    made = curricula.prioritised_replay(score=score, capacity=100, temperature=0.5, staleness=0.1).build(COINS, ASLEEP)
    state, (x, metrics) = taught(made, 80)
    again, new = np.asarray(x)[40:, : N // 2], np.asarray(x)[40:, N // 2 :]
    assert np.abs(again - 0.5).mean() < 0.15 < 0.2 < np.abs(new - 0.5).mean()
    assert made.steps(9) == 0 and float(metrics["filled"][-1]) == 1.0
    filled = np.flatnonzero(np.asarray(metrics["filled"]) >= 0.5)[0]
    assert 0 < np.asarray(state.replayed).sum() <= (80 - filled) * N // 2  # those replaced since are gone
    assert int(state.last.max()) == 79


def test_regret_goes_for_the_tasks_farthest_from_their_optimum():
    made = curricula.prioritised_replay(score="regret", capacity=100, temperature=0.5, staleness=0.1).build(
        COINS, ASLEEP
    )
    _, (x, _) = taught(made, 60)
    assert np.asarray(x)[40:, : N // 2].mean() < 0.15
    assert np.asarray(x)[40:, N // 2 :].mean() == pytest.approx(0.5, abs=0.05)


def test_robust_plr_learns_from_kept_tasks_alone_and_counts_what_it_looks_at():
    made = curricula.robust_plr(score="learnability", capacity=64, fill=0.5).build(COINS, STUDENT)
    assert made.steps(3) == 3 * N * STEPS
    state = made.init(jax.random.key(0))
    for index in range(8):
        key = jax.random.fold_in(jax.random.key(2), index)
        state, batch = jax.jit(made.sample)(key, jnp.int32(index), state, ())
        held = set(np.asarray(state.tasks["x"])[np.isfinite(state.score)].tolist())
        drawn = np.asarray(batch["x"]).tolist()
        assert len(set(drawn)) == N
        if len(held) >= 32:
            assert set(drawn) <= held
        record = trials(key, (), batch)
        outcome = Outcome(batch, record.reward.sum(axis=0), jnp.ones(N, bool), {}, record)
        state, _ = jax.jit(made.update)(key, jnp.int32(index), state, (), outcome)
    assert len(held) == 64


def test_accel_changes_what_it_keeps():
    made = curricula.accel(score="learnability", capacity=64, num_edits=3).build(COINS, STUDENT)
    plain = curricula.robust_plr(score="learnability", capacity=64).build(COINS, STUDENT)
    close = lambda state: np.abs(np.asarray(state.tasks["x"]) - 0.5).mean()
    evolved, sampled = (taught(one, 20)[0] for one in (made, plain))
    assert close(evolved) < 0.5 * close(sampled)


def test_outcomes_without_trials_are_lived_for_their_scores():
    silent = STUDENT._replace(returns_trajectories=False)
    made = curricula.prioritised_replay(score="learnability", capacity=64).build(COINS, silent)
    assert made.steps(1) == N * STEPS  # they are counted
    assert curricula.robust_plr(score="learnability", capacity=64).build(COINS, silent).steps(1) == 2 * N * STEPS
    _, (x, _) = taught(made, 40, trajectory=False)
    assert np.abs(np.asarray(x)[20:, : N // 2] - 0.5).mean() < 0.15


def test_vds_goes_where_its_values_do_not_agree():
    """Returns that jump at 0.5: the members agree but for there."""
    made = curricula.value_disagreement(disputed=1.0, num_steps=20, learning_rate=3e-3).build(COINS, ASLEEP)
    state, chosen = made.init(jax.random.key(0)), []
    sample, update = jax.jit(made.sample), jax.jit(made.update)
    for index in range(120):
        key = jax.random.fold_in(jax.random.key(3), index)
        state, batch = sample(key, jnp.int32(index), state, ())
        everywhere = jax.random.uniform(jax.random.fold_in(key, 9), (N,))
        outcome = Outcome({"x": everywhere}, (everywhere > 0.5).astype(jnp.float32), jnp.ones(N, bool), {})
        state, _ = update(key, jnp.int32(index), state, (), outcome)
        chosen.append(np.asarray(batch["x"]))
    late = np.concatenate(chosen[60:])
    assert (np.abs(late - 0.5) < 0.15).mean() > 0.4  # of 960 uniform draws: 0.3, give or take 0.015
    assert made.steps(9) == 0


def drawn_by(tasks=COINS, **options) -> np.ndarray:
    """What 60 updates draw, where members disagree by what they were born with."""
    made = curricula.value_disagreement(**options).build(tasks, ASLEEP)
    state, sample = made.init(jax.random.key(0)), jax.jit(made.sample)
    batches = [sample(jax.random.key(index), jnp.int32(0), state, ())[1]["x"] for index in range(60)]
    return np.stack(batches)


def test_vds_draws_a_share_by_disagreement_the_more_the_sharper():
    plain, flat, sharp, sharpest = (drawn_by(sharpness=power) for power in (1.0, 0.0, 3.0, 500.0))
    spread = lambda x: np.histogram(x[:, : N // 2], bins=10, range=(0.0, 1.0))[0].max() / (x[:, : N // 2].size / 10)
    assert spread(flat) < 1.5 < spread(sharp)  # uniform but for chance
    assert spread(plain) < spread(sharp) < spread(sharpest)
    for x in (plain, sharp, sharpest):
        assert x[:, N // 2 :].mean() == pytest.approx(0.5, abs=0.05)  # the others are new
    assert (drawn_by(disputed=0.0) == drawn_by(disputed=0.0, sharpness=9.0)).all()


def test_vds_learns_from_trials_that_were_lived_alone():
    """All earned one: whoever learned from places still empty, where nought stands, would be far off."""
    made = curricula.value_disagreement(num_steps=200, learning_rate=0.03).build(COINS, ASLEEP)
    state, batch = jax.jit(made.sample)(jax.random.key(1), jnp.int32(0), made.init(jax.random.key(0)), ())
    outcome = Outcome(batch, jnp.ones(N), jnp.ones(N, bool), {})
    state, metrics = jax.jit(made.update)(jax.random.key(2), jnp.int32(0), state, (), outcome)
    assert 0.0 < float(metrics["disagreement"]) < 3.0
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(state.members)) < 3.0


def test_vds_sees_how_a_trial_starts():
    """Tasks that differ in nothing that is told of them but there."""

    class Shown(Coins):
        def observe(self, state, task):
            return 5.0 * (jnp.abs(task["x"][None] - 0.5) < 0.1).astype(jnp.float32)

    near, far = (drawn_by(there, sharpness=9.0) for there in (COINS._replace(env=Shown()), COINS))
    share = lambda x: (np.abs(x[:, : N // 2] - 0.5) < 0.1).mean()
    assert share(near) > 0.5 > 0.2 > share(far)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: curricula.prioritised_replay(replayed=1.0), "replayed=1.0: none of 16 tasks would be new"),
        (lambda: curricula.prioritised_replay(explored=-0.5), "explored=-0.5: must not be negative"),
        (lambda: curricula.prioritised_replay(replayed=1.5), "replayed=1.5: must lie between 0 and 1"),
        (lambda: curricula.prioritised_replay(temperature=0.0), "temperature=0.0: must be above 0"),
        (lambda: curricula.prioritised_replay(mutated=0.5), "mutated=0.5: needs explored > 0"),
        (lambda: curricula.sampling_for_learnability(kept=0.0), "kept=0.0: must be above 0"),
        (lambda: curricula.sampling_for_learnability(period=0), "period=0"),
        (lambda: curricula.self_paced(threshold=1.0), "threshold=1.0: must lie between 0 and 1"),
        (lambda: curricula.self_paced(remembered=8), "remembered=8: must be at least the 16"),
        (lambda: curricula.value_gain(threshold=-0.1), "threshold=-0.1: must not be negative"),
        (lambda: curricula.value_gain(growth=0), "growth=0"),
        (lambda: curricula.value_gain(instances=10**10), "instances=10000000000: must be below 2\\^31"),
        (lambda: curricula.value_disagreement(sharpness=-1.0), "sharpness=-1.0: must not be negative"),
        (lambda: curricula.value_disagreement(members=1), "members=1: must be at least 2"),
        (lambda: curricula.value_disagreement(num_candidates=8), "num_candidates=8: must be at least the 16"),
    ],
)
def test_options_that_cannot_be_are_refused(make, says):
    with pytest.raises(ConfigError, match=says):
        make().build(COINS, STUDENT)


def test_self_paced_tasks_go_to_the_target_as_far_as_they_are_solved():
    """Half of the highest return is what a fair coin earns: ways to a target beyond end there."""
    easy = lambda key: {"x": jax.random.uniform(key, (), minval=0.8, maxval=1.0)}
    far = COINS._replace(target=lambda key: {"x": jnp.float32(0.1)}, sample=easy)
    made = curricula.self_paced(threshold=0.5, neighbours=4, candidates=64).build(far, ASLEEP)
    _, (x, metrics) = taught(made, 60)
    x = np.asarray(x)
    assert (x[0] >= 0.8).all() and x[40:].mean() < x[0].mean() - 0.15
    assert made.steps(9) == 0
    assert float(metrics["share"][-1]) > 0
    state, seen = made.init(jax.random.key(0)), jnp.linspace(0.1, 1.0, N)  # trials everywhere: the point is known
    update = jax.jit(made.update)
    for index in range(20):
        outcome = Outcome({"x": seen}, seen, jnp.ones(N, bool), {})
        state, _ = update(jax.random.key(index), jnp.int32(index), state, (), outcome)
    _, batch = made.sample(jax.random.key(1), jnp.int32(0), state, ())
    np.testing.assert_allclose(batch["x"], 0.55, atol=0.08)  # half way from the least to the highest return


def test_self_paced_needs_a_target_and_real_numbers():
    with pytest.raises(ConfigError, match="coins has no target to go to"):
        curricula.self_paced().build(COINS, STUDENT)
    maze = tasks.view_maze()
    with pytest.raises(ConfigError, match=r"needs tasks of real numbers; .* of maze-view differs and is not"):
        curricula.self_paced().build(maze._replace(target=maze.sample), STUDENT)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: curricula.prioritised_replay(score="learnability", capacity=64), "score='learnability'"),
        (lambda: curricula.sampling_for_learnability(trials=1), "trials=1"),
    ],
)
def test_what_is_tried_once_is_never_solved_half_the_time(make, says):
    once = COINS._replace(trial_steps=1)
    with pytest.raises(ConfigError, match=says + ": a task must be tried at least twice"):
        make().build(once, STUDENT)


def test_of_a_finite_set_all_may_be_kept_and_replayed_more_than_once():
    few = COINS._replace(tasks={"x": jnp.linspace(0.0, 1.0, 6)})
    few = few._replace(sample=lambda key: {"x": few.tasks["x"][jax.random.randint(key, (), 0, 6)]})
    state, (x, metrics) = taught(curricula.prioritised_replay(score="learnability").build(few, ASLEEP), 20)
    np.testing.assert_allclose(np.sort(state.tasks["x"]), few.tasks["x"], rtol=1e-6)
    assert float(metrics["filled"][-1]) == 1.0
    again = np.asarray(x)[5:, : N // 2]  # eight, of six
    assert set(again.ravel().tolist()) <= set(np.asarray(few.tasks["x"]).tolist())
    assert np.abs(again - 0.5).mean() < np.abs(np.asarray(few.tasks["x"]) - 0.5).mean()


def test_what_is_replayed_is_counted_where_it_was_lived():
    made = curricula.prioritised_replay(score="learnability", capacity=32, fill=0.25).build(COINS, STUDENT)
    state, key = made.init(jax.random.key(0)), jax.random.key(5)
    half = jnp.arange(N) % 2 == 0
    counted, sample, update = 0, jax.jit(made.sample), jax.jit(made.update)
    for index in range(4):
        state, batch = sample(jax.random.fold_in(key, index), jnp.int32(index), state, ())
        held = set(np.asarray(state.tasks["x"])[np.isfinite(state.score)].tolist())
        record = trials(jax.random.fold_in(key, 100 + index), (), batch)
        outcome = Outcome(batch, record.reward.sum(axis=0), half, {}, record)
        before = int(state.replayed.sum())
        state, _ = update(jax.random.fold_in(key, 200 + index), jnp.int32(index), state, (), outcome)
        trajectory = sum(x in held for x in np.asarray(batch["x"])[np.asarray(half)].tolist())
        counted += trajectory
        assert int(state.replayed.sum()) <= before + trajectory  # places that were taken since begin anew
    assert counted > 0 and int(state.replayed.sum()) > 0


def test_an_update_in_which_nothing_ends_is_no_divergence():
    made = curricula.prioritised_replay(score="learnability", capacity=64).build(COINS, STUDENT)
    state, batch = made.sample(jax.random.key(0), jnp.int32(0), made.init(jax.random.key(1)), ())
    record = trials(jax.random.key(2), (), batch)
    outcome = Outcome(batch, record.reward.sum(axis=0), jnp.zeros(N, bool), {}, record)
    _, metrics = made.update(jax.random.key(3), jnp.int32(0), state, (), outcome)
    assert all(np.isfinite(x) for x in metrics.values())


def test_accel_needs_tasks_that_can_be_changed():
    with pytest.raises(ConfigError, match="coins does not say how to change a task"):
        curricula.accel().build(COINS._replace(mutate=None), STUDENT)
    assert tasks.view_maze().mutate is not None


@pytest.mark.parametrize("make", [curricula.sampling_for_learnability, curricula.value_gain])
def test_steps_of_their_own_are_those_that_were_made(make):
    """Counted as the student is asked for trials, update by update; a look at the first update costs a whole one."""
    made_steps = []

    def count(key, learner, batch, steps=STEPS):
        jax.debug.callback(lambda _: made_steps.append(N * steps), jax.random.key_data(key))
        return trials(key, learner, batch, steps)

    made = make(period=4).build(COINS, STUDENT._replace(live=count, advantages=None))
    state = made.init(jax.random.key(0))
    for index in range(6):
        state, _ = made.sample(jax.random.fold_in(jax.random.key(1), index), jnp.int32(index), state, ())
        jax.effects_barrier()
        assert made.steps(index + 1) == sum(made_steps)


def replayed(made, updates: int):
    """The tasks of each update ``[updates, N]``, and those that were held before it."""
    state, batches, held = made.init(jax.random.key(0)), [], []
    sample, update = jax.jit(made.sample), jax.jit(made.update)
    for index in range(updates):
        key = jax.random.fold_in(jax.random.key(2), index)
        state, batch = sample(key, jnp.int32(index), state, ())
        held.append(np.asarray(state.tasks["x"])[np.isfinite(state.score)])
        batches.append(np.asarray(batch["x"]))
        record = trials(key, (), batch)
        outcome = Outcome(batch, record.reward.sum(axis=0), jnp.ones(N, bool), {}, record)
        state, _ = update(key, jnp.int32(index), state, (), outcome)
    return np.stack(batches), held


@pytest.mark.parametrize("fill", [0.0, 0.25])
def test_only_tasks_that_are_held_are_replayed_and_no_two_alike(fill):
    """An empty place holds zeros, which ``sample`` never draws: with ``fill=0`` half of the first update were such."""
    batches, held = replayed(
        curricula.prioritised_replay(score="learnability", capacity=N, fill=fill).build(COINS, ASLEEP), 4
    )
    assert (batches > 0).all() and len(held[0]) == 0 and len(held[1]) == N
    assert all(len(set(batch)) == N for batch in batches)
    for batch, kept in zip(batches[1:], held[1:], strict=True):
        assert set(batch[: N // 2]) <= set(kept)


def test_a_set_that_holds_fewer_than_are_replayed_is_filled_up_with_new_tasks():
    made = curricula.robust_plr(score="learnability", capacity=64, fill=0.0).build(COINS, STUDENT)
    state, key = made.init(jax.random.key(0)), jax.random.key(3)
    few = {"x": jnp.asarray([0.25, 0.5, 0.75])}
    state = buffers.put(state, few, jnp.ones(3), jnp.ones(3), jnp.int32(0), jnp.zeros(64))
    asleep = curricula.prioritised_replay(replayed=0.5, score="learnability", capacity=64, fill=0.0).build(
        COINS, ASLEEP
    )
    _, batch = asleep.sample(key, jnp.int32(1), state, ())
    x = np.asarray(batch["x"])
    assert set(x[:3]) == {0.25, 0.5, 0.75} and len(set(x)) == N and (x > 0).all()


def test_self_paced_goes_on_where_all_returns_are_equal():
    """No point is worse than another: an agent that is perfect from the start is not held back at the easy end."""
    easy = lambda key: {"x": jax.random.uniform(key, minval=0.8, maxval=0.9)}
    far = COINS._replace(target=lambda key: {"x": jnp.float32(0.1)}, sample=easy)
    made = curricula.self_paced(neighbours=4).build(far, ASLEEP)
    state = made.init(jax.random.key(0))
    outcome = Outcome({"x": jnp.full(N, 0.9)}, jnp.full(N, 3.3), jnp.ones(N, bool), {})
    state, _ = made.update(jax.random.key(1), jnp.int32(0), state, (), outcome)
    _, batch = made.sample(jax.random.key(2), jnp.int32(1), state, ())
    np.testing.assert_allclose(batch["x"], 0.1, rtol=1e-5)


def test_max_mc_holds_to_the_best_return_ever_seen_in_a_task():
    """Solved once, then no more: the score is one less the value, not nought less the value."""
    made = curricula.prioritised_replay(score="max-mc", capacity=N).build(COINS, ASLEEP)
    batch = {"x": jnp.linspace(0.1, 0.8, N)}
    state = made.init(jax.random.key(0))
    for index, reward in enumerate((1.0, 0.0)):
        record = trials(jax.random.key(index), (), batch)
        rewards = jnp.full_like(record.reward, reward)
        record = record._replace(reward=rewards, mean_reward=rewards)
        outcome = Outcome(batch, rewards.sum(axis=0), jnp.ones(N, bool), {}, record)
        state, _ = made.update(jax.random.key(index), jnp.int32(index), state, (), outcome)
    np.testing.assert_allclose(state.score, 1.0 - np.asarray(state.tasks["x"]), rtol=1e-5)
