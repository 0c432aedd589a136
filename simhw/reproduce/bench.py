"""What a figure is made of: a paper's networks, their captured steps, and what was simulated on them."""

from dataclasses import dataclass

from simhw.reproduce.facts import Fact, Paper, load_facts
from simhw.reproduce.networks import Captured
from simhw.reproduce.simulations import Simulation, Store
from simhw.reproduce.sums import Measured


@dataclass(frozen=True)
class Bench:
    """A paper's networks and the simulations on them.

    Attributes
    ----------
    paper : str
    captured : list of Captured
        All networks, those without a trace too.
    store : Store
    """

    paper: Paper
    captured: list[Captured]
    store: Store

    @property
    def facts(self) -> dict[str, Fact]:
        """What was published."""
        return load_facts(self.paper)

    @property
    def present(self) -> list[Captured]:
        """The networks that have a trace."""
        return [each for each in self.captured if each.steps]

    @property
    def absent(self) -> list[str]:
        """Names of the networks that have none."""
        return [each.name for each in self.captured if not each.steps]

    def simulations(self, machine: str, memories: bool = False, baseline: str | None = None) -> list[Simulation]:
        """A machine on every captured step."""
        return [each for captured in self.present for each in self.of(captured, machine, memories, baseline)]

    def of(
        self, captured: Captured, machine: str, memories: bool = False, baseline: str | None = None
    ) -> list[Simulation]:
        """A machine on the captured steps of a network."""
        return [Simulation(step, machine, memories, baseline) for step in captured.steps]

    def measured(
        self, captured: Captured, machine: str, memories: bool = False, baseline: str | None = None
    ) -> Measured:
        """A network on a machine, its steps together."""
        return Measured.together([self.store[each] for each in self.of(captured, machine, memories, baseline)])
