"""Mean average precision: are the objects of every class found, and nothing else?"""

from collections.abc import Sequence

from torch import Tensor

from simhw_workloads.detection.boxes import overlap
from simhw_workloads.detection.detections import Detections
from simhw_workloads.detection.loss import EMPTY

FOUND = 0.5
"""Overlap from which a detection has found an object."""


def mean_average_precision(seen: Sequence[Detections], targets: Tensor) -> float:
    """Average precision at an overlap of 0.5, mean over the classes that have objects.

    A class's detections of all images are taken from the most to the least confident; each finds the object of its
    image that it overlaps most, unless another has found it.  Average precision is the area under precision over
    recall, each precision raised to the highest at any greater recall (the rule of PASCAL VOC from 2010 on).

    Parameters
    ----------
    seen : sequence of Detections
        Of each image.
    targets : (images, M, 5) Tensor
        Boxes and classes; rows of class `EMPTY` hold none.
    """
    classes = sorted({int(number) for number in targets[..., 4].flatten().tolist() if number != EMPTY})
    return sum(average_precision(seen, targets, number) for number in classes) / max(1, len(classes))


def average_precision(seen: Sequence[Detections], targets: Tensor, number: int) -> float:
    """Of one class; see `mean_average_precision`."""
    claims = []
    objects = [target[target[:, 4] == number, :4] for target in targets]
    for image, found in enumerate(seen):
        mine = found.classes == number
        claims += [
            (float(confidence), image, box)
            for confidence, box in zip(found.confidences[mine], found.boxes[mine], strict=True)
        ]
    total = sum(len(boxes) for boxes in objects)
    taken: set[tuple[int, int]] = set()
    right, points = 0, []
    for count, (_, image, box) in enumerate(sorted(claims, key=lambda claim: -claim[0]), start=1):
        if len(objects[image]):
            shared, best = overlap(box[None], objects[image])[0].max(0)
            if shared >= FOUND and (image, int(best)) not in taken:
                taken.add((image, int(best)))
                right += 1
        points.append((right / total, right / count))
    area, highest, above = 0.0, 0.0, points[-1][0] if points else 0.0
    for recall, precision in reversed(points):
        area += (above - recall) * highest
        above, highest = recall, max(highest, precision)
    return area + above * highest
