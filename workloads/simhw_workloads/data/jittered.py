"""Digits of many sizes: real handwritten digits, each scaled and pasted at a random place of a larger image.

In 28 x 28 images of digits all have one size, and a smaller image shows them as well.  Here small ones need the whole
resolution, and large ones do not.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from simhw_workloads.data.images import Images, pixel_statistics

SIZE = 32
_SMALLEST, _LARGEST = 9, 30
"""Of a digit [pixels]."""


def jittered(images: Images) -> Images:
    """Each image once, at a size and a place of its own, in 32 x 32; the same for the same images.

    Parameters
    ----------
    images : Images
        Grey, dark behind the object.
    """
    train, test = _pasted(images.train_pixels, 0), _pasted(images.test_pixels, 1)
    mean, std = pixel_statistics(train[:, 0].numpy())
    return replace(
        images, name=f"{images.name} of many sizes", train_pixels=train, test_pixels=test, mean=mean, std=std
    )


def _pasted(pixels: Tensor, seed: int) -> Tensor:
    random = np.random.default_rng(seed)
    canvas = torch.zeros(len(pixels), 1, SIZE, SIZE, dtype=torch.uint8)
    for row, image in enumerate(pixels):
        size = int(random.integers(_SMALLEST, _LARGEST + 1))
        top, left = (int(place) for place in random.integers(SIZE - size + 1, size=2))
        scaled = functional.interpolate(image[None].float(), size=(size, size), mode="bilinear", antialias=True)
        canvas[row, :, top : top + size, left : left + size] = scaled[0].round().clamp(0, 255).to(torch.uint8)
    return canvas
