"""Huawei Ascend (DaVinci cores): a 16 x 16 x 16 cube, a vector unit, buffers of fixed rates, and padded channel
layouts.
"""
