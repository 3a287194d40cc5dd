"""Images whose labels judge: a share of every class, the same whatever the order."""

from collections import Counter

from recam.data.held_out import hold_out
from recam.types import Sample


def samples(*labels):
    return [Sample(f"{index:03}", tuple(each), None) for index, each in enumerate(labels)]


def count(held):
    return Counter(label for sample in held for label in sample.labels)


def test_every_class_gives_its_share():
    all_of_them = samples(*[(0,)] * 100, *[(1,)] * 10, *[(0, 2)] * 20, *[()] * 10)
    kept, held = hold_out(all_of_them, 0.2, seed=4)
    assert count(held)[1] == 2
    assert count(held)[2] == 4
    assert count(held)[0] == 24
    assert sum(not sample.labels for sample in held) == 2
    assert sorted(sample.id for sample in kept + held) == [sample.id for sample in all_of_them]


def test_a_small_class_gives_one_and_the_smallest_none():
    _, held = hold_out(samples(*[(0,)] * 30, *[(1,)] * 3, *[(2,)] * 2), 0.1, seed=0)
    assert count(held) == {0: 3, 1: 1}
    assert hold_out(samples((0,), (0, 1)), 0.5, seed=0)[1] == []


def test_order_changes_nothing_and_the_seed_does():
    some = samples(*[(0,)] * 20, *[(1,)] * 20)
    first = {sample.id for sample in hold_out(some, 0.25, seed=1)[1]}
    assert {sample.id for sample in hold_out(some[::-1], 0.25, seed=1)[1]} == first
    assert {sample.id for sample in hold_out(some, 0.25, seed=2)[1]} != first
    assert hold_out(some, 0.0, seed=1) == (some, [])
