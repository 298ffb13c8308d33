"""The set of tasks that is kept: against a list, sorted in Python."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.curricula import task_buffer as buffers


def batch_of(numbers) -> dict:
    x = np.asarray(numbers, np.int32)
    whole = {"a": x, "b": np.stack([x / 7.0, -x / 3.0], axis=1).astype(np.float32), "c": (x % 2 == 0)[:, None]}
    return jax.tree.map(jnp.asarray, whole)


def held(buffer) -> dict[int, float]:
    at = np.isfinite(np.asarray(buffer.score))
    return dict(zip(np.asarray(buffer.tasks["a"])[at].tolist(), np.asarray(buffer.score)[at].tolist(), strict=True))


@jax.jit
def put_batch(buffer, batch, scores, update, allowed):
    chances = buffers.weights(buffer, update, 1.0, 0.0)
    return buffers.put(buffer, batch, scores, scores, update, chances, allowed)


def put(buffer, numbers, scores, update=0, allowed=True):
    return put_batch(buffer, batch_of(numbers), jnp.asarray(scores, jnp.float32), jnp.int32(update), allowed)


def empty(capacity: int):
    return buffers.empty(jax.tree.map(lambda x: x[0], batch_of([0])), capacity)


def test_the_best_are_kept():
    rng, buffer, known = np.random.default_rng(0), empty(10), {}
    for update in range(30):
        numbers = rng.choice(10_000, size=6, replace=False)
        scores = rng.normal(size=6)
        buffer = put(buffer, numbers, scores, update)
        known |= dict(zip(numbers.tolist(), scores.tolist(), strict=True))
        best = dict(sorted(known.items(), key=lambda pair: -pair[1])[:10])
        assert set(held(buffer)) == set(best)
        known = best
        for number, score in held(buffer).items():
            assert score == pytest.approx(best[number], rel=1e-6)
    place = np.asarray(buffer.tasks["a"])
    np.testing.assert_allclose(buffer.tasks["b"][:, 0], place / 7.0, rtol=1e-6)  # leaves stay together


def test_what_is_known_of_a_task_is_replaced_and_its_best_return_grows():
    buffer = put(empty(4), [1, 2, 3], [5.0, 6.0, 7.0])
    buffer = put(buffer, [2, 9], [1.0, 2.0], update=3)
    assert held(buffer) == {1: 5.0, 2: 1.0, 3: 7.0, 9: 2.0}
    best = buffers.best_of(buffer, batch_of([2, 9, 44]))
    np.testing.assert_allclose(best, [6.0, 2.0, -np.inf])
    last = dict(zip(np.asarray(buffer.tasks["a"]).tolist(), np.asarray(buffer.last).tolist(), strict=True))
    assert last == {1: 0, 2: 3, 3: 0, 9: 3}
    assert held(put(buffer, [3, 1], [4.0, 8.0], update=4)) == {1: 8.0, 2: 1.0, 3: 4.0, 9: 2.0}  # 3 has the first place


def test_twins_enter_once_and_what_is_not_over_stays_out():
    buffer = put(empty(5), [4, 4, 6], [1.0, 2.0, 3.0], allowed=jnp.array([True, True, False]))
    assert held(buffer) == {4: 1.0}
    assert held(put(buffer, [8, 8], [1.0, 1.0], allowed=jnp.array([False, True]))) == {4: 1.0, 8: 1.0}


def test_chances_by_rank_and_age():
    buffer = put(put(empty(5), [1, 2], [1.0, 3.0], update=2), [3], [2.0], update=5)
    of = lambda staleness: dict(
        zip(
            np.asarray(buffer.tasks["a"]).tolist(),
            np.asarray(buffers.weights(buffer, jnp.int32(7), 0.5, staleness)).tolist(),
            strict=True,
        )
    )
    ranked = {2: 1.0, 3: 2.0**-2, 1: 3.0**-2}  # rank ** (-1 / temperature)
    total = sum(ranked.values())
    for number, weight in ranked.items():
        assert of(0.0)[number] == pytest.approx(weight / total, rel=1e-5)
    for number, age in {1: 5, 2: 5, 3: 2}.items():
        assert of(1.0)[number] == pytest.approx(age / 12, rel=1e-5)
        assert of(0.3)[number] == pytest.approx(0.7 * ranked[number] / total + 0.3 * age / 12, rel=1e-5)
    assert of(0.3)[0] == 0.0  # an empty place
    cold = np.asarray(buffers.weights(buffer, jnp.int32(7), 0.001, 0.0))
    assert ((cold > 0) == np.isfinite(buffer.score)).all()  # no task is worth so little that an empty place goes first


def test_draws_are_different_places_by_their_chances():
    chances = jnp.array([0.5, 0.3, 0.2, 0.0])
    draw = jax.jit(jax.vmap(lambda key: buffers.draw(key, chances, 2)))
    drawn = np.asarray(draw(jax.random.split(jax.random.key(0), 20_000)))
    assert (drawn[:, 0] != drawn[:, 1]).all() and (drawn != 3).all()
    np.testing.assert_allclose(np.bincount(drawn[:, 0], minlength=3) / 20_000, chances[:3], atol=0.015)


def test_fingerprints_tell_tasks_apart():
    numbers = np.arange(3000)
    marks = np.asarray(buffers.fingerprints(batch_of(numbers)))
    assert len(set(marks.tolist())) == 3000
    np.testing.assert_array_equal(marks[::-1], buffers.fingerprints(batch_of(numbers[::-1].copy())))
    signed = {"a": jnp.zeros(2), "b": jnp.zeros(2), "c": jnp.array([3.0, -3.0]), "d": jnp.array([0.5, 0.5])}
    assert len(set(np.asarray(buffers.fingerprints(signed)).tolist())) == 2
    walls = np.random.default_rng(0).random((3000, 13, 13)) < 0.1
    walls = np.unique(walls.reshape(3000, -1), axis=0)
    assert len(set(np.asarray(buffers.fingerprints({"walls": jnp.asarray(walls)})).tolist())) == len(walls)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "int8", "int16", "uint8", "complex64", "key"])
def test_fingerprints_see_every_bit_of_every_type(dtype):
    """Twelve values that differ in their last bits alone are twelve; the two zeros of a real type are one."""
    count = np.arange(12)
    if dtype == "key":
        leaf = jax.random.split(jax.random.key(3), 12)
    elif "float" in dtype:
        bits = np.uint32(0x3C00 if dtype == "float16" else 0x3F80 if dtype == "bfloat16" else 0x3F800000) + count
        leaf = jax.lax.bitcast_convert_type(jnp.asarray(bits, jnp.uint32 if dtype == "float32" else jnp.uint16), dtype)
    elif dtype == "complex64":
        leaf = jnp.asarray(1.0 + 1e-3j * count, dtype)
    else:
        leaf = jnp.asarray(count - 6 * (dtype[0] == "i"), dtype)
    marks = np.asarray(buffers.fingerprints({"leaf": leaf}))
    assert len(set(marks.tolist())) == 12
    if "float" in dtype:
        assert len(set(np.asarray(buffers.fingerprints(jnp.asarray([0.0, -0.0], dtype))).tolist())) == 1
