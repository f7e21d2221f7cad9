"""The page of a map of transfers."""

import csv

import pytest
from html_page import Page, loads_nothing, only_its_own_script_may_run
from maps import TARGETS, the_map

from pretext.report.transfer import write_all
from pretext.transfer.analysis import analyse


@pytest.mark.parametrize("options", [{}, {"hidden": [("twin", "depth")], "failed": [("maker", "<edges>")]}])
def test_the_page_holds_what_was_found_and_loads_nothing(tmp_path, options):
    found = the_map(**options)
    write_all(found, tmp_path, "pretext transfer map.yaml", {"python": "3.11"})
    html = (tmp_path / "transfer.html").read_text()
    page = Page(html)
    assert only_its_own_script_may_run(html)
    assert loads_nothing(html)
    assert "<edges>" in page.text  # escaped, and so a word
    assert page.text.count("≈ ") - page.text.count("≈ is predicted") == 2 * bool(options)
    assert f"{100 * found.entry(('maker',), 'classes').affinity:.2f}" in page.cells
    assert ("ValueError: no" in page.text) == bool(options)
    rows = list(csv.DictReader((tmp_path / "transfer.csv").read_text().splitlines()))
    assert [row["predicted"] for row in rows].count("yes") == 2 * bool(options)


def test_an_unfinished_map_has_a_page_too(tmp_path):
    write_all(analyse("Map", ["twin"], TARGETS, [], 20), tmp_path, "pretext transfer map.yaml", {})
    page = Page((tmp_path / "transfer.html").read_text())
    assert "No transfer is measured yet." in page.text
    assert "0 of 20" in page.text
