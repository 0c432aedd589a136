"""The papers' results made anew: their figures from captured steps, each beside what was published and how surely.

The papers' texts could not be read; what was published is recalled, with a confidence, in ``published/``.
"""
