"""Tables for people: aligned columns on any output, with colours on a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, emphasised: Sequence[int] = ()) -> None:
    """Print rows under a header. The first column is flush left, the others flush right.

    Args:
        title: header of the first column.
        columns: headers of the others.
        emphasised: the numbers of rows to show in bold on a terminal.
    """
    # Imported here, as most commands end without a table.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(title, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for number, row in enumerate(rows):
        table.add_row(*map(Text, row), style="bold" if number in emphasised else None)
    # A terminal wraps what is too wide for it; rich would cut it.
    console = Console(file=sys.stdout)
    console.width = max(console.width, 200)
    console.print(table)
