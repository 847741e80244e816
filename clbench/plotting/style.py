"""What all figures have in common."""

import functools
import re
import textwrap
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from clbench.plotting.isolation import isolated

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatter

# Okabe and Ito's colours, which colour-blind readers can tell apart; yellow is left out as too pale for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")  # for print without colours
LETTERS = 11.5  # per inch, of a title
# Labels that Matplotlib gives to artists without one.
AUTOMATIC = re.compile(r"_(child|container)\d+|_nolegend_")


def look(index: int) -> dict[str, Any]:
    """Return colour and line style of a line; the first lines are solid."""
    cycle, colour = divmod(index, len(COLOURS))
    return {"color": COLOURS[colour], "linestyle": STYLES[cycle % len(STYLES)]}


def marker(index: int) -> dict[str, Any]:
    return {"marker": MARKERS[index % len(MARKERS)], "markersize": 4.0}


@functools.cache
def _figure_class() -> type["Figure"]:
    from matplotlib.figure import Figure

    class IsolatedFigure(Figure):
        """A figure that looks as drawn, whatever the user's settings are when it is saved or shown."""

        @isolated()
        def savefig(self, *args: Any, **kwargs: Any) -> None:
            super().savefig(*args, **kwargs)

        def _repr_png_(self) -> bytes:
            """Let a notebook show it."""
            return as_bytes(self, "png")

        def __reduce__(self) -> tuple[Any, ...]:
            return _blank, (_figure_class,), self.__getstate__()  # type: ignore[attr-defined]

    return IsolatedFigure


def _blank(make: Callable[[], type[Any]]) -> object:
    """Return an empty instance of a class that is made when Matplotlib is there: for pickle, which fills it."""
    return object.__new__(make())


def new_figure(width: float, height: float, title: str) -> "Figure":
    """Return a figure of so many inches; its title is wrapped between phrases, which " · " separates."""
    figure = _figure_class()(figsize=(width, height), dpi=150, layout="constrained")
    figure.suptitle(wrap(title, width), x=0.01, ha="left", fontsize=10)
    return figure


def as_bytes(figure: "Figure", kind: str) -> bytes:
    """Return a figure as the content of a file: "png", "pdf" or "svg"."""
    import io

    file = io.BytesIO()
    figure.savefig(file, format=kind)
    return file.getvalue()


def wrap(title: str, width: float) -> str:
    r"""Return a title for a width in inches: lines end between phrases, without the dot; long phrases are wrapped.

    >>> wrap("a stream · 15 tasks · 3 seeds", 2)
    'a stream · 15 tasks\n3 seeds'
    """
    lines: list[str] = []
    letters = round(width * LETTERS)
    for phrase in filter(None, (part.strip() for part in title.split(" · "))):
        if lines and len(lines[-1]) + len(phrase) + 3 <= letters:
            lines[-1] += f" · {phrase}"
        else:
            lines += textwrap.wrap(phrase, letters)
    return "\n".join(lines)


def panel_title(axes: "Axes", text: str, width: float) -> None:
    axes.set_title(wrap(text, width), fontsize=9, loc="left")


def hide_from(axes: Iterable["Axes"], count: int) -> None:
    for spare in list(axes)[count:]:
        spare.set_axis_off()


def legend(figure: "Figure", title: str = "") -> None:
    """Add a legend below, in columns of equal height; the figure grows by its height.

    Args:
        figure: its labelled lines and areas are in the legend, each label once.
        title: what all lines, bands and bars are.
    """
    entries = _entries(figure.axes)
    if not entries:
        return
    width = figure.get_figwidth()
    letters = round(width * LETTERS)
    labels = [label if len(label) <= letters else textwrap.fill(label, letters) for label in entries]
    columns = max(1, min(len(labels), int(width / (0.6 + max(map(len, labels)) / 14))))
    rows = -(-len(labels) // columns)
    lines = sum(label.count("\n") for label in labels) + rows + (title != "")
    figure.set_figheight(figure.get_figheight() + 0.2 * lines)
    place: dict[str, Any] = {"loc": "outside lower left", "ncols": -(-len(labels) // rows)}
    _fill(figure, entries, labels, title, place)


def legend_in(axes: "Axes", title: str = "", **place: Any) -> None:
    """Add a legend of one panel's lines."""
    entries = _entries([axes])
    if entries:
        _fill(axes, entries, list(entries), title, place)


def _fill(
    owner: "Axes | Figure", entries: dict[str, Any], labels: list[str], title: str, place: dict[str, Any]
) -> None:
    # Matplotlib would leave out a label that begins with "_": the texts are set afterwards.
    made = owner.legend(
        list(entries.values()),
        ["-"] * len(labels),
        frameon=False,
        fontsize=9,
        alignment="left",
        title=title or None,
        title_fontsize=9,
        **place,
    )
    for text, label in zip(made.get_texts(), labels, strict=True):
        text.set_text(label)


def _entries(panels: Iterable["Axes"]) -> dict[str, Any]:
    """Return the labelled artists, by label."""
    artists: list[Any] = []
    for axes in panels:
        artists += [*axes.containers, *axes.lines, *axes.patches, *axes.collections]
    labelled: dict[str, Any] = {}
    for artist in artists:
        label = str(artist.get_label())
        if label and not AUTOMATIC.fullmatch(label):
            labelled.setdefault(label, artist)
    return labelled


@functools.cache
def _formatter_class() -> type["LogFormatter"]:
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

        def __reduce__(self) -> tuple[Any, ...]:
            return _blank, (_formatter_class,), vars(self)

    return Plain


def log_scale(axes: "Axes") -> None:
    """Let the y axis be logarithmic, with plain numbers; between powers of ten only where these are few."""
    plain = _formatter_class()
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(plain())
    axes.yaxis.set_minor_formatter(plain(minor_thresholds=(1, 0.4)))


def tidy(axes: "Axes") -> None:
    """Count tasks in whole numbers, and leave out unneeded lines."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color="0.92", zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
