"""CONTRIBUTING.md, followed to the letter in a copy of the checkout; the files that it touches are counted."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import simhw
from tests.places import ROOT

PACKAGES = ("simhw", "workloads/simhw_workloads")


@dataclass(frozen=True)
class Copy:
    """A copy of the packages, in which a contribution is made."""

    folder: Path

    def write_example(self, name: str) -> None:
        """Write the example of CONTRIBUTING.md that begins with this file's name, which must be new."""
        text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
        (example,) = re.findall(rf"^```\w+\n# {re.escape(name)}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        path = self.folder / name
        assert not path.exists()
        path.parent.mkdir(exist_ok=True)
        path.write_text(example, encoding="utf-8")

    def run_example(self, begins: str) -> None:
        """Run the shell commands of CONTRIBUTING.md that begin so."""
        text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
        (example,) = re.findall(rf"^```sh\n({re.escape(begins)}.*?)^```", text, re.MULTILINE | re.DOTALL)
        subprocess.run(["sh", "-e", "-c", example], cwd=self.folder, check=True)

    def edit(self, name: str, before: str, after: str) -> None:
        text = (self.folder / name).read_text(encoding="utf-8")
        assert text.count(before) == 1
        (self.folder / name).write_text(text.replace(before, after), encoding="utf-8")

    def simhw(self, *arguments: str) -> str:
        """What the copy's command line prints."""
        path = os.pathsep.join([str(self.folder), str(self.folder / "workloads")])
        done = subprocess.run(
            [sys.executable, "-m", "simhw", *arguments],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": path, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def touched(self) -> list[str]:
        """The files that differ from the checkout's."""
        files = (path.relative_to(self.folder) for path in self.folder.rglob("*") if path.is_file())
        return sorted(
            str(name)
            for name in files
            if name.suffix in {".py", ".yaml"}
            and not ((ROOT / name).exists() and (ROOT / name).read_bytes() == (self.folder / name).read_bytes())
        )


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return Copy(tmp_path)


@pytest.mark.slow
def test_a_processing_element_is_a_folder_a_machine_file_and_a_line(copy: Copy) -> None:
    copy.run_example("cp -r simhw/pe/bitparallel")
    copy.write_example("simhw/machine/library/mine.yaml")
    folder = [f"simhw/pe/mine/{path.name}" for path in sorted((ROOT / "simhw" / "pe" / "bitparallel").glob("*.py"))]
    assert copy.touched() == ["simhw/machine/library/mine.yaml", *folder, "simhw/pe/registry.py"]
    trace = str(ROOT / "traces" / "small_cnn.npz")
    printed = copy.simhw("run", "--trace", trace, "--pe", "mine", "--details", "--check", "--timeline", "mine.vcd")
    assert "cycles, counters and output bits agree" in printed
    assert re.search(r"^ total +3\.203 M +1\.000 +1\.000 ", printed, re.MULTILINE)  # what it was copied from
    assert (copy.folder / "mine.vcd").exists()


def test_a_device_is_one_file(copy: Copy) -> None:
    copy.write_example("simhw/machine/library/devices/v100-96.yaml")
    assert copy.touched() == ["simhw/machine/library/devices/v100-96.yaml"]
    assert "device   v100-96" in copy.simhw("roofline", "--model", "resnet18", "--device", "v100-96")


@pytest.mark.slow
def test_a_technique_is_one_file_and_its_name_in_the_table(copy: Copy) -> None:
    copy.write_example("workloads/simhw_workloads/techniques/masked.py")
    table = "workloads/simhw_workloads/table.py"
    copy.edit(table, "TECHNIQUES = (", 'TECHNIQUES = (\n    "masked",')
    assert copy.touched() == [table, "workloads/simhw_workloads/techniques/masked.py"]
    printed = copy.simhw("workloads", "run", "masked", "--scale", "smoke", "--capture", "masked.npz")
    assert "accuracy after masked" in printed
    layers = copy.simhw("trace", "stats", "masked.npz")
    assert re.search(r"fc1 +W +32x512 +50\.0%", layers)


@pytest.mark.slow
def test_a_report_is_one_file_and_its_name_in_a_list(copy: Copy) -> None:
    copy.write_example("simhw/report/outputs/page.py")
    every = "simhw/report/outputs/every.py"
    copy.edit(every, "WEB_PAGE)", "WEB_PAGE, PAGE)")
    copy.edit(
        every,
        "from simhw.report.outputs.picture import PICTURE\n",
        "from simhw.report.outputs.page import PAGE\nfrom simhw.report.outputs.picture import PICTURE\n",
    )
    assert copy.touched() == [every, "simhw/report/outputs/page.py"]
    trace = str(ROOT / "traces" / "small_cnn.npz")
    assert "page written to page.md" in copy.simhw("run", "--trace", trace, "--pe", "fpraker", "--page", "page.md")
    total = simhw.simulate(trace, "fpraker", progress=False).total
    assert (copy.folder / "page.md").read_text(encoding="utf-8").splitlines() == [
        "| machine | speed-up | energy efficiency |",
        "| --- | --- | --- |",
        f"| fpraker | {total.speedup:.3f} | {total.energy_efficiency:.3f} |",
    ]
