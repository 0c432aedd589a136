"""Files of DRAM requests, as simulators of DRAMs read them: a line per burst, and nothing else.

DRAMsim3: address, ``READ`` or ``WRITE``, and the cycle from which on the request may be taken.  Ramulator 2
(`LoadStoreTrace`): ``LD`` or ``ST`` and the address; requests follow one another as fast as they are taken.  Source:
the readers of umd-memsys/DRAMsim3 and CMU-SAFARI/ramulator2.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from simhw.files.writing import replacing
from simhw.memory.requests import Requests

Lines = Callable[[Requests, int], str]


def _dramsim3(some: Requests, cycle: int) -> str:
    end = f" {'WRITE' if some.write else 'READ'} {cycle}\n"
    return "".join([f"0x{address:X}{end}" for address in some.addresses.tolist()])


def _ramulator2(some: Requests, _: int) -> str:
    begin = "ST" if some.write else "LD"
    return "".join([f"{begin} 0x{address:X}\n" for address in some.addresses.tolist()])


FORMATS: dict[str, Lines] = {"dramsim3": _dramsim3, "ramulator2": _ramulator2}


@dataclass
class Written:
    """What was written: requests by way, and the length of the file [bytes]."""

    reads: int = 0
    writes: int = 0
    file_bytes: int = 0


def write_requests(
    path: str | os.PathLike[str], requests: Iterable[Requests], cycles_per_ns: float, form: str
) -> Written:
    """Write requests as they come; never more than those of some thousand containers are in memory.

    Parameters
    ----------
    path : path
    requests : iterable of Requests
        In the order of their starts.
    cycles_per_ns : float
        Of the clock that the file counts.
    form : str
        A name of `FORMATS`.

    Raises
    ------
    SimhwError
        The file cannot be written.
    """
    lines, written = FORMATS[form], Written()
    with replacing(path) as temporary, temporary.open("w", encoding="ascii", newline="\n") as file:
        for some in requests:
            # A request comes no earlier than in our model.
            text = lines(some, -int(-some.start_ns * cycles_per_ns // 1))
            file.write(text)
            written.file_bytes += len(text)
            if some.write:
                written.writes += len(some.addresses)
            else:
                written.reads += len(some.addresses)
    return written
