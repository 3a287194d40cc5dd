"""What maps cost: by hand."""

from recam.runfolder.costs import baseline_stage, cost_in_units, cumulative_minutes, upstream_minutes


def record(seconds, images, reads=(), history=None, label=None, **more):
    results = {"images": images} | ({"history": history} if history else {})
    inputs = {"inputs": dict.fromkeys(reads, "key")}
    return {"seconds": seconds, "results": results, "inputs": inputs, "label": label or {}, **more}


def classifier(training, base=None):
    return {"kind": "classifier", "training": training, "base": base}


def scores(training, **more):
    return {"kind": "scores of maps", "training": training, **more}


RECORDS = {
    "features": record(60, 100),
    "train/cam": record(240, 100, ["features"], [{"epoch": 1}], classifier("cam")),
    "maps/cam": record(60, 120, ["train/cam"]),
    "scores/cam": record(999, 40, ["maps/cam"], label=scores("cam")),
    "train/recam": record(120, 100, ["train/cam", "features"], [{"epoch": 1}], classifier("recam", "cam")),
    "maps/recam": record(60, 120, ["train/recam"]),
    "scores/recam": record(999, 40, ["maps/recam"], label=scores("recam")),
    "refined/recam+crf": record(30, 120, ["maps/recam"]),
    "scores/recam+crf": record(999, 40, ["refined/recam+crf"], label=scores("recam", refiner="CRF")),
}


def test_by_hand():
    # CAM: 60 + 240 + 60; ReCAM: 60 + 240 + 120 + 60; its CRF: 30 more.
    assert upstream_minutes(RECORDS, "scores/cam") == 6
    assert upstream_minutes(RECORDS, "scores/recam") == 8
    assert upstream_minutes(RECORDS, "scores/recam+crf") == 8.5
    assert cumulative_minutes(RECORDS, "refined/recam+crf") == 8.5
    assert cost_in_units(RECORDS, "scores/cam") == 1
    assert cost_in_units(RECORDS, "scores/recam+crf") == 8.5 / 6


def test_unknown_where_a_stage_was_resumed_or_is_missing():
    resumed = RECORDS | {"train/recam": RECORDS["train/recam"] | {"resumed": True}}
    assert upstream_minutes(resumed, "scores/recam") is None
    assert cost_in_units(resumed, "scores/cam") == 1
    without = {name: value for name, value in RECORDS.items() if name != "train/cam"}
    assert cost_in_units(without, "scores/recam") is None
    assert upstream_minutes({}, "scores/cam") is None


def test_the_unit_are_the_first_unrefined_maps_that_no_other_training_comes_before():
    assert baseline_stage(RECORDS) == "scores/cam"
    order = ["train/cam", "train/recam", "scores/recam", "scores/recam+crf", "scores/cam"]
    assert baseline_stage({name: RECORDS[name] for name in order}) == "scores/cam"
    assert baseline_stage({name: RECORDS[name] for name in order[:4]}) is None
    assert baseline_stage({"scores/external": record(1, 1, label=scores("external"))}) is None


def test_maps_of_a_map_maker_are_no_unit():
    by_maker = {
        "train/cam": RECORDS["train/cam"],
        "maps/cam+advcam": record(600, 120, ["train/cam"]),
        "scores/cam+advcam": record(1, 40, ["maps/cam+advcam"], label=scores("cam", maker="AdvCAM")),
    }
    assert baseline_stage(by_maker) is None
    assert cost_in_units(by_maker | {"features": RECORDS["features"]}, "scores/cam+advcam") is None
    # 60 + 240 + 600 seconds beside CAM's own 360.
    assert cost_in_units(by_maker | RECORDS, "scores/cam+advcam") == 2.5
    assert baseline_stage(by_maker | RECORDS) == "scores/cam"
