"""Files: checkpoints, metrics, and what both are written with."""
