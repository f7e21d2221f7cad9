"""Alignment: where each clip comes from, symmetric moments, a curriculum, and silence that leaves only chance."""

import math
from dataclasses import fields
from functools import partial

import pytest
import torch
from clips import TinySound, TinyVideo, av_batch, tiny_multimodal
from descent import descend
from nets import TinyNet

from pretext.backbones.multimodal import MultiModal
from pretext.core.rng import rng
from pretext.nn.alignment_readouts import Binary, Contrastive
from pretext.ops.negatives import KINDS, Negatives, moments_apart
from pretext.ops.temporal import cut_clips, cut_sounds
from pretext.tasks.multimodal.alignment import Alignment
from pretext.testing import check_task

READOUTS = {"bce": Binary, "contrastive": Contrastive}
MIX = {"easy": 0.3, "hard": 0.4, "super_hard": 0.3}
SAMPLES = 17  # for each frame of a window


def alignment(net, first="rgb", second="audio", loss="bce", **options):
    """An `Alignment` whose parts' options are given beside its own."""

    def given(part):
        return {field.name: options.pop(field.name) for field in fields(part) if field.name in options}

    readout = READOUTS[loss]
    options["kinds"] = options.pop("negatives", "easy")
    options.setdefault("gap", 0)
    return Alignment(
        net, first, second, readout=readout(**given(readout)), negatives=Negatives(**given(Negatives)), **options
    )


def pose(task, x, *parts):
    return task.pose(x, rng("cpu", "alignment", *parts))


def told(n, window):
    """Windows that tell of every frame and sample which item and frame it is of: 1000 item + frame, and samples."""
    frames = torch.arange(window).view(1, 1, -1, 1, 1) + 1000.0 * torch.arange(n).view(-1, 1, 1, 1, 1)
    samples = torch.arange(window * SAMPLES) + 1000.0 * SAMPLES * torch.arange(n).view(-1, 1, 1)
    return {"rgb": frames.expand(-1, 3, -1, 2, 2).clone(), "audio": samples}


def moments(puzzle, second="audio"):
    """Read from told windows: (N,) starts, item and first frame of each pair's second, (N, 2) each."""
    first = puzzle.question["rgb"][:, 0, 0, 0, 0].long()
    other = puzzle.question[second].flatten(1)[:, 0].long().view(-1, 2)
    if second == "audio":
        assert not (other % SAMPLES).any()
        other = other // SAMPLES
    return first % 1000, other // 1000, other % 1000


@pytest.mark.parametrize(("loss", "negatives"), [("bce", MIX), ("contrastive", "easy")])
def test_it_keeps_the_contract(loss, negatives):
    check_task(partial(alignment, frames=4, negatives=negatives, loss=loss), tiny_multimodal(), av_batch(6))


def test_it_keeps_the_contract_of_sound_with_flow():
    x = av_batch(6)
    x["flow"] = x.pop("rgb")[:, :2]
    factory = partial(alignment, first="audio", second="flow", frames=4, negatives="hard")
    check_task(factory, tiny_multimodal(True), x)


@pytest.mark.parametrize("negatives", ["easy", "hard", "super_hard", MIX])
def test_of_every_item_one_pair_is_aligned_and_one_is_not(negatives):
    task = alignment(tiny_multimodal(), frames=4, negatives=negatives)
    puzzle = pose(task, told(9, 20))
    start, source, begin = moments(puzzle)
    assert puzzle.question["rgb"].shape == (9, 3, 4, 2, 2)
    assert puzzle.question["audio"].shape == (18, 1, 4 * SAMPLES)
    assert puzzle.answer.aligned.tolist() == [1, 0] * 9
    assert torch.equal(source[:, 0], torch.arange(9))
    assert torch.equal(begin[:, 0], start)
    assert ((source[:, 1] != source[:, 0]) | (begin[:, 1] != start)).all()
    assert torch.equal(puzzle.answer.source, source.flatten())
    assert torch.equal(puzzle.answer.shift, (begin - start[:, None]).flatten())


@pytest.mark.parametrize(("window", "samples"), [(20, 340), (20, 333), (13, 1000), (30, 16000)])
def test_the_sound_of_a_clip_begins_at_the_sample_of_its_first_frame(window, samples):
    """Aligned or not, of the same item or another: first sample round(start L / W), as many as the frames last."""
    n, frames = 40, 4
    x = {"rgb": torch.zeros(n, 3, window, 1, 1), "audio": torch.arange(samples).expand(n, 1, -1).clone()}
    x["rgb"] += torch.arange(window).view(1, 1, -1, 1, 1)
    for negatives in KINDS:
        question, answer, _ = pose(alignment(tiny_multimodal(), frames=frames, negatives=negatives), x)
        first = question["rgb"][:, 0, 0, 0, 0].long().repeat_interleave(2) + answer.shift
        wanted = [math.floor(start * samples / window + 0.5) for start in first.tolist()]
        count = math.floor(frames * samples / window + 0.5)
        assert question["audio"].shape == (2 * n, 1, count)
        assert question["audio"][:, 0, 0].tolist() == [min(start, samples - count) for start in wanted]
        assert (question["audio"].diff(dim=-1) == 1).all()
        assert torch.equal(question["audio"], cut_sounds(x["audio"][answer.source], first, frames, window))


def test_the_second_may_be_pictures_and_the_first_sound():
    x = told(9, 20)
    x["grey"] = x["rgb"][:, :1] + 0.5
    task = alignment(tiny_multimodal(True), second="grey", frames=4, negatives=MIX)
    question, answer, _ = pose(task, x)
    starts = question["rgb"][:, 0, 0, 0, 0].long().repeat_interleave(2) % 1000 + answer.shift
    assert torch.equal(question["grey"], cut_clips(x["grey"][answer.source], starts, 4))
    turned = pose(alignment(tiny_multimodal(), "audio", "rgb", frames=4, negatives=MIX), x)
    assert torch.equal(turned.question["audio"], pose(task, x | {"rgb": x["audio"], "grey": x["grey"]}).question["rgb"])
    assert torch.equal(turned.question["rgb"][:, :1] + 0.5, question["grey"])


def test_an_easy_pair_is_of_another_item_at_the_same_place():
    seen = set()
    for key in range(30):
        start, source, begin = moments(pose(alignment(tiny_multimodal(), frames=4), told(5, 20), key))
        assert torch.equal(begin[:, 1], start)
        assert len(source[:, 1].unique()) == 5  # every item is the wrong one once, as it is once the right one
        seen |= {tuple(pair) for pair in source.tolist()}
    assert seen == {(a, b) for a in range(5) for b in range(5) if a != b}


def test_by_default_hard_pairs_are_half_a_second_apart_as_in_avts():
    """At 25 frames a second, that of all configs: 13 frames are 0.52 s, and 12 would be less than half."""
    assert Negatives().gap == math.ceil(25 / 2)
    assert Negatives("hard").least("hard", 8) == 8 + 13


@pytest.mark.parametrize("gap", [0, 3])
def test_hard_pairs_do_not_overlap_and_keep_the_gap(gap):
    task = alignment(tiny_multimodal(), frames=4, negatives="hard", gap=gap)
    apart = set()
    for key in range(20):
        start, source, begin = moments(pose(task, told(50, 20), key))
        assert torch.equal(source[:, 1], torch.arange(50))
        apart |= set((begin[:, 1] - start).abs().tolist())
    assert apart == set(range(4 + gap, 17))  # the next frame is the first that they do not share


@pytest.mark.parametrize(("overlap", "wanted"), [(None, {3, 4, 5}), (5, {1, 2, 3, 4, 5}), (1, {5})])
def test_super_hard_pairs_share_at_most_so_many_frames(overlap, wanted):
    task = alignment(tiny_multimodal(), frames=6, negatives="super_hard", overlap=overlap)
    start, source, begin = moments(pose(task, told(200, 20)))
    assert torch.equal(source[:, 1], torch.arange(200))
    assert set((begin[:, 1] - start).abs().tolist()) == wanted  # 6 - shift frames are shared


@pytest.mark.parametrize(("places", "least", "most"), [(17, 4, 17), (17, 3, 5), (5, 4, 5), (9, 1, 2)])
def test_moments_are_as_likely_swapped(places, least, most):
    """The list of what is drawn from is its own mirror image: both moments begin at each place equally often."""
    pairs = {tuple(pair) for pair in moments_apart(places, least, most).tolist()}
    assert pairs == {(a, b) for a in range(places) for b in range(places) if least <= abs(a - b) <= most}
    assert pairs == {(b, a) for a, b in pairs}


@pytest.mark.parametrize("negatives", [*KINDS, MIX])
def test_where_a_clip_begins_says_nothing_of_its_being_aligned(negatives):
    """Chi-square of the start in the window, aligned against not, 17 places: beyond 49 once in 30,000 times.

    Pairs of one item are not independent, which narrows the difference if anything where they begin together.
    """
    task = alignment(tiny_multimodal(), frames=4, negatives=negatives)
    _, _, begin = moments(pose(task, told(900, 20)))
    one, other = (torch.bincount(column, minlength=17) for column in begin.unbind(1))
    assert len(one) == len(other) == 17
    assert ((one - other) ** 2 / (one + other).clamp(min=1)).sum() < 49
    assert one.min() > 0


def test_easy_pairs_begin_anywhere_equally_often():
    start, _, _ = moments(pose(alignment(tiny_multimodal(), frames=4), told(900, 20)))
    counts = torch.bincount(start, minlength=17)
    assert ((counts - 900 / 17) ** 2 / (900 / 17)).sum() < 49


def kinds(task, *parts, n=900, frames=4):
    """The shares of the kinds among the pairs of a batch."""
    start, source, begin = moments(pose(task, told(n, 20), *parts))
    easy = source[:, 1] != source[:, 0]
    shift = (begin[:, 1] - start).abs()
    counted = (easy, ~easy & (shift >= frames), ~easy & (shift > 0) & (shift < frames))
    return [kind.float().mean().item() for kind in counted]


def test_the_shares_of_the_kinds_are_met():
    """Within 4 standard deviations of 900 draws."""
    assert kinds(alignment(tiny_multimodal(), frames=4, negatives=MIX)) == pytest.approx([0.3, 0.4, 0.3], abs=0.066)


def test_the_curriculum_follows_the_epoch_and_ends_outside_training():
    """AVTS: easy ones only, then a quarter of them; validation is the same from the first epoch to the last."""
    curriculum = {50: {"easy": 0.25, "hard": 0.75}, 80: {"super_hard": 1.0}}
    task = alignment(tiny_multimodal(), frames=4, curriculum=curriculum)
    wanted = {0: [1, 0, 0], 49: [1, 0, 0], 50: [0.25, 0.75, 0], 79: [0.25, 0.75, 0], 80: [0, 0, 1], 500: [0, 0, 1]}
    assert kinds(task) == [1, 0, 0]  # before it has been told of any epoch
    for epoch, shares in wanted.items():
        task.begin(epoch)
        assert kinds(task.train(), epoch) == pytest.approx(shares, abs=0.06)
        assert kinds(task.eval(), epoch) == [0, 0, 1]
    first = alignment(tiny_multimodal(), frames=4, curriculum={0: {"hard": 1.0}})
    assert kinds(first) == [0, 1, 0]


def test_a_single_item_gets_a_hard_pair_or_nothing_that_can_be_told():
    task = alignment(tiny_multimodal(), frames=4)
    start, source, begin = moments(pose(task, told(1, 12)))
    assert source.tolist() == [[0, 0]]
    assert (begin[:, 1] - start).abs().item() >= 4
    puzzle = pose(task, told(1, 6))
    assert torch.equal(*puzzle.question["audio"])
    grade = task.grade(task.solve(tiny_multimodal().eval()(puzzle.question), None), puzzle.answer)
    assert grade.scores["accuracy"] == 0.5
    assert grade.loss >= math.log(2) - 1e-6


@pytest.mark.parametrize("loss", ["bce", "contrastive"])
def test_equal_features_are_exactly_chance(loss):
    task = alignment(tiny_multimodal(), frames=4, loss=loss)
    answer = pose(task, av_batch(6)).answer
    same = torch.ones(12, 2) if loss == "bce" else torch.full((12, 2, 128), 3.7)
    grade, blind = task.grade(same, answer), task.chance()
    wanted = math.log(2) if loss == "bce" else 0.49005
    assert grade.loss.item() == pytest.approx(wanted, abs=1e-6) == pytest.approx(blind.loss.item(), abs=1e-6)
    assert grade.scores["accuracy"] == 0.5 == blind.scores["accuracy"]


def test_of_equal_embeddings_comes_no_gradient_that_is_not_a_number():
    task = alignment(tiny_multimodal(), frames=4, loss="contrastive")
    same = torch.ones(12, 2, 8, requires_grad=True)
    task.grade(same, pose(task, av_batch(6)).answer).loss.backward()
    assert not same.grad.any()


@pytest.fixture(scope="module", params=["bce", "contrastive"])
def trained(request):
    """A task and networks that have learnt to tell hard pairs."""
    torch.manual_seed(0)
    net = tiny_multimodal()
    task = alignment(net, frames=4, loss=request.param, negatives="hard")
    if request.param == "contrastive":  # a plateau lies between distances that are small beside the margin and others
        for head in task.heads:
            head[-1].weight.data.mul_(50)

    def loss(step):
        puzzle = pose(task, av_batch(32, key=step), step)
        return task.grade(task.solve(net(puzzle.question), None), puzzle.answer).loss

    descend((net, task), loss, 200, 0.005)
    return task.eval(), net.eval()


@torch.no_grad()
def sit(task, net, puzzle):
    return task.grade(task.solve(net(puzzle.question), None), puzzle.answer)


def test_it_learns_to_tell_and_swapped_pairs_flip_the_answer(trained):
    task, net = trained
    puzzle = pose(task, av_batch(256, key=10_000))
    grade = sit(task, net, puzzle)
    assert grade.scores["accuracy"] > 0.75
    assert grade.loss < (0.5 if task.readout == Binary() else 0.2)
    rows = torch.arange(512) ^ 1
    swapped = puzzle._replace(question=puzzle.question | {"audio": puzzle.question["audio"][rows]})
    assert sit(task, net, swapped).scores["accuracy"].item() == pytest.approx(1 - grade.scores["accuracy"].item())
    as_well = puzzle.answer._replace(aligned=puzzle.answer.aligned[rows])
    assert sit(task, net, swapped._replace(answer=as_well)).loss.item() == pytest.approx(grade.loss.item(), rel=1e-5)


def test_without_its_sound_nothing_is_left_but_chance(trained):
    task, net = trained
    x = av_batch(256, key=10_000)
    grade = sit(task, net, pose(task, x | {"audio": torch.zeros_like(x["audio"])}))
    assert grade.scores["accuracy"] == 0.5
    assert grade.loss >= (math.log(2) if task.readout == Binary() else task.readout.margin**2 / 4) - 1e-6


def test_without_its_picture_nothing_is_left_but_chance(trained):
    """Every pair of moments is as likely swapped: over both, what is said of a sound is right once and wrong once."""
    task, net = trained
    x = av_batch(256, key=10_000)
    puzzle = pose(task, x | {"rgb": torch.zeros_like(x["rgb"])})
    mirrored = puzzle._replace(question=puzzle.question | {"audio": puzzle.question["audio"][torch.arange(512) ^ 1]})
    grades = [sit(task, net, one) for one in (puzzle, mirrored)]
    assert sum(grade.scores["accuracy"].item() for grade in grades) == pytest.approx(1)
    assert (
        sum(grade.loss.item() for grade in grades)
        >= 2 * (math.log(2) if task.readout == Binary() else 0.49005 / 2) - 1e-5
    )


def test_the_first_network_looks_once_for_both_pairs():
    """Its features are repeated, not computed twice."""
    net, seen = tiny_multimodal(), []
    net.backbones["rgb"].register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    task = alignment(net, frames=4)
    puzzle = pose(task, av_batch(6))
    assert task.solve(net(puzzle.question), None).shape == (12, 2)
    assert seen == [6]


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        ({"negatives": "easy"}, 8),
        ({"negatives": "hard"}, 16),
        ({"negatives": "hard", "gap": 3}, 19),
        ({"negatives": "super_hard"}, 12),
        ({"negatives": "super_hard", "overlap": 7}, 9),
        ({"curriculum": {90: {"easy": 0.5, "hard": 0.5}}}, 16),  # said at once, not after 90 epochs
    ],
)
def test_windows_that_are_too_short_are_an_error_that_names_the_option(options, needed):
    task = alignment(tiny_multimodal(), **options)
    pose(task, told(4, needed))
    with pytest.raises(ValueError, match=f"at least {needed} frames, got {needed - 1}; raise `window` in the data mod"):
        pose(task, told(4, needed - 1))


@pytest.mark.parametrize("x", [torch.rand(4, 3, 8, 4, 4), {"rgb": torch.rand(4, 3, 8, 4, 4)}])
def test_a_batch_that_lacks_a_modality_is_an_error(x):
    with pytest.raises(
        ValueError, match=r"Alignment: wants .*'rgb' and 'audio'.*modalities: \[rgb, audio\] in the data"
    ):
        pose(alignment(tiny_multimodal()), x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 0}, "frames=0"),
        ({"gap": -1}, "gap=-1"),
        ({"loss": "contrastive", "margin": 0.0}, "margin=0.0"),
        ({"width": 0}, "width=0"),
        ({"negatives": {"soft": 1.0}}, "negatives from epoch 0 on are {'soft': 1.0}"),
        ({"negatives": {"easy": 1.5, "hard": -0.5}}, "negatives from epoch 0"),
        ({"negatives": {}}, "negatives from epoch 0"),
        ({"curriculum": {-1: {"easy": 1.0}}}, "negatives from epoch -1"),
        ({"curriculum": {5: {"easy": 0.5, "hard": 0.4}}}, "the shares from epoch 5 on.*add up to 0.9, not 1"),
        ({"negatives": "super_hard", "overlap": 8}, "overlap is 8 of 8 frames.*give 1 to 7"),
        ({"negatives": "super_hard", "overlap": 0}, "overlap is 0"),
        ({"negatives": "super_hard", "frames": 1}, "overlap is 0 of 1 frames"),
        ({"second": "rgb"}, "name two different networks of the backbone, which has rgb, audio"),
        ({"second": "smell"}, "'smell'; name two"),
    ],
)
def test_options_out_of_range_are_errors(options, message):
    with pytest.raises(ValueError, match=f"(Alignment|Negatives|Binary|Contrastive): .*{message}"):
        alignment(tiny_multimodal(), **options)


def test_other_backbones_are_refused():
    with pytest.raises(ValueError, match="Alignment needs a MultiModal, got TinyVideo"):
        alignment(TinyVideo())
    with pytest.raises(ValueError, match="one at least of clips, got"):
        alignment(MultiModal({"left": TinySound(), "right": TinySound()}), "left", "right")
    with pytest.raises(ValueError, match="one at least of clips, got"):
        alignment(MultiModal({"rgb": TinyNet(), "audio": TinySound()}))


@pytest.mark.parametrize("loss", ["bce", "contrastive"])
def test_the_drawing_shows_each_pair_and_judges_it(loss):
    task = alignment(tiny_multimodal(), frames=4, loss=loss, negatives=MIX)
    puzzle = pose(task, av_batch(8))
    plain = task.draw(puzzle, None)
    assert [len(row) for row in plain] == [3] * 8
    assert all(panel.right is None for row in plain for panel in row)
    for i, (_, right, wrong) in enumerate(plain):
        assert right.caption == "answer: aligned"
        shift, source = puzzle.answer.shift[2 * i + 1].item(), puzzle.answer.source[2 * i + 1].item()
        later = f"{abs(shift)} frames {'later' if shift > 0 else 'earlier'}"
        assert wrong.caption == f"answer: {f'of item {source + 1}' if source != i else later}"
    close = torch.tensor([[0.0, 1.0]]) if loss == "bce" else torch.zeros(1, 2, 128)  # aligned, all of them
    rows = task.draw(puzzle, close.expand(16, *close.shape[1:]))
    assert [[panel.right for panel in row] for row in rows] == [[None, True, False]] * 8
    assert rows[0][1].caption == "answer: aligned; prediction: aligned"
    for one, two in zip(plain, rows, strict=True):
        assert all(torch.equal(a.image, b.image) for a, b in zip(one, two, strict=True))


def test_it_tells_its_settings():
    task = alignment(tiny_multimodal(), frames=4, gap=3)
    parts = "readout=Binary(width=128), negatives=Negatives(kinds='easy', curriculum=None, gap=3, overlap=None)"
    assert task.extra_repr() == f"first='rgb', second='audio', frames=4, {parts}"
