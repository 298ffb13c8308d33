"""CPU cores as devices, each in a process of its own: JAX starts once."""

import os
import subprocess
import sys

import pytest

COUNT = "import jax, metarl_jax as m; m.tasks.bandit(); print(jax.device_count())"
INIT = """
import jax, jax.numpy as jnp, metarl_jax as m
from metarl_jax.training.update_loop import driver
from metarl_jax.runtime.sharding import task_mesh
tasks = m.tasks.bandit()
built = m.algorithms.ppo(encoder=(64, 64, 64, 64)).build(tasks)
program = driver(built, tasks, 8, task_mesh())
for _ in range(20):
    jax.block_until_ready(program.init(jnp.arange(2)))
print(jax.device_count())
"""


def process(code: str, **variables: str) -> subprocess.CompletedProcess:
    own = {"XLA_FLAGS", "JAX_NUM_CPU_DEVICES", "METARL_JAX_CPU_DEVICES"}
    environment = {k: v for k, v in os.environ.items() if k not in own} | variables
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=100)


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def test_each_core_is_a_device():
    assert int(process(COUNT).stdout) == max(n for n in (1, 2, 4, 8) if n <= cores())


@pytest.mark.parametrize(
    "variables",
    [
        {"METARL_JAX_CPU_DEVICES": "3"},
        {"JAX_NUM_CPU_DEVICES": "3"},
        {"XLA_FLAGS": "--xla_force_host_platform_device_count=3"},
    ],
    ids=lambda v: next(iter(v)),
)
def test_another_number_can_be_asked_for(variables):
    assert process(COUNT, **variables).stdout == "3\n"


def test_a_wrong_number_is_named():
    ended = process(COUNT, METARL_JAX_CPU_DEVICES="two")
    assert ended.returncode and "METARL_JAX_CPU_DEVICES='two': set a number" in ended.stderr


def test_a_request_after_jax_has_started_is_answered():
    ended = process("import jax; jax.devices(); import metarl_jax as m; m.tasks.bandit()", METARL_JAX_CPU_DEVICES="3")
    assert ended.returncode == 0 and "METARL_JAX_CPU_DEVICES=3 comes too late" in ended.stderr


def test_several_seeds_on_several_devices_begin():
    """Batched QR on both devices at once left no thread in XLA's pool, and training never began (jaxlib 0.10.2)."""
    assert process(INIT, METARL_JAX_CPU_DEVICES="2", PJRT_NPROC="2").stdout == "2\n"
