"""The built-in data set: the same picture from (seed, index) in any order, and masks that agree with labels."""

import pickle
import subprocess
import sys
from collections import Counter
from hashlib import sha256
from itertools import combinations

import numpy as np
import pytest

from recam.data.catalog import fingerprint, open_catalog
from recam.errors import DataError
from recam.labels import BACKGROUND, IGNORE, mask_value
from recam.scenes.catalog import ScenesCatalog
from recam.scenes.coats import _WEIGHTS
from recam.scenes.painter import draw_scene
from recam.scenes.plan import CLASSES, MAX_COVERED, MIN_AREA, _covered, plan_scene
from recam.scenes.quadruped import BUILDS, quadruped

SMALL = 64


def _digest(index: int) -> str:
    image, mask = draw_scene(3, "val", index, SMALL)
    return sha256(image.tobytes() + mask.tobytes()).hexdigest()


def test_a_picture_is_the_same_in_any_order():
    forward = [_digest(i) for i in range(5)]
    assert [_digest(i) for i in reversed(range(5))] == forward[::-1]
    assert len(set(forward)) == 5


def test_a_picture_is_the_same_in_another_process():
    code = (
        "from hashlib import sha256; from recam.scenes.painter import draw_scene; "
        f"i, m = draw_scene(3, 'val', 2, {SMALL}); print(sha256(i.tobytes() + m.tobytes()).hexdigest())"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert printed == _digest(2)


def test_seed_and_split_change_the_picture():
    pictures = [draw_scene(seed, split, 0, SMALL)[0] for seed, split in ((0, "train"), (1, "train"), (0, "val"))]
    assert not np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])


@pytest.mark.parametrize("size", [64, 96, 224, 600])
def test_shapes_and_values(size):
    image, mask = draw_scene(0, "train", 1, size)
    assert (image.shape, image.dtype) == ((size, size, 3), np.uint8)
    assert (mask.shape, mask.dtype) == ((size, size), np.uint8)
    assert image.std() > 15
    assert set(np.unique(mask)) <= {BACKGROUND, IGNORE, *(mask_value(k) for k in range(10))}


def test_labels_are_the_classes_of_the_mask():
    for sample in ScenesCatalog(size=SMALL, train=200).samples("train"):
        mask = sample.mask.read()
        shown = set(np.unique(mask).tolist()) - {BACKGROUND, IGNORE}
        assert shown == {mask_value(label) for label in sample.labels}, sample.id
        assert min(np.mean(mask == value) for value in shown) > 0.005, sample.id


def test_border_parts_all_regions_and_is_thin():
    for index in range(20):
        mask = draw_scene(0, "train", index, 96)[1]
        for a, b in ((mask[:, :-1], mask[:, 1:]), (mask[:-1], mask[1:])):
            touching = (a != IGNORE) & (b != IGNORE)
            assert np.array_equal(a[touching], b[touching])
        assert 0 < np.mean(mask == IGNORE) < 0.2


def test_plans_hold_one_to_four_objects_of_every_class_and_all_distractors():
    plans = [plan_scene(0, "train", i) for i in range(400)]
    objects = [[t for t in p.things if t.kind in CLASSES] for p in plans]
    assert {len(o) for o in objects} == {1, 2, 3, 4}
    assert min(Counter(t.kind for o in objects for t in o)[name] for name in CLASSES) > 30
    assert {t.kind for p in plans for t in p.things} == {*CLASSES, "tree", "bush", "rock", "fence"}
    assert {t.left for o in objects for t in o if t.kind == "cow"} == {True, False}


def test_every_object_keeps_half_its_width_free():
    occluded = 0
    for index in range(200):
        things = plan_scene(0, "train", index).things
        for k, thing in enumerate(things):
            if thing.kind not in CLASSES:
                continue
            x0, y0, x1, y1 = thing.box
            assert (x1 - x0) * (y1 - y0) >= MIN_AREA - 1e-9
            before = [t.box for t in things[k + 1 :] if t.box[1] < y1 and t.box[3] > y0]
            covered = _covered(x0, x1, [(b[0], b[2]) for b in before])
            occluded += covered > 0
            assert covered <= MAX_COVERED * (x1 - x0) + 1e-9
    assert occluded > 20


def test_covered_is_the_union_of_spans():
    assert _covered(0.0, 1.0, [(0.1, 0.3), (0.2, 0.4), (0.9, 2.0), (-1.0, 0.05)]) == pytest.approx(0.05 + 0.3 + 0.1)


def test_context_occurs_mostly_with_its_object_but_also_without():
    plans = [plan_scene(0, "train", i) for i in range(600)]
    for setting, kind in (("lake", "boat"), ("rails", "train"), ("road", "car")):
        found = [CLASSES.index(kind) in p.labels for p in plans if p.setting == setting]
        assert 0.7 < np.mean(found) < 0.97
        assert not any(CLASSES.index(kind) in p.labels for p in plans if p.setting != setting)


@pytest.mark.parametrize("kind", BUILDS)
def test_five_animals_come_from_one_routine(kind):
    figures = [quadruped(kind, np.random.default_rng(i)) for i in range(3)]
    assert all(len(f.parts) > 15 for f in figures)
    assert len({f.outlines().tobytes() for f in figures}) == 3
    assert kind in CLASSES[:5]


@pytest.mark.parametrize(("one", "other"), list(combinations(BUILDS, 2)))
def test_coat_colours_occur_in_several_animals(one, other):
    assert len(set(_WEIGHTS[one]) & set(_WEIGHTS[other])) >= 4


@pytest.mark.parametrize("name", ["leg", "depth", "withers"])
def test_proportions_of_the_trunk_overlap(name):
    ranges = [getattr(build, name) for build in BUILDS.values()]
    assert all(low < high for low, high in ranges)
    for low, high in ranges:
        assert (
            sum(other_low < high and low < other_high for other_low, other_high in ranges) >= 4
        )  # itself and three of four


def test_samples_are_named_and_planned_without_drawing(monkeypatch):
    monkeypatch.setattr("recam.scenes.catalog.draw_scene", lambda *_: pytest.fail("drawn"))
    catalog = open_catalog("scenes:", train=30, val=7)
    assert [len(catalog.samples(s)) for s in catalog.splits] == [30, 7]
    assert catalog.samples("train")[12].id == "train-000012"
    assert catalog.roles.score == "train"
    assert catalog.problems() == []
    assert catalog.samples("val")[3].image.where == "scenes:val-000003"


def test_image_and_mask_of_a_sample_cost_one_drawing(monkeypatch):
    calls = []

    def counted(*key):
        calls.append(key)
        return draw_scene(*key)

    monkeypatch.setattr("recam.scenes.catalog.draw_scene", counted)
    sample = ScenesCatalog(size=SMALL, seed=991, train=1).samples("train")[0]
    sample.image.read()[:] = 0  # the reader's copy, not the one kept
    sample.mask.read()
    assert sample.image.read().any()
    assert len(calls) == 1


def test_selected_classes_leave_the_others_as_ignore():
    names = ["sheep", "cow"]
    every, some = ScenesCatalog(size=SMALL, train=40), ScenesCatalog(size=SMALL, train=40, classes=names)
    assert some.classes.names == ("cow", "sheep")
    for whole, part in zip(every.samples("train"), some.samples("train"), strict=True):
        assert part.labels == tuple(
            new for new, name in enumerate(("cow", "sheep")) if CLASSES.index(name) in whole.labels
        )
        before, after = whole.mask.read(), part.mask.read()
        other = ~np.isin(before, [BACKGROUND, 1, 3])
        assert np.all(after[other] == IGNORE)
        assert np.array_equal(after[before == 3], np.full((before == 3).sum(), 2))


def test_fingerprint_changes_with_seed_size_and_classes():
    def of(**options):
        return fingerprint(ScenesCatalog(train=3, **options).samples("train"))

    assert of() == of()
    assert len({of(), of(seed=1), of(size=96), of(classes=["cow", "bird"])}) == 4


def test_sources_can_be_sent_to_workers():
    sample = ScenesCatalog(size=SMALL, train=1).samples("train")[0]
    assert np.array_equal(pickle.loads(pickle.dumps(sample)).image.read(), sample.image.read())


def test_a_location_is_refused():
    with pytest.raises(DataError, match=r"not read from 'photos'. Write scenes: with nothing"):
        open_catalog("scenes:photos")


def test_numbers_out_of_range_are_told_together():
    with pytest.raises(DataError, match=r"seed = -1, but at least 0; size = 8, but at least 48"):
        ScenesCatalog(seed=-1, size=8)


def test_unknown_split_and_class_get_near_matches():
    with pytest.raises(DataError, match="Did you mean 'train'"):
        ScenesCatalog().samples("trian")
    with pytest.raises(DataError, match="Did you mean 'horse'"):
        ScenesCatalog(classes=["hosre"])
