"""Recipes: three ways to say the same, all mistakes at once, near matches, one recipe built on another."""

from dataclasses import dataclass, fields

import pytest

from recam.errors import RecipeError
from recam.recipe.recipe import Recipe, load_recipe, recipe_type
from recam.recipe.toml import recipe_names
from recam.settings import Settings, sections, sentences


def test_every_shipped_recipe_loads_and_says_what_it_is_for():
    assert {"recam", "tiny"} <= set(recipe_names())
    for name in recipe_names():
        assert load_recipe(name).about, name


@pytest.mark.parametrize("name", ["recam-e", "recam-m"])
def test_recipes_of_table_4_train_the_papers_deeplabv2(name):
    ours, papers = load_recipe(name), load_recipe("recam-deeplabv2")
    assert (ours.segment.model, ours.segment.steps) == ("deeplabv2", 20000)
    assert (ours.segment, ours.predict, ours.maps) == (papers.segment, papers.predict, papers.maps)


def test_file_text_and_keywords_make_the_same_recipe(tmp_path):
    (tmp_path / "mine.toml").write_text('seed = 3\n[data]\nlocation = "folder:photos"\n[maps]\nscales = [0.5, 1]\n')
    tree = {"seed": 3, "data": {"location": "folder:photos"}, "maps": {"scales": [0.5, 1.0]}}
    texts = ["seed=3", "data.location=folder:photos", "maps.scales=[0.5, 1]"]
    pairs = {"seed": 3, "data.location": "folder:photos", "maps.scales": (0.5, 1)}
    recipe = load_recipe(tmp_path / "mine.toml")
    assert recipe == load_recipe(tree) == load_recipe({}, texts) == load_recipe({}, pairs)
    assert recipe.maps.scales == (0.5, 1.0)
    assert recipe.cam == recipe_type()().cam


def test_all_mistakes_at_once_with_near_matches():
    with pytest.raises(RecipeError) as caught:
        load_recipe(
            "tiny",
            [
                "cam.epoch=3",
                "recm.lr=1",
                "maps.weighting=product",
                "train.batch=0",
                "backbone.output_stride=4",
            ],
        )
    told = str(caught.value)
    assert "cam.epoch: there is no such setting. Did you mean 'epochs'?" in told
    assert "recm: there is no such setting. Did you mean 'recam'" in told
    assert "maps.weighting:" in told
    assert "(got 'product')" in told
    assert "train.batch:" in told
    assert "backbone.output_stride:" in told
    assert len(told.splitlines()) == 6


def test_settings_of_a_section_that_there_is_not_are_looked_for_in_others():
    with pytest.raises(RecipeError) as raised:
        load_recipe("tiny", ["classify.backbone=resnet50", "classify.loss=bce", "reactivate.background_logit=true"])
    assert [line.strip() for line in str(raised.value).splitlines()[1:]] == [
        "classify.backbone: there is no such setting."
        " Did you mean 'backbone.name' or 'backbone.weights' or 'backbone.output_stride'?",
        "classify.loss: there is no such setting. Did you mean 'cam.loss' or 'eps.loss' or 'segment.loss'?",
        "reactivate.background_logit: there is no such setting. Did you mean 'recam.background_logit'?",
    ]


def test_settings_that_do_not_fit_together_are_told_all_at_once():
    wrong = {
        "train.long_side": (96, 64),
        "irn.scale": (1.5, 0.5),
        "irn.confident": (0.4, 0.3),
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
        "train.long_side = (96, 64)",
        "irn.scale = (1.5, 0.5)",
        "irn.confident = (0.4, 0.3)",
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
    with pytest.raises(RecipeError, match=r"SECTION\.FIELD=VALUE, got 'cam\.epochs'"):
        load_recipe({}, ["cam.epochs"])


def test_lists_numbers_and_switches_of_a_setting():
    recipe = load_recipe(
        {},
        [
            "data.classes=['cow', 'dining table']",
            "segment.enabled=false",
            "cam.lr=1e-3",
            "backbone.freeze_until=4",
        ],
    )
    assert recipe.data.classes == ("cow", "dining table")
    assert (recipe.segment.enabled, recipe.cam.lr, recipe.backbone.freeze_until) == (False, 1e-3, 4)


def test_a_recipe_may_start_from_another(tmp_path):
    (tmp_path / "base.toml").write_text('extends = "tiny"\nseed = 7\n[cam]\nepochs = 9\n')
    (tmp_path / "mine.toml").write_text('extends = "base.toml"\n[train]\nbatch = 2\n')
    recipe = load_recipe(tmp_path / "mine.toml")  # "base.toml" lies beside the file, wherever the command runs
    tiny = load_recipe("tiny")
    assert (recipe.seed, recipe.cam.epochs, recipe.train.batch) == (7, 9, 2)
    assert recipe.train.crop == tiny.train.crop
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
    (tmp_path / "broken.toml").write_text("[cam\n")
    with pytest.raises(RecipeError, match=r"broken\.toml: not valid TOML"):
        load_recipe(tmp_path / "broken.toml")
    (tmp_path / "latin.toml").write_bytes(b'about = "caf\xe9"')
    with pytest.raises(RecipeError, match=r"latin\.toml cannot be read .*UTF-8"):
        load_recipe(tmp_path / "latin.toml")
    (tmp_path / "orphan.toml").write_text('extends = "tiny2.toml"')
    with pytest.raises(RecipeError, match=r"no recipe '.*tiny2\.toml'"):
        load_recipe(tmp_path / "orphan.toml")


def test_each_setting_has_a_sentence():
    for name, info in Recipe.model_fields.items():
        assert info.description, name
    for section, kind in sections.items():
        assert kind.__doc__, section
        assert list(sentences(kind)) == [field.name for field in fields(kind)], section


def test_values_that_no_section_takes_are_told_with_their_place():
    with pytest.raises(RecipeError) as caught:
        load_recipe(
            {}, {"maps.scales": (), "predict.scales": (1.0, 0.0), "cam.lr": float("inf"), "edam.confident_above": 2}
        )
    for place in ("maps.scales: ", "predict: scales (1.0, 0.0)", "cam.lr: ", "edam.confident_above: "):
        assert f"\n  {place}" in str(caught.value)


@pytest.mark.parametrize("value", ["nan", "[1, inf]", "{deep = 2026-01-01}"])
def test_options_that_no_record_can_hold_are_refused(tmp_path, value):
    (tmp_path / "mine.toml").write_text(f"[data]\noptions = {{a = {value}}}\n")
    with pytest.raises(RecipeError, match=r"data\.options = .*: .*Give text, finite numbers"):
        load_recipe(tmp_path / "mine.toml")


def test_a_recipe_is_itself_again_from_what_it_says_of_itself(tmp_path):
    for name in recipe_names():
        recipe = load_recipe(name)
        assert load_recipe(recipe.as_dict()) == load_recipe(recipe) == recipe


def test_sections_are_found_by_their_class_and_others_are_named():
    @dataclass(frozen=True)
    class Lonely(Settings):
        """Of no section."""

    recipe = load_recipe("tiny")
    for name, kind in sections.items():
        assert recipe.section(kind) is getattr(recipe, name)
    assert recipe.section(Settings) == Settings()
    with pytest.raises(TypeError, match=r"Lonely is no section of a recipe: decorate it with @recam"):
        recipe.section(Lonely)


def test_a_section_that_is_entered_later_is_known_from_then_on(monkeypatch):
    @dataclass(frozen=True)
    class Mine(Settings):
        """Of somebody's own method."""

        strength: float = 0.5
        """How much."""

    before = load_recipe("tiny")
    monkeypatch.setitem(sections._entries, "mine", Mine)
    assert load_recipe("tiny", {"mine.strength": 2}).section(Mine) == Mine(2.0)
    assert before.as_dict() == {name: value for name, value in load_recipe("tiny").as_dict().items() if name != "mine"}


@pytest.mark.parametrize(
    ("setting", "hint"),
    [
        ("cam.backbone=resnet50", r"Did you mean 'backbone\.name' or 'backbone\.weights'"),
        ("name=resnet50", r"Did you mean .*'backbone\.name'"),
        ("cam.scales=[1.0]", r"Did you mean 'advcam\.scales' or 'maps\.scales' or 'predict\.scales'\?"),
        ("predict.zzz=1", r"Known: flip, max_side, no_data, overlap, refine, scales, window\."),
    ],
)
def test_a_setting_of_another_section_is_named_by_its_place(setting, hint):
    with pytest.raises(RecipeError, match=hint):
        load_recipe("tiny", [setting])
