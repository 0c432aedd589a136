"""Slow, obviously right twins of the simulated machines, written from the spec pages alone, and the inputs to compare
on.

Nothing here may import the kernels it checks: only `simhw.bfloat16.significand_terms`, whose table is verified apart.
"""
