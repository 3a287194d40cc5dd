"""Which split does what, by its name in any case."""

import pytest

from recam.data.splits import no_training_split, split_role, stable_split, training_split, validation_split


@pytest.mark.parametrize(
    ("name", "role"),
    [("Train", "train"), (" TRAINING", "train"), ("trn", "train"), ("valid", "val"), ("Validation", "val"),
     ("dev", "val"), ("Test", "test"), ("testing", "test"), ("train_aug", None), ("holdout", None), ("", None)],
)  # fmt: skip
def test_role(name, role):
    assert split_role(name) == role


def test_a_split_is_trained_on_only_where_one_alone_is_called_so():
    assert training_split(["test", "Training", "dev"]) == "Training"
    assert training_split(["test", "val"]) is None
    assert training_split(["train", "training"]) is None
    assert validation_split(["test", "dev", "Val"]) == "Val"
    assert validation_split(["test", "dev"]) == "dev"
    assert validation_split(["train"]) is None
    assert (
        no_training_split(["test", "fold1"])
        == "no split is called train, there are test, fold1; name one with --set data.train=fold1"
    )
    assert no_training_split(["train", "Training"]).startswith(
        "train and Training are both called train; name one with --set data.train="
    )


def test_an_id_goes_where_its_equal_goes_and_foreign_bytes_stop_nothing():
    composed, decomposed = "Z\u00fcrich", "Zu\u0308rich"
    for seed in range(8):
        parts = stable_split([composed, decomposed, "Z\udcfcrich"], 0.5, seed)
        assert sorted(map(len, parts)) in ([0, 3], [1, 2])
        assert any({composed, decomposed} <= set(part) for part in parts)
