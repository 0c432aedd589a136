"""Mapped netlists: read from Yosys, simulated for many streams of operands at once, their toggles weighed by load.

Nothing here needs Amaranth or Yosys.
"""
