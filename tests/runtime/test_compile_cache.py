"""The compilation cache: on by default, private, and never in the way of the user's own."""

import os
import subprocess
import sys
import zlib

import jax
import pytest

from metarl_jax.runtime import compile_cache

PROGRAM = """
import os, sys, jax
from jax.experimental.compilation_cache import compilation_cache
from metarl_jax.runtime import compile_cache

jax.jit(lambda x: x - 7)(1.0)  # the cache also works when it is switched on after a first compilation
folder = compile_cache.enable()
events = []
jax.monitoring.register_event_listener(lambda name, **_: events.append(name))


def hits():
    jax.clear_caches()
    compilation_cache.reset_cache()
    events.clear()
    jax.jit(lambda x: x * 3 + 1)(2.0)
    return sum(name.endswith("cache_hits") for name in events)


print(folder, jax.config.jax_compilation_cache_dir)
entries = lambda: [entry for entry in folder.iterdir() if entry.name.endswith("-cache")]
print(hits(), hits(), len(entries()))
for entry in entries():
    os.truncate(entry, entry.stat().st_size // 2)
jax.config.update("jax_compilation_cache_dir", None)
compile_cache.enable()
print(len(entries()), hits(), hits())
"""


def test_what_was_compiled_once_is_found_again(tmp_path):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "METARL_"))}
    environment = {**kept, "JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "Error reading" not in done.stderr, done.stderr
    (folder, used), *rest = [line.split() for line in done.stdout.splitlines()]
    (cold, warm, entries), (left, torn, mended) = [map(int, line) for line in rest]
    assert folder == used and folder.startswith(str(tmp_path / "metarl_jax" / "xla"))
    assert os.name == "nt" or os.stat(folder).st_mode & 0o777 == 0o700
    assert cold == 0 and warm == entries >= 1
    assert left == 0 and torn == 0 and mended == warm


@pytest.fixture
def no_setting(monkeypatch):
    """A process whose user has said nothing about the cache."""
    monkeypatch.delenv(compile_cache.SWITCH, raising=False)
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    jax.config.update("jax_compilation_cache_dir", before)
    jax.config.update("jax_enable_compilation_cache", True)


@pytest.mark.usefixtures("no_setting")
def test_the_users_setting_stands(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    assert compile_cache.enable(on=False, folder=folder) is None
    with monkeypatch.context() as context:
        context.setenv(compile_cache.SWITCH, "0")
        assert compile_cache.enable(folder=folder) is None
    jax.config.update("jax_enable_compilation_cache", False)
    assert compile_cache.enable(folder=folder) is None
    jax.config.update("jax_enable_compilation_cache", True)
    jax.config.update("jax_compilation_cache_dir", "own")
    assert compile_cache.enable(folder=folder) is None
    assert jax.config.jax_compilation_cache_dir == "own" and not folder.exists()
    jax.config.update("jax_compilation_cache_dir", None)
    assert compile_cache.enable(folder=folder) == folder


@pytest.mark.usefixtures("no_setting")
def test_a_folder_that_cannot_be_made_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    assert compile_cache.enable(folder=tmp_path / "file") is None
    monkeypatch.setattr(compile_cache.os, "access", lambda *_: False)
    assert compile_cache.enable(folder=tmp_path / "cache") is None
    assert jax.config.jax_compilation_cache_dir is None


def test_torn_entries_are_deleted_once(tmp_path, monkeypatch):
    whole = zlib.compress(os.urandom(1000))
    contents = {"whole": whole, "torn": whole[:-1], "zeros": bytes(100), "none": b"", "flip": whole[:500] + whole[501:]}
    for name, data in contents.items():
        (tmp_path / f"{name}-cache").write_bytes(data)
    (tmp_path / "unrelated").write_bytes(b"")
    assert sorted(compile_cache.remove_torn(tmp_path)) == sorted(f"{n}-cache" for n in contents if n != "whole")
    assert {p.name for p in tmp_path.iterdir()} == {"whole-cache", "unrelated", compile_cache.STAMP}
    # What was looked at once is not read again.
    os.utime(tmp_path / "whole-cache", (1, 1))
    monkeypatch.setattr(compile_cache, "_is_whole", pytest.fail)
    assert compile_cache.remove_torn(tmp_path) == []


def test_entries_appear_whole_and_abandoned_ones_are_deleted(tmp_path, monkeypatch):
    """A process that reads at any moment sees no entry or a whole one: JAX's own writer writes in place."""
    from jax._src import lru_cache

    assert compile_cache.write_atomically()
    seen = []
    write = compile_cache.Path.write_bytes

    def slowly(self, data):  # what another process would find half-way
        write(self, data[: len(data) // 2])
        seen.append([p.name for p in tmp_path.iterdir() if p.name.endswith("-cache")])
        return write(self, data)

    monkeypatch.setattr(compile_cache.Path, "write_bytes", slowly)
    cache = lru_cache.LRUCache(str(tmp_path), max_size=-1)
    cache.put("key", b"0123456789")
    assert seen == [[]] and cache.get("key") == b"0123456789"
    old, new = (tmp_path / f".{name}{compile_cache.PARTIAL}" for name in ("old", "new"))
    write(old, b""), write(new, b"")
    os.utime(old, (1, 1))
    compile_cache.remove_torn(tmp_path)
    assert not old.exists() and new.exists()


PAIR = """
import sys, warnings
warnings.simplefilter("error")
import jax
from metarl_jax.runtime import compile_cache

print("ready", flush=True)
sys.stdin.readline()
assert compile_cache.enable(folder=sys.argv[1])
for i in range(20):
    jax.jit(lambda x: (x @ x + i).sort().sum())(jax.numpy.ones((8 + i, 8 + i)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("torn", [False, True])
def test_pairs_of_processes_that_start_cold_with_one_cache(tmp_path, torn):
    """No warning and no failure where pairs compile the same programs at the same moment (METARL_JAX_PAIRS says how
    many pairs); in the second round the folder holds entries that a crash left torn."""
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    names: list[str] = []
    for number in range(int(os.environ.get("METARL_JAX_PAIRS", "5"))):
        folder = tmp_path / str(number)
        folder.mkdir(mode=0o700)
        for name in names if torn else []:
            (folder / name).write_bytes(b"x\x9c")
        pair = [subprocess.Popen([sys.executable, "-c", PAIR, str(folder)], **pipe) for _ in range(2)]
        assert [process.stdout.readline() for process in pair] == ["ready\n"] * 2
        for process in pair:
            process.stdin.write("\n")
            process.stdin.flush()
        ends = [process.communicate() for process in pair]
        assert [process.returncode for process in pair] == [0, 0] and "Error" not in (said := ends[0][1] + ends[1][1])
        assert ("torn entries" in said) == bool(torn and names), said
        names = [entry.name for entry in folder.iterdir() if entry.name.endswith("-cache")]
        assert len(names) >= 20
        assert not list(folder.glob(f".*{compile_cache.PARTIAL}"))


def test_folder_of_each_system(monkeypatch, tmp_path):
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(compile_cache.Path, "home", lambda: tmp_path)
    endings = {"linux": ".cache", "darwin": "Library/Caches", "win32": "AppData/Local"}
    for system, ending in endings.items():
        monkeypatch.setattr(compile_cache.sys, "platform", system)
        assert compile_cache.default_folder().parent == tmp_path / ending / "metarl_jax" / "xla"
