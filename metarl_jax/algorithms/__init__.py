"""Meta-learners. A new one is one file and one line here."""

from metarl_jax.algorithms.maesn import maesn
from metarl_jax.algorithms.maml import anil, cavia, e_maml, fomaml, maml, meta_sgd, promp, reptile
from metarl_jax.algorithms.rl2 import ppo, rl2

REGISTRY = {
    "rl2": rl2,
    "ppo": ppo,
    "maml": maml,
    "fomaml": fomaml,
    "e-maml": e_maml,
    "promp": promp,
    "meta-sgd": meta_sgd,
    "anil": anil,
    "cavia": cavia,
    "reptile": reptile,
    "maesn": maesn,
}

__all__ = [
    "REGISTRY",
    "anil",
    "cavia",
    "e_maml",
    "fomaml",
    "maesn",
    "maml",
    "meta_sgd",
    "ppo",
    "promp",
    "reptile",
    "rl2",
]
