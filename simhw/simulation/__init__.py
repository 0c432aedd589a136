"""Simulation: which tile passes of a step are run, on all cores, and what its operations come to."""
