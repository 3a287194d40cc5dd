"""Two processes do what one does: the same command under torchrun."""

import socket
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

import distributed_training
import recam
from forked import Forked, command
from recam.cli import main
from recam.recipe.toml import setting_text
from recam.runfolder.store import read_json
from recam.tensors import load_tensors
from saliency_inputs import write_maps
from tiny_recipe import SMALL_IRN, TINY

SETTINGS = [setting_text(*item) for item in (TINY | {"compute.save_minutes": 1e-6}).items()]

LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "TP_SOCKET_IFNAME": "lo"}
CHAIN = [setting_text(*item) for item in ({"refine": ["irn"]} | SMALL_IRN).items()]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def words_of_run(folder, *more):
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    return ["run", "--data", "scenes:", "--recipe", "tiny", *settings, "-o", str(folder), *more]


def launch(folder, *more):
    """`recam run` in two processes on this machine, which torchrun's agent starts; they begin with everything
    imported."""
    return Forked(start_agent, words_of_run(folder, *more), environment=LOOPBACK).wait()


def start_agent(words):
    rendezvous = {"rdzv_backend": "static", "rdzv_endpoint": f"127.0.0.1:{free_port()}", "rdzv_configs": {"rank": 0}}
    config = LaunchConfig(1, 1, 2, run_id="test", start_method="fork", max_restarts=0, **rendezvous)
    elastic_launch(config, run_recam)(words)


def run_recam(words):
    """The agent waits for what a function returns, or for an error: an exit is made one or the other."""
    sys.argv = ["recam", *words]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise RuntimeError(f"recam ended with {ended.code}") from None


def both(start):
    """Two processes in the environment that torchrun gives them, each begun by `start`."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2", **LOOPBACK}
    place |= {"LOCAL_WORLD_SIZE": "2"}
    begun = [start(environment=place | {"RANK": rank, "LOCAL_RANK": rank}) for rank in ("0", "1")]
    ended = [process.wait() for process in begun]
    assert [process.returncode for process in ended] == [0, 0], "\n".join(process.stderr for process in ended)


def names(folder, stages):
    return {
        path.relative_to(folder).as_posix()
        for stage in stages
        for path in (folder / stage).rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
    """Gradients of the same global batches: in float64 the order of summation is some 1e-16."""
    together, alone = tmp_path / "two.safetensors", tmp_path / "one.safetensors"
    both(partial(Forked, distributed_training.train, together))
    distributed_training.train(alone)
    (tensors, meta), (expected, expected_meta) = load_tensors(together), load_tensors(alone)
    assert tensors.keys() == expected.keys()
    assert {value.dtype for value in tensors.values()} == {torch.float64}
    for name, value in expected.items():
        torch.testing.assert_close(tensors[name], value, rtol=1e-12, atol=1e-13, msg=name)
    assert not torch.equal(expected["model.net.0.weight"], distributed_training.Objective().net[0].weight)
    assert meta["step"] == expected_meta["step"] == 4


@pytest.mark.slow
def test_two_processes_make_what_one_makes(tiny_run, tmp_path):
    folder = tmp_path / "run"
    finished = launch(folder, "--until", "masks")
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("pseudo masks from") == 1, "only one process speaks"
    stages = [
        "train/cam",
        "train/recam",
        "maps/cam",
        "maps/recam",
        "scores/cam",
        "scores/recam",
        "masks",
        "scores/masks",
    ]
    assert names(folder, stages) == names(tiny_run, stages)
    for stage in ("train/cam", "scores/recam", "masks", "scores/masks"):
        ours, theirs = read_json(folder / stage / "stage.json"), read_json(tiny_run / stage / "stage.json")
        assert ours["processes"] == 2
        assert ours["key"] == theirs["key"]
        assert ours["files"] == theirs["files"]
        assert ours["results"]["images"] == theirs["results"]["images"]
    pixels = [
        sum(map(sum, read_json(root / "scores/masks/stage.json")["results"]["confusion"]))
        for root in (folder, tiny_run)
    ]
    assert pixels[0] == pixels[1]
    # What the weights are depends on the order of summation; that the gradients are those of one process is tested in
    # float64 below.
    weights = [load_tensors(Path(root) / "train/cam/weights.safetensors")[0] for root in (folder, tiny_run)]
    shapes = [{name: (value.shape, value.dtype) for name, value in each.items()} for each in weights]
    assert shapes[0] == shapes[1]
    assert all(value.isfinite().all() for value in weights[0].values())

    # Further, with what is left: a refiner, and the segmentation model with all that is kept beside its weights.
    kept = ("train/cam", "train/recam", "maps/cam", "maps/recam")
    before = [(folder / stage / "stage.json").read_bytes() for stage in kept]
    keeping = [
        "ema=0.5",
        "validate_epochs=1",
        "patience=5",
        "class_balance=0.5",
        "model=deeplabv2",
        "output_stride=16",
        "epochs=2",
    ]
    more = [word for setting in (*CHAIN, *(f"segment.{each}" for each in keeping)) for word in ("--set", setting)]
    both(partial(command, *words_of_run(folder, "--until", "segment", *more)))
    assert [(folder / stage / "stage.json").read_bytes() for stage in kept] == before
    for stage in ("irn/recam/labels", "irn/recam/network", "refined/recam+irn", "scores/recam+irn"):
        record = read_json(folder / stage / "stage.json")
        assert record["processes"] == 2
        assert record["results"]["images"] == 12
    assert len(names(folder, ["refined/recam+irn"])) == len(names(tiny_run, ["maps/cam"]))

    for stage in ("segment/pseudo", "predictions/pseudo"):
        ours, theirs = (read_json(root / stage / "stage.json") for root in (folder, tiny_run))
        assert ours["processes"] == 2
        assert ours["results"]["images"] == theirs["results"]["images"]
    assert names(folder, ["predictions/pseudo"]) == names(tiny_run, ["predictions/pseudo"])
    # One training for both processes.
    results = read_json(folder / "segment/pseudo/stage.json")["results"]
    assert [epoch["epoch"] for epoch in results["history"]] == [1, 2]
    # Judged by both processes, on half of the images each, as the finished model is.
    scored = read_json(folder / "predictions/pseudo/stage.json")["results"]["scores"]["miou"]
    assert results["history"][-1]["val_miou"] == pytest.approx(scored, abs=1e-9)
    assert {path.name for path in (folder / "segment/pseudo").glob("*.safetensors")} == {
        "best.safetensors",
        "training.safetensors",
        "weights.safetensors",
    }


@pytest.mark.slow
def test_two_processes_with_saliency(tiny_settings, tmp_path):
    samples = recam.open_catalog("scenes:", **tiny_settings["data.options"]).samples("train")
    source = write_maps(tmp_path / "maps", samples)
    settings = [
        f"saliency.source={source}",
        "recam.starts_from=eps",
        'compare=["eps"]',
        'refine=["edam"]',
        "train.cache_features=2",
        "backbone.freeze_until=4",
    ]
    folder = tmp_path / "run"
    more = (word for setting in settings for word in ("--set", setting))
    both(partial(command, *words_of_run(folder, "--until", "masks", *more)))
    assert len(names(folder, ["saliency/views"])) == 14  # record and manifest besides
    assert "heads.background.weight" in load_tensors(folder / "train/recam/weights.safetensors")[0]
    assert read_json(folder / "masks/stage.json")["supervision"] == ["image labels", "saliency"]
    assert len(list((folder / "masks").glob("*.png"))) == 12
