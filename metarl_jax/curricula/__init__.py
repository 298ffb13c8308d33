"""Curricula: how the tasks of the next update are chosen. A new one is one file and one line here."""

from metarl_jax.curricula.adr import automatic_domain_randomisation
from metarl_jax.curricula.plr import accel, prioritised_replay, robust_plr
from metarl_jax.curricula.self_paced import self_paced
from metarl_jax.curricula.sfl import sampling_for_learnability
from metarl_jax.curricula.space import value_gain
from metarl_jax.curricula.uniform import uniform
from metarl_jax.curricula.vds import value_disagreement

REGISTRY = {
    "uniform": uniform,
    "plr": prioritised_replay,
    "robust-plr": robust_plr,
    "accel": accel,
    "sfl": sampling_for_learnability,
    "vds": value_disagreement,
    "self-paced": self_paced,
    "space": value_gain,
    "adr": automatic_domain_randomisation,
}

__all__ = [
    "REGISTRY",
    "accel",
    "automatic_domain_randomisation",
    "prioritised_replay",
    "robust_plr",
    "sampling_for_learnability",
    "self_paced",
    "uniform",
    "value_disagreement",
    "value_gain",
]
