import matplotlib
import pytest
import torch
from matplotlib import pyplot
from nets import TinyNet
from PIL import Image
from torch.testing import assert_close
from torchvision.transforms.functional import pil_to_tensor

from pretext import Augment, Jigsaw, Panel, Pretrainer, Rotation
from pretext.report import puzzles as show
from pretext.report.puzzles import paint
from pretext.training.puzzles import puzzles

GREEN, RED = (0x00, 0x9E, 0x73), (0xD6, 0x40, 0x2B)


def painted(tmp_path, rows, name=""):
    """Paint one task and read the PNG back: uint8 (4, H, W)."""
    out = tmp_path / "new folder" / "puzzles.png"
    paint({name: rows}, out)
    return pil_to_tensor(Image.open(out))


def visible(picture):
    """Cut out what is not transparent."""
    ys, xs = picture[3].nonzero(as_tuple=True)
    return picture[:, ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]


def colours(picture):
    return {tuple(c) for c in picture[:3, picture[3] == 255].T.unique(dim=0).tolist()}


def ramp(h, w):
    """An image (3, h, w) of which every pixel has its own colour, exact in 8 bits."""
    index = torch.arange(h * w).view(h, w)
    return torch.stack([index % 256, index // 256, 255 - index % 256]) / 255


class TestPaint:
    @pytest.mark.parametrize("side", [8, 16, 32])
    def test_small_images_are_enlarged_pixel_by_pixel(self, side, tmp_path):
        image = ramp(side, side)
        found = visible(painted(tmp_path, [[Panel(image)]]))
        times = 192 // side
        assert found.shape == (4, 192, 192)
        expected = (image * 255).round().byte().repeat_interleave(times, 1).repeat_interleave(times, 2)
        assert_close(found[:3], expected, rtol=0, atol=0)

    def test_large_images_are_reduced_without_changing_shape_or_mean(self, tmp_path):
        image = torch.rand(3, 250, 500)
        found = visible(painted(tmp_path, [[Panel(image)]]))
        assert found.shape == (4, 192, 384)  # two places of a row
        assert_close(found[:3].float().mean((1, 2)) / 255, image.mean((1, 2)), rtol=0, atol=0.01)

    def test_a_long_caption_below_a_wide_picture_is_not_cut_off(self, tmp_path):
        words = "a caption of fifty-five letters, some of them quite WIDE"
        bare, told = (painted(tmp_path, [[Panel(torch.zeros(3, 60, 150), text)]]) for text in ("", words))
        assert told.shape[2] > bare.shape[2]
        assert not told[3, :, -3:].any()  # the last columns stay clear: the text ends before them

    def test_what_is_no_colour_is_painted_all_the_same(self, tmp_path):
        image = torch.full((3, 8, 8), float("nan"))
        image[:, 0], image[:, 1] = 7.0, -7.0
        assert colours(painted(tmp_path, [[Panel(image.bfloat16())]])) == {(0, 0, 0), (255, 255, 255)}

    def test_right_and_wrong_differ_in_colour_and_without_colour(self, tmp_path):
        below = {}
        for right, mine, other in ((True, GREEN, RED), (False, RED, GREEN)):
            picture = painted(tmp_path, [[Panel(torch.zeros(3, 8, 8), "up", right)]])
            assert mine in colours(picture)
            assert other not in colours(picture)
            frame = (picture[:3] == torch.tensor(mine).view(3, 1, 1)).all(0)
            below[right] = picture[0, frame.nonzero()[:, 0].max() + 1 :]  # words are dark on white in both
        assert below[True].any()
        assert not torch.equal(below[True], below[False])  # the caption's tick or cross, colour aside

    def test_nothing_to_judge_has_no_frame(self, tmp_path):
        assert not {GREEN, RED} & colours(painted(tmp_path, [[Panel(torch.zeros(3, 8, 8), "up")]]))

    @pytest.mark.parametrize(("rows", "columns"), [(1, 1), (25, 1), (5, 3), (2, 13)])
    def test_every_panel_is_there_however_many(self, rows, columns, tmp_path):
        fills = ramp(rows, columns)  # one colour for each panel
        grid = [[Panel(fills[:, r, c].view(3, 1, 1).expand(3, 8, 8)) for c in range(columns)] for r in range(rows)]
        expected = {tuple(c) for c in (fills * 255).round().int().flatten(1).T.tolist()}
        assert colours(painted(tmp_path, grid)) == expected

    def test_a_picture_too_long_for_a_png_writer_is_scaled_down(self, tmp_path, monkeypatch):
        grid = [[Panel(torch.full((3, 8, 8), i / 255))] for i in range(24)]
        monkeypatch.setattr(show, "LIMIT", 400)
        picture = painted(tmp_path, grid)
        assert max(picture.shape) <= 400
        assert {(i, i, i) for i in range(24)} <= colours(picture)

    def test_rows_of_different_lengths_and_tasks_without_rows(self, tmp_path):
        one, two = Panel(torch.zeros(3, 8, 8)), Panel(torch.ones(3, 8, 8))
        paint({"none": [], "uneven": [[one], [one, two], []]}, tmp_path / "x.png")
        assert colours(pil_to_tensor(Image.open(tmp_path / "x.png"))) >= {(0, 0, 0), (255, 255, 255)}

    def test_a_caption_is_text_not_a_formula(self, tmp_path):
        with_dollars = painted(tmp_path, [[Panel(torch.zeros(3, 8, 8), "$\\frac$ {_^")]])
        assert not torch.equal(with_dollars[3], painted(tmp_path, [[Panel(torch.zeros(3, 8, 8))]])[3])

    def test_the_users_settings_stay_and_do_not_matter(self, tmp_path):
        rows = [[Panel(ramp(8, 8), "which way is up?", True)]]
        expected = painted(tmp_path, rows, "turn")
        theirs = {
            "image.origin": "lower",
            "savefig.bbox": "tight",
            "font.size": 40,
            "axes.facecolor": "red",
            "savefig.dpi": 9,
        }
        with matplotlib.rc_context(theirs):
            before = dict(matplotlib.rcParams)
            assert torch.equal(painted(tmp_path, rows, "turn"), expected)
            assert dict(matplotlib.rcParams) == before
        assert not pyplot.get_fignums()

    def test_nothing_to_paint(self, tmp_path):
        with pytest.raises(ValueError, match="no panel"):
            paint({"turn": []}, tmp_path / "x.png")


class TestPuzzles:
    @pytest.fixture
    def module(self):
        tasks = {"turn": Rotation, "puzzle": lambda backbone: Jigsaw(backbone, grid=2, permutations=4)}
        return Pretrainer(TinyNet(), tasks, augment=Augment(16))

    @pytest.fixture
    def batch(self):
        return {"x": torch.randint(256, (12, 3, 20, 20), dtype=torch.uint8)}

    @pytest.mark.parametrize("count", [1, 2, 5, 12])
    def test_as_many_rows_as_asked_for(self, count, module, batch):
        drawn = puzzles(module, batch, count, trained=False)
        assert {name: len(rows) for name, rows in drawn.items()} == {"turn": count, "puzzle": count}

    def test_no_more_rows_than_there_are(self, module, batch):
        drawn = puzzles(module, batch, 50, trained=False)
        assert {name: len(rows) for name, rows in drawn.items()} == {"turn": 4 * 12, "puzzle": 12}

    def test_rotation_shows_every_image_and_every_turn(self, module, batch):
        rows = puzzles(module, batch, 8, trained=False)["turn"]
        assert {row[1].caption for row in rows} == {f"answer: turned {turn}°" for turn in (0, 90, 180, 270)}
        centre = batch["x"][:8, :, 2:18, 2:18] / 255
        assert_close(torch.stack([row[1].image for row in rows]), centre)

    def test_a_prediction_only_if_trained(self, module, batch):
        asked, answered = (puzzles(module, batch, 4, trained) for trained in (False, True))
        for name, rows in asked.items():
            assert {len(row) for row in answered[name]} == {len(rows[0]) + 1}

    def test_a_head_that_always_says_180_is_right_where_180_is_the_answer(self, module, batch):
        head = module.tasks["turn"].head
        torch.nn.init.zeros_(head.weight)
        head.bias.data = torch.tensor([0.0, 0.0, 1.0, 0.0])
        rows = puzzles(module, batch, 8, trained=True)["turn"]
        assert [row[2].right for row in rows] == [row[1].caption == "answer: turned 180°" for row in rows]
        assert any(row[2].right for row in rows)

    def test_the_same_call_draws_the_same_puzzles_and_leaves_the_module_as_it_was(self, module, batch):
        module.train()
        module.backbone.conv2.eval()  # a part that its owner keeps in evaluation mode
        modes = {name: part.training for name, part in module.named_modules()}
        state = {name: value.clone() for name, value in module.state_dict().items()}
        first, second = (puzzles(module, batch, 4, trained=True) for _ in range(2))
        for name, rows in first.items():
            for row, again in zip(rows, second[name], strict=True):
                assert [panel.caption for panel in row] == [panel.caption for panel in again]
                assert all(torch.equal(a.image, b.image) for a, b in zip(row, again, strict=True))
        assert {name: part.training for name, part in module.named_modules()} == modes
        assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())

    def test_without_augment_the_whole_canvas_is_shown(self, batch):
        rows = puzzles(Pretrainer(TinyNet(), {"turn": Rotation}), batch, 2, trained=False)["turn"]
        assert rows[0][0].image.shape == (3, 20, 20)

    def test_count_must_be_positive(self, module, batch):
        with pytest.raises(ValueError, match="at least 1; got 0"):
            puzzles(module, batch, 0, trained=False)
