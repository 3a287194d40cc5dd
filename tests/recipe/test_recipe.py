"""Recipes: three ways to say the same, all mistakes at once, near matches, one recipe built on another."""

import pytest

from recam.errors import RecipeError
from recam.recipe.recipe import Recipe, load_recipe, recipe_names


def test_every_shipped_recipe_loads_and_says_what_it_is_for():
    assert {"recam", "tiny"} <= set(recipe_names())
    for name in recipe_names():
        assert load_recipe(name).about, name


@pytest.mark.parametrize("name", ["recam-e", "recam-m"])
def test_recipes_of_table_4_train_the_papers_deeplabv2(name):
    ours, papers = load_recipe(name), load_recipe("recam-deeplabv2")
    assert (ours.segment.model, ours.segment.steps) == ("deeplabv2", 20000)
    assert (ours.segment, ours.predict, ours.seeds) == (papers.segment, papers.predict, papers.seeds)


def test_file_text_and_keywords_make_the_same_recipe(tmp_path):
    (tmp_path / "mine.toml").write_text('seed = 3\n[data]\nlocation = "folder:photos"\n[seeds]\nscales = [0.5, 1]\n')
    tree = {"seed": 3, "data": {"location": "folder:photos"}, "seeds": {"scales": [0.5, 1.0]}}
    texts = ["seed=3", "data.location=folder:photos", "seeds.scales=[0.5, 1]"]
    pairs = {"seed": 3, "data.location": "folder:photos", "seeds.scales": (0.5, 1)}
    recipe = load_recipe(tmp_path / "mine.toml")
    assert recipe == load_recipe(tree) == load_recipe({}, texts) == load_recipe({}, pairs)
    assert recipe.seeds.scales == (0.5, 1.0)
    assert recipe.classify == Recipe().classify


def test_all_mistakes_at_once_with_near_matches():
    with pytest.raises(RecipeError) as caught:
        load_recipe(
            "tiny",
            [
                "classify.epoch=3",
                "classfy.lr=1",
                "seeds.weighting=product",
                "classify.batch=0",
                "backbone.output_stride=4",
            ],
        )
    told = str(caught.value)
    assert "classify.epoch: there is no such setting. Did you mean 'epochs'?" in told
    assert "classfy: there is no such setting. Did you mean 'classify'?" in told
    assert "seeds.weighting:" in told
    assert "(got 'product')" in told
    assert "classify.batch:" in told
    assert "backbone.output_stride:" in told
    assert len(told.splitlines()) == 6


def test_settings_that_do_not_fit_together_are_told_all_at_once():
    wrong = {
        "backbone.freeze_until": 0,
        "classify.cache_features": 2,
        "classify.long_side": (96, 64),
        "seeds.scales": (),
        "predict.scales": (1.0, 0.0),
        "reactivate.control": True,
        "reactivate.enabled": False,
        "segment.upper_bound": True,
        "segment.labels": "truth",
        "segment.keep": "best",
        "segment.frame": (512, 2048),
        "segment.options": {"output_stride": 8},
    }
    with pytest.raises(RecipeError) as caught:
        load_recipe({}, wrong)
    told = str(caught.value)
    for words in (
        "set backbone.freeze_until",
        "classify.long_side = (96, 64)",
        "seeds.scales",
        "predict.scales",
        "reactivate.control",
        "upper_bound",
        "set segment.validate_epochs",
        "segment.frame = (512, 2048)",
        "output_stride is a setting of its own",
    ):
        assert words in told, words


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("about=two words", "two words"),
        ('about="quoted = sign"', "quoted = sign"),
        ("about = spaced ", "spaced"),
        ("about=", ""),
        ("about=a=b", "a=b"),
    ],
)
def test_text_of_a_setting(text, value):
    assert load_recipe({}, [text]).about == value


def test_a_setting_without_value_is_refused():
    with pytest.raises(RecipeError, match=r"SECTION\.FIELD=VALUE, got 'classify\.epochs'"):
        load_recipe({}, ["classify.epochs"])


def test_lists_numbers_and_switches_of_a_setting():
    recipe = load_recipe(
        {},
        [
            "data.classes=['cow', 'dining table']",
            "reactivate.enabled=false",
            "classify.lr=1e-3",
            "backbone.freeze_until=4",
        ],
    )
    assert recipe.data.classes == ("cow", "dining table")
    assert (recipe.reactivate.enabled, recipe.classify.lr, recipe.backbone.freeze_until) == (False, 1e-3, 4)


def test_a_recipe_may_start_from_another(tmp_path):
    (tmp_path / "base.toml").write_text('extends = "tiny"\nseed = 7\n[classify]\nepochs = 9\n')
    (tmp_path / "mine.toml").write_text('extends = "base.toml"\n[classify]\nbatch = 2\n')
    recipe = load_recipe(tmp_path / "mine.toml")  # "base.toml" lies beside the file, wherever the command runs
    tiny = load_recipe("tiny")
    assert (recipe.seed, recipe.classify.epochs, recipe.classify.batch) == (7, 9, 2)
    assert recipe.classify.crop == tiny.classify.crop
    assert recipe.segment == tiny.segment


def test_a_recipe_may_start_from_several(tmp_path):
    (tmp_path / "both.toml").write_text('extends = ["irn-cpu", "recam-cpu-upernet"]\nseed = 3\n')
    recipe, irn, upernet = (load_recipe(each) for each in (tmp_path / "both.toml", "irn-cpu", "recam-cpu-upernet"))
    assert (recipe.refine, recipe.irn, recipe.segment, recipe.seed) == (("irn",), irn.irn, upernet.segment, 3)
    assert irn.segment != upernet.segment
    (tmp_path / "wrong.toml").write_text("extends = [1]")
    with pytest.raises(RecipeError, match=r"wrong\.toml: extends is a name or a list of names, got \[1\]"):
        load_recipe(tmp_path / "wrong.toml")


def test_options_of_a_data_set_are_replaced_as_a_whole(tmp_path):
    (tmp_path / "base.toml").write_text('[data]\nlocation = "scenes:"\noptions = {size = 64}\n')
    (tmp_path / "mine.toml").write_text(
        'extends = "base.toml"\n[data]\nlocation = "coco:x"\noptions = {protocol = "recam"}\n'
    )
    assert load_recipe(tmp_path / "mine.toml").data.options == {"protocol": "recam"}


def test_recipes_in_a_circle(tmp_path):
    (tmp_path / "a.toml").write_text('extends = "b.toml"')
    (tmp_path / "b.toml").write_text('extends = "a.toml"')
    with pytest.raises(RecipeError, match="extend one another in a circle"):
        load_recipe(tmp_path / "a.toml")


def test_a_recipe_that_cannot_be_read(tmp_path):
    with pytest.raises(RecipeError, match=r"no recipe 'recan'.* Did you mean 'recam'"):
        load_recipe("recan")
    (tmp_path / "broken.toml").write_text("[classify\n")
    with pytest.raises(RecipeError, match=r"broken\.toml: not valid TOML"):
        load_recipe(tmp_path / "broken.toml")
    (tmp_path / "latin.toml").write_bytes(b'about = "caf\xe9"')
    with pytest.raises(RecipeError, match=r"latin\.toml cannot be read .*UTF-8"):
        load_recipe(tmp_path / "latin.toml")
    (tmp_path / "orphan.toml").write_text('extends = "tiny2.toml"')
    with pytest.raises(RecipeError, match=r"no recipe '.*tiny2\.toml'"):
        load_recipe(tmp_path / "orphan.toml")


def test_each_setting_has_a_sentence():
    for name, section in Recipe.model_fields.items():
        if name in ("about", "seed"):
            assert section.description
        for field, info in getattr(section.annotation, "model_fields", {}).items():
            assert info.description, f"{name}.{field}"


@pytest.mark.parametrize(
    ("setting", "hint"),
    [
        ("classify.backbone=resnet50", r"Did you mean 'backbone\.name' or 'backbone\.weights'"),
        ("name=resnet50", r"Did you mean 'backbone\.name'\?"),
        ("classify.scales=[1.0]", r"Did you mean 'seeds\.scales' or 'advcam\.scales' or 'predict\.scales'\?"),
        ("predict.zzz=1", r"Known: flip, overlap, refine, scales, window\."),
    ],
)
def test_a_setting_of_another_section_is_named_by_its_place(setting, hint):
    with pytest.raises(RecipeError, match=hint):
        load_recipe("tiny", [setting])
