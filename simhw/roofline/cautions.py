"""What a prediction has to be read with: what its network's file says otherwise, and what its device cannot do."""

from simhw.roofline.device import Device
from simhw.roofline.layers.network import Network
from simhw.roofline.step.memory import memory_of
from simhw.roofline.step.run import Run


def cautions(network: Network, device: Device, run: Run) -> tuple[str, ...]:
    """Cautions of a network's step on a device, a sentence each."""
    found = list(network.cautions)
    if run.mode == "training" and not device.values.trains:
        found.append(
            f"{device.name} is sold for inference alone; the time is what training would take if it could be run there"
        )
    found += _memory(network, device, run)
    if run.mode == "training" and run.shards > 1:
        found.append("what the devices that share the optimizer's state send each other is not counted")
    return tuple(found)


def _memory(network: Network, device: Device, run: Run) -> list[str]:
    """That a step does not fit, with the arithmetic."""
    has, needs = device.values.hardware.memory_bytes, memory_of(network, run)
    if has is None or needs.total <= has:
        return []
    parts = " + ".join(f"{what} {size / 1e9:,.3g}" for what, size in needs.parts.items() if size)
    return [
        f"does not fit at batch {run.batch}: {parts} = {needs.total / 1e9:,.3g} GB, and {device.name} has "
        f"{has / 1e9:,.3g} GB; work space comes on top"
    ]
