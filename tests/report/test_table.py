import csv
import io
import math
import re

import pytest
from html_page import Page
from markupsafe import Markup, escape
from rich.console import Console

from pretext.report.table import STAR, Cell, Column, Row, Table

COLUMNS = [
    Column("Entry", words=True, first="ascending"),
    Column("Accuracy", "%", first="descending"),
    Column("Strength"),
    Column("Rank", form=".3g"),
]


def table(*rows, **more):
    return Table("Title", COLUMNS, [row if isinstance(row, Row) else Row(row) for row in rows], **more)


def printed(drawn, width=80):
    console = Console(width=width)
    with console.capture() as captured:
        console.print(drawn.rich())
    return captured.get()


def html(drawn):
    return str(escape(drawn))


ROW = ["rotation", Cell(0.61234, 0.6, 0.625), 0.0003, 33.25]


class TestValues:
    """Every face writes a value alike."""

    def test_a_share_is_in_per_cent_with_its_interval(self):
        assert table(ROW).markdown().splitlines()[2] == "| rotation | 61.2 (60.0-62.5) | 0.0003 | 33.2 |"
        assert "rotation" in printed(table(ROW))
        assert "61.2 (60.0-62.5)" in printed(table(ROW))
        assert Page(html(table(ROW))).cells[4:] == ["rotation", "61.2 60.0 to 62.5", "0.0003", "33.2"]

    def test_a_count_has_all_its_digits(self):
        assert "| 1281167 |" in table(["a", 0, 1281167, 0]).markdown()

    @pytest.mark.parametrize("value", [None, math.nan])
    def test_what_is_missing_is_a_dash_and_sorts_last(self, value):
        drawn = table([value] * 4)
        assert drawn.markdown().splitlines()[2] == "| - | - | - | - |"
        assert re.findall('data-value="(.*?)"', html(drawn)) == ["", ""]

    def test_an_interval_without_ends_is_none(self):
        assert table(["a", Cell(0.5, math.nan, 0.6), 0, 0]).markdown().splitlines()[2] == "| a | 50.0 | 0 | 0 |"

    def test_text_stands_for_a_value_by_which_it_sorts(self):
        drawn = table(["a", Cell(0.5, text="half"), 0, 0])
        assert "| half |" in drawn.markdown()
        assert 'data-value="0.5">half</td>' in html(drawn)


class TestPageTable:
    def test_only_named_columns_sort(self):
        heads = [
            attrs for tag, attrs in Page(html(table(ROW, sorted_by=1))).tags if tag == "th" and attrs["scope"] == "col"
        ]
        assert [head.get("data-first") for head in heads] == ["ascending", "descending", None, None]
        assert [head.get("data-kind") for head in heads] == ["text", "number", None, None]
        assert [head.get("aria-sort") for head in heads] == [None, "descending", None, None]

    def test_sections_are_bodies_and_chosen_rows_are_marked(self):
        drawn = table(Row(ROW, section="a", kind="chosen"), Row(ROW, section="a"), Row(ROW, section="b"))
        page = Page(html(drawn))
        assert [tag for tag, _ in page.tags].count("tbody") == 2
        assert [attrs.get("class") for tag, attrs in page.tags if tag == "tr"] == [None, "chosen", None, None]

    def test_nothing_becomes_markup_but_pictures(self):
        evil = '<i onclick="x">'
        cell = Cell(evil, text=evil, hover=evil, style=evil, star=evil)
        drawn = Table(
            evil,
            [Column(evil, evil, words=True), Column("p")],
            [Row([cell, Cell(picture=Markup("<svg></svg>"))])],
            evil,
        )
        page = Page(html(drawn))
        assert "i" not in {tag for tag, _ in page.tags}
        assert "svg" in {tag for tag, _ in page.tags}
        assert page.text.count(evil) == 5


class TestTerminal:
    def test_names_are_no_markup_and_stars_are_plain(self):
        assert "[red]a[/]" in printed(table([Cell("[red]a[/]", star=STAR), 0, 0, 0]))
        assert "a *" in printed(table([Cell("a", star=STAR), 0, 0, 0]))

    def test_a_list_of_lines_needs_no_commas(self):
        assert "layer1 (2),\n" not in printed(table(["layer1 (2),\nlayer2 (1)", 0, 0, 0]))
        assert "layer1 (2), layer2 (1)" in table(["layer1 (2),\nlayer2 (1)", 0, 0, 0]).markdown()

    def test_where_it_is_narrow_headings_break_and_no_cell_goes(self):
        columns = [Column("Whose", words=True), *[Column(f"a rather long heading {k}", "%") for k in range(5)]]
        lines = printed(Table("Title", columns, [Row(["trained", Cell(0.5, 0.4, 0.6), 1, 1, 1, 1])])).splitlines()
        assert max(map(len, lines)) <= 80
        assert any("trained" in line and "50.0 (40.0-60.0)" in line for line in lines)

    def test_where_it_is_narrow_a_long_name_goes_on_in_the_next_line(self):
        path = "/somewhere/on/a/machine/with/long/names/of/folders/runs/image/rotation/the-last-of-all-0"
        columns = [Column("Entry", words=True), Column("Linear probe", "%"), Column("kNN", "%")]
        lines = printed(Table("", columns, [Row([path, Cell(0.946, 0.923, 0.963), 0.83])])).splitlines()
        assert max(map(len, lines)) <= 80
        assert path in "".join(line.split()[0] for line in lines if line.strip())

    def test_caption_and_title_are_there(self):
        assert printed(table(ROW, caption=f"{STAR} best")).strip().startswith("Title")
        assert "* best" in printed(table(ROW, caption=f"{STAR} best"))


class TestMarkdown:
    def test_names_do_not_break_it(self):
        line = table(["<b>|co*`\n", 0, 0, 0]).markdown().splitlines()[2]
        assert line.startswith(r"| &lt;b>\|co\*\`  |")

    def test_what_stands_aside_is_italic(self):
        assert "| *a* |" in table(Row(["a", 0, 0, 0], kind="random")).markdown()
        assert "| a |" in table(Row(["a", 0, 0, 0], kind="trained")).markdown()

    def test_numbers_end_at_the_right(self):
        assert table(ROW).markdown().splitlines()[:2] == [
            "| Entry | Accuracy, % | Strength | Rank |",
            "|---|--:|--:|--:|",
        ]


def test_csv_keeps_full_precision_and_leaves_out_what_is_missing():
    rows = list(csv.reader(io.StringIO(table(ROW, ['a,"b"', None, True, 1 / 3]).csv())))
    assert rows == [
        ["Entry", "Accuracy", "Strength", "Rank"],
        ["rotation", "0.61234", "0.0003", "33.25"],
        ['a,"b"', "", "True", repr(1 / 3)],
    ]


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="argument"):
        table(["a"]).markdown()


def test_columns_in_which_nothing_stands_are_left_out_and_what_is_sorted_by_is_still_so():
    columns = [Column("Rank"), Column("Entry", words=True), Column("Probe", "%"), Column("", picture=Markup("<b></b>"))]
    rows = [Row([None, "a", 0.5, Cell(picture=Markup("<i></i>"))]), Row([Cell(), "b", None, Cell()])]
    left = Table("Title", columns, rows, names=1, sorted_by=2).filled()
    assert [column.title for column in left.columns] == ["Entry", "Probe", ""]
    assert (left.names, left.sorted_by) == (0, 1)
    assert [next(iter(row.cells)) for row in left.rows] == ["a", "b"]
    assert left.filled() == left
    none = Table("Title", columns, [Row([None, "a", None, None])], names=1, sorted_by=2).filled()
    assert ([column.title for column in none.columns], none.sorted_by) == (["Entry"], None)
