import pytest
from html_page import Page, loads_nothing, only_its_own_script_may_run
from jinja2 import UndefinedError

from pretext.report.page import breakable, data_uri, macro, write_page

EVIL = "<b title=\"&\">'evil'</b>"


def written(tmp_path, **content):
    return write_page(tmp_path / "page.html", "base.html", EVIL, EVIL, **content).read_text(encoding="utf-8")


class TestPage:
    def test_only_its_own_script_may_run_and_nothing_is_loaded(self, tmp_path):
        html = written(tmp_path)
        assert only_its_own_script_may_run(html)
        assert loads_nothing(html)

    def test_names_are_escaped(self, tmp_path):
        page = Page(written(tmp_path))
        assert "b" not in {tag for tag, _ in page.tags}
        assert page.text.count(EVIL) == 3  # title, heading and the line below it

    def test_what_a_template_wants_must_be_given(self, tmp_path):
        with pytest.raises(UndefinedError, match="verdict"):
            write_page(tmp_path / "page.html", "leaderboard.html", "name", "about")
        assert not list(tmp_path.iterdir())


class TestMacros:
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("tiles", [[(EVIL, EVIL, [EVIL, EVIL])]]),
            ("box", [EVIL, EVIL]),
            ("fold", [EVIL, EVIL]),
            ("facts", [{EVIL: EVIL, "list": [EVIL, EVIL]}]),
            ("missing", [EVIL, EVIL]),
            ("commands", [[EVIL, EVIL]]),
            ("picture", [EVIL, EVIL, EVIL]),
        ],
    )
    def test_each_escapes_what_it_is_given(self, name, content):
        page = Page(macro(name, *content))
        assert "b" not in {tag for tag, _ in page.tags}
        said = page.text + "".join(map(str, page.attributes("alt", "src", "aria-label")))
        assert "".join(said.split()).count("".join(EVIL.split())) >= 2

    def test_facts_join_lists_and_show_numbers(self):
        assert Page(macro("facts", {"classes": ["cat", "dog"], "train": 7})).cells == [
            "classes",
            "cat, dog",
            "train",
            "7",
        ]

    def test_without_tiles_there_is_nothing(self):
        assert not macro("tiles", []).strip()

    def test_every_word_of_a_command_is_whole(self):
        html = macro("commands", ["pretext fit -c a.yaml", "pretext show x"])
        assert html.count("<span>") == 7
        assert html.count("<br>") == 1


def test_a_file_becomes_an_address():
    assert data_uri(b"\x00\xff") == "data:image/png;base64,AP8="


def test_names_break_after_their_parts_and_stay_escaped():
    assert breakable("a/b_<c>") == "a/<wbr>b_<wbr>&lt;c&gt;"
