"""Tables of transfers: what is written can be read, and a mistake names its line."""

import math

import numpy as np
import pytest

from pretext.transfer.tables import (
    Transfer,
    first_order,
    read_features,
    read_figures,
    read_transfers,
    write_transfers,
)


def test_what_is_written_can_be_read(tmp_path):
    transfers = [Transfer(("a",), "t", 1 / 3), Transfer(("a", "b"), "t", -1e-9), Transfer(("b",), "u", math.nan)]
    back = read_transfers(write_transfers(transfers, tmp_path / "table.csv"))
    assert back[:2] == transfers[:2]
    assert back[2][:2] == transfers[2][:2]
    assert not back[2].measured


def test_a_matrix_has_holes_where_nobody_measured():
    matrix = first_order([Transfer(("a",), "t", 1.0), Transfer(("b",), "u", 2.0), Transfer(("a", "b"), "t", 3.0)])
    assert matrix[:2] == (("a", "b"), ("t", "u"))
    np.testing.assert_array_equal(matrix.values, [[1, math.nan], [math.nan, 2]])
    with pytest.raises(ValueError, match="none of them of one source"):
        first_order([Transfer(("a", "b"), "t", 3.0)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("source,target,value\na,t,1\n", r"first line is 'source,target,value'; it wants 'sources,target,value'"),
        ("", "its first line is ''"),
        ("sources,target,value\n", "no row below its heading"),
        ("sources,target,value\na,t,1\nb,t,x\n", r"line 3: got 'x'; it wants a finite number"),
        ("sources,target,value\na,t,nan\n", r"line 2: got 'nan'; it wants a finite number"),
        ("sources,target,value\na,t\n", "line 2: got 'a,t'"),
        ("sources,target,value\na|a,t,1\n", r"line 2: got the sources 'a\|a'"),
        ("sources,target,value\na|b,t,1\nc,t,1\nb|a,t,2\n", r"line 4: b\|a to t stands in line 2 already"),
    ],
)
def test_a_mistake_names_its_line(tmp_path, text, message):
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_transfers(tmp_path / "table.csv")


def test_costs_and_features_are_read_by_name(tmp_path):
    file = tmp_path / "table.csv"
    file.write_text("name,cost\nedges,2\ndepth,0.5\n")
    assert read_figures(file) == {"edges": 2.0, "depth": 0.5}
    file.write_text("edges,2\nedges,3\n")
    with pytest.raises(ValueError, match="line 2: got 'edges,3'; it wants a name, once"):
        read_figures(file)
    file.write_text("task,z0,z1\nedges,2,1\ndepth,0.5,3\n")
    assert read_features(file) == {"edges": [2.0, 1.0], "depth": [0.5, 3.0]}
    file.write_text("task,z0,z1\nedges,2,1\ndepth,0.5\n")
    with pytest.raises(ValueError, match="line 3: it wants a name, once, and as many numbers"):
        read_features(file)
