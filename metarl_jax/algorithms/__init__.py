"""Meta-learners. A new one is one file and one line here."""

from metarl_jax.algorithms.gradient.maesn import maesn
from metarl_jax.algorithms.gradient.maml import anil, cavia, e_maml, fomaml, maml, meta_sgd, promp, reptile
from metarl_jax.algorithms.inference.varibad import hyperx, posterior_sampling, varibad, varibad_task
from metarl_jax.algorithms.lifetime.intrinsic_reward import intrinsic_reward
from metarl_jax.algorithms.lifetime.learned_optimizer import learned_optimizer
from metarl_jax.algorithms.lifetime.lpg import lpg
from metarl_jax.algorithms.lifetime.pairwise_credit import pairwise_weights
from metarl_jax.algorithms.lifetime.population import grid_search, population, random_search
from metarl_jax.algorithms.lifetime.self_tuning import self_tuning
from metarl_jax.algorithms.recurrent.rl2 import ppo, ppo_oracle, recurrent_ppo, rl2

REGISTRY = {
    "rl2": rl2,
    "ppo": ppo,
    "ppo-oracle": ppo_oracle,
    "recurrent-ppo": recurrent_ppo,
    "maml": maml,
    "fomaml": fomaml,
    "e-maml": e_maml,
    "promp": promp,
    "meta-sgd": meta_sgd,
    "anil": anil,
    "cavia": cavia,
    "reptile": reptile,
    "varibad": varibad,
    "varibad-task": varibad_task,
    "hyperx": hyperx,
    "posterior-sampling": posterior_sampling,
    "maesn": maesn,
    "self-tuning": self_tuning,
    "population": population,
    "random-search": random_search,
    "grid-search": grid_search,
    "learned-optimizer": learned_optimizer,
    "lpg": lpg,
    "intrinsic-reward": intrinsic_reward,
    "pairwise-weights": pairwise_weights,
}

__all__ = [
    "REGISTRY",
    "anil",
    "cavia",
    "e_maml",
    "fomaml",
    "grid_search",
    "hyperx",
    "intrinsic_reward",
    "learned_optimizer",
    "lpg",
    "maesn",
    "maml",
    "meta_sgd",
    "pairwise_weights",
    "population",
    "posterior_sampling",
    "ppo",
    "ppo_oracle",
    "promp",
    "random_search",
    "recurrent_ppo",
    "reptile",
    "rl2",
    "self_tuning",
    "varibad",
    "varibad_task",
]
