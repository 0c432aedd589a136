"""The processor as kernels are compiled for it, and the width of its vector registers that they really use."""

import os
import re
from dataclasses import dataclass

import llvmlite.binding as llvm
from numba.core.registry import cpu_target

from simhw.pe.vector import WIDTH
from simhw.simulation.engine import cores

_REGISTERS = {r"\bzmm\d": 512, r"\bymm\d": 256, r"\bxmm\d": 128, r"\b[qv]\d+(?:\.|\b)": 128}
"""Bits of a vector register by its name in assembly, of x86 and of 64-bit ARM; the widest first."""
_ADD = """
define void @add(ptr %a, ptr %b) {{
  %x = load <{n} x i16>, ptr %a
  %y = load <{n} x i16>, ptr %b
  %z = add <{n} x i16> %x, %y
  store <{n} x i16> %z, ptr %a
  ret void
}}
"""


@dataclass(frozen=True)
class Processor:
    """What kernels are compiled for.

    Attributes
    ----------
    name : str
        As LLVM names it, such as ``znver4``.
    cores, threads : int
        Of the machine; and those that this process may use, which is how many threads a run takes.
    pes_per_vector : int
        PEs that a kernel of a processing element works on at a time.
    simd_bits : int or None
        Width of the registers that this takes; None where the processor's are not known.
    features : list of str
        Vector extensions that kernels may use.
    """

    name: str
    cores: int
    threads: int
    pes_per_vector: int
    simd_bits: int | None
    features: list[str]


def processor() -> Processor:
    """The processor of this process, as Numba's environment variables leave it (``NUMBA_CPU_NAME``, ...)."""
    triple, name, features = cpu_target.target_context.codegen().magic_tuple()
    offered = [feature[1:] for feature in features.split(",") if feature.startswith("+")]
    vector = [each for each in offered if re.match(r"(avx|sse|neon|sve|asimd)", each)]
    return Processor(name, os.cpu_count() or 1, cores(), WIDTH, _simd_bits(triple, name, features), vector)


def _simd_bits(triple: str, name: str, features: str) -> int | None:
    """Compile the addition that kernels are made of, as Numba compiles them, and look at the registers it takes."""
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=name, features=features, opt=3)
    assembly = machine.emit_assembly(llvm.parse_assembly(_ADD.format(n=WIDTH)))
    return next((bits for pattern, bits in _REGISTERS.items() if re.search(pattern, assembly)), None)
