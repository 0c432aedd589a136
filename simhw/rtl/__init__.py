"""Processing elements as hardware, in Amaranth: twins of what the kernels simulate, equal in every cycle and bit.

Amaranth is imported here and nowhere else in simhw.
"""
