"""CPU cores as devices. Nothing here starts JAX."""

import os
import warnings

import jax

from metarl_jax.records import ConfigError

SWITCH = "METARL_JAX_CPU_DEVICES"


def check_precision() -> None:
    """ConfigError where JAX computes in double precision, in which nothing here was made or tested."""
    if jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        raise ConfigError(
            "jax_enable_x64=True: training and evaluation are in single precision: turn it off around them, "
            "with jax.enable_x64(False), and make the tasks there, too"
        )


def use_cpu_cores(most: int = 8) -> None:
    """Makes each CPU core a device of its own, so that tasks are spread over the cores: a power of two of them.

    XLA runs the small operations of a recurrent network on one thread: two cores as two devices train RL^2 1.5 times
    as fast as one device with both. ``METARL_JAX_CPU_DEVICES=1`` asks for another number. Does nothing once JAX has
    started, or where the user has set a number in JAX's own ways (``JAX_NUM_CPU_DEVICES``,
    ``--xla_force_host_platform_device_count``); accelerators are not affected.

    Args:
      most: devices at most.

    Raises:
      ConfigError: the variable holds no positive whole number.
    """
    own = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if own or jax.config.jax_num_cpu_devices != -1:  # type: ignore[attr-defined]
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get(SWITCH) or str(1 << (min(cores, most).bit_length() - 1))
    if not (asked.isdecimal() and int(asked) > 0):
        raise ConfigError(f"{SWITCH}={asked!r}: set a number of devices, 1 or more, or leave it unset")
    try:
        jax.config.update("jax_num_cpu_devices", int(asked))
    except RuntimeError:  # JAX has started
        if SWITCH in os.environ and len(jax.devices("cpu")) != int(asked):
            warnings.warn(f"{SWITCH}={asked} comes too late: JAX has started with its own devices", stacklevel=2)
