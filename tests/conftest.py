"""Harsh settings for every test: two devices, no silent broadcasting, no screen, nothing written to the user's home."""

import ctypes
import gc
import os
import sys
import tempfile
from importlib import metadata
from pathlib import Path

# Before jax is imported, and for the processes that tests start too. Most of the tests' time is compilation, and what
# they claim does not depend on how well LLVM optimises: at its lowest level, in one piece that is not verified, and
# with XLA's older and simpler emitters of fusions (jaxlib 0.11 has no others to choose), a program takes a fifth of the
# CPU time to compile.
_flags = ["--xla_backend_optimization_level=0", "--xla_cpu_parallel_codegen_split_count=1"]
_flags.append("--xla_cpu_emitter_verification_level=0")
if metadata.version("jaxlib").startswith("0.10."):
    _flags += ["--xla_cpu_use_fusion_emitters=false", "--xla_llvm_force_inline_before_split=false"]
# The user's own flags come later, and win.
_flags += [os.environ.get("XLA_FLAGS", ""), "--xla_force_host_platform_device_count=2"]
os.environ["XLA_FLAGS"] = " ".join(_flags)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["MPLBACKEND"] = "Agg"
os.environ["METARL_JAX_BENCHMARKS"] = "smoke"  # before a benchmark is imported: sizes are set then
os.environ["JUPYTER_PLATFORM_DIRS"] = "1"

_user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
SCRATCH = Path(tempfile.gettempdir()) / f"metarl_jax-tests-{_user}"
SCRATCH.mkdir(mode=0o700, exist_ok=True)
if hasattr(os, "getuid") and SCRATCH.stat().st_uid != os.getuid():
    raise PermissionError(f"{SCRATCH} belongs to another user: executables are loaded from it")
os.environ["XDG_CACHE_HOME"] = str(SCRATCH)
os.environ["MPLCONFIGDIR"] = str(SCRATCH / "matplotlib")

import jax  # noqa: E402
import pytest  # noqa: E402

from metarl_jax.runtime import compile_cache  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
compile_cache.enable()  # kept between runs, outside the repository
# Tracing makes millions of small objects, and looking through all of them for cycles takes a tenth of the tests' time.
gc.freeze()
gc.set_threshold(50_000, 10, 10)


# XLA's compiler frees what it took, but glibc keeps it, in pieces that no later program fits: gigabytes in the end.
trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
STATM = Path("/proc/self/statm")
GROWTH = 450 * 2**20  # bytes: some hundred programs
_settled = [0]


def resident() -> int:
    """Bytes of this process in memory; 0 where the system does not tell."""
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if STATM.exists() else 0


def forget() -> None:
    """Programs that were compiled, and the memory that they took."""
    jax.clear_caches()
    gc.collect()
    if trim:
        trim(0)
    _settled[0] = resident()


@pytest.fixture(autouse=True, scope="module")
def _forget_programs_of_the_module():
    yield
    forget()


@pytest.fixture(autouse=True)
def _forget_programs_that_pile_up():
    """In a long module too: each program that is alive takes a megabyte or two."""
    yield
    if resident() > _settled[0] + GROWTH:
        forget()
