"""Every endpoint without a browser: what it gives, and what it refuses."""

import io
import json
import time

import numpy as np
import PIL.Image
import pytest

import recam
from recam.data.images import read_mask
from recam.evaluation.metrics import ConfusionMatrix
from recam.review.layers import mask_of_maps
from recam.review.packing import read_packed


@pytest.fixture
def decide(client):
    def call(**fields):
        return client.post("api/decisions", json={"tab": "one", "images": [0], **fields})

    return call


def wait_for(client, job):
    for _ in range(12_000):
        found = next((each for each in client.get("api/changes").json()["jobs"] if each["name"] == job), None)
        if found and found["state"] != "running":
            return found
        time.sleep(0.05)
    raise AssertionError(f"{job} did not end")


def test_the_page_and_its_reference(reader):
    page = reader.get("")
    assert "<title>recam review</title>" in page.text
    assert "script-src" not in page.headers["content-security-policy"]
    assert page.headers["referrer-policy"] == "no-referrer"
    for name in ("main.js", "grid.js", "style.css", "api.html"):
        assert reader.get(name).status_code == 200
    told = reader.get("openapi.json").json()
    endpoints = [endpoint for methods in told["paths"].values() for endpoint in methods.values()]
    assert len(endpoints) == 18
    assert all(endpoint["summary"] and len(endpoint["description"]) > 20 for endpoint in endpoints)


def test_the_run_and_its_images(client, session):
    run = client.get("api/run").json()
    assert run["images"] == 16
    assert len(run["classes"]) == 10
    assert [layer["title"] for layer in run["layers"]] == ["CAM", "ReCAM w′", "mask", "model", "truth"]
    maps = run["layers"][1]
    assert len(maps["curve"]) == len(maps["thresholds"]) == 99
    assert maps["threshold"] == pytest.approx(maps["marks"]["oracle"])
    images = client.get("api/images").json()
    assert images["id"][0] == "train-000000"
    assert tuple(images["labels"][0]) == session.run.items[0].labels
    assert {len(column) for column in images.values()} == {16}


def test_thumbnails_and_photos(client, session):
    content = client.get("api/thumbnails?images=3,15").content
    number, length = np.frombuffer(content, "<u4", 2)
    assert (number, PIL.Image.open(io.BytesIO(content[8 : 8 + length])).size) == (3, (64, 64))
    assert np.frombuffer(content, "<u4", 1, 8 + int(length)).item() == 15
    photo = np.asarray(PIL.Image.open(io.BytesIO(client.get("api/photos/3").content)))
    assert np.abs(photo.astype(int) - session.run.items[3].sample.image.read()).mean() < 8


def test_layers_are_what_the_run_stores(client, session):
    (packed,) = read_packed(client.get("api/layers?layer=maps/recam/w_prime&images=2").content)
    seed = session.run.read_maps(session.run.main_maps, session.run.items[2])
    assert np.array_equal(packed.planes, np.rint(seed.maps * 255))
    assert packed.class_indices.tolist() == seed.class_indices.tolist()
    for layer, folder in (("masks", "masks"), ("predictions/pseudo", "predictions/pseudo")):
        number = 2 if layer == "masks" else 13
        found = {
            each.number: each
            for each in read_packed(client.get(f"api/layers?layer={layer}&images=0,{number}&side=0").content)
        }
        mask = found[number]
        assert np.array_equal(
            mask.planes[0], read_mask(session.run.root / folder / f"{session.run.items[number].id}.png")
        )
    (truth,) = read_packed(client.get("api/layers?layer=truth&images=2&side=0").content)
    assert np.array_equal(truth.planes[0], session.run.items[2].sample.mask.read())
    assert list(read_packed(client.get("api/layers?layer=masks&images=13").content)) == []  # held out: no pseudo mask
    assert list(read_packed(client.get("api/layers?layer=corrected&images=2").content)) == []


def test_regions_are_those_of_the_photo(reader):
    for grain in (0, 3):
        height, width, *numbers = np.frombuffer(reader.get(f"api/regions/2?grain={grain}").content, "<u4").tolist()
        assert (height, width, len(numbers)) == (64, 64, 64 * 64)
        assert sorted(set(numbers)) == list(range(max(numbers) + 1))


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("api/regions/16", 404),
        ("api/regions/0?grain=4", 422),
        ("api/layers?layer=../../etc&images=0", 404),
        ("api/layers?layer=masks&images=99", 404),
        ("api/layers?layer=masks&images=../0", 422),
        ("api/layers?layer=masks&images=-1", 422),
        ("api/layers?layer=masks&images=" + ",".join("0" * 300), 422),
        ("api/layers?layer=masks&images=0&side=99999", 422),
        ("api/thumbnails?images=16", 404),
        ("api/thumbnails?images=", 422),
        ("api/photos/16", 404),
        ("api/photos/-1", 404),
        ("api/photos/train-000000", 422),
        ("api/counts?layer=masks", 404),
        ("api/counts?layer=none", 404),
        ("api/changes?since=-1", 422),
    ],
)
def test_what_does_not_exist(reader, path, status):
    answer = reader.get(path)
    assert answer.status_code == status
    assert answer.json()["detail"]


def test_decisions_are_reported_to_other_tabs_and_undone(client, decide, session):
    answer = decide(verdict="accepted", layer="masks").json()
    assert answer["states"]["0"]["verdict"] == "accepted"
    assert answer["states"]["0"]["source"] == {
        "layer": "masks",
        "key": session.run.layers["masks"].key,
        "threshold": None,
        "class_thresholds": {},
    }
    first = client.get("api/changes?since=0").json()
    assert first["states"]["0"]["tab"] == "one"
    assert client.post("api/decisions", json={"tab": "two", "images": [0, 1], "verdict": "rejected"}).status_code == 200
    later = client.get(f"api/changes?since={first['latest']}").json()
    assert {number: state["verdict"] for number, state in later["states"].items()} == {"0": "rejected", "1": "rejected"}
    undone = client.post("api/undo", json={"tab": "two"}).json()
    assert {number: state["verdict"] for number, state in undone["states"].items()} == {"0": "accepted", "1": "open"}
    assert undone["decision"] == "reject of 2 images"
    assert client.post("api/undo", json={"tab": "two"}).status_code == 409
    redone = client.post("api/redo", json={"tab": "two"}).json()
    assert {state["verdict"] for state in redone["states"].values()} == {"rejected"}
    assert client.post("api/redo", json={"tab": "two"}).status_code == 409
    assert client.post("api/undo", json={"tab": "one"}).json()["decision"] == "accept of train-000000"


def test_decisions_of_several_layers_are_one(client, session):
    held_out = next(number for number, item in enumerate(session.run.items) if item.split == "val")
    one = {"tab": "one", "images": [0], "verdict": "accepted", "layer": "masks"}
    other = {**one, "images": [held_out], "layer": "predictions/pseudo"}
    answer = client.post("api/decisions/together", json={"decisions": [one, other]}).json()
    layers = {number: state["source"]["layer"] for number, state in answer["states"].items()}
    assert layers == {"0": "masks", str(held_out): "predictions/pseudo"}
    undone = client.post("api/undo", json={"tab": "one"}).json()
    assert (len(undone["states"]), undone["decision"]) == (2, "accept of 2 images")
    two_tabs = client.post("api/decisions/together", json={"decisions": [one, {**one, "tab": "two"}]})
    assert (two_tabs.status_code, two_tabs.json()["detail"]) == (422, "Decisions that are one are of one tab.")
    # All or none: the second one cannot be.
    none = client.post("api/decisions/together", json={"decisions": [one, {**other, "layer": "masks"}]})
    assert (none.status_code, session.decisions.state(session.run.items[0].id).verdict) == (422, "open")


def test_a_threshold_is_judged_with_the_mask(decide):
    state = decide(verdict="accepted", layer="maps/cam/w", threshold=0.4, class_thresholds={"cow": 0.2}).json()[
        "states"
    ]["0"]
    assert (state["source"]["threshold"], state["source"]["class_thresholds"]) == (0.4, {"cow": 0.2})


@pytest.mark.parametrize(
    ("fields", "status", "told"),
    [
        ({"verdict": "accepted"}, 422, "name the layer"),
        ({"verdict": "accepted", "layer": "truth"}, 422, "no mask to accept"),
        ({"verdict": "accepted", "layer": "masks", "images": [13]}, 422, "has no mask to accept"),
        ({"verdict": "accepted", "layer": "corrected"}, 422, "corrected mask"),
        ({"verdict": "accepted", "layer": "../masks"}, 404, "no layer"),
        (
            {"verdict": "accepted", "layer": "maps/cam/w", "class_thresholds": {"unicorn": 0.2}},
            422,
            "unknown class 'unicorn'",
        ),
        ({"verdict": "accepted", "layer": "maps/cam/w", "threshold": 1.5}, 422, ""),
        ({"verdict": "rejected", "images": [16]}, 404, "there is no image 16"),
        ({"verdict": "perhaps"}, 422, ""),
        ({"labels": ["unicorn"]}, 422, "unknown class"),
        ({"verdict": "rejected", "images": []}, 422, ""),
        ({"verdict": "rejected", "tab": "../x"}, 422, ""),
        ({"verdict": "rejected", "path": "/etc"}, 422, ""),
        ({}, 422, "a verdict, labels, or both"),
    ],
)
def test_decisions_that_make_no_sense(reader, fields, status, told):
    answer = reader.post("api/decisions", json={"tab": "one", "images": [0], **fields})
    assert answer.status_code == status
    assert told in str(answer.json()["detail"])
    assert reader.get("api/changes").json()["latest"] == 0


def test_labels_are_corrected(client, decide, session):
    item = session.run.items[0]
    names = [session.run.classes[index] for index in item.labels]
    other = next(name for name in session.run.classes if name not in names)
    assert decide(labels=[*names[1:], other]).json()["states"]["0"]["labels"] == sorted(
        [*names[1:], other], key=session.run.classes.index
    )
    (mask,) = read_packed(client.get("api/layers?layer=masks&images=0&side=0").content)
    stored = read_mask(session.run.root / "masks" / f"{item.id}.png")
    removed = stored == item.labels[0] + 1
    assert (mask.planes[0][removed] == 255).all()  # nobody knows what else they show
    assert np.array_equal(mask.planes[0][~removed], stored[~removed])


def test_a_corrected_mask_is_kept_and_can_be_undone(client, session):
    mask = np.zeros((64, 64), np.uint8)
    mask[10:20, 5:40] = 3
    state = client.post("api/masks/4?tab=one", content=mask.tobytes()).json()["states"]["4"]
    assert (state["verdict"], state["source"]["layer"]) == ("accepted", "corrected")
    (kept,) = read_packed(client.get("api/layers?layer=corrected&images=4&side=0").content)
    assert np.array_equal(kept.planes[0], mask)
    client.post("api/masks/4?tab=one", content=(mask * 2).tobytes())
    client.post("api/undo", json={"tab": "one"})
    (before,) = read_packed(client.get("api/layers?layer=corrected&images=4&side=0").content)
    assert np.array_equal(before.planes[0], mask)
    assert (
        client.post(
            "api/decisions", json={"tab": "one", "images": [4], "verdict": "accepted", "layer": "corrected"}
        ).status_code
        == 200
    )
    assert sorted(path.name for path in session.run.root.iterdir() if path.name == "review") == ["review"]


def test_masks_that_do_not_fit(client, session):
    for content, status in ((b"", 422), (b"\0" * 4095, 422), (b"\0" * 4097, 413), (b"\x0b" + b"\0" * 4095, 422)):
        answer = client.post("api/masks/4?tab=one", content=content)
        assert answer.status_code == status
        assert "mask" in answer.json()["detail"]
    assert session.decisions.latest == 0


def test_the_size_of_an_image_is_found_beside_damaged_files(session):
    """Damaged maps and masks are passed over: the photo knows its size, too."""
    item = session.run.items[0]
    for layer in session.run.layers.values():
        if path := layer.path(item.id):
            path.unlink()  # a hard link: the file of the other runs stays
            path.write_bytes(b"damaged")
    assert session.run.size(item) == (64, 64)


def test_counts_give_the_miou_of_any_threshold(client, session):
    assert client.get("api/counts?layer=maps/cam/w").status_code == 202
    assert wait_for(client, "counts maps/cam/w")["state"] == "done"
    counts = np.frombuffer(client.get("api/counts?layer=maps/cam/w").content, "<f8").reshape(11, 11, 100)
    layer = session.run.layers["maps/cam/w"]
    assert counts.sum() == sum((item.sample.mask.read() != 255).sum() for item in session.run.items[:12])
    levels = np.array([20, 50, 30, 60, 10, 45, 33, 80, 70, 25])  # by class, of the hundred
    matrix = ConfusionMatrix(10)
    for item in session.run.items[:12]:
        own = {index: level / 100 for index, level in enumerate(levels.tolist())}
        matrix.update(mask_of_maps(session.run.read_maps(layer, item), item.labels, own, 0.0), item.sample.mask.read())
    above = np.stack(
        [counts[:, winner, level:].sum(-1) for winner, level in enumerate(levels)], 1
    )  # exceeded ≥ level: t = level / 100
    assert np.array_equal(above, matrix.matrix[:, 1:])


def test_thresholds_go_into_a_recipe_that_runs(client, session):
    wish = {"layer": "maps/recam/w_prime", "threshold": 0.37, "class_thresholds": {"cow": 0.2, "horse": 0.37}}
    told = client.post("api/recipe", json=wish).json()
    assert told["settings"]["masks.threshold"] == 0.37
    assert told["settings"]["masks.oracle"] is False
    root = session.run.root
    assert told["path"] == str(root / "review" / "recipe.toml")
    assert told["command"].startswith("recam run --recipe")
    recipe = recam.load_recipe(told["path"])
    assert (recipe.masks.threshold, recipe.masks.oracle, recipe.masks.class_thresholds) == (0.37, False, {"cow": 0.2})
    assert recipe.cam == session.run.recipe.cam
    summary = recam.run(recipe=told["path"], output=root, until="masks")
    assert summary.made == ("masks", "scores/masks")  # nothing is trained again
    item = next(item for item in session.run.items if 0 in item.labels)
    seed = session.run.read_maps(session.run.main_maps, item)
    assert np.array_equal(read_mask(root / "masks" / f"{item.id}.png"), mask_of_maps(seed, item.labels, {0: 0.2}, 0.37))


def test_recipes_that_cannot_be(client):
    assert client.post("api/recipe", json={"layer": "masks", "threshold": 0.3}).status_code == 400
    assert (
        "unknown class"
        in client.post(
            "api/recipe", json={"layer": "maps/cam/w", "threshold": 0.3, "class_thresholds": {"x": 0.1}}
        ).text
    )
    told = client.post("api/recipe", json={"layer": "maps/cam/w", "threshold": 0.3}).json()
    assert told["settings"]["training"] == "cam"
    assert "maps.weighting" not in told["settings"]


def test_the_model_predicts_all_images_once(client, session):
    assert client.post("api/model").status_code == 200
    assert wait_for(client, "model")["state"] == "done"
    assert all(value is not None for value in client.get("api/images").json()["model_disagreement"][:12])
    layer = session.run.model
    assert len(list(layer.folders[-1].glob("*.png"))) == 12
    assert client.post("api/model").status_code == 200
    assert wait_for(client, "model")["total"] == 0


def test_export_from_the_page_goes_below_the_run(client, decide, session):
    assert "nothing is accepted" in client.post("api/export", json={}).json()["detail"]
    decide(verdict="accepted", layer="masks", images=list(range(12)))
    report = client.post("api/export", json={"name": "clean"}).json()
    assert (report["images"], report["masks"], report["problems"]) == (12, 12, [])
    assert report["output"] == str(session.run.root / "review" / "exports" / "clean")
    assert "is there already" in client.post("api/export", json={"name": "clean"}).json()["detail"]
    for name in ("../../x", "/tmp/x", "a/b", "..", ""):
        assert client.post("api/export", json={"name": name}).status_code == 422


def test_the_log_holds_one_line_a_decision(decide, session):
    decide(verdict="rejected", images=[0, 1, 2])
    (line,) = session.decisions.path.read_text().splitlines()
    assert json.loads(line)["ids"] == ["train-000000", "train-000001", "train-000002"]


@pytest.mark.parametrize("sent", ["NaN", "Infinity", '"\\ud800"', "1e999", "[[]]"])
def test_numbers_that_are_none_are_refused_in_a_sentence(reader, sent):
    body = f'{{"layer": "maps/cam/w", "threshold": {sent}, "class_thresholds": {{"\\ud800": {sent}}}}}'
    answer = reader.post("api/recipe", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["msg"]
