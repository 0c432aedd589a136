"""Training runs to capture: models, data sets, and the recipes that bring them together.  They know nothing of capture."""
