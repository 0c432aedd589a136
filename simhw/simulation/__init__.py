"""Simulation: a training step on a machine, from its layers to what its operations cost.

`plan` tells which tile passes an operation comes to, `operands` which tensor takes which side, and `cells` cuts passes
into pieces.  `strata` lays an operation's pieces out, `engine` runs them on all cores, and `run` chooses which: all of
them, or a random sample that `sampling` and `makespan` make estimates from.  `outcome` takes an operation from there to
its result, with `growth` to more images, `cost` and `baseline`.  The calls for users are `api`, `gemm` and `timeline`.
"""
