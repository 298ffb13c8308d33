"""Agents that learn from scratch in each task, and what is meta-learned about their learning."""
