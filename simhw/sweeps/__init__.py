"""Sweeps: many points of machines, traces and switches, run by processes or a cluster, and kept in one store."""
