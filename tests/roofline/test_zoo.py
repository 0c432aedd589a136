"""Shipped convolutional networks are what their definitions run, and have the parameters and arithmetic that were
published.
"""

import pytest

from simhw.roofline.layers.compact import compact_list_text
from simhw.roofline.layers.lists import layer_list_text
from simhw.roofline.networks.catalogue import load_network
from tests.roofline.zoo_models import ZOO, captured


@pytest.mark.parametrize("name", ZOO)
def test_a_shipped_network_is_its_definition_captured(name: str) -> None:
    assert load_network(name) == captured(name)


@pytest.mark.parametrize("name", ZOO)
def test_parameters_are_those_published(name: str) -> None:
    assert load_network(name).parameters == pytest.approx(ZOO[name].parameters, abs=ZOO[name].rounded // 2)


@pytest.mark.parametrize("name", [name for name, entry in ZOO.items() if entry.gmacs])
def test_arithmetic_is_that_published(name: str) -> None:
    published, rounding = ZOO[name].gmacs or (0, 0)
    assert load_network(name).macs / 1e9 == pytest.approx(published, abs=rounding)


def test_a_compact_list_states_little() -> None:
    network = load_network("regnetx-1.6gf")
    assert len(compact_list_text(network, (3, 224, 224))) < len(layer_list_text(network)) / 2
