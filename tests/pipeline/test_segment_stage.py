"""The segmentation model may start from the run's own classifier, and keep it."""

from recam.pipeline.store import read_json
from recam.tensors import load_tensors


def test_the_encoder_is_the_classifiers_and_stays(copy_of_tiny_run, rerun):
    summary = rerun(copy_of_tiny_run, "segment", segment__weights="classifier", segment__freeze_encoder=True)
    assert summary.made == ("segment/pseudo", "predictions/pseudo")
    classifier, _ = load_tensors(copy_of_tiny_run / "reactivate" / "weights.safetensors")
    network, meta = load_tensors(copy_of_tiny_run / "segment" / "pseudo" / "weights.safetensors")
    assert meta["mean"] == list(load_tensors(copy_of_tiny_run / "reactivate" / "weights.safetensors")[1]["mean"])
    kept = [name for name in network if ".encoder.model." in name and not name.endswith("num_batches_tracked")]
    assert len(kept) > 100
    for name in kept:
        own = "backbone.net." + name.split(".encoder.model.")[1]
        assert network[name].equal(classifier[own]), name
    assert read_json(copy_of_tiny_run / "segment" / "pseudo" / "stage.json")["inputs"]["settings"]["classifier"] is not None
