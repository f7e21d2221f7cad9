import os
import time

import pytest

from datamodules import DataError, Lists, Splitting
from datamodules.videos.clips import Clips
from datamodules.videos.layouts import splits


def tree(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def found(root, layout="folders", fold=1, train_list=None, test_list=None, columns=None):
    """Classes, then (file, class) of each split."""
    classes, train, test = splits(root, layout, fold, Lists(train_list, test_list, columns))

    def named(listing):
        labels = [None] * len(listing.names) if listing.labels is None else [classes[k] for k in listing.labels]
        return list(zip(listing.names, labels, strict=True))

    return classes, named(train), None if test is None else named(test)


@pytest.mark.parametrize("name", ["test", "val", "valid", "validation", "validate"])
def test_class_folders_with_splits(tmp_path, name):
    tree(tmp_path, "train/cat/1.mp4", "train/dog/deep/er/2.AVI", f"{name}/dog/3.webm", "train/dog/notes.txt")
    tree(tmp_path, "train/dog/.hidden.mp4", "train/.cache/4.mp4", "other/notes.txt")
    assert found(tmp_path) == (
        ["cat", "dog"],
        [("train/cat/1.mp4", "cat"), ("train/dog/deep/er/2.AVI", "dog")],
        [(f"{name}/dog/3.webm", "dog")],
    )


@pytest.mark.parametrize("layout", ["folders", "files"])
def test_videos_beside_the_training_set_that_nobody_would_use_are_refused(tmp_path, layout):
    tree(tmp_path, "train/cat/1.mp4", "validate/cat/2.mp4", "other/5.mp4")
    with pytest.raises(DataError, match=r"other holds videos beside .* train, .* call it one of test, testing, val"):
        found(tmp_path, layout)


def test_class_folders_alone_and_a_class_called_train(tmp_path):
    tree(tmp_path, "car/1.mp4", "train/2.mp4")
    assert found(tmp_path) == (["car", "train"], [("car/1.mp4", "car"), ("train/2.mp4", "train")], None)


def test_files_without_class_folders_have_no_labels_and_any_nesting_may_do_without(tmp_path):
    tree(tmp_path / "flat", "2.mp4", "1.mkv")
    assert found(tmp_path / "flat") == ([], [("1.mkv", None), ("2.mp4", None)], None)
    tree(tmp_path / "split", "train/1.mp4", "validate/2.mp4")
    assert found(tmp_path / "split") == ([], [("train/1.mp4", None)], [("validate/2.mp4", None)])
    tree(tmp_path / "deep", "a/b/1.mp4", "c/2.mp4")
    assert found(tmp_path / "deep", "files") == ([], [("a/b/1.mp4", None), ("c/2.mp4", None)], None)


def test_links_are_followed_but_never_in_a_circle(tmp_path):
    tree(tmp_path, "a/1.mp4")
    (tmp_path / "a/again").symlink_to(tmp_path / "a")
    (tmp_path / "a/2.mp4").symlink_to("nowhere")
    (tmp_path / "b").symlink_to("a")
    assert [name for name, _ in found(tmp_path, "files")[1]] == ["a/1.mp4", "a/2.mp4", "b/1.mp4", "b/2.mp4"]


def test_ucf101_has_three_official_splits(tmp_path):
    names = ["Archery/v_Archery_g01_c01.avi", "YoYo/v_YoYo_g01_c01.avi", "YoYo/v_YoYo_g02_c01.avi"]
    tree(tmp_path, *(f"UCF-101/{name}" for name in names))
    lists = tmp_path / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "trainlist01.txt").write_text(f"{names[0]} 1\n{names[1]} 2\n")
    (lists / "testlist01.txt").write_text(f"{names[2]}\n")
    (lists / "trainlist03.txt").write_text(f"{names[0]} 1\r\n{names[2]} 2\r\n")
    (lists / "testlist03.txt").write_text(f"{names[1]}\r\n")
    one, two, three = (f"UCF-101/{name}" for name in names)
    assert found(tmp_path, "ucf101") == (
        ["Archery", "YoYo"],
        [(one, "Archery"), (two, "YoYo")],
        [(three, "YoYo")],
    )
    assert found(tmp_path, "ucf101", fold=3)[2] == [(two, "YoYo")]
    with pytest.raises(DataError, match=r"no list .*trainlist02\.txt"):
        found(tmp_path, "ucf101", fold=2)


@pytest.mark.parametrize(("lists", "videos"), [("", ""), ("testTrainMulti_7030_splits/", "hmdb51_org/")])
def test_hmdb51_uses_1_for_training_2_for_testing_0_for_neither(tmp_path, lists, videos):
    names = [f"{videos}{name}" for name in ("run/a.avi", "run/b.avi", "run/c.avi", "walk/d.avi", "walk/e.avi")]
    tree(tmp_path, *names)
    (tmp_path / lists).mkdir(exist_ok=True)
    (tmp_path / lists / "run_test_split2.txt").write_text("a.avi 2 \nb.avi 0 \nc.avi 1 \n")
    (tmp_path / lists / "walk_test_split2.txt").write_text("d.avi 1 \ne.avi 2 \n")
    assert found(tmp_path, "hmdb51", fold=2) == (
        ["run", "walk"],
        [(names[2], "run"), (names[3], "walk")],
        [(names[0], "run"), (names[4], "walk")],
    )
    with pytest.raises(DataError, match=r"holds no <class>_test_split1\.txt"):
        found(tmp_path, "hmdb51")


def test_kinetics_files_are_found_by_id_and_time_and_missing_ones_left_out(tmp_path):
    tree(tmp_path, "train/a dog/-x_y_000003_000013.mp4", "val/_z_000100_000110.mkv")
    header = "label,youtube_id,time_start,time_end,split\n"
    (tmp_path / "train.csv").write_text(f'{header}"a dog, big",-x_y,3,13,train\ncat,lost,0,10,train\n')
    (tmp_path / "val.csv").write_text(f'{header}"a dog, big",_z,100,110,validate\n')
    assert found(tmp_path, "kinetics") == (
        ["a dog, big"],
        [("train/a dog/-x_y_000003_000013.mp4", "a dog, big")],
        [("val/_z_000100_000110.mkv", "a dog, big")],
    )
    (tmp_path / "val.csv").write_text(f"{header}cat,lost,7,17,validate\n")
    with pytest.raises(
        DataError, match=r"none of the 1 videos of .*val\.csv is there, not even lost_000007_000017\.mp4"
    ):
        found(tmp_path, "kinetics")


def test_a_list_with_a_header_a_column_of_splits_and_files_beside_it(tmp_path):
    tree(tmp_path, "videos/1.mp4", "videos/2.mp4", "videos/3.mp4", "videos/4.mp4")
    text = 'file,class_id,word,split,said\n1.mp4,7,ja,train,"ja, ja"\n2.mp4,10,nein,train,\n3.mp4,10,nein,test,x\n'
    (tmp_path / "labels.csv").write_text(text)
    columns = {"file": "file", "label": "word", "split": "split"}
    one, two, three = [("videos/1.mp4", "ja")], [("videos/2.mp4", "nein")], [("videos/3.mp4", "nein")]
    assert found(tmp_path, "lists", train_list="labels.csv", columns=columns) == (["ja", "nein"], one + two, three)
    numbers = columns | {"label": "class_id"}  # numbers in their own order
    assert found(tmp_path, "lists", train_list="labels.csv", columns=numbers)[0] == ["7", "10"]
    named = found(tmp_path, "lists", train_list="labels.csv")  # file and split are found by their names
    assert named == ([], [("videos/1.mp4", None), ("videos/2.mp4", None)], [("videos/3.mp4", None)])


def test_two_lists_without_header_whose_files_lie_in_folders_of_their_names(tmp_path):
    tree(tmp_path, "train/Jump/a b.mp4", "train/Run/2.mp4", "validate/24.mp4")
    (tmp_path / "train.txt").write_text("0\t0\tJump/a b.mp4\n1\t3\tRun/2.mp4\n")
    (tmp_path / "validate.txt").write_text("0\t3\t24.mp4\n")
    options = {"train_list": "train.txt", "test_list": "validate.txt", "columns": {"label": 1, "file": 2}}
    assert found(tmp_path, "lists", **options) == (
        ["0", "3"],
        [("train/Jump/a b.mp4", "0"), ("train/Run/2.mp4", "3")],
        [("validate/24.mp4", "3")],
    )


def test_by_default_the_first_column_is_the_file_and_the_second_the_label(tmp_path):
    tree(tmp_path, "x/1.mp4", "x/2.mp4")
    (tmp_path / "all.txt").write_text("x/1.mp4 b\nx/2.mp4 a\n")
    (tmp_path / "bare.txt").write_text("x/1.mp4\nx/2.mp4\n")
    assert found(tmp_path, "lists", train_list="all.txt") == (["a", "b"], [("x/1.mp4", "b"), ("x/2.mp4", "a")], None)
    assert found(tmp_path, "lists", train_list="bare.txt")[:2] == ([], [("x/1.mp4", None), ("x/2.mp4", None)])
    with pytest.raises(DataError, match=r"all\.txt and its test set: some files have a label"):
        found(tmp_path, "lists", train_list="all.txt", test_list="bare.txt")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "wants train_list"),
        ({"train_list": "none.csv"}, r"no list .*none\.csv"),
        ({"train_list": "empty.csv"}, r"empty\.csv is empty"),
        ({"train_list": "list.csv", "columns": {"label": 1}}, 'wants "file"'),
        ({"train_list": "list.csv", "columns": {"file": "film"}}, r"no column 'film'; its header is \['1\.mp4', 'a'\]"),
        ({"train_list": "list.csv", "columns": {"file": 0, "label": 4}}, "row 1 has no column 4"),
        ({"train_list": "list.csv", "columns": {"file": 1}}, r"'a', the first file of .*list\.csv, is in none of"),
        ({"train_list": "list.csv", "test_list": "other.csv"}, r"classes \['b'\] of the test set"),
    ],
)
def test_a_list_that_does_not_fit_says_so(tmp_path, options, message):
    tree(tmp_path, "1.mp4", "empty.csv")
    (tmp_path / "list.csv").write_text("1.mp4,a\n")
    (tmp_path / "other.csv").write_text("1.mp4,b\n")
    with pytest.raises(DataError, match=message):
        found(tmp_path, "lists", **options)


def test_folders_that_do_not_fit_say_so(tmp_path):
    with pytest.raises(DataError, match=r"no folder .*lost"):
        found(tmp_path / "lost")
    with pytest.raises(DataError, match="is a file, but a folder of videos"):
        found(tree(tmp_path, "file.mp4") / "file.mp4")
    with pytest.raises(DataError, match="holds no videos"):
        found(tree(tmp_path / "a", "x.txt"))
    with pytest.raises(DataError, match="train/cat holds no videos"):
        found(tree(tmp_path / "b", "train/cat/x.txt"))
    with pytest.raises(DataError, match="test/dog has no counterpart"):
        found(tree(tmp_path / "c", "train/cat/1.mp4", "test/dog/2.mp4"))
    with pytest.raises(DataError, match=r'validate holds no class folders.*layout="lists"'):
        found(tree(tmp_path / "d", "train/cat/1.mp4", "validate/2.mp4"))


def test_listing_opens_no_file_and_is_linear(tmp_path):
    names = [f"{k % 50:02}/{k}.mp4" for k in range(10_000)]
    tree(tmp_path, "0.mp4", *(f"{k:02}/x.mp4" for k in range(50)))
    (tmp_path / "0.mp4").chmod(0)
    for name in names:
        os.link(tmp_path / "0.mp4", tmp_path / name)  # of nothing that could be decoded
    begin = time.perf_counter()
    data = Clips(tmp_path, split=Splitting(val=0.1))
    data.setup("fit")
    assert len(data.train_dataloader().items) + len(data.val_dataloader().items) == 10_050 * 0.8
    assert time.perf_counter() - begin < 2  # 0.2 s on two idle cores
    assert not data.skipped
