"""A name that a user gives to what a command line names: ``small=fpraker:tile.rows=4``, ``dense=resnet50.npz``."""

import os
import re

# No stroke, colon or comma: paths and overrides hold those, and an equals sign after them is theirs.
_NAMED = re.compile(r"(?P<name>[^\W_][\w .+-]{0,59})=(?P<rest>.+)", re.DOTALL)


def split_name(text: str) -> tuple[str, str]:
    """The name that is given, empty where none is, and the rest.  A file that is called so is no name and a rest."""
    found = _NAMED.fullmatch(text)
    if found is None or os.path.lexists(text):
        return "", text
    return found["name"].strip(), found["rest"]
