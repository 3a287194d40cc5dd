"""Every command end to end: what it prints, what it writes, how it ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.main import get_command

import recam
from recam import cli
from recam.data.images import read_image, read_mask, write_mask, write_png
from recam.files import TEMPORARY_ENDING
from recam.labels import voc_palette
from recam.models import weights
from recam.pipeline.plan import GROUPS
from recam.recipe.recipe import load_recipe
from recam.recipe.toml import setting_text
from recam.runfolder.store import RunFolder
from tiny_recipe import TINY

SETTINGS = [word for item in TINY.items() if item[0] != "compute.report" for word in ("--set", setting_text(*item))]


@pytest.fixture
def photos(tmp_path):
    """Three photos, one of them broken, one named in the table but not there."""
    for index, name in enumerate(("a", "b")):
        write_png(tmp_path / "photos" / "images" / f"{name}.png", np.full((20, 30, 3), 90 * index, np.uint8))
    (tmp_path / "photos" / "images" / "c.png").write_bytes(b"no picture")
    rows = ["image,labels", "a,cat", "b,cat;dog", "c,dog", "d,cat"]
    (tmp_path / "photos" / "labels.csv").write_text("\n".join(rows))
    return tmp_path / "photos"


@pytest.mark.parametrize(("own", "expected"), [(None, "3000"), ("7", "7")])
def test_threads_that_wait_spin_briefly(command, monkeypatch, own, expected):
    monkeypatch.setenv("GOMP_SPINCOUNT", own) if own else monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    assert command("recipes")[0] == 0
    assert os.environ["GOMP_SPINCOUNT"] == expected
    # It must be set before PyTorch is loaded, and the command line alone loads none.
    subprocess.run([sys.executable, "-c", "import sys, recam.cli; sys.exit('torch' in sys.modules)"], check=True)


@pytest.mark.slow
def test_run_from_the_shell(tmp_path, tiny_run):
    """The console script itself, in a process of its own."""
    words = [
        Path(sys.executable).with_name("recam"),
        "run",
        "--data",
        "scenes:",
        "--recipe",
        "tiny",
        *SETTINGS,
        "-o",
        tmp_path / "run",
        "--until",
        "train",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    first = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=900)
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith(f"run {tmp_path / 'run'}\n")
    assert "train/cam" in first.stderr
    record, theirs = (
        json.loads((root / "train/cam" / "stage.json").read_text()) for root in (tmp_path / "run", tiny_run)
    )
    assert record["key"] == theirs["key"]  # the same settings, from the command line here and from Python there


def test_run_that_has_nothing_to_do(command, copy_of_tiny_run):
    words = ("run", "--data", "scenes:", "--recipe", "tiny", *SETTINGS, "-o", copy_of_tiny_run)
    code, out, _ = command(*words)
    assert code == 0
    assert "nothing to do, every stage is up to date" in out
    assert "pseudo masks from recam w_prime at" in out
    code, out, _ = command(*words, "--json")
    told = json.loads(out)
    assert code == 0
    assert set(told) == {"cost_unit", "maps", "masks", "planned", "segmentation", "stages", "supervision"}
    assert told == json.loads((copy_of_tiny_run / "summary.json").read_text())


def test_run_with_mistakes(command, tmp_path):
    code, out, err = command(
        "run", "--data", "scenes:", "--set", "cam.epoch=3", "--set", "maps.bits=9", "-o", tmp_path / "run"
    )
    assert (code, out) == (2, "")
    assert err.startswith("RecipeError: the recipe does not hold:")
    assert "cam.epoch: there is no such setting. Did you mean 'epochs'?" in err
    assert "maps.bits" in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()
    code, _, err = command("run", "--data", "scenes:", "--recipe", "tiny", "--until", "map", "-o", tmp_path / "run")
    assert code == 2
    assert err.startswith("RecipeError: --until: there is no stage 'map'. Did you mean 'maps'")
    code, _, err = command("run", "--recipe", "tiny", "-o", tmp_path / "run")
    assert code == 2
    assert "no data set is named: give KIND:PATH" in err
    code, _, err = command("run", "--data", "sceens:", "--recipe", "tiny", "-o", tmp_path / "run")
    assert code == 2
    assert "Did you mean 'scenes'?" in err


def test_plan(command, copy_of_tiny_run, monkeypatch):
    words = ("plan", "scenes:", "--recipe", "tiny", *SETTINGS, "-o", copy_of_tiny_run)
    code, out, _ = command(*words)
    assert code == 0
    assert "nothing to do: every stage is finished" in out
    code, out, _ = command(*words, "--set", "segment.epochs=2", "--json")
    told = json.loads(out)
    states = {name: stage["state"] for name, stage in told["stages"].items()}
    assert [name for name, state in states.items() if state == "new"] == [
        "segment/pseudo",
        "predictions/pseudo",
        "pictures",
    ]
    assert told["total"]["seconds"] == pytest.approx(sum(each["seconds"] or 0 for each in told["stages"].values()))
    monkeypatch.setattr(weights, "can_download", lambda name: False)
    code, out, _ = command(*words, "--set", "backbone.weights=imagenet", "--until", "train")
    assert code == 1
    assert "in the way: no ImageNet weights" in out
    assert command("plan", "--recipe", "tiny")[0] == 2


def test_help_names_all_groups_of_stages_in_their_order():
    (until,) = (option for option in get_command(cli.app).commands["run"].params if option.name == "until")
    assert until.help == f"Stop after these stages: {', '.join(GROUPS[:-1])} or {GROUPS[-1]}."


def test_run_stops_at_broken_data(command, photos, tmp_path):
    code, _, err = command("run", "--data", f"folder:{photos}", "--recipe", "tiny", "-o", tmp_path / "run")
    assert code == 2
    assert err.count("[") >= 2
    assert "c.png" in err
    assert "data.on_problems=skip" in err
    assert not (tmp_path / "run" / "train").exists()


def test_run_selects_classes(command, copy_of_tiny_run, tmp_path):
    code, _, err = command(
        "run", "--data", "scenes:", "--recipe", "tiny", *SETTINGS, "--classes", "cow, persn", "-o", tmp_path / "run"
    )
    assert code == 2
    assert "unknown class 'persn'. Did you mean 'person'" in err


def test_a_class_whose_name_holds_a_comma(command, tmp_path):
    for name in ("bird, small", "cow"):
        write_png(tmp_path / name / f"{name[0]}.png", np.zeros((20, 30, 3), np.uint8))
    code, out, _ = command("check", f"folder:{tmp_path}", "--classes", '["bird, small"]')
    assert (code, "2 images, 1 class, 1 images that show none of them" in out) == (0, True)
    for wrong in ("[bird]", '["a", 1]', "[" * 100_000):
        code, _, err = command("check", f"folder:{tmp_path}", "--classes", wrong)
        assert (code, "--classes" in err) == (2, True)


def test_check_of_a_good_data_set(command, tmp_path):
    for index, (name, label) in enumerate((("a", "cat"), ("b", "dog"), ("c", "cat"))):
        write_png(tmp_path / label / f"{name}.png", np.full((20, 30, 3), 60 * index, np.uint8))
    code, out, _ = command("check", f"folder:{tmp_path}")
    assert code == 0, out
    assert "3 images, 2 classes" in out
    assert "No problem found." in out


def test_check_of_a_broken_data_set(command, photos):
    code, out, _ = command("check", f"folder:{photos}", "--json")
    assert code == 1
    report = json.loads(out)
    assert {"images", "classes", "images_per_class", "unlabelled", "problems"} <= set(report)
    assert report["classes"] == ["cat", "dog"]
    assert report["images"] == 3
    assert set(report["images_per_class"]) == {"cat", "dog"}
    assert report["unlabelled"] == 0
    assert all(set(problem) == {"kind", "where", "message"} for problem in report["problems"])
    told = {problem["kind"]: problem["where"] for problem in report["problems"]}
    assert len(told) == 2
    assert told["unreadable-image"].endswith("c.png")
    code, out, _ = command("check", f"folder:{photos}")
    assert code == 1
    assert "2 problems:" in out


def test_check_of_nothing(command, tmp_path):
    code, out, err = command("check", f"folder:{tmp_path / 'none'}")
    assert code == 1
    assert "cannot-open" in out
    code, _, err = command("check", "foldr:x")
    assert code == 2
    assert "unknown data set 'foldr'. Did you mean 'folder'?" in err


def test_report(command, copy_of_tiny_run, tmp_path):
    code, out, _ = command("report", copy_of_tiny_run, "-o", tmp_path / "tiny.html", "--json")
    assert code == 0
    told = json.loads(out)
    assert told["report"] == str(tmp_path / "tiny.html")
    assert told["headline"].split(" % mIoU")[0] in (tmp_path / "tiny.html").read_text(encoding="utf-8")
    assert (tmp_path / "tiny-figures" / "thresholds.csv").is_file()
    code, out, err = command("report", tmp_path)
    assert (code, out) == (2, "")
    assert "is no run folder: it holds no run.json. Name the folder of `recam run -o`." in err


def test_predict(command, tiny_run, tmp_path):
    write_png(tmp_path / "in" / "sub" / "a.png", np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    (tmp_path / "in" / "broken.jpg").write_bytes(b"no picture")
    code, out, _ = command("predict", tiny_run, tmp_path / "in", "-o", tmp_path / "out", "--scales", "1,0.5", "--json")
    assert code == 1  # a file could not be read, the others are done
    report = json.loads(out)
    assert report["images"] == 1
    assert [problem["where"] for problem in report["problems"]] == [str(tmp_path / "in" / "broken.jpg")]
    assert read_mask(tmp_path / "out" / "sub" / "a.png").shape == (50, 70)
    assert read_image(tmp_path / "out" / "sub" / "a_overlay.png").shape == (50, 70, 3)
    import PIL.Image

    with PIL.Image.open(tmp_path / "out" / "sub" / "a.png") as mask:
        assert mask.mode == "P"
        assert mask.getpalette()[:63] == voc_palette()[:21].ravel().tolist()
    (tmp_path / "in" / "broken.jpg").unlink()
    code, _, err = command("predict", tiny_run, tmp_path / "in", "-o", tmp_path / "out", "--flip")
    assert code == 2
    assert "holds masks of another model or other settings (inference differ" in err
    code, out, _ = command("predict", tiny_run, tmp_path / "in", "-o", tmp_path / "out", "--flip", "--overwrite")
    assert code == 0
    assert out.startswith("1 masks and overlays in")


def test_predict_with_mistakes(command, tiny_run, tmp_path):
    code, _, err = command("predict", tmp_path, tmp_path, "-o", tmp_path / "out")
    assert code == 2
    assert "no image in" in err or "no run folder" in err
    code, _, err = command("predict", tiny_run, tmp_path / "none", "-o", tmp_path / "out")
    assert code == 2
    assert "is neither a file nor a folder" in err


def test_export_masks(command, tiny_run, tmp_path):
    code, out, _ = command(
        "export", "masks", tiny_run, "-o", tmp_path / "coco", "--to", "coco", "--part", "predictions", "--json"
    )
    assert code == 0
    assert json.loads(out)["masks"] == 4
    assert len(json.loads((tmp_path / "coco" / "annotations.json").read_text())["images"]) == 4
    words = ("export", "masks", tiny_run, "--to", "coco", "--simplify", "1.5")
    assert command(*words, "--shapes", "polygons", "-o", tmp_path / "simple")[0] == 0
    code, _, err = command(*words, "-o", tmp_path / "x")
    assert code == 2
    assert "simplify = 1.5 makes polygons simpler: add --shapes polygons" in err
    code, _, err = command("export", "masks", tiny_run, "-o", tmp_path / "x", "--to", "coko")
    assert code == 2
    assert "Did you mean 'coco'" in err


def test_export_model_and_predict_with_it(command, tiny_run, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    code, out, _ = command("export", "model", tiny_run, "-o", tmp_path / "onnx")
    assert code == 0
    assert "segmenter.onnx" in out
    assert "differs from PyTorch by at most" in out
    write_png(tmp_path / "in" / "a.png", np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    words = (
        "predict",
        "--onnx",
        tmp_path / "onnx",
        f"{tmp_path}/in/*.png",
        "-o",
        tmp_path / "out",
        "--window",
        "32",
        "--probabilities",
    )
    code, out, _ = command(*words)
    assert code == 0
    assert "images/s" in out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "a.png",
        "a_overlay.png",
        "a_probabilities.npz",
        "predict.json",
    }
    code, _, err = command("predict", "--onnx", tiny_run, tmp_path / "in", "-o", tmp_path / "out2")
    assert code == 2
    assert "holds no exported network" in err
    code, _, err = command("predict", tiny_run, tmp_path / "in", "-o", tmp_path / "out2", "--refine", "crff")
    assert code == 2
    assert "Did you mean 'crf'" in err


def test_evaluate(command, tmp_path):
    truth = np.zeros((4, 4), np.uint8)
    truth[:2] = 1
    mask = truth.copy()
    mask[0] = 0  # 4 of 8 found
    for folder, one in (("truth", truth), ("masks", mask)):
        write_mask(tmp_path / folder / "a.png", one)
    (tmp_path / "classes.txt").write_text("cat\n")
    code, out, _ = command(
        "evaluate", tmp_path / "masks", tmp_path / "truth", "--classes", tmp_path / "classes.txt", "--json"
    )
    assert code == 0
    assert json.loads(out)["miou"] == pytest.approx((8 / 12 + 4 / 8) / 2)
    write_mask(tmp_path / "truth" / "b.png", truth)
    code, _, err = command("evaluate", tmp_path / "masks", tmp_path / "truth")
    assert code == 2
    assert "missing-mask" in err
    code, out, _ = command(
        "evaluate", tmp_path / "masks", tmp_path / "truth", "--partial", "--per-image", tmp_path / "images.csv"
    )
    assert code == 0
    assert "missed (FN)                    25.00" in out.splitlines()
    assert (tmp_path / "images.csv").read_text().splitlines()[1] == "a,1,0.583333,12,4,0,0,0,0.500000"


def test_recipes(command):
    code, out, _ = command("recipes")
    assert code == 0
    assert {line.split()[0] for line in out.splitlines()} >= {"recam", "tiny"}
    code, out, _ = command("recipes", "tiny")
    assert json.loads(out)["cam"]["epochs"] == 1
    code, _, err = command("recipes", "tiney")
    assert code == 2
    assert "Did you mean 'tiny'?" in err


def test_download_of_an_unknown_data_set(command, tmp_path):
    code, _, err = command("download", "voc2021", tmp_path)
    assert code == 2
    assert "voc2012" in err
    assert list(tmp_path.iterdir()) == []


def test_help_names_all_commands(command):
    code, out, err = command("--help")
    assert code == 0
    for name in get_command(cli.app).commands:
        assert name in out + err


def test_version(command):
    assert command("--version") == (0, f"{recam.__version__}\n", "")


def test_completion_in_the_shell():
    """Commands, and names of recipes, as bash asks for them."""

    def completed(*words):
        environment = os.environ | {"COMP_WORDS": " ".join(("recam", *words)), "COMP_CWORD": str(len(words))}
        script = [Path(sys.executable).with_name("recam")]
        done = subprocess.run(
            script, capture_output=True, text=True, env=environment | {"_RECAM_COMPLETE": "complete_bash"}, timeout=300
        )
        return done.stdout.split()

    assert completed("pre") == ["predict"]
    assert completed("run", "--recipe", "tin") == ["tiny"]


def test_status(command, copy_of_tiny_run, tmp_path):
    code, out, _ = command("status", copy_of_tiny_run)
    assert code == 0
    assert "nothing is left to do" in out
    (copy_of_tiny_run / "masks" / "stage.json").unlink()
    code, out, _ = command("status", copy_of_tiny_run, "--json")
    found = json.loads(out)
    assert (code, found["state"]) == (0, "stopped")
    assert {stage["name"] for stage in found["stages"] if stage["state"] == "open"} == {"masks"}
    assert command("status", tmp_path / "none")[0] == 2


def test_runs_are_listed_and_cleaned(command, copy_of_tiny_run, tmp_path):
    code, out, _ = command("runs", tmp_path)
    assert (code, "ReCAM w′" in out) == (0, True)
    code, out, _ = command("runs", copy_of_tiny_run, "--json")
    (listed,) = json.loads(out)["runs"]
    assert listed["done"] == listed["stages"] > 10
    code, out, _ = command("clean", tmp_path, "--dry-run")
    assert (code, out) == (0, "0 stages of earlier settings and 0 leftovers would be removed: 0 B to be freed\n")
    (copy_of_tiny_run / f".x.0{TEMPORARY_ENDING}").write_bytes(b"half")
    code, out, _ = command("clean", tmp_path, "--json")
    assert (code, json.loads(out)["bytes"]) == (0, 4)
    with RunFolder(copy_of_tiny_run).lock():
        code, _, err = command("clean", tmp_path)
        assert (code, "is working in" in err) == (2, True)
    assert command("runs", tmp_path / "none")[0] == 2


def test_the_demo_is_a_run_on_scenes(command, monkeypatch):
    asked = []
    monkeypatch.setattr("recam.pipeline.demo.run", lambda *words: asked.append(words) or "done")
    assert command("demo", "-o", "x", "--set", "seed=1")[:2] == (0, "done\n")
    ((data, recipe, output, settings),) = asked
    assert (data, recipe, str(output)) == ("scenes:", "auto", "x")
    load_recipe(recipe, settings)
    assert settings[1:] == ["seed=1"]
