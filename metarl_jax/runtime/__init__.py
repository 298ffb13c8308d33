"""Devices, sharding, the compilation cache and signals."""
