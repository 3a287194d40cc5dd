"""`recam bench`: lines through what work costs, and a tiny recipe from the command line."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from recam.cli import app
from recam.data.roles import DataSettings, RunData
from recam.engine.forecast import Forecast
from recam.engine.machine import Machine
from recam.errors import RecipeError
from recam.pipeline import benchmark as module
from recam.pipeline.benchmark import Benchmark, Line, StageCost, repeat, run_benchmark, stage_cost
from recam.recipe.toml import setting_text
from tiny_recipe import TINY


def test_a_line_goes_through_two_counts():
    line = Line.through((2, 10.0), (4, 16.0))
    assert (line.fixed, line.each) == (4, 3)
    assert line.at(10) == 34
    assert Line(-5.0, 1.0).at(2) == 0


def test_what_a_stage_costs():
    """10 images in 4 s are 2.5 per second; 1,000 and 2,000 in 300 and 500 s are 100 s and 0.2 s each."""
    costs = [Forecast(seconds, 7.0, 3.0, disk) for seconds, disk in ((4, 1.0), (300, 100.0), (500, 200.0))]
    found = stage_cost("maps/x", (10, costs[0]), (1000, costs[1]), (2000, costs[2]))
    assert (found.images_per_second, found.memory, found.gpu) == (2.5, 7, 3)
    assert (found.seconds.fixed, found.seconds.each) == (pytest.approx(100), pytest.approx(0.2))
    assert (found.disk.fixed, found.disk.each) == (0, 0.1)
    nothing = Forecast(0, 7.0, 0.0, 0)
    assert stage_cost("maps/x", (10, nothing), (1000, nothing), (2000, nothing)).images_per_second == 0


def test_images_are_repeated_under_names_of_their_own():
    own = DataSettings("scenes:", options={"size": 64, "train": 3, "val": 2})
    data = RunData(own.open(), own, quiet=True)
    grown = repeat(data, 4)
    assert (len(grown.train), len(grown.val), len(data.train)) == (12, 8, 3)
    assert len({sample.id for sample in grown.seeded}) == 4 * len(data.seeded)


def test_from_the_command_line(monkeypatch):
    monkeypatch.setattr(module, "BUDGET", 0.0)  # a turn of each
    monkeypatch.setattr(module, "GROWN", 100)
    settings = [word for name, value in TINY.items() for word in ("--set", setting_text(name, value))]
    command = ["bench", "scenes:", "--recipe", "tiny", *settings, "--plan", "1e6", "--machines", "4", "--price", "2.5"]
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout[done.stdout.index("{") :])
    stages = {each["name"]: each for each in found["stages"]}
    assert {"train/cam", "train/recam", "maps/recam", "masks", "segment/pseudo", "pictures"} <= set(stages)
    assert stages["pictures"]["seconds"]["each"] == pytest.approx(0)  # of a few images, however many there are
    assert stages["maps/recam"]["seconds"]["each"] > 0
    assert stages["maps/recam"]["disk"]["each"] > 0
    planned = found["planned"]
    seconds = sum(each["fixed"] + each["each"] * 1e6 for each in (stage["seconds"] for stage in stages.values()))
    assert planned["machine_hours"] == pytest.approx(seconds / 3600)
    assert planned["hours"] == pytest.approx(planned["machine_hours"] / 4)
    assert planned["money"] == pytest.approx(planned["machine_hours"] * 2.5)


def test_as_text():
    stage = StageCost("maps/x", 2.5, 7 * 2**20, 0.0, Line(100.0, 0.2), Line(0.0, 2000.0))
    machine = Machine("CPU", 2, 2**30, 2**30, 2**30)
    made = Benchmark("scenes:", "recam", 64, 500, machine, (stage,), wanted=1_000_000, machines=2, price=3.0)
    text = str(made)
    assert "100.0 + 0.2 × N" in text
    assert "1,000,000 images: 55.6 machine-hours" in text  # 200,100 s
    assert "27.8 h" in text
    assert "money: 167" in text
    assert "disk: 2.0 GB" in text
    assert "machine-hours" not in str(replace(made, wanted=None))


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ({"images": 0}, "number of images to plan for is 0"),
        ({"images": float("inf")}, "number of images"),
        (
            {"machines": 0, "price": -1.0},
            "number of machines is 0, but must be 1 or more; the price of an hour is -1.0",
        ),
    ],
)
def test_counts_that_mean_nothing(counts, told):
    with pytest.raises(RecipeError, match=told):
        run_benchmark("scenes:", "tiny", TINY, **counts)


def test_without_data_scenes_are_drawn_and_weights_are_not_needed():
    assert module._over({"a.b": 1, "c.d": "none"}, ["a.b=2"]) == ['c.d="none"', "a.b=2"]
    assert module._over({"a.b": 1}, {"a.b": 2}) == {"a.b": 2}
