"""Shipped convolutional networks are what their definitions run, and have the parameters that were published."""

import pytest

from simhw.roofline.networks import load_network
from tests.zoo_models import ZOO, captured


@pytest.mark.parametrize("name", ZOO)
def test_a_shipped_network_is_its_definition_captured(name: str) -> None:
    assert load_network(name) == captured(name)


@pytest.mark.parametrize("name", ZOO)
def test_parameters_are_those_published(name: str) -> None:
    assert load_network(name).parameters == ZOO[name].parameters
