"""Adaptation by inference: a belief over tasks that the policy sees."""
