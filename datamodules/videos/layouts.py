"""Where the videos of a data set lie, which class each is of, and which are for training and which for testing.

No file is opened, and none looked at more than its name and kind, so 100,000 of them are listed within seconds.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from datamodules.errors import DataError
from datamodules.listing import Listing, Splits, of_classes, scan, subfolders
from datamodules.lists import Lists, Row, read_lists, read_rows, splits_of
from datamodules.split_folders import split_folders

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".3gp", ".ogv")
"""The files that count as videos, in upper or lower case."""
Layout = Literal["folders", "files", "lists", "ucf101", "hmdb51", "kinetics"]

_KINETICS_TESTS = ("val", "validation", "validate", "test")  # the official test set has no labels
_HMDB_USES = {"1": "train", "2": "test"}  # 0: used in neither


def splits(root: Path, layout: Layout, fold: int, lists: Lists) -> Splits:
    """List a data set.

    Raises:
        DataError: it is missing, empty or not laid out so.

    """
    if not root.is_dir():
        raise DataError(f"{root} is a file, but a folder of videos is wanted" if root.exists() else f"no folder {root}")
    if layout in ("folders", "files"):
        return folders(root, labelled=layout == "folders")
    if layout == "lists":
        return read_lists(root, lists)
    if layout == "kinetics":
        return kinetics(root, lists.train_list, lists.test_list)
    return ucf101(root, fold) if layout == "ucf101" else hmdb51(root, fold)


def folders(root: Path, labelled: bool) -> Splits:
    """Read `root/{train,test|val|...}/<class>/**`, `root/<class>/**` or, without class folders or labels, any files."""
    found = split_folders(subfolders(root))
    top = found.train if found.train is not None and (found.test or subfolders(root / found.train)) else ""
    if top:
        found.refuse_others(root, "videos", SUFFIXES)
    held = found.test if top else None
    classes = subfolders(root / top) if labelled else []
    train = _of_folder(root, top, classes)
    test = None if held is None else _of_folder(root, held, classes)
    return Splits(classes, train, test)


def ucf101(root: Path, fold: int) -> Splits:
    """Read `ucfTrainTestlist/{train,test}list0<fold>.txt`, whose files lie in `UCF-101/<class>` or in `<class>`."""
    rows: dict[str, list[Row]] = {}
    for part in ("train", "test"):
        path = root / "ucfTrainTestlist" / f"{part}list0{fold}.txt"
        files = [row.file for row in read_rows(path, {"file": 0})]
        base = _base(root, ("UCF-101", "UCF101", ""), files)
        rows[part] = [Row(base + file, file.split("/")[0], part) for file in files]
    return splits_of(rows["train"], rows["test"], root)


def hmdb51(root: Path, fold: int) -> Splits:
    """Read `<class>_test_split<fold>.txt`, in the root or a folder in it; the files lie in `<class>` folders."""
    ending = f"_test_split{fold}.txt"
    lists = sorted([*root.glob(f"*{ending}"), *root.glob(f"*/*{ending}")])
    if not lists:
        raise DataError(f"{root} holds no <class>{ending}, neither itself nor in a folder")
    rows = []
    for path in lists:
        name = path.name.removesuffix(ending)
        used = [(row.file, row.label or "") for row in read_rows(path, None) if row.label in _HMDB_USES]
        base = _base(root, ("", "videos", "hmdb51_org", "hmdb51"), [f"{name}/{file}" for file, _ in used])
        rows += [Row(f"{base}{name}/{file}", name, _HMDB_USES[use]) for file, use in used]
    train, test = ([row for row in rows if row.split == part] for part in ("train", "test"))
    return splits_of(train, test, root)


def kinetics(root: Path, train_list: str | None, test_list: str | None) -> Splits:
    """Read `train.csv` and `val.csv` (or `validate.csv`, `test.csv`), in the root or in `annotations`.

    The files `<youtube_id>_<time_start, 6 digits>_<time_end, 6 digits>.<suffix>` may lie in any folders. Many can no
    longer be downloaded: rows without a file are left out.
    """
    where = {Path(name).stem: name for name in scan(root, "", SUFFIXES)}
    lists = [_annotations(root, ("train",), train_list), _annotations(root, _KINETICS_TESTS, test_list)]
    if lists[0] is None:
        raise DataError(f"{root} holds no train.csv, neither itself nor in annotations; name it as train_list")
    train, test = (None if path is None else _kinetics_rows(path, where) for path in lists)
    return splits_of(train or [], test, root)


def _annotations(root: Path, names: Iterable[str], asked: str | None) -> Path | None:
    """Choose a list: the one asked for, or else the first that exists."""
    if asked is not None:
        return root / asked
    paths = [root / folder / f"{name}.csv" for name in names for folder in ("", "annotations")]
    return next((path for path in paths if path.exists()), None)


def _kinetics_rows(path: Path, where: dict[str, str]) -> list[Row]:
    if not path.is_file():
        raise DataError(f"there is no list {path}")
    with path.open(newline="", encoding="utf-8-sig") as file:
        table = list(csv.DictReader(file))
    if not table or not {"youtube_id", "time_start", "time_end"} <= table[0].keys():
        raise DataError(f"{path} is not a list with the columns label, youtube_id, time_start, time_end")
    stems = [f"{r['youtube_id']}_{int(float(r['time_start'])):06}_{int(float(r['time_end'])):06}" for r in table]
    there = [(where[stem], row.get("label")) for stem, row in zip(stems, table, strict=True) if stem in where]
    if not there:
        raise DataError(f"none of the {len(table)} videos of {path} is there, not even {stems[0]}.mp4")
    return [Row(file, label, None) for file, label in there]


def _of_folder(root: Path, folder: str, classes: list[str]) -> Listing:
    """List the files of each class folder in a folder, or all files where there are no classes."""
    if not classes:
        names = scan(root, folder, SUFFIXES)
        if not names:
            raise DataError(f"{root / folder} holds no videos ({', '.join(SUFFIXES)}) at any depth")
        return Listing(names, None)
    unlike = ', unlike the training set; layout="lists" reads labels'
    return of_classes(root, folder, classes, "videos", SUFFIXES, unlike)


def _base(root: Path, folders: Iterable[str], files: list[str]) -> str:
    """Find the folder in which at least one of a list's first files lies, with its slash."""
    tried = [f"{folder}/" if folder else "" for folder in folders]
    for base in tried:
        if any((root / f"{base}{file}").exists() for file in files[:10]):
            return base
    raise DataError(
        f"{files[0] if files else 'a file'} lies in none of {', '.join(str(root / base) for base in tried)}"
    )
