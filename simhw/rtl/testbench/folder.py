"""The folder of a testbench: hardware, testbench, vector files, and how to run them."""

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from simhw.rtl.testbench.bench import Bench
from simhw.rtl.testbench.memory import Memory
from simhw.rtl.twins import Twin
from simhw.rtl.verilog import verilog
from simhw.version import __version__


def write_bench(folder: Path, twin: Twin, bench: Bench, source: str) -> None:
    """Write all files of a testbench into a folder that is there.

    Parameters
    ----------
    folder : path
    twin : Twin
    bench : Bench
    source : str
        A sentence on where the operands come from.
    """
    (folder / f"{twin.name}.v").write_text(verilog(twin.component, twin.name), encoding="utf-8")
    for memory in bench.memories:
        memory.write(folder / _file(twin, memory))
    environment = Environment(
        loader=PackageLoader("simhw.rtl.testbench"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    known = {
        "twin": twin,
        "memories": bench.memories,
        "file_of": lambda memory: _file(twin, memory),
        "ports": {"clk": "clk", "rst": "rst"} | bench.ports,
        "source": source,
        "version": __version__,
        "unit": bench.unit,
    }
    for template, name in ((bench.template, f"{twin.name}_tb.v"), ("README.txt", "README.txt")):
        text = environment.get_template(template).render(known | bench.facts)
        (folder / name).write_text(text, encoding="utf-8")


def _file(twin: Twin, memory: Memory) -> str:
    return f"{twin.name}_{memory.name}.hex"
