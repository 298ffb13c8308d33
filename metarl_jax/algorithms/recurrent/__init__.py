"""Adaptation by memory, and the actor-critics without one that it is compared with."""
