"""Results: what a step comes to on machines, as objects and as tables."""
