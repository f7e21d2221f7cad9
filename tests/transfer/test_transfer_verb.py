"""`pretext transfer policy` and `complete` on anybody's table."""

import pytest
from reference import TASKONOMY, needs_reference

from pretext.__main__ import main
from pretext.transfer.tables import read_transfers

TABLE = "sources,target,value\na,t,0.5\nb,t,0.25\nc,t,0.125\na,u,0.2\nb,u,0.4\nc,u,\na|b,t,0.9\n"


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    (tmp_path / "table.csv").write_text(TABLE)
    return tmp_path


def test_a_policy_is_printed_with_who_serves_whom(table, capsys):
    assert main(["transfer", "policy", "table.csv", "--budget", "2"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Train a, b: 1.3 in all, for 2 of 2" in out
    assert "a|b" in out
    assert "1 transfers have no value" in out


def test_costs_and_weights_count(table, capsys):
    (table / "costs.csv").write_text("name,cost\na,5\n")
    (table / "weights.csv").write_text("u,10\n")
    words = ["--costs", "costs.csv", "--weights", "weights.csv"]
    assert main(["transfer", "policy", "table.csv", "--budget", "2", *words]) == 0
    assert "Train b: 4.25 in all" in " ".join(capsys.readouterr().out.split())


def test_a_table_is_completed_beside_it(table, capsys):
    assert main(["transfer", "complete", "table.csv", "--refits", "3"]) == 0
    assert "1 of 6 entries predicted" in " ".join(capsys.readouterr().out.split())
    before, after = (
        {(t.name, t.target): t for t in read_transfers(name)} for name in ("table.csv", "table_completed.csv")
    )
    assert after["c", "u"].measured
    assert all(after[key] == t for key, t in before.items() if t.measured)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["policy", "table.csv", "--budget", "0"], "what serves these targets costs more: t (1), u (1)"),
        (["policy", "none.csv", "--budget", "1"], "no file none.csv"),
        (["complete", "table.csv", "--features", "features.csv"], "features: the table has no 'd'"),
        (["complete", "table.csv", "--method", "magic"], "invalid choice: 'magic'"),
        ([], "give the YAML of a map, or policy, complete, votes or predict and a file"),
    ],
)
def test_a_mistake_is_told_in_one_line(table, capsys, words, message):
    (table / "features.csv").write_text("task,z\nd,1\n")
    assert main(["transfer", *words]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


@needs_reference
def test_taskonomys_first_two_sources(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    words = ["--budget", "2", "--order", "1"]
    assert main(["transfer", "policy", str(TASKONOMY / "all_affinities_16k.csv"), *words]) == 0
    assert "Train denoise, rgb2sfnorm: 0.322511 in all" in " ".join(capsys.readouterr().out.split())
