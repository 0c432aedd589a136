"""Techniques that compress a model or its training.

A module has plain functions of a `Run`, and in ``WORKLOADS`` their rows of the table (`simhw_workloads.table`).
"""
