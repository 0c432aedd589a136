"""A network on a device: every operator predicted, added up, and told in frames."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from simhw.errors import ShapeError
from simhw.machine.costs import Range
from simhw.roofline.cautions import cautions
from simhw.roofline.device import Device
from simhw.roofline.layers.network import Network
from simhw.roofline.operators import Streaming
from simhw.roofline.predict import energy_of, predict
from simhw.roofline.prediction import Prediction
from simhw.roofline.step.memory import Memory, memory_of
from simhw.roofline.step.run import Run
from simhw.roofline.step.step import Work, step

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class StepEstimate:
    """The predicted step of a network.

    Attributes
    ----------
    network : Network
    device : Device
    run : Run
    work : tuple of (Work, Prediction)
        In the order of execution.
    """

    network: Network
    device: Device
    run: Run
    work: tuple[tuple[Work, Prediction], ...]

    @cached_property
    def device_s(self) -> float:
        """Seconds that the device is busy: the kernels one after another."""
        return sum(work.times * prediction.seconds for work, prediction in self.work)

    @cached_property
    def gaps_s(self) -> float:
        """Seconds between kernels that the framework launches one by one, beyond those between a graph's."""
        return sum(work.times * self.device.values.gap_s(prediction) for work, prediction in self.work)

    @cached_property
    def host_s(self) -> float:
        """Seconds that the framework needs to issue all operators."""
        issued = (work.times * self._issue_s(work, prediction) for work, prediction in self.work)
        return self.device.values.step_issue_s + sum(issued)

    def _issue_s(self, work: Work, prediction: Prediction) -> float:
        return self.device.values.issue_s(prediction, work.phase in ("input_grad", "weight_grad"))

    @property
    def seconds(self) -> float:
        """Seconds of a step: the host runs ahead of the device, so the slower of the two decides; a graph needs no
        host.
        """
        return self.device_s if self.run.launch == "graph" else max(self.device_s + self.gaps_s, self.host_s)

    @property
    def samples_per_s(self) -> float:
        """Throughput."""
        return self.run.samples / self.seconds

    @property
    def cautions(self) -> tuple[str, ...]:
        """What the prediction has to be read with, a sentence each."""
        return cautions(self.network, self.device, self.run)

    @property
    def memory(self) -> Memory:
        """What the step needs of the device's memory."""
        return memory_of(self.network, self.run)

    @cached_property
    def energies_j(self) -> tuple[Range, ...]:
        """Energy [J] of every operator, as often as a step runs it."""
        known: dict[object, Range] = {}
        for _, prediction in self.work:
            if prediction.operator not in known:
                known[prediction.operator] = energy_of(prediction, self.device)
        return tuple(known[prediction.operator].times(work.times) for work, prediction in self.work)

    @property
    def energy_j(self) -> Range:
        """Energy [J] of a step: of its kernels, and of the device while it waits for the framework, where that is
        known.
        """
        waiting_j = self.device.values.waiting_w * (self.seconds - self.device_s)
        return Range.total((*self.energies_j, Range(waiting_j, waiting_j, waiting_j)))

    @property
    def power_w(self) -> float:
        """Mean power [W] over the time that `energy_j` tells of."""
        counted_s = self.seconds if self.device.values.waiting_w else self.device_s
        return self.energy_j.mid / counted_s

    @cached_property
    def frame(self) -> "pd.DataFrame":
        """A row per operator of the step: what it is, how long it takes, what binds it, what it moves and what it
        costs.
        """
        import pandas as pd

        rows = [
            {
                "layer": work.layer,
                "phase": work.phase,
                "operator": _kind(prediction),
                "kernels": work.times,
                "seconds": work.times * prediction.seconds,
                "host_s": work.times * self._issue_s(work, prediction),
                "limit": prediction.limit,
                "utilisation": prediction.utilisation,
                "flops": work.times * prediction.operator.flops,
                "dram_bytes": work.times * prediction.dram_bytes,
                "peak_flops_per_s": prediction.peak_flops_per_s,
                "energy_low_j": energy.low,
                "energy_j": energy.mid,
                "energy_high_j": energy.high,
                "mapping": prediction.mapping,
            }
            for (work, prediction), energy in zip(self.work, self.energies_j, strict=True)
        ]
        return pd.DataFrame(rows)


def _kind(prediction: Prediction) -> str:
    operator = prediction.operator
    return operator.kind if isinstance(operator, Streaming) else type(operator).__name__.lower()


def estimate(network: Network, device: Device, run: Run) -> StepEstimate:
    """Predict every operator of one step of a network.

    Equal operators, of which repeated blocks have many, are predicted once.

    Raises
    ------
    ShapeError
        The network has no layers, or none that does any work in this run, or as `simhw.roofline.step.step.step`.
    """
    known: dict[object, Prediction] = {}
    if not network.layers:
        raise ShapeError(f"{network.name}: no layers, so that there is nothing to predict; list them under `layers`")
    work = step(network, run, device.values.compiler)
    if not work:
        raise ShapeError(
            f"{network.name}: no layer that does any work in {run.mode}; a list needs at least one that computes or "
            "moves data"
        )
    for each in work:
        if each.operator not in known:
            known[each.operator] = predict(each.operator, device)
    return StepEstimate(network, device, run, tuple((each, known[each.operator]) for each in work))
