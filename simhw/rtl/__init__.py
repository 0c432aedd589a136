"""Processing elements as hardware, in Amaranth: twins of what the kernels simulate, equal in every cycle and bit.

Amaranth is imported here and nowhere else in simhw.
"""

from simhw.errors import SimhwError

try:
    import amaranth  # noqa: F401  # looked for here, so that what is missing is said once and plainly
except ModuleNotFoundError as error:
    if error.name != "amaranth":
        raise
    raise SimhwError("hardware needs Amaranth, which is not installed: pip install 'simhw[rtl]'") from None
