"""A figure: its name on the command line, its title, the simulations that it needs, and how it is made of them."""

from collections.abc import Callable
from dataclasses import dataclass

from simhw.reproduce.bench import Bench
from simhw.reproduce.section import Section
from simhw.reproduce.simulations import Simulation


@dataclass(frozen=True)
class Figure:
    """A figure of a paper, made anew.

    Attributes
    ----------
    name, title : str
    wanted : callable
        The simulations that it is made of; they are run before, several at a time.
    made : callable
        The section, from a bench on which they were run.
    """

    name: str
    title: str
    wanted: Callable[[Bench], list[Simulation]]
    made: Callable[[Bench], Section]
