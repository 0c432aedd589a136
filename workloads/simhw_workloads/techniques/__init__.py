"""Techniques that compress a model or its training: per kind a few plain functions of a `Run` and their rows of the
table.
"""
