"""Labels of the kinds that people have: from file names, with images that nobody has labelled, in groups."""

import numpy as np
import pytest

from recam.data.catalog import fingerprint
from recam.data.check import check
from recam.data.folder import Folder
from recam.data.held_out import hold_out
from recam.data.images import write_mask, write_png
from recam.data.name_pattern import make_pattern
from recam.data.splits import split_groups
from recam.digests import digest_file
from recam.errors import DataError, RecipeError
from recam.types import Sample


def add(root, *names):
    for name in names:
        write_png(root / f"{name}.png", np.zeros((4, 6, 3), np.uint8))


def labels_of(folder):
    return {s.id: [folder.classes.names[i] for i in s.labels] for s in folder.samples("all")}


def kinds(problems):
    return sorted(problem.kind for problem in problems)


def test_labels_from_names(tmp_path):
    add(tmp_path, "cat_1", "cat_2", "more/dog_1", "background_7", "odd")
    folder = Folder(tmp_path, labels_from="{label}_{id}.png")
    assert labels_of(folder) == {"cat_1": ["cat"], "cat_2": ["cat"], "more/dog_1": ["dog"], "background_7": []}
    (problem,) = folder.problems()
    assert (problem.kind, problem.where) == ("name-not-matched", str(tmp_path / "odd.png"))
    assert "does not fit data.labels_from = '{label}_{id}'" in problem.message
    assert folder.unlabelled() == []  # something is wrong with its name: that is not the same as no label


def test_several_labels_in_a_name(tmp_path):
    add(tmp_path, "1_cat+dog", "2_cat", "3_")
    folder = Folder(tmp_path, labels_from=r"\d+_(?P<label>.*)", label_separator="+")
    assert labels_of(folder) == {"1_cat+dog": ["cat", "dog"], "2_cat": ["cat"], "3_": []}
    assert check(folder).labels_per_image == (0, 2)


def test_a_name_with_two_readings_is_not_guessed_at(tmp_path):
    add(tmp_path, "big_cat_1", "dog_1")
    (problem,) = Folder(tmp_path, labels_from="{label}_{id}").problems()
    assert problem.kind == "name-unclear"
    assert "with the label 'big' or 'big_cat': list the classes in classes.txt, or give a regular" in problem.message
    (tmp_path / "classes.txt").write_text("big_cat\ndog\n")
    assert labels_of(Folder(tmp_path, labels_from="{label}_{id}")) == {"big_cat_1": ["big_cat"], "dog_1": ["dog"]}
    (tmp_path / "classes.txt").unlink()
    expression = r"(?P<label>[a-z_]+)_\d+"
    assert labels_of(Folder(tmp_path, labels_from=expression)) == {"big_cat_1": ["big_cat"], "dog_1": ["dog"]}


def test_names_that_show_no_label_at_all(tmp_path):
    add(tmp_path, "a", "b")
    with pytest.raises(DataError, match="no name of a file shows a label"):
        Folder(tmp_path, labels_from="{label}_{id}")
    (tmp_path / "labels.csv").write_text("image,labels\na,x\n")
    with pytest.raises(DataError, match="holds labels as well"):
        Folder(tmp_path, labels_from="{label}_{id}")
    with pytest.raises(RecipeError, match=r"set data\.labels_from as well"):
        Folder(tmp_path, label_separator="+")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("{id}_{name}", "has no field {label}"),
        ("label", "has no field {label}"),
        ("{label}{id}", "has fields with nothing between them"),
        ("{label}_{label}", "has the field {label} twice"),
        ("{label}_{a b}", "has a field that is no name"),
        ("(?P<name>x)", r"has no group \(\?P<label>"),
        ("(?P<label>x", "is no regular expression"),
    ],
)
def test_patterns_that_are_none(text, wrong):
    with pytest.raises(
        RecipeError, match=rf"data.labels_from = .* {wrong}.* Give a pattern such as '{{label}}_{{id}}'"
    ):
        make_pattern(text, "label", "data.labels_from")


def test_a_pattern_with_a_slash_reads_the_path():
    pattern = make_pattern("{group}/{label}/{id}", "label", "data.labels_from")
    assert pattern.read("slide1/tumour/3").fields == {"group": "slide1", "label": "tumour"}
    assert pattern.read("tumour/3") is None
    assert make_pattern("{label}.v{n}", "label", "x").read("a/b/cat.v2").fields == {"label": "cat"}


@pytest.fixture
def partly(tmp_path):
    """Two labelled images, one that shows none of the classes, two that no row names; one of these is damaged."""
    add(tmp_path / "images", "a", "b", "none", "new", "cut")
    (tmp_path / "images" / "cut.png").write_bytes(b"no picture")
    (tmp_path / "labels.csv").write_text("image,labels\na,cat\nb,cat\nnone,\n")
    return tmp_path


def test_an_empty_label_is_another_thing_than_no_row(partly):
    folder = Folder(partly)
    assert labels_of(folder) == {"a": ["cat"], "b": ["cat"], "none": []}
    assert [sample.id for sample in folder.unlabelled()] == ["cut", "new"]
    report = check(folder)
    assert (report.images, report.unlabelled, report.unlisted) == (3, 1, 2)
    assert kinds(report.problems) == ["unreadable-image"]
    assert "3 images, 1 class, 1 images that show none of them\n2 more images are unlabelled" in str(report)


def test_images_without_a_row_may_be_negatives(partly):
    folder = Folder(partly, unlisted="negative")
    assert labels_of(folder) == {"a": ["cat"], "b": ["cat"], "none": [], "new": [], "cut": []}
    assert folder.unlabelled() == folder.problems() == []
    (partly / "labels.csv").write_text("image,labels,split\na,cat,train\nb,cat,val\n")
    (problem,) = Folder(partly, unlisted="negative").problems()
    assert problem.kind == "missing-split"
    assert "3 images are in no row" in problem.message
    with pytest.raises(RecipeError, match=r"unlisted = 'negativ'\. Did you mean 'negative'"):
        Folder(partly, unlisted="negativ")


def test_an_image_whose_row_is_broken_is_no_negative(partly):
    (partly / "labels.csv").write_text("image,labels\na,cat\nb,cat\nnone,\nnew,cat,dog\n")
    folder = Folder(partly, unlisted="negative")
    assert kinds(folder.problems()) == ["bad-row"]
    assert "new" not in labels_of(folder)


def make_patients(root, column="patient", groups=6, each=5, split=""):
    rows = [f"image,labels,{column}{',split' * bool(split)}"]
    for number in range(groups * each):
        add(root / "images", f"{number:03}")
        rows.append(f"{number:03},{'cat' if number % 2 else ''},p{number // each}{split and ',' + split}")
    (root / "labels.csv").write_text("\n".join(rows))
    write_mask(root / "masks" / "000.png", np.zeros((4, 6), np.uint8))


def sides(folder):
    return [{int(sample.id) // 5 for sample in folder.samples(split)} for split in folder.splits]


def test_groups_are_never_on_both_sides(tmp_path):
    make_patients(tmp_path)
    for seed in range(10):
        train, val = sides(Folder(tmp_path, group="patient", split_seed=seed))
        assert len(val) == 1
        assert train | val == set(range(6))
        assert not train & val
    assert any(set.intersection(*sides(Folder(tmp_path, split_seed=seed))) for seed in range(3))  # without groups
    report = check(Folder(tmp_path, group="patient"))
    assert (report.splits["train"].groups, report.splits["val"].groups) == (5, 1)
    assert kinds(report.notes) == ["unscored-split"]  # of a mask that shows nothing
    assert "groups             5    1" in str(report)


def test_groups_on_both_sides_of_splits_of_ones_own(tmp_path):
    make_patients(tmp_path, split="train")
    table = tmp_path / "labels.csv"
    assert Folder(tmp_path, group="patient").problems() == []
    table.write_text(table.read_text().replace("012,,p2,train", "012,,p2,val").replace("p5", ""))
    found = {problem.kind: problem.message for problem in Folder(tmp_path, group="patient").problems()}
    assert sorted(found) == ["group-in-several-splits", "missing-group"]
    assert "1 groups are in more than one split (first: p2 in train and val)" in found["group-in-several-splits"]
    assert "5 images have no group (first: 025)" in found["missing-group"]
    report = check(Folder(tmp_path, group="patient"), decode=False)
    assert (kinds(report.problems), "missing-group" in kinds(report.notes)) == (["group-in-several-splits"], True)


def test_a_column_of_groups_beside_class_columns_is_no_class(tmp_path):
    add(tmp_path, "a", "b")
    (tmp_path / "labels.csv").write_text("image,cat,Slide\na,1,s1\nb,0,s2\n")
    assert Folder(tmp_path, group="Slide").classes.names == ("cat",)
    assert [sample.group for sample in Folder(tmp_path, group="Slide").samples("all")] == ["s1", "s2"]
    with pytest.raises(DataError, match=r"no column 'slide', which data.group names\. Did you mean 'Slide'"):
        Folder(tmp_path, group="slide")
    (tmp_path / "labels.csv").unlink()
    add(tmp_path / "cat", "c")
    with pytest.raises(DataError, match=r"no labels\.csv to read it from"):
        Folder(tmp_path, group="Slide")


def test_groups_from_names_and_names_that_suggest_them(tmp_path):
    for slide in range(4):
        add(tmp_path / ("tumour" if slide % 2 else "normal"), *(f"slide{slide}_tile{tile:02}" for tile in range(3)))
    (note,) = Folder(tmp_path).problems()
    assert note.kind == "groups-suggested"
    assert "4 beginnings such as 'slide0' (3 images)" in note.message
    pattern = note.message.rsplit("data.group = '")[1].partition("'")[0]
    assert pattern == "{group}_{id}"
    folder = Folder(tmp_path, group=pattern)
    assert folder.problems() == []
    assert {sample.group for sample in folder.samples("all")} == {f"slide{slide}" for slide in range(4)}
    add(tmp_path / "tumour", "other")
    assert kinds(Folder(tmp_path, group=pattern).problems()) == ["name-not-matched"]


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        ([f"TCGA-{a}-{b}" for a in "xyz" for b in range(4)], "(?P<group>[^_-]*[_-][^_-]*)[_-].+"),
        ([f"IMG_{number}" for number in range(30)], None),  # one beginning
        ([f"{number}_a" for number in range(30)], None),  # as many as images
        ([f"{name}_{number}" for name in ("cat", "dog", "ox") for number in range(9)], None),  # classes
    ],
)
def test_what_names_suggest(tmp_path, names, pattern):
    add(tmp_path / "images", *names)
    rows = [f"{name},{name.partition('_')[0] if 'cat' in names[0] else 'x'}" for name in names]
    (tmp_path / "labels.csv").write_text("\n".join(["image,labels", *rows]))
    found = [note.message for note in Folder(tmp_path).problems() if note.kind == "groups-suggested"]
    assert [f"data.group = '{pattern}'" in message for message in found] == [True] * (pattern is not None)
    if pattern:
        assert {s.group for s in Folder(tmp_path, group=pattern).samples("all")} == {"TCGA-x", "TCGA-y", "TCGA-z"}


def test_split_of_groups_by_hand():
    group_of = {f"{group}{number}": group for group in "abcde" for number in range(20)}
    for seed in range(5):
        assert len(split_groups(group_of, 0.2, seed)[1]) == 20
        assert len(split_groups(group_of, 0.5, seed)[1]) in (40, 60)
    assert split_groups(group_of, 0.0, 0)[1] == []
    assert len(split_groups({"x": "a", "y": "b"}, 0.01, 0)[1]) == 1
    assert split_groups({"x": "a", "y": "a"}, 0.5, 0)[1] == []  # a single group stays to be learned from


def test_held_out_labels_are_of_whole_groups():
    patients = [Sample(f"{n:03}", (n % 2,), None, None, f"p{n // 10}") for n in range(100)]
    for seed in range(5):
        kept, held = hold_out(patients, 0.2, seed)
        assert {s.group for s in kept}.isdisjoint(s.group for s in held)
        assert len(held) == 20
    large = [Sample(f"{n:03}", (0,), None, None, f"p{n // 50}") for n in range(100)]
    assert len(hold_out(large, 0.2, 0)[1]) == 50  # nearest that there is to 20 and judges something
    one = [Sample(f"{n:03}", (0,), None, None, "p") for n in range(10)]
    assert hold_out(one, 0.2, 0)[1] == []


def test_another_group_is_other_data(tmp_path):
    make_patients(tmp_path)
    prints = {fingerprint(Folder(tmp_path, group=group).samples("all"), digest_file) for group in (None, "patient")}
    assert len(prints) == 2
