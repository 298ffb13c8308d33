"""Learned rules of credit assignment, as plain functions of a trajectory."""

from metarl_jax.rules.lpg import Seen, Wanted, agent_loss, born, read

__all__ = ["Seen", "Wanted", "agent_loss", "born", "read"]
