"""Adaptation by gradient steps: MAML and its relatives, MAESN."""
