"""Measured images per second of whole networks beside what a device's constants predict."""

from pathlib import Path

from simhw.progress import track
from simhw.roofline.calibration.ascend import CLIPS, NETWORKS
from simhw.roofline.calibration.measured_rows import measured_rows
from simhw.roofline.calibration.pytorch.whole_steps import textbook_s
from simhw.roofline.device import Device
from simhw.roofline.networks.catalogue import load_network
from simhw.roofline.scoring.kernels import Found, short_place
from simhw.roofline.scoring.steps import estimated, flops
from simhw.roofline.scoring.table import STEP_BOUNDS, LeftOut, Scored, ScoreTable
from simhw.roofline.step.run import Run


def throughput(folder: Path, name: str, device: Device) -> Found:
    """``NAME_fps.csv``: networks in inference, in half precision, fused as the device's users do it."""
    left: list[LeftOut] = []
    scored = []
    rows = measured_rows(folder, f"{name}_fps")
    for row in track(rows, "predicting networks", len(rows)):
        model, batch, rate = row.text("model"), row.count("batch"), row.quantity("images_per_second")
        if model not in NETWORKS:
            left.append(LeftOut("no layer list of this model", short_place(row.place)))
            continue
        run = Run(batch * CLIPS.get(model, 1), "inference", "fp16", device.values.usual_fusion)
        made = estimated(load_network(NETWORKS[model]), device, run, row.place, left)
        if made is not None:
            predicted, textbook = batch / made.seconds, batch / textbook_s(made)
            place = short_place(row.place)
            scored.append(Scored(model, run.precision, flops(made), rate, predicted, textbook, f"batch {batch}", place))
    return [ScoreTable("networks", "images/s", tuple(scored), "FLOP", STEP_BOUNDS)], left
