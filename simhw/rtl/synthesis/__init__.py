"""Synthesis of the twins: cells, area and critical path, by Yosys and a cell library."""
