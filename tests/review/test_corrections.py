"""Masks that people made or changed are learned from beside pseudo masks, and results say so."""

import numpy as np
import pytest

import recam
from recam import cli
from recam.data.images import read_mask, write_mask
from recam.data.roles import DataSettings, RunData
from recam.engine.stage import key_stages
from recam.errors import RecipeError, StoreError
from recam.pipeline.plan import make_plan
from recam.recipe.recipe import load_recipe, read_recipe
from recam.review import server
from recam.review.corrections import write_corrections
from recam.review.judged import save_corrected
from recam.runfolder.store import read_json


@pytest.fixture
def reviewed(session):
    """Of the first four images: painted by hand, accepted as it is, rejected, accepted at another threshold; and a
    held-out image that was painted."""
    view, log = session.run, session.decisions
    held_out = next(item for item in view.items if item.split == "val")
    for item in (view.items[0], held_out):
        painted = np.full((64, 64), 3, np.uint8)
        painted[:, 32:] = 255
        name = save_corrected(view, item, painted)
        log.add("t", [item.id], verdict="accepted", mask=name, source={"layer": "corrected", "key": name})
    same = session.source(view.masks, None, {}).model_dump()
    log.add("t", [view.items[1].id], verdict="accepted", source=same)
    log.add("t", [view.items[2].id], verdict="rejected", source=same)
    at = session.source(view.main_maps, 0.02, {}).model_dump()
    log.add("t", [view.items[3].id], verdict="accepted", source=at)
    return session


def test_what_people_changed_is_written_and_nothing_else(reviewed):
    view, log = reviewed.run, reviewed.decisions
    (view.review / "corrections").mkdir()
    (view.review / "corrections" / "of-before.png").touch()
    steps = []
    written = write_corrections(view, log, lambda done, total: steps.append((done, total)))
    names = {view.items[0].id, view.items[3].id}
    assert {path.stem for path in written.folder.iterdir()} == names
    assert (written.masks, written.images, steps[-1]) == (2, 12, (12, 12))
    assert (read_mask(written.folder / f"{view.items[0].id}.png")[:, :32] == 3).all()
    assert written.recipe.settings == {"masks.corrected": str(written.folder.resolve())}
    assert "2 of 12 training images" in str(written)
    assert not list(view.review.glob("*.tmp"))


def test_a_run_takes_them_and_states_it(reviewed):
    view = reviewed.run
    written = write_corrections(view, reviewed.decisions)
    made = (view.root / "masks" / "stage.json").stat().st_mtime_ns
    recam.run(recipe=written.recipe.path, output=view.root, until="masks")
    assert (view.root / "masks" / "stage.json").stat().st_mtime_ns == made  # not made again
    record = read_json(view.root / "corrected" / "stage.json")
    assert record["supervision"] == ["image labels", "corrected masks"]
    assert (record["results"]["images"], record["results"]["corrected"]) == (12, 2)
    assert read_json(view.root / "corrected" / "people.json") == {"images": [view.items[0].id, view.items[3].id]}
    first, second = (read_mask(view.root / "corrected" / f"{view.items[place].id}.png") for place in (0, 1))
    assert (first[:, :32] == 3).all()
    np.testing.assert_array_equal(second, view.read_mask(view.masks, view.items[1]))


def planned(root, settings):
    recipe = load_recipe(read_recipe(root), settings)
    own = recipe.section(DataSettings)
    data = RunData(own.open(), own, quiet=True)
    return key_stages(make_plan(recipe, data).stages, data)


def test_only_what_learns_from_masks_is_made_again(reviewed):
    root = reviewed.run.root
    written = write_corrections(reviewed.run, reviewed.decisions)
    before, after = planned(root, {}), planned(root, {"masks.corrected": str(written.folder)})
    changed = {name for name in after if name not in before or before[name].key != after[name].key}
    assert changed == {"corrected", "segment/pseudo", "predictions/pseudo", "pictures"}
    assert after["segment/pseudo"].stage.given.masks == "corrected"
    assert after["predictions/pseudo"].supervision == ("image labels", "corrected masks")
    write_mask(written.folder / f"{reviewed.run.items[0].id}.png", np.zeros((64, 64), np.uint8))
    again = planned(root, {"masks.corrected": str(written.folder)})
    assert again["corrected"].key != after["corrected"].key  # known by what the files hold


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"masks.corrected": "nowhere"}, "masks.corrected = 'nowhere' is no folder of masks"),
        ({"masks.corrected": "nowhere", "segment.labels": "truth"}, "segment.labels = 'truth' learns from neither"),
        ({"masks.corrected": "nowhere", "segment.loss": "dsrg"}, "segment.loss = 'dsrg' learns from neither"),
    ],
)
def test_what_cannot_be_is_refused(reviewed_run, settings, problem):
    with pytest.raises(RecipeError, match=problem):
        planned(reviewed_run, settings)


def test_masks_of_no_training_image_are_refused(reviewed, tmp_path):
    write_mask(tmp_path / "other" / "unknown.png", np.zeros((64, 64), np.uint8))
    view = reviewed.run
    recipe = load_recipe(read_recipe(view.root), {"masks.corrected": str(tmp_path / "other")})
    with pytest.raises(RecipeError, match="names no training image"):
        recam.run(recipe=recipe, output=view.root, until="masks")


def test_nothing_changed_is_reported_by_page_and_command(client, session):
    with pytest.raises(StoreError, match="would learn nothing new"):
        write_corrections(session.run, session.decisions)
    answer = client.post("api/corrections")
    assert (answer.status_code, "Fix masks on the page first" in answer.json()["detail"]) == (400, True)
    assert not (session.run.review / "corrections").exists()


def test_the_command_writes_and_runs(reviewed, monkeypatch, capsys):
    root, called = reviewed.run.root, []

    class Summary:
        def __str__(self):
            return "scores"

    monkeypatch.setattr(server, "recam_run", lambda *values: called.append(values) or Summary())
    monkeypatch.setattr("sys.argv", ["recam", "review", str(root), "--retrain"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    assert called == [(None, root / "review" / "corrected.toml", root)]
    assert "scores" in capsys.readouterr().out
