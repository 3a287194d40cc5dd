"""What maps cost: by hand."""

from recam.runfolder.costs import cost_in_cams, minutes_behind


def record(seconds, images, reads=(), history=None, **more):
    results = {"images": images} | ({"history": history} if history else {})
    return {"seconds": seconds, "results": results, "inputs": {"inputs": dict.fromkeys(reads, "key")}, **more}


RECORDS = {
    "features": record(60, 100),
    "classify": record(240, 100, ["features"], [{"epoch": 1}]),
    "seeds/cam": record(60, 120, ["classify"]),
    "scores/cam": record(999, 40, ["seeds/cam"]),
    "reactivate": record(120, 100, ["classify", "features"], [{"epoch": 1}]),
    "seeds/recam": record(60, 120, ["reactivate"]),
    "scores/recam": record(999, 40, ["seeds/recam"]),
    "refined/recam+crf": record(30, 40, ["seeds/recam"]),
    "scores/recam+crf": record(999, 40, ["refined/recam+crf"]),
}


def test_by_hand():
    # CAM: 60 + 240 + 60; ReCAM: 60 + 240 + 120 + 60; its CRF was made for 40 of 120 images, 30 s.
    assert minutes_behind(RECORDS, "scores/cam") == 6
    assert minutes_behind(RECORDS, "scores/recam") == 8
    assert minutes_behind(RECORDS, "scores/recam+crf") == 9.5
    assert cost_in_cams(RECORDS, "scores/cam") == 1
    assert cost_in_cams(RECORDS, "scores/recam+crf") == 9.5 / 6


def test_unknown_where_a_stage_was_resumed_or_is_missing():
    resumed = RECORDS | {"reactivate": RECORDS["reactivate"] | {"resumed": True}}
    assert minutes_behind(resumed, "scores/recam") is None
    assert cost_in_cams(resumed, "scores/cam") == 1
    without = {name: value for name, value in RECORDS.items() if name != "classify"}
    assert cost_in_cams(without, "scores/recam") is None
    assert minutes_behind({}, "scores/cam") is None
