"""Meta-test: trials, intervals, the adaptation test and the report."""
