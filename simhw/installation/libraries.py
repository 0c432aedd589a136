"""The libraries that simhw asks for, and which versions are there; none of them is imported.

What is asked for stands in the metadata of the installed package, extras included, so it stands in one place.
"""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.markers import Marker
from packaging.requirements import Requirement

PACKAGE = "simhw"


@dataclass(frozen=True)
class Library:
    """A library that is asked for.

    Attributes
    ----------
    name : str
        As pip names it.
    wanted : str
        The versions that fit, such as ``>=2.0,<2.5``.
    installed : str or None
        The version that is there.
    fits : bool
        It is there, and of such a version.
    """

    name: str
    wanted: str
    installed: str | None
    fits: bool


def installed_version(name: str) -> str | None:
    """The version of an installed package, None where it is not there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def asked_for() -> dict[str, list[Library]]:
    """Libraries by the extra that asks for them; those that simhw always needs are under the empty name.

    Empty where simhw runs from a folder that pip did not install.
    """
    found: dict[str, list[Library]] = {}
    try:
        lines = requires(PACKAGE) or []
    except PackageNotFoundError:
        return found
    for line in lines:
        requirement = Requirement(line)
        extra = _extra(requirement.marker)
        # Markers of an extra may ask for more, such as a system; what does not apply here is not missed.
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            found.setdefault(extra, []).append(_library(requirement))
    return found


def _extra(marker: Marker | None) -> str:
    """The extra that a requirement's marker names; empty where it names none."""
    text = str(marker or "").replace("'", '"')
    _, named, rest = text.partition('extra == "')
    return rest.partition('"')[0] if named else ""


def _library(requirement: Requirement) -> Library:
    installed = installed_version(requirement.name)
    fits = installed is not None and requirement.specifier.contains(installed, prereleases=True)
    return Library(requirement.name, str(requirement.specifier), installed, fits)
