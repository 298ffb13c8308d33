"""What was meta-learned and can be loaded: rules of credit assignment, and optimisers."""

from metarl_jax.learned import intrinsic_reward_rule, lpg_rule, optimizers, pairwise_credit_rule, rules

__all__ = ["intrinsic_reward_rule", "lpg_rule", "optimizers", "pairwise_credit_rule", "rules"]
