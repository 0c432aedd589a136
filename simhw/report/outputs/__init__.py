"""The files that `simhw run` and `simhw compare` write: one module per option, listed in `every`.

A new one is a module here that makes an `Output`, and its name in `every.OUTPUTS`.
"""
