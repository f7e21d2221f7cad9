"""Embed: the same moment of two modalities, closed-form losses that a blind guess cannot undercut, and learning."""

import math
from functools import partial

import pytest
import torch
from captions import captioned, picture_and_text
from clips import TinySound, TinyVideo, av_batch, tiny_multimodal
from descent import descend

from pretext.backbones.multimodal import MultiModal
from pretext.core.rng import rng
from pretext.nn.embedding_losses import InfoNCE, MaxMargin, Triplet
from pretext.ops.temporal import cut_clips, cut_sounds
from pretext.ops.words import as_bytes
from pretext.tasks.multimodal.multimodal_embedding import Embed
from pretext.testing import check_task

LOSSES = {"margin": MaxMargin, "nce": InfoNCE, "triplet": Triplet, "distance": partial(Triplet, by="distance")}


def embed(net, *names, loss="margin", **options):
    """An `Embed` whose loss's options are given beside its own."""
    made = {name: options.pop(name) for name in ("margin", "squared", "temperature", "learnt") if name in options}
    return Embed(net, *names, loss=LOSSES[loss](**made), **options)


def pose(task, x, *parts):
    return task.pose(x, rng("cpu", "embed", *parts))


@pytest.mark.parametrize("options", [{}, {"loss": "nce"}])
def test_it_keeps_the_contract(options):
    """Also the content-free kinds, unlike `Contrast`: one clip's noises in two modalities have nothing in common."""
    check_task(partial(embed, frames=4, **options), tiny_multimodal(), av_batch(6))


def test_whole_windows_take_no_chance():
    x = {"flow": av_batch(6)["rgb"][:, :2], "grey": av_batch(6)["rgb"][:, :1]}
    check_task(partial(embed, first="flow", second="grey"), tiny_multimodal(True), x, random=False, kinds=())
    puzzle = pose(embed(tiny_multimodal(True), "flow", "grey"), x)
    assert all(torch.equal(puzzle.question[name], x[name]) for name in x)


def test_both_modalities_show_the_same_moment_of_the_same_clip():
    x = av_batch(50)
    starts = set()
    for key in range(10):
        question, answer, given = pose(embed(tiny_multimodal(), frames=4), x, key)
        assert given is None
        assert torch.equal(answer, torch.arange(50))
        places = torch.stack([cut_clips(x["rgb"], torch.full((50,), start), 4) for start in range(9)])
        found = (places == question["rgb"]).flatten(2).all(2).int().argmax(0)
        assert torch.equal(question["rgb"], cut_clips(x["rgb"], found, 4))
        assert torch.equal(question["audio"], cut_sounds(x["audio"], found, 4, 12))
        starts |= set(found.tolist())
    assert starts == set(range(9))


@pytest.mark.parametrize("hardest", [None, 0])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"margin": 7.0},
        {"squared": True},
        {"loss": "nce"},
        {"loss": "nce", "temperature": 0.5},
        {"loss": "triplet"},
        {"loss": "distance", "margin": 0.4},
    ],
)
@pytest.mark.parametrize("items", [2, 5, 100])
def test_equal_embeddings_cost_1_whatever_the_batch(items, options, hardest):
    task = embed(tiny_multimodal(), hardest=hardest, **options)
    same = torch.tensor([3.0, 0, 4]).expand(items, -1)
    grade, blind = task.grade((same, same), torch.arange(items)), task.chance()
    assert grade.loss.item() == pytest.approx(1, rel=1e-6) == blind.loss.item()
    assert grade.scores["ranking"] == 0.5 == blind.scores["ranking"]


@pytest.mark.parametrize(("power", "squared"), [(1, False), (2, True)])
def test_the_max_margin_in_closed_form(power, squared):
    """Own seconds lie 0.3 and 0.2 away; of the others 1.2 is beyond the margin and 0.7 just within. ELo's are plain."""
    one, two = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.3], [1.2]])
    task = embed(tiny_multimodal(), margin=0.75, squared=squared)
    loss = (0.3**power + 0 + 0.2**power + 0.75 - 0.7**power) / 2 / 0.75
    assert MaxMargin().squared is False
    assert task.grade((one, two), torch.arange(2)).loss.item() == pytest.approx(loss, abs=1e-6)
    assert task.grade((one, two), torch.arange(2)).scores["ranking"] == 1
    assert task.grade((one, two), torch.tensor([1, 0])).scores["ranking"] == 0


def test_the_symmetric_loss_in_closed_form():
    """Right angles: right ones have a cosine of 1, all others of 0, whatever the lengths."""
    one, two = 5 * torch.eye(6), 0.1 * torch.eye(6)[[3, 1, 4, 0, 5, 2]]
    task = embed(tiny_multimodal(), loss="nce", temperature=0.5)
    grade = task.grade((one, two), torch.tensor([3, 1, 5, 0, 2, 4]))
    assert grade.loss.item() == pytest.approx((math.log(math.exp(2) + 5) - 2) / math.log(6), rel=1e-5)
    assert grade.scores["ranking"] == 1


@pytest.mark.parametrize("loss", ["margin", "nce"])
def test_only_the_nearest_wrong_one_counts_from_its_epoch_on_and_outside_training(loss):
    z = torch.randn(2, 6, 3, generator=rng("cpu", "embed", "z"))
    all_of_them, nearest = (embed(tiny_multimodal(), loss=loss, hardest=h).grade(z, torch.arange(6)) for h in (None, 0))
    assert nearest.loss > all_of_them.loss
    task = embed(tiny_multimodal(), loss=loss, hardest=5)
    for epoch, wanted in ((0, all_of_them), (4, all_of_them), (5, nearest), (90, nearest)):
        task.begin(epoch)
        assert task.train().grade(z, torch.arange(6)).loss == wanted.loss
        assert task.eval().grade(z, torch.arange(6)).loss == nearest.loss


@pytest.mark.parametrize("options", [{}, {"loss": "nce"}])
@pytest.mark.parametrize("items", [4, 64])
def test_it_starts_near_chance_in_small_and_large_batches(items, options):
    torch.manual_seed(0)
    net = tiny_multimodal()
    task = embed(net, frames=4, **options)
    question, answer, given = pose(task, av_batch(items))
    assert task.grade(task.solve(net(question), given), answer).loss.item() == pytest.approx(1, abs=0.1)


def examined(options, draw, steps=120, exams=10):
    """Train on fresh clips, then give the mean loss and ranking of clips never seen."""
    torch.manual_seed(0)
    net = tiny_multimodal()
    task = embed(net, frames=4, **options)

    def sit(step):
        question, answer, given = pose(task, draw(step), step)
        return task.grade(task.solve(net(question), given), answer)

    descend((net, task), lambda step: sit(step).loss, steps, 0.005)
    grades = [sit(steps + exam) for exam in range(exams)]
    losses, rankings = [grade.loss for grade in grades], [grade.scores["ranking"] for grade in grades]
    return torch.stack(losses).mean().item(), torch.stack(rankings).mean().item()


@pytest.mark.parametrize("options", [{}, {"loss": "nce"}])
def test_it_learns_which_sound_belongs_to_which_clip(options):
    loss, rank = examined(options, lambda step: av_batch(16, key=step))
    assert loss < 0.8
    assert rank > 0.8


@pytest.mark.parametrize("options", [{}, {"loss": "nce"}])
def test_of_one_clip_over_and_over_there_is_nothing_to_tell(options):
    one = av_batch(1)
    x = {name: part[:, :, :4].expand(16, *(-1 for _ in part.shape[1:])) for name, part in one.items()}
    x["audio"] = one["audio"][..., :80].expand(16, -1, -1)
    loss, rank = examined(options, lambda step: x, steps=20)
    assert loss > 0.99
    assert abs(rank - 0.5) < 4 * math.sqrt(1 / 12 / 16)  # rounding may break ties, in every exam alike


@pytest.mark.parametrize("options", [{}, {"loss": "nce", "hardest": 0}])
def test_a_single_clip_costs_a_blind_guess_and_teaches_nothing(options):
    net = tiny_multimodal()
    task = embed(net, frames=4, **options)
    puzzle = pose(task, av_batch(1))
    grade = task.grade(task.solve(net(puzzle.question), None), puzzle.answer)
    grade.loss.backward()
    assert grade.loss.item() == 1
    assert grade.scores["ranking"] == 0.5
    assert not any(parameter.grad.any() for parameter in task.parameters())


def test_windows_that_are_too_short_are_an_error_that_names_the_option():
    task = embed(tiny_multimodal(), frames=12)
    pose(task, av_batch(4))
    with pytest.raises(ValueError, match="clips of 12 frames do not fit windows of 10; raise `window` in the data"):
        pose(task, av_batch(4, window=10))


@pytest.mark.parametrize("x", [torch.rand(4, 3, 8, 4, 4), {"rgb": torch.rand(4, 3, 8, 4, 4)}])
def test_a_batch_that_lacks_a_modality_is_an_error(x):
    with pytest.raises(
        ValueError, match=r"Embed: wants .*'rgb' and 'audio'.*set modalities: \[rgb, audio\] in the data"
    ):
        pose(embed(tiny_multimodal()), x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 0}, "frames=0"),
        ({"width": 0}, "width=0"),
        ({"outputs": 0}, "outputs=0"),
        ({"margin": 0.0}, "margin=0.0"),
        ({"loss": "nce", "temperature": -1.0}, "temperature=-1.0"),
        ({"hardest": -1}, "hardest=-1"),
        ({"second": "rgb"}, "name two different networks of the backbone, which has rgb, audio"),
        ({"first": "smell"}, "'smell'.*name two"),
    ],
)
def test_options_out_of_range_are_errors(options, message):
    with pytest.raises(ValueError, match=f"(Embed|MaxMargin|InfoNCE): .*{message}"):
        embed(tiny_multimodal(), **options)


def test_other_backbones_are_refused():
    with pytest.raises(ValueError, match="Embed needs a MultiModal, got TinyVideo"):
        embed(TinyVideo())
    with pytest.raises(ValueError, match="one at least of clips"):
        embed(MultiModal({"left": TinySound(), "right": TinySound()}), "left", "right")


@pytest.mark.parametrize("options", [{}, {"loss": "nce"}])
def test_the_drawing_shows_what_the_prediction_found(options):
    task = embed(tiny_multimodal(), frames=4, **options)
    puzzle = pose(task, av_batch(3))
    assert [len(row) for row in task.draw(puzzle, None)] == [2] * 3
    rows = task.draw(puzzle, (torch.eye(3), torch.eye(3)[[0, 2, 1]]))
    assert [row[2].right for row in rows] == [True, False, False]
    assert [row[2].caption for row in rows] == [
        f"prediction: {w}" for w in ("its own", "that of item 3", "that of item 2")
    ]
    assert torch.equal(rows[1][2].image, rows[2][1].image)
    assert torch.equal(rows[0][2].image, rows[0][1].image)


def test_it_tells_its_settings():
    text = "first='rgb', second='audio', frames=None, loss="
    assert embed(tiny_multimodal()).extra_repr() == f"{text}MaxMargin(margin=1.0, squared=False), hardest=None"
    assert (
        embed(tiny_multimodal(), loss="nce").extra_repr()
        == f"{text}InfoNCE(temperature=0.1, learnt=False), hardest=None"
    )


CLIP = {"first": "rgb", "second": "text", "loss": "nce", "temperature": 0.07, "learnt": True}


def test_pictures_and_texts_keep_the_contract():
    check_task(partial(embed, **CLIP), picture_and_text(), captioned(6), random=False, kinds=())


def test_pictures_and_texts_are_asked_about_as_they_are():
    x = captioned(5)
    question, answer, _ = pose(embed(picture_and_text(), **CLIP), x)
    assert all(torch.equal(question[name], x[name]) for name in ("rgb", "text"))
    assert answer.tolist() == list(range(5))
    with pytest.raises(ValueError, match="frames=4, but neither network reads clips"):
        embed(picture_and_text(), **CLIP, frames=4)
    with pytest.raises(ValueError, match=r"Embed: wants .*'rgb' and 'text'"):
        pose(embed(picture_and_text(), **CLIP), {"rgb": x["rgb"]})


def test_a_clip_is_cut_beside_its_whole_text():
    net = MultiModal({"rgb": TinyVideo(), "text": picture_and_text().network("text")})
    x = {"rgb": av_batch(5)["rgb"], "text": captioned(5)["text"]}
    question = pose(embed(net, "rgb", "text", frames=4), x).question
    assert question["rgb"].shape[2] == 4
    assert torch.equal(question["text"], x["text"])


def test_a_learnt_temperature_begins_with_its_own_and_ends_at_a_hundredth():
    task = embed(picture_and_text(), **CLIP)
    z = torch.nn.functional.normalize(torch.randn(2, 5, 3, generator=rng("cpu", "embed", "z")), dim=2)
    torch.testing.assert_close(task.likeness(*z), z[0] @ z[1].mT / 0.07)
    with torch.no_grad():
        task.log_scale.fill_(9.0)
    torch.testing.assert_close(task.likeness(*z), 100 * z[0] @ z[1].mT)


def test_a_sum_over_items_is_as_many_means():
    alike = torch.randn(5, 5, generator=rng("cpu", 0))
    for hardest in (False, True):
        mean, whole = (Triplet(reduction=reduction).loss(alike, hardest) for reduction in ("mean", "sum"))
        torch.testing.assert_close(whole, 5 * mean)
    with pytest.raises(ValueError, match="reduction='most'; give one of mean, sum"):
        Triplet(reduction="most")


def test_the_temperatures_gradient_is_that_of_the_loss():
    """Orthonormal pairs cost ln(1 + 7 e^-s), s = 1 / temperature: by ln s, -7 s / (e^s + 7)."""
    task = embed(picture_and_text(), **CLIP | {"temperature": 0.5})
    grade = task.grade((torch.eye(8), torch.eye(8)), torch.arange(8))
    grade.loss.backward()
    assert grade.loss.item() * math.log(8) == pytest.approx(0.6664679, abs=1e-6)
    assert task.log_scale.grad.item() * math.log(8) == pytest.approx(-14 / (math.exp(2) + 7), rel=1e-5)


def test_it_learns_which_text_belongs_to_which_picture():
    torch.manual_seed(0)
    net = picture_and_text()
    task = embed(net, **CLIP | {"temperature": 0.2})

    def sit(step):
        question, answer, given = pose(task, captioned(24, step), step)
        return task.grade(task.solve(net(question), given), answer)

    descend((net, task), lambda step: sit(step).loss, 80, 0.005)
    assert torch.stack([sit(80 + exam).scores["ranking"] for exam in range(5)]).mean() > 0.75


def test_the_drawing_says_what_is_written():
    task = embed(picture_and_text(), **CLIP)
    x = captioned(2) | {"text": as_bytes(["a red one", "a blue one"]).float() / 255}
    rows = task.draw(pose(task, x), (torch.eye(2), torch.eye(2)[[1, 0]]))
    assert [panel.caption for panel in rows[0]] == [
        "which text is of this item?",
        "answer: its own",
        "prediction: that of item 2",
    ]
    torch.testing.assert_close(rows[0][0].image, x["rgb"][0])
