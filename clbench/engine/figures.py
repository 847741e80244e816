"""The formats of figures."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from clbench.checks import check_choice, split_names
from clbench.errors import OptionError
from clbench.results import RunFolder
from clbench.results.manifest import FIGURES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "pdf", "svg")


def check_formats(wanted: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the formats that figures are written in: those listed, none for "none", by default png.

    Raises:
        OptionError: "none" is combined with others.

    >>> check_formats("png,pdf"), check_formats("none"), check_formats(None)
    (('png', 'pdf'), (), ('png',))
    """
    names = FIGURES if wanted is None else split_names(wanted)
    for name in names:
        check_choice("format of figures", name, (*FORMATS, "none"))
    if "none" in names and len(names) > 1:
        raise OptionError("figures: 'none' cannot be combined with others")
    return tuple(name for name in dict.fromkeys(names) if name != "none")


def write_figures(folder: RunFolder, figures: Mapping[str, "Figure"], formats: Sequence[str]) -> None:
    """Write figures by name, each in all formats."""
    for name, figure in figures.items():
        for kind in formats:
            folder.write_figure(name, figure, kind)
