"""The parser of every command: an option that holds one value is given once."""

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from simhw.errors import SimhwError


class _Once(argparse._StoreAction):
    """Stores a value, and refuses a second one: the last of two would be used, and the other one forgotten
    in silence.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        given: frozenset[str] = getattr(namespace, "given", frozenset())
        if self.dest in given:
            raise SimhwError(f"{self.option_strings[0]}: given twice, but it takes one value; give one of them")
        if option_string is not None:
            namespace.given = given | {self.dest}
        super().__call__(parser, namespace, values, option_string)


class Parser(argparse.ArgumentParser):
    """A parser whose options refuse to be given twice, where they are not made to be (``action="append"``)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in (None, "store"):
            self.register("action", name, _Once)

    def error(self, message: str) -> NoReturn:
        """Say how the command is used and what is wrong, in a line as short as that of any other error."""
        super().error(str(SimhwError(message)))
