"""Self-checking testbenches in Verilog: real operands go through the hardware, and simhw's own model says what must
come out.
"""
