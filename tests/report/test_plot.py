import math
import re
from itertools import pairwise

import pytest
from html_page import Page

from pretext.report.colours import Shades, bars, luminance
from pretext.report.labels import names, spread
from pretext.report.plot import LINE, Axis, Frame, Key, figure, group, legend, mark, svg, tag, text


def numbers(drawn):
    return [float(number) for number in re.findall(r"-?\d+\.?\d*", drawn)]


def words(drawn):
    return re.findall("<text[^>]*>(.*?)</text>", drawn)


class TestAxis:
    def test_places_are_to_scale(self):
        axis = Axis(0.0, 4.0, 100, 20)
        assert [axis.at(value) for value in (0, 1, 4)] == [100, 80, 20]

    def test_on_a_logarithmic_scale_equal_factors_are_equal_lengths(self):
        axis = Axis(10, 1000, 0, 100, log=True)
        assert [axis.at(value) for value in (10, 100, 1000)] == pytest.approx([0, 50, 100])

    @pytest.mark.parametrize(("value", "place"), [(-1, 0), (9, 10), (math.inf, 10), (-math.inf, 0), (math.nan, 0)])
    def test_what_lies_outside_is_at_the_edge(self, value, place):
        assert Axis(0, 1, 0, 10).at(value) == place

    @pytest.mark.parametrize("values", [[0.5], [0, 0], [-3], [math.nan], []])
    def test_a_single_value_lies_inside(self, values):
        axis = Axis.around(values, 0, 10)
        assert all(0 < axis.at(value) < 10 for value in values if math.isfinite(value))
        assert axis.ticks()

    def test_intervals_are_shown_unless_they_are_far_wider_than_the_values(self):
        near, far = Axis.around([0.5, 0.7], 0, 1, ends=[0.45, 0.75]), Axis.around([0.5, 0.7], 0, 1, ends=[-9, 9])
        assert near.low < 0.45 < 0.75 < near.high
        assert 0.37 < far.low < 0.5 < 0.7 < far.high < 0.83

    def test_what_lies_far_below_does_not_squeeze_the_rest(self):
        values = [0.5, 0.51, 0.52, -1000]
        assert Axis.around(values, 0, 1, fenced=True).low > 0.4
        assert Axis.around(values, 0, 1).low < -1000

    def test_ticks_are_round_and_inside(self):
        ticks = Axis(0.13, 0.87, 0, 1).ticks()
        assert ticks == pytest.approx([0.2, 0.4, 0.6, 0.8])
        assert all(tick == round(tick) for tick in Axis(0.5, 3.5, 0, 1).ticks(6, whole=True))


class TestFrame:
    frame = Frame(Axis(0, 10, 50, 250), Axis(0, 1, 100, 0))

    def test_a_line_goes_through_its_points_and_leaves_gaps(self):
        d = re.search(' d="(.*?)"', self.frame.line([(0, 0), (5, 0.5), (6, math.nan), (10, 1)]))[1]
        assert d == "M50.0 100.0L150.0 50.0M250.0 0.0"

    def test_steps_hold_a_value_until_the_next(self):
        d = re.search(' d="(.*?)"', self.frame.line([(0, 0), (5, 0.5)], hold=True))[1]
        assert d == "M50.0 100.0L150.0 100.0L150.0 50.0L250.0 50.0"

    def test_marks_bars_and_levels_lie_at_their_values(self):
        assert numbers(self.frame.mark(5, 0.5)) == [150, 50, 3.5]
        assert numbers(self.frame.bar(5, 0.4, 0.6)) == [150, 60, 40]
        assert numbers(self.frame.across(0.5, 4, 6)) == [130, 50, 170]
        assert numbers(self.frame.level(0.5)) == [50, 50, 250]
        assert not self.frame.bar(5, math.nan, 0.6)

    def test_rows_are_labelled_at_their_height(self):
        drawn = self.frame.rows()
        assert words(drawn) == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
        assert [float(y) for y in re.findall(r"M50 ([\d.]+)H250", drawn)] == pytest.approx([100, 80, 60, 40, 20, 0])

    @pytest.mark.parametrize("lines", [1, 2])
    def test_labels_below_keep_apart(self, lines):
        labels = dict.fromkeys(range(11), "a long name")
        places = re.findall(r'x="([\d.]+)" y="([\d.]+)"', self.frame.below(labels, lines))
        assert len({y for _, y in places}) == lines
        for height in {y for _, y in places}:
            across = [float(x) for x, y in places if y == height]
            assert all(after - before > 6.5 * len("a long name") for before, after in pairwise(across))

    def test_many_points_are_one_path(self):
        assert self.frame.points([(0, 0), (10, 1)]).count("<path") == 1
        assert not self.frame.points([])


class TestMarkup:
    def test_everything_is_escaped(self):
        evil = '"><b>&'
        keys = [Key(evil, evil)]
        parts = [text(0, 0, evil, evil, evil), mark(0, 0, evil), names([evil], [(0, 0)], 9), legend(keys)]
        drawn = figure(evil, svg(evil, 9, 9, group(evil, *parts), kind=evil), wide=True)
        page = Page(str(drawn))
        assert "b" not in {name for name, _ in page.tags}
        assert page.text.count(evil) == 5

    def test_tag(self):
        assert tag("path", kind="line", stroke_width=1.25, d="") == '<path class="line" stroke-width="1.2" d=""></path>'

    @pytest.mark.parametrize(("shape", "name"), [("dot", "circle"), ("square", "rect"), ("cross", "path")])
    def test_marks_have_a_shape_and_say_their_words(self, shape, name):
        drawn = mark(10, 10, "so much", shape)
        assert drawn.startswith(f"<{name} ")
        assert "<title>so much</title>" in drawn


class TestLabels:
    def test_labels_of_one_side_keep_a_line_apart_and_inside(self):
        heights = [100, 100, 101, 5, 290]
        placed = spread(heights, 14, 286)
        assert all(14 <= place <= 286 for place in placed)
        order = sorted(placed)
        assert all(after - before >= LINE for before, after in pairwise(order))
        assert [sorted(placed).index(place) for place in placed] == [1, 2, 3, 0, 4]

    def test_names_cover_neither_spots_nor_one_another(self):
        spots = [(100.0, 100.0), (112.0, 104.0), (104.0, 116.0), (390.0, 50.0)]
        drawn = names(["rotation", "jigsaw", "contrast", "counting"], spots, 400)
        found = re.findall(r'x="([\d.]+)" y="([\d.]+)".*?>(.*?)<', drawn)
        boxes = [(float(x), float(y) - 10, float(x) + 6.5 * len(name), float(y) + 2) for x, y, name in found]
        assert len(boxes) == 4
        assert not [1 for a, b, c, d in boxes for x, y in spots if a < x < c and b < y < d]
        pairs = [(one, other) for place, one in enumerate(boxes) for other in boxes[:place]]
        assert not [1 for (a, b, c, d), (e, f, g, h) in pairs if max(a, e) < min(c, g) and max(b, f) < min(d, h)]
        assert boxes[3][2] <= 400


class TestShades:
    def test_text_can_be_read_on_every_colour(self):
        shades = Shades(0.2, 0.8)
        for step in range(101):
            back, ink = re.findall("#[0-9a-f]+", shades.style(0.2 + 0.006 * step))
            light, dark = sorted((luminance(back), 1.0 if ink == "#fff" else 0.0), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5
        assert luminance("#ffffff") == pytest.approx(1)
        assert luminance("#000000") == 0

    def test_lighter_is_better(self):
        lights = [luminance(Shades(0.0, 1.0).hue(step / 20)) for step in range(21)]
        assert lights == sorted(lights)

    def test_the_legend_has_both_ends_and_the_levels_between_them(self):
        assert words(Shades(0.2, 0.8).legend({"chance": 0.1, "raw": 0.5})) == ["20.0 %", "80.0 %", "raw"]


def test_bars_are_as_long_as_their_share():
    assert numbers(bars({"train": 1, "probe": 3}, 8, level=4)) == [12.5, 37.5, 50]
