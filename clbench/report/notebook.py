"""Progress in a Jupyter notebook."""

import html
import io
import time
from collections.abc import Iterable
from typing import Any

from clbench.engine.progress import RunProgress
from clbench.report.views import TableProgress


class NotebookProgress(TableProgress):
    """The table below a notebook's cell, at most every `PERIOD` seconds anew."""

    PERIOD = 0.5

    def __init__(self, runs: Iterable[RunProgress]) -> None:
        from IPython.display import display

        super().__init__(runs)
        self._last = time.monotonic()
        show: Any = display
        self._handle = show(self._data(), raw=True, display_id=True)

    def update(self, run: RunProgress) -> None:
        """Show the table again if it is time."""
        super().update(run)
        if time.monotonic() - self._last > self.PERIOD:
            self._show()

    def output(self, label: str, line: str) -> None:
        """Print the line below the table."""
        print(f"{label}: {line}")

    def close(self) -> None:
        """Leave the table as it is."""
        self._show()

    def _show(self) -> None:
        self._last = time.monotonic()
        self._handle.update(self._data(), raw=True)

    def _data(self) -> dict[str, Any]:
        """Return the table in the forms that front ends know."""
        from rich.console import Console

        text = io.StringIO()
        Console(
            file=text,
            width=self._columns(),
            color_system=None,
            force_terminal=False,
            force_jupyter=False,
            highlight=False,
        ).print(self._table())
        return {"text/plain": text.getvalue(), "text/html": f"<pre>{html.escape(text.getvalue())}</pre>"}
