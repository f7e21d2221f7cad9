"""One table for every face: the terminal (rich), a page (HTML), Markdown and CSV.

    columns = [Column("Entry", words=True), Column("Linear probe", unit="%")]
    Table("Leaderboard", columns, [Row(["rotation", Cell(0.61, 0.58, 0.64)])])

A cell is a number, a word or None (missing), or a `Cell` where there is more to say. Numbers are written as their
column says, so every face writes them alike.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Literal, NamedTuple

from markupsafe import Markup
from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.table import Table as RichTable

from pretext.evaluation.protocol import Metric
from pretext.evaluation.results import Value
from pretext.evaluation.statistics.ranking import Figure
from pretext.report.page import macro

MISSING = "-"
STAR = "★"  # marks what was chosen; in a terminal *
_BETWEEN = 2  # letters between columns in a terminal
_NAME = 16  # letters of a word that a narrow one keeps in a line; longer ones, such as paths, go on in the next
_MARKDOWN = str.maketrans({"&": "&amp;", "<": "&lt;", "\\": "\\\\", "|": "\\|", "*": "\\*", "`": "\\`", "\n": " "})

Plain = float | str | None
Order = Literal["ascending", "descending"]


class Cell(NamedTuple):
    """A value, by which a browser sorts (None comes last), perhaps with an interval, and what else there is to see."""

    value: Plain = None
    low: float | None = None
    high: float | None = None
    text: str = ""  # written instead of the value
    star: str = ""  # written beside it, such as `STAR`
    hover: str = ""
    style: str = ""  # CSS of the cell in a page, such as `plot.Shades.style`
    picture: Markup | None = None  # shown instead of it in a page

    @property
    def missing(self) -> bool:
        """Is there nothing to write?"""
        return self.value is None or (isinstance(self.value, float) and math.isnan(self.value))


Content = Cell | Plain


class Column(NamedTuple):
    """What a column holds and how its values are written."""

    title: str
    unit: str = ""  # with "%" values are shares, written times 100
    form: str = ""  # of numbers, as `format` takes it; by default ".1f" of shares and "g" of others
    words: bool = False  # holds words, which start at the left; numbers end at the right
    first: Order | None = None  # the order in which sorting begins; None: a browser shall not sort it
    width: int | None = None  # in a terminal, in letters
    picture: Markup | None = None  # shown instead of the title in a page
    bare: bool = False  # the unit stands elsewhere, not in the heading

    @property
    def heading(self) -> str:
        """The title with its unit."""
        return f"{self.title}, {self.unit}" if self.unit and not self.bare else self.title

    def write(self, cell: Cell) -> str:
        """Write a cell without its interval."""
        if cell.text or cell.missing:
            return cell.text or MISSING
        counted = isinstance(cell.value, int) and not (self.form or self.unit)
        return str(cell.value) if isinstance(cell.value, str) or counted else self._number(float(cell.value or 0.0))

    def interval(self, cell: Cell, to: str = "-") -> str:
        """Write a cell's interval, "" where there is none; where it begins below 0 a dash would be a sign."""
        if cell.low is None or cell.high is None or math.isnan(cell.low + cell.high):
            return ""
        return f"{self._number(cell.low)}{to if cell.low >= 0 else ' to '}{self._number(cell.high)}"

    def text(self, cell: Cell) -> str:
        """Write a cell with its interval in brackets, and its star."""
        interval = self.interval(cell)
        return self.write(cell) + (f" ({interval})" if interval else "") + (f" {cell.star}" if cell.star else "")

    def _number(self, value: float) -> str:
        return format(100 * value, self.form or ".1f") if self.unit == "%" else format(value, self.form or "g")


class Row(NamedTuple):
    """The cells of a row, its CSS class (all but "trained" and "chosen" stand aside); a new `section` draws a line."""

    cells: Sequence[Content]
    kind: str = ""
    section: str = ""

    @property
    def aside(self) -> bool:
        """Is it there only to compare with?"""
        return self.kind not in ("", "trained", "chosen")


class Table(NamedTuple):
    """Columns and rows. Written with `{{ }}` in a page it draws itself there, in a box that scrolls."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    caption: str = ""
    names: int = 0  # which column names the rows
    sorted_by: int | None = None  # which column they are sorted by already
    look: str = "wide"  # CSS class of the table in a page: "wide", "board" or "heat"

    @property
    def sections(self) -> Iterator[list[Row]]:
        """Rows that belong together."""
        return (list(rows) for _, rows in groupby(self.rows, key=lambda row: row.section))

    def cells(self, row: Row) -> Iterator[tuple[Column, Cell]]:
        """Pair columns with the cells of a row."""
        whole = (cell if isinstance(cell, Cell) else Cell(cell) for cell in row.cells)
        return zip(self.columns, whole, strict=True)

    def filled(self) -> Table:
        """Leave out columns in which nothing stands in any row, but that which names the rows."""
        every = [
            [cell.picture or column.text(cell) != MISSING for column, cell in self.cells(row)] for row in self.rows
        ]
        kept = [k for k in range(len(self.columns)) if k == self.names or any(there[k] for there in every)]
        rows = [row._replace(cells=[row.cells[k] for k in kept]) for row in self.rows]
        order = kept.index(self.sorted_by) if self.sorted_by in kept else None
        columns = [self.columns[k] for k in kept]
        return self._replace(columns=columns, rows=rows, names=kept.index(self.names), sorted_by=order)

    def __html__(self) -> str:
        """Draw it for a page."""
        return macro("table", self)

    def rich(self) -> RichTable:
        """Draw it for a terminal; where that is narrow, headings break first, then cells of numbers, names last."""
        drawn = _Fitting(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), title_justify="left")
        drawn.numbers, drawn.words = {}, 0
        drawn.title, drawn.caption, drawn.caption_justify = escape(self.title), _terminal(self.caption) or None, "left"
        for k, column in enumerate(self.columns):
            side: Literal["left", "right"] = "left" if column.words else "right"
            title = escape(column.heading)
            drawn.add_column(title, justify=side, no_wrap=not column.words, overflow="fold", width=column.width)
            texts = [column.text(list(self.cells(row))[k][1]) for row in self.rows]
            parts = [*(" ".join(texts).split() if column.words else texts), *column.heading.split()]
            least = max(map(len, parts), default=0)
            if column.words:
                drawn.words += min(least, _NAME)
            else:
                whole = max(map(len, [column.heading, *texts]))
                drawn.numbers[k] = (column.width or whole, column.width or least)
        for section in self.sections:
            for row in section:
                style = "bold" if row.kind == "chosen" else "italic" if row.aside else ""
                drawn.add_row(*(_terminal(column.text(cell)) for column, cell in self.cells(row)), style=style)
            drawn.add_section()
        return drawn

    def markdown(self) -> str:
        """Write head and rows as Markdown, without title and caption; what names rows that stand aside is italic."""
        lines = [[plain(column.heading) for column in self.columns]]
        for row in self.rows:
            texts = [plain(column.text(cell)) for column, cell in self.cells(row)]
            texts[self.names] = f"*{texts[self.names]}*" if row.aside else texts[self.names]
            lines.append(texts)
        written = [f"| {' | '.join(texts)} |" for texts in lines]
        written.insert(1, f"|{'|'.join('---' if column.words else '--:' for column in self.columns)}|")
        return "\n".join(written)

    def csv(self) -> str:
        """Write titles and values as CSV, in full precision; what is missing is empty."""
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(column.title for column in self.columns)
        writer.writerows([cell.value for _, cell in self.cells(row)] for row in self.rows)
        return text.getvalue()


class _Fitting(RichTable):
    """A table for a terminal, of which a narrow one breaks headings before rich leaves out whole columns of names."""

    numbers: dict[int, tuple[int, int]]  # columns of them: how wide, whole and where headings break
    words: int  # how wide columns of words are at least, together

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = options.max_width - self.words - _BETWEEN * len(self.columns)
        whole, broken = (sum(widths) for widths in zip(*self.numbers.values(), strict=True)) if self.numbers else (0, 0)
        for k, column in enumerate(self.columns) if whole > room else ():
            if k in self.numbers:
                column.no_wrap, column.width = False, self.numbers[k][1] if broken <= room else None
            else:
                column.no_wrap = broken > room
        yield from super().__rich_console__(console, options)


def of_metric(title: str, metric: Metric) -> Column:
    """Make a column of a metric, to be sorted the best first."""
    first: Order = "ascending" if metric.better == "smaller" else "descending"
    return Column(title, metric.unit, "" if metric.unit else ".3g", first=first)


def of_value(value: Value | Figure | None) -> Cell:
    """Make a cell of a value and its interval."""
    return Cell(value.value, value.low, value.high) if value else Cell()


def plain(text: str) -> str:
    """Keep a name from being read as Markdown."""
    return text.translate(_MARKDOWN)


def _terminal(text: str) -> str:
    """Keep a name from being read as markup of rich; a list of several lines needs no commas."""
    return escape(text.replace(STAR, "*").replace(",\n", "\n"))
