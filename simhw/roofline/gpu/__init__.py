"""NVIDIA GPUs: streaming multiprocessors, a tile of the output per thread block, waves of blocks, caches
and launches.
"""
