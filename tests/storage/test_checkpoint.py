"""Checkpoints: bit-exact, atomic, and every damage found."""

import errno
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.storage import checkpoint
from metarl_jax.storage.files import is_key

GOLDEN = Path(__file__).parent / "golden" / "checkpoint_0000000007.ckpt"


class State(NamedTuple):
    params: Any
    count: Any


def make_tree(scale: float = 1.0) -> Any:
    """Every kind of leaf that a run holds."""
    return {
        "state": State(
            {"w": scale * jnp.arange(6.0).reshape(2, 3), "b": jnp.array([-0.0, np.nan, np.inf])}, jnp.int32(7)
        ),
        "half": jnp.array([1.5, -2.25], jnp.bfloat16),
        "mask": jnp.array([True, False]),
        "done": jnp.array(True),
        "key": jax.random.key(3),
        "keys": jax.random.split(jax.random.key(4, impl="rbg"), (2, 2)),
        "host": np.float64(0.1) * np.ones((), np.float64),
        "steps": 2**40,
        "empty": jnp.zeros((0, 4)),
        "nothing": None,
    }


def bits(tree: Any) -> list[tuple[str, tuple, bytes]]:
    leaves = [jax.random.key_data(x) if is_key(x) else x for x in jax.tree.leaves(tree)]
    return [(str(np.asarray(x).dtype), np.shape(x), np.asarray(x).tobytes()) for x in leaves]


def test_round_trip_is_bit_exact(tmp_path):
    tree = make_tree()
    extra = {"offset": 123, "note": "ü", "rate": 0.1}
    path = checkpoint.save(tmp_path, 12, tree, extra)
    assert path.name == "checkpoint_0000000012.ckpt"
    step, restored, restored_extra = checkpoint.latest(tmp_path, make_tree(0.0))
    assert (step, restored_extra) == (12, extra)
    assert jax.tree.structure(restored) == jax.tree.structure(tree)
    assert bits(restored) == bits(tree)
    assert restored["key"].dtype == tree["key"].dtype and restored["keys"].dtype == tree["keys"].dtype
    assert type(restored["steps"]) is int and type(restored["host"]) is np.ndarray and restored["done"].shape == ()
    assert jax.random.uniform(restored["key"]) == jax.random.uniform(tree["key"])
    assert checkpoint._read(path)[0]["versions"]["jax"] == jax.__version__


def test_shapes_are_template_enough(tmp_path):
    tree = {"w": jnp.ones((2, 3), jnp.bfloat16), "key": jax.random.key(0)}
    checkpoint.save(tmp_path, 0, tree)
    assert bits(checkpoint.latest(tmp_path, jax.eval_shape(lambda: tree))[1]) == bits(tree)


def test_committed_leaves_keep_their_sharding(tmp_path):
    mesh = jax.make_mesh((2,), ("tasks",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("tasks"))
    tree = {"split": jax.device_put(jnp.arange(4.0), sharding), "free": jnp.arange(4.0)}
    checkpoint.save(tmp_path, 0, tree)
    restored = checkpoint.latest(tmp_path, tree)[1]
    assert restored["split"].sharding == sharding and not restored["free"].committed
    assert bits(restored) == bits(tree)


def test_keeps_the_last_few(tmp_path):
    for step in range(6):
        checkpoint.save(tmp_path, step, {"w": jnp.ones(2)}, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"checkpoint_{s:010d}.ckpt" for s in (4, 5)]
    with pytest.raises(ValueError, match="keep=0"):
        checkpoint.save(tmp_path, 6, {}, keep=0)


def test_nothing_there(tmp_path):
    assert checkpoint.latest(tmp_path / "no", {}) is None
    with pytest.raises(checkpoint.CheckpointError, match="no checkpoint at"):
        checkpoint.load(tmp_path / "no.ckpt", {})


def test_every_flipped_byte_is_found(tmp_path):
    tree = {"w": jnp.arange(3.0), "key": jax.random.key(0)}
    path = checkpoint.save(tmp_path, 1, tree)
    good = path.read_bytes()
    generator = random.Random(0)
    for position in range(len(good)):
        bad = bytearray(good)
        bad[position] ^= generator.randrange(1, 256)
        path.write_bytes(bad)
        with pytest.raises(checkpoint.DamagedCheckpoint, match="damaged"):
            checkpoint.load(path, tree)
    for length in (0, 7, 8, 47, 48, 60, len(good) - 1):
        path.write_bytes(good[:length])
        with pytest.raises(checkpoint.DamagedCheckpoint, match="damaged"):
            checkpoint.load(path, tree)
    path.write_bytes(good + b"\0")
    with pytest.raises(checkpoint.DamagedCheckpoint):
        checkpoint.load(path, tree)


def test_damaged_newest_is_reported_and_the_one_before_used(tmp_path):
    tree = {"w": jnp.arange(3.0)}
    paths = [checkpoint.save(tmp_path, step, tree) for step in (1, 2)]
    paths[1].write_bytes(paths[1].read_bytes()[:-1])
    with pytest.warns(checkpoint.DamagedCheckpointWarning, match=r"0002.ckpt is damaged.*SHA-256.*before it"):
        assert checkpoint.latest(tmp_path, tree)[0] == 1
    # A damaged file of a later step must not push the sound ones out.
    checkpoint.save(tmp_path, 1, tree, keep=1)
    assert paths[0].exists()
    paths[0].write_bytes(b"")
    with (
        pytest.warns(checkpoint.DamagedCheckpointWarning),
        pytest.raises(checkpoint.CheckpointError, match="no sound checkpoint"),
    ):
        checkpoint.latest(tmp_path, tree)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ({"w": jnp.ones((2, 4)), "b": jnp.ones(3)}, r"\['w'\] is float32\[2, 3\] .* float32\[2, 4\]"),
        ({"w": jnp.ones((2, 3), jnp.bfloat16), "b": jnp.ones(3)}, r"\['w'\] .* bfloat16"),
        ({"w": jnp.ones((2, 3)), "b": jnp.ones(3), "more": jnp.ones(3)}, r"\['more'\] is absent"),
        ({"w": jnp.ones((2, 3))}, r"\['b'\] is float32\[3\] .* absent"),
        ({"w": jnp.ones((2, 3)), "b": jax.random.key(0)}, r"\['b'\] .* key<fry>"),
    ],
)
def test_another_tree_is_refused(tmp_path, template, words):
    checkpoint.save(tmp_path, 1, {"w": jnp.ones((2, 3)), "b": jnp.ones(3)})
    with pytest.raises(checkpoint.CheckpointError, match=words):
        checkpoint.latest(tmp_path, template)


def test_newer_format_is_refused_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", 99)
    checkpoint.save(tmp_path, 1, {"w": jnp.ones(2)})
    monkeypatch.undo()
    with pytest.raises(checkpoint.CheckpointError, match=r"format 99.*upgrade metarl_jax") as caught:
        checkpoint.latest(tmp_path, {"w": jnp.ones(2)})
    assert not isinstance(caught.value, checkpoint.DamagedCheckpoint)


def golden_tree() -> Any:
    return {"state": State({"w": jnp.arange(6.0).reshape(2, 3)}, jnp.int32(7)), "key": jax.random.key(3)}


def test_format_1_still_loads():
    step, tree, extra = checkpoint.load(GOLDEN, jax.tree.map(jnp.zeros_like, golden_tree()))
    assert (step, extra) == (7, {"offset": 5})
    assert bits(tree) == bits(golden_tree())


def test_objects_are_refused(tmp_path):
    with pytest.raises(TypeError, match=r"\['f'\]"):
        checkpoint.save(tmp_path, 1, {"f": object()})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_disk_full(tmp_path, monkeypatch, call):
    tree = {"w": jnp.arange(3.0)}
    checkpoint.save(tmp_path, 1, tree)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if call == "write":
        monkeypatch.setattr(checkpoint, "open", lambda *a: FullFile(*a), raising=False)
    else:
        monkeypatch.setattr(checkpoint.os, call, full)
    with pytest.raises(checkpoint.CheckpointError, match=r"No space left.*last good.*0001\.ckpt; free some space"):
        checkpoint.save(tmp_path, 2, tree)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint_0000000001.ckpt"]
    assert checkpoint.latest(tmp_path, tree)[0] == 1


class FullFile:
    """A file on a disk that fills up half way."""

    def __init__(self, path, mode):
        self.file = open(path, mode)  # noqa: SIM115

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def writelines(self, parts):
        self.file.write(parts[0])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


SAVER = """
import sys
import numpy as np
from metarl_jax.storage import checkpoint
for step in range(10**6):
    checkpoint.save(sys.argv[1], step, {"w": np.full(2**18, step), "step": step}, keep=2)
    print(step, flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_kill_while_saving_leaves_a_loadable_state(tmp_path):
    generator = random.Random(0)
    template = {"w": np.zeros(2**18, int), "step": 0}
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", SAVER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        process.stdout.readline()
        time.sleep(generator.uniform(0.0, 0.2))
        process.send_signal(signal.SIGKILL)
        said = process.communicate()[0].split()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            step, tree, _ = checkpoint.latest(tmp_path, template)
        assert step >= int(said[-1] if said else 0) and (tree["w"] == step).all() and tree["step"] == step
        for path in tmp_path.glob("*.ckpt"):
            path.unlink()
    checkpoint.save(tmp_path, 0, template)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint_0000000000.ckpt"]
