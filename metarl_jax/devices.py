"""CPU cores as devices, on request. Nothing here starts JAX."""

import contextlib
import os

import jax

SWITCH = "METARL_JAX_CPU_DEVICES"


def use_cpu_cores() -> None:
    """With ``METARL_JAX_CPU_DEVICES=2`` the CPU becomes two devices, over which tasks are spread.

    Two cores as two devices trained RL^2 1.3 times as fast as one device with both, but jaxlib 0.10.2 was seen to
    hang so in ``ppo`` (all threads idle): not on by default. Does nothing once JAX has started.
    """
    number = os.environ.get(SWITCH, "")
    if number.isdigit() and int(number) > 0:
        with contextlib.suppress(RuntimeError):  # JAX has started
            jax.config.update("jax_num_cpu_devices", int(number))
