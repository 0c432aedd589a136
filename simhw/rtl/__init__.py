"""Processing elements as hardware, in Amaranth: twins of what the kernels simulate, equal in every cycle and bit.

Amaranth is imported here and nowhere else in simhw.
"""

import warnings

from simhw.errors import SimhwError

try:
    import amaranth  # noqa: F401  # looked for here, so that what is missing is said once and plainly
except ModuleNotFoundError as error:
    if error.name != "amaranth":
        raise
    raise SimhwError("hardware needs Amaranth, which is not installed: pip install 'simhw[rtl]'") from None
from amaranth.hdl import UnusedElaboratable

# Amaranth takes hardware that nothing is made of for a mistake.  Here it is told what a tile has, or a user's input is
# wrong, which a line says; Amaranth still warns of the hardware of others.
warnings.filterwarnings("ignore", category=UnusedElaboratable, module=r".*[/\\]simhw[/\\]rtl[/\\]")
