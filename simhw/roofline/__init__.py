"""Rooflines of real devices: how long a network's kernels take on a V100 or an Ascend, by shapes alone, and what binds
each.
"""
