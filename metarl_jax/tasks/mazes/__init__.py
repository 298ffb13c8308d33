"""Mazes: layouts, generators, the two families and their references."""
