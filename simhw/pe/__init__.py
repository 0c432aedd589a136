"""Processing elements: for each kind its parameters, its kernel and its counters."""
