"""A multilayer perceptron: images as vectors, linear layers with a ReLU between, nothing else.

Without normalisation, its output gradients have the zeros of the ReLU masks.
"""

from torch import nn

from simhw_workloads.models.width import scaled


def mlp(
    size: int = 28, classes: int = 10, width: float = 1.0, channels: int = 1, hidden: tuple[int, ...] = (300, 100)
) -> nn.Sequential:
    """A perceptron on (N, channels, size, size) images; by default LeNet-300-100 (LeCun et al. 1998), 266,610
    parameters.

    Parameters
    ----------
    size : int
        Height and width of the images.
    classes : int
    width : float
        Share of the hidden units.
    channels : int
        Of the images.
    hidden : tuple of int
        Units of each hidden layer.
    """
    layers: list[nn.Module] = [nn.Flatten()]
    inputs = channels * size * size
    for units in hidden:
        layers += [nn.Linear(inputs, scaled(units, width)), nn.ReLU()]
        inputs = scaled(units, width)
    return nn.Sequential(*layers, nn.Linear(inputs, classes))
