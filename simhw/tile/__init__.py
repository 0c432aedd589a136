"""Tiles: how processing elements share operands and wait for each other, one module per kind of PE."""
