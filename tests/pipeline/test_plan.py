"""A stage is given exactly the object that its key hashes: each setting of each recipe is changed in turn, and the
stages that are then made again are held against what each was given, and against a table of what is meant."""

import dataclasses
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

import recam
from recam.data.roles import DataSettings, RunData
from recam.engine.stage import key_stages
from recam.errors import RecipeError
from recam.pipeline.losses import dsrg
from recam.pipeline.maker import makers
from recam.pipeline.makers import ts_cam
from recam.pipeline.plan import make_plan
from recam.pipeline.refiner import refiner_steps
from recam.pipeline.refiners import crf, feature_affinity, irn
from recam.pipeline.segment_loss import segment_losses
from recam.pipeline.training import make_training, trainings
from recam.recipe.recipe import Recipe, load_recipe
from recam.recipe.toml import recipe_names
from recam.settings import CHANGES_NOTHING, Settings, as_json, sections
from saliency_inputs import write_maps


def fields_of(section):
    return [field.name for field in dataclasses.fields(sections[section])]


SCENES = {"seed": 6, "size": 64, "train": 12, "val": 4}
ALWAYS_THE_SAME = {
    "about",
    "choose",  # followed before stages are planned
    "data.on_problems",  # nothing is damaged here
    "train.cache_gb",
    *(
        f"{section}.{field.name}"
        for section, kind in sections.items()
        for field in dataclasses.fields(kind)
        if CHANGES_NOTHING.items() <= field.metadata.items()
    ),
    *(f"compute.{name}" for name in fields_of("compute")),
}
"""Settings that change no result of any recipe."""
# Other values where the type alone does not tell one, and what must be set beside.
OTHER = {
    "training": "control",
    "candidates": ("probe", "recam"),
    "compare": ("cam", "control"),
    "maker": "advcam",
    "refine": ("pamr",),
    "choose": ("maps.scales",),
    "data.classes": ("cow", "person"),
    "data.options": SCENES | {"seed": 7},
    "data.train": "val",
    "data.score": "val",
    "data.val": "train",
    "data.no_data": 64,
    "predict.no_data": (1, 2, 3),
    "maps.compare": ("w", "add"),
    "segment.model": "upernet",
    "segment.loss": "dsrg",
    "segment.options": {"freeze_batchnorm": False},
    "segment.keep": "best",
    "masks.class_thresholds": {"cow": 0.3},
    "masks.rounds": 1,
    "masks.round": ("pamr",),
    "crf.terms": {"iterations": 3},
    "segment.output_stride": 8,
    "segment.transforms": ("gamma",),
    "train.transforms": ("gamma",),
    "pamr.dilations": (1, 2),
    "irn.confident": (0.12, 0.4),
    "bes.confident": (0.12, 0.4),
    "dsrg.confident": (0.12, 0.4),
    "irn.confident_cam": (0.06, 0.3),
    "region_cam.radius": 3.0,
    "compute.log": ("tensorboard",),
    "self_training.class_balance": 0.3,
    "feature_affinity.name": "test_resnet",
    "clip_es.words": {"cow": "cattle"},
    "clip_es.background": ("sky",),
    "psa.crop": 256,
    "psa.freeze_until": 2,
    "edam_training.attention_heads": 4,
}
BESIDE = {
    "segment.keep": {"segment.validate_epochs": 1},
    "segment.patience": {"segment.validate_epochs": 1},
    "candidates": {"masks.threshold": "auto", "masks.oracle": False},
    "masks.rounds": {"masks.round": ("pamr",)},
}
NOTHING = object()
OF_FOLDERS = {f"data.{name}" for name in ("labels_from", "label_separator", "unlisted", "group", "first_value")}
OF_FILES = {f"data.{name}" for name in ("bands", "page", "value_range")}
STARTS = {f"{section}.starts_from" for section in sections if "starts_from" in fields_of(section)}
SOURCES = {"clip_es.source", "maps.source", "saliency.source", "sam_votes.source"}
MADE_MASKS = {"conta.masks", "masks.corrected"}
SKIPPED = {"data.location", *MADE_MASKS, *SOURCES, *STARTS, *OF_FOLDERS, *OF_FILES}
"""Folders and trainings of tests of their own."""


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    samples = recam.open_catalog("scenes:", **SCENES).samples("train")
    return write_maps(tmp_path_factory.mktemp("maps"), samples)


@pytest.fixture(autouse=True)
def _nothing_is_built(monkeypatch):
    """Planning tries whether a network fits; what it plans does not depend on that."""
    monkeypatch.setattr(irn, "make_irnet", lambda *arguments: None)
    monkeypatch.setattr(feature_affinity, "network_problems", lambda *arguments: [])
    monkeypatch.setattr(ts_cam, "attention_problems", lambda *arguments: [])
    for module in (irn, crf, dsrg):
        monkeypatch.setattr(module, "require_densecrf", lambda: None)


_catalogs = {}


def plan(recipe):
    own = recipe.section(DataSettings)
    about = (own.location, own.classes, repr(own.options), own.background, own.no_data, own.one_label)
    if about not in _catalogs:
        catalog = own.open()
        _catalogs[about] = {name: list(catalog.samples(name)) for name in catalog.splits}, catalog, {}
    _, catalog, known = _catalogs[about]
    data = RunData(catalog, own)
    data._fingerprints.update(known.get((own.train, own.score, own.val), {}))
    planned = key_stages(make_plan(recipe, data).stages, data)
    known[own.train, own.score, own.val] = data._fingerprints
    return planned


def other_value(value, kind):
    """Another value of a setting of this type."""
    if get_origin(kind) is Literal:
        return next(each for each in get_args(kind) if each != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 4
    if isinstance(value, float):
        return value * 0.5 if value else 0.5
    if value == "auto":
        return 0.5
    if isinstance(value, str):
        return f"{value}2"
    if isinstance(value, tuple) and value:
        return (value[0] * 0.5 if isinstance(value[0], float) else value[0] - 1, *value[1:])
    if value is None:  # sizes and counts
        return (512, 256) if "tuple" in str(kind) else 64
    raise AssertionError(f"no other value of {value!r}: enter one in OTHER")


def settings_of(recipe):
    """(name, value, another value) of each setting of a recipe, but where what is meant by `OTHER` is there already."""
    for name in Recipe.model_fields:
        value = getattr(recipe, name)
        if OTHER.get(name, NOTHING) != value:
            yield name, value, OTHER.get(name) or other_value(value, type(value))
    for section, kind in sections.items():
        hints = get_type_hints(kind)
        for field in dataclasses.fields(kind):
            name, value = f"{section}.{field.name}", getattr(getattr(recipe, section), field.name)
            if name not in SKIPPED and OTHER.get(name, NOTHING) != value:
                yield name, value, OTHER.get(name) or other_value(value, hints[field.name])


def changes(planned, before):
    """Names of stages that are not what they were: directly, and all."""
    parts = ("given", "data", "classes", "background", "version")
    direct = {
        name
        for name, each in planned.items()
        if name not in before
        or any(each.parts.get(part) != before[name].parts.get(part) for part in parts)
        or each.stage.needs != before[name].stage.needs
    }
    changed = {name for name, each in planned.items() if name not in before or each.key != before[name].key}
    return direct, changed


def with_upstream(direct, planned):
    """The stages, and all that build on them."""
    found = set()
    for name, each in planned.items():  # in order
        if name in direct or found & set(each.stage.needs):
            found.add(name)
    return found


PLACE = {"data.location": "scenes:", "data.options": SCENES}
REFUSED = {
    # Where the segmentation model starts from the classifier, both are the same network.
    "backbone.name",
    "segment.encoder",
    # Where the recipe trains an upper bound beside.
    "segment.enabled",
    "segment.labels",
    # Where a loss balances classes itself.
    "segment.class_balance",
    "segment.loss",
    # Where there are saliency maps of the training images alone.
    "data.train",
    "data.score",
    # Where nothing else takes the saliency maps that are there.
    "refine",
    "training",
    # Where a training or a refiner learns a background.
    "data.background",
}
"""Changes that single recipes do not allow."""


def idle_sections(recipe):
    """Sections of methods that the recipe does not use."""
    trained = {name for stage in plan(recipe) if stage.startswith("train/") for name in stage.split("/")[1:]}
    used = (
        (trainings, trained),
        (makers, {recipe.maker}),
        (refiner_steps, {*recipe.refine, *recipe.masks.round}),
        (segment_losses, {recipe.segment.loss}),
    )
    named = {kind: section for section, kind in sections.items()}
    methods = [
        (named[registry[name].Settings], name in names)
        for registry, names in used
        for name in registry
        if registry[name].Settings in named
    ]
    return {section for section, _ in methods} - {section for section, is_used in methods if is_used}


def takes_saliency(recipe):
    learned = (make_training(recipe, each) for each in (*recipe.compare, recipe.training))
    return any(each.is_on_saliency for each in learned) or any(
        refiner_steps[each].uses_saliency for each in recipe.refine
    )


IDLE = "all settings of methods that the recipe does not use"
NOT_IN_FORCE = {
    "masks.threshold",  # the oracle's threshold is in force
    "masks.round",  # no round is made
    "irn.background_threshold",
    "bes.background_threshold",
    "irn.confident_cam",  # the maps are not those of CAM
    "maps.compare",  # a map maker makes them
    "maps.weighting",  # a training with a single weighting takes that
    *(f"saliency.{name}" for name in fields_of("saliency")),  # those of a network; here is a folder
}
"""Settings that change nothing while another one, or the data, decides."""


def each_change(recipe, idle=frozenset()):
    """(name, plan before, plan after) of a change of each setting in turn, but for those that are refused; those of
    `idle` sections are changed together, as `IDLE`."""
    plain = plan(recipe)
    together = {name: value for name, _, value in settings_of(recipe) if name.split(".")[0] in idle}
    if together:
        yield IDLE, plain, plan(load_recipe(recipe, together))
    for name, _, value in settings_of(recipe):
        if name in together:
            continue
        beside = BESIDE.get(name, {})
        before = plan(load_recipe(recipe, beside)) if beside else plain
        try:
            yield name, before, plan(load_recipe(recipe, {**beside, name: value}))
        except RecipeError:
            if name not in REFUSED:
                raise


@pytest.mark.parametrize("name", recipe_names())
def test_a_stage_is_made_again_where_what_it_is_given_changes_and_never_else(name, maps):
    recipe = load_recipe(name, PLACE)
    if takes_saliency(recipe):
        recipe = load_recipe(recipe, {"saliency.source": str(maps)})
    without_effect = set()
    idle = idle_sections(recipe)
    for setting, before, after in each_change(recipe, idle):
        direct, changed = changes(after, before)
        assert changed == with_upstream(direct, after), setting
        if not changed and before.keys() == after.keys():
            without_effect.add(setting)
    assert without_effect >= {each for each in ALWAYS_THE_SAME if each.split(".")[0] not in idle}
    assert without_effect - ALWAYS_THE_SAME - NOT_IN_FORCE == {IDLE}


TABLES = {
    "irn-cpu": (
        {"compare": ("cam", "control"), "refine": ("irn", "crf", "pamr"), "segment.upper_bound": True},
        {
            "seed": "features",
            "training": "irn/control/labels segment/truth",
            "maker": "maps/recam+advcam",
            "refine": "refined/recam+pamr",
            "data.classes data.options data.train data.background data.no_data data.one_label": "features",
            "data.score": "maps/cam maps/control maps/recam",
            "data.val": "predictions/pseudo predictions/truth",
            "data.max_side": "maps/cam maps/control maps/recam segment/truth",
            "backbone.*": "features",
            "train.*": "train/cam",
            "train.long_side train.crop train.cache_features train.transforms": "features",
            "cam.*": "train/cam",
            "recam.*": "train/recam",
            "recam.epochs recam.steps recam.lr": "train/control train/recam",
            "maps.*": "maps/cam maps/control maps/recam",
            "maps.weighting maps.compare": "maps/recam",
            "maps.held_out": "held_out/recam",
            "masks.oracle": "pixels",
            "masks.class_thresholds": "masks",
            "masks.rounds": "refined/recam+irn+crf+pamr+pamr",
            "candidates": "train/probe trials/recam",
            "segment.*": "segment/pseudo segment/truth",
            "segment.upper_bound": "",
            "segment.loss": "dsrg/recam+irn+crf+pamr/seeds segment/truth",
            "predict.*": "predictions/pseudo predictions/truth",
            "irn.*": "irn/recam/network",
            "irn.confident irn.labels_by": "irn/recam/labels",
            "irn.walk_radius irn.beta irn.steps": "refined/recam+irn",
            "crf.*": "refined/recam+irn+crf",
            "pamr.*": "refined/recam+irn+crf+pamr",
        },
    ),
    "recam-e": (
        {"refine": ("edam",), "train.cache_features": 2},
        {
            "seed": "features saliency/views",
            "training": "train/control",
            "compare": "train/cam train/control",
            "maker": "maps/recam+advcam",
            "refine": "refined/recam+pamr",
            "data.classes data.options data.no_data data.one_label": "features saliency/maps saliency/training",
            "data.val": "predictions/pseudo",
            "data.max_side": "maps/eps maps/recam",
            "backbone.*": "features",
            "train.*": "train/eps",
            "train.long_side train.crop train.cache_features": "features saliency/views",
            "train.transforms": "features",
            "eps.*": "train/eps",
            "recam.*": "train/recam",
            "maps.*": "maps/eps maps/recam",
            "maps.weighting maps.compare": "maps/recam",
            "maps.held_out": "held_out/recam",
            "masks.oracle masks.class_thresholds": "masks",
            "masks.rounds": "refined/recam+edam+pamr",
            "candidates": "train/probe trials/recam",
            "segment.*": "segment/pseudo",
            "segment.enabled": "pictures",
            "segment.labels": "pictures segment/truth",
            "segment.upper_bound": "segment/truth",
            "segment.loss": "dsrg/recam+edam/seeds",
            "predict.*": "predictions/pseudo",
            "edam.*": "refined/recam+edam",
        },
    ),
    "advcam-irn": (
        {"masks.oracle": False, "irn.weights": "classifier", "compare": ()},
        {
            "seed": "train/cam",
            "training": "train/control",
            "compare": "maps/cam train/control",
            "refine": "refined/recam+advcam+pamr",
            "data.classes data.options data.train data.background data.no_data data.one_label": "train/cam",
            "data.score": "maps/recam+advcam",
            "data.val": "predictions/pseudo",
            "data.max_side": "maps/recam+advcam",
            "backbone.*": "train/cam",
            "train.*": "train/cam",
            "train.cache_features": "features",
            "cam.*": "train/cam",
            "recam.*": "train/recam",
            "maps.weighting": "maps/recam+advcam",
            "maps.*": "maps/recam+advcam",
            "maps.flip": "",
            "maps.held_out": "held_out/recam+advcam",
            "advcam.*": "maps/recam+advcam",
            "masks.oracle masks.class_thresholds irn.background_threshold": "masks",
            "masks.rounds": "refined/recam+advcam+irn+pamr",
            "candidates": "train/probe trials/recam+advcam",
            "segment.*": "segment/pseudo",
            "segment.enabled": "pictures",
            "segment.labels": "pictures segment/truth",
            "segment.upper_bound": "segment/truth",
            "segment.loss": "dsrg/recam+advcam+irn/seeds",
            "predict.*": "predictions/pseudo",
            "irn.*": "irn/recam+advcam/network",
            "irn.confident irn.labels_by": "irn/recam+advcam/labels",
            "irn.walk_radius irn.beta irn.steps": "refined/recam+advcam+irn",
        },
    ),
}
"""The first stages that each setting changes; what builds on them follows."""


@pytest.mark.parametrize("name", TABLES)
def test_each_setting_reaches_the_stages_that_it_is_meant_for(name, maps):
    more, table = TABLES[name]
    source = {"saliency.source": str(maps)} if "edam" in more.get("refine", ()) else {}
    recipe = load_recipe(name, PLACE | more | source)
    table = {setting: stages for settings, stages in table.items() for setting in settings.split()}
    wrong = {}
    for setting, before, after in each_change(recipe):
        changed = changes(after, before)[1]
        first = {each for each in changed if not changed & set(after[each].stage.needs)}
        idle = setting in ALWAYS_THE_SAME | NOT_IN_FORCE and setting not in table
        meant = "" if idle else table.get(setting, table.get(f"{setting.split('.')[0]}.*", ""))
        if first != set(meant.split()):
            wrong[setting] = first
    assert not wrong


def test_equal_settings_have_equal_keys_however_they_were_written():
    plain = load_recipe("irn", PLACE)
    again = load_recipe(plain.as_dict())
    assert again == plain
    assert {name: each.key for name, each in plan(again).items()} == {
        name: each.key for name, each in plan(plain).items()
    }


def test_what_a_stage_s_function_holds_besides_changes_no_result(maps):
    """The function of a stage may hold how much disk it may take, or where files lie whose content its key knows."""
    held = set()
    for name, more in (("recam-m", {"saliency.source": str(maps)}), ("demo", {})):
        for each in plan(load_recipe(name, PLACE | more)).values():
            code, cells = each.stage.make.__code__, each.stage.make.__closure__ or ()
            held |= {
                (each.stage.name, *pair)
                for pair in zip(code.co_freevars, (cell.cell_contents for cell in cells), strict=True)
            }
    assert held == {("saliency/maps", "source", str(maps)), ("features", "gigabytes", 8.0)}


def test_a_field_declared_to_change_nothing_is_in_no_key():
    @dataclasses.dataclass(frozen=True)
    class Given(Settings):
        steps: float = 3
        at_once: int = dataclasses.field(default=1, metadata=CHANGES_NOTHING)

    assert as_json({"a": (Given(3.0, 2),)}, for_key=True) == {"a": [{"steps": 3}]}
    assert as_json(Given(2.5, 2)) == {"steps": 2.5, "at_once": 2}
    with pytest.raises(ValueError, match="not JSON compliant"):
        as_json(Given(float("inf")), for_key=True)
