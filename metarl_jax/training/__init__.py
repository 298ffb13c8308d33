"""Meta-training: one run from its options to its folder."""
