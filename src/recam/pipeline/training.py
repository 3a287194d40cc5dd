"""What a training of a classifier is, and the registry of them.

A training of one's own is a file with one class; its stages ``train/NAME``, ``maps/NAME`` and ``scores/NAME`` follow::

    @trainings.register("mine")
    class Mine(Training):
        title, starts_from, Settings = "Mine", "cam", MySettings

        def losses(self, network, batch):
            features = network.encode(batch)
            ...
            return {"loss": …}

One that learns from more than images and labels names stages that make it (`Training.preparations`) and what batches
hold of it (`Training.extras`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.optim import Optimizer

from recam.data.roles import RunData
from recam.engine.amount import Amount
from recam.engine.stage import Stage
from recam.engine.work import Work
from recam.inference.class_maps import MapsOf, weight_of, weighted_maps
from recam.methods.recam import Weighting
from recam.models.backbones import Backbone
from recam.models.classifier import Classifier
from recam.models.saved import fill_classifier
from recam.recipe.recipe import Recipe
from recam.registry import Registry
from recam.runfolder.store import StageFolder
from recam.settings import Settings
from recam.training.loader import Batch, Extra
from recam.training.optim import make_sgd, split_parameters
from recam.types import Grey


@dataclass(frozen=True)
class Training:
    """A training of a classifier with image labels; subclass and register, see the head of this file.

    The object is what the key of the stage hashes: its name, its settings, and the training that it starts from.

    Attributes:
        name: under which it is registered.
        settings: an object of its `Settings`.
        base: the training whose weights it starts from; None: the backbone's.
        title: its name in tables and pictures.
        starts_from: name of that training; empty: none.
        takes_weights: it takes over the weights of that training; False: it learns from something made with them, and
            its own are the backbone's.
        colour: its colour in figures, see `recam.report.figures.SERIES`; empty: the next that is free.
        heads: heads of the network besides FC1, see `recam.models.classifier.Classifier`.
        hands_on_heads: trainings that start from it keep its heads, as `extra_losses` needs them.
        reads_images: its losses need the images themselves, so that it takes no cached features.
        weightings: ways to weigh its maps (eq. 9); the first where a recipe names one that it does not have.
        uses_saliency: batches hold ``saliency``; the run then needs maps of it, and results state so.
        after_each: what it does after each epoch, in words, see `after_epoch`; empty: nothing.
        maps_on_saliency: its maps of an image also take the saliency map of that, see `maps_with`.
        only_scored: it is there to be compared, and of no use where nothing is scored.
        train: makes its stage, for a training that has no steps: as `recam.engine.stage.Stage.make`, of
            `recam.pipeline.stages.train.TrainGiven`; None: the common loop, by `losses`.
        amounts: how much work that is, of the same given and of the data, see `recam.engine.amount`.
        version: raised when the code changes what comes out.
    """

    name: str
    settings: Any
    base: Training | None = None

    title: ClassVar[str] = ""
    starts_from: ClassVar[str] = ""
    takes_weights: ClassVar[bool] = True
    colour: ClassVar[str] = ""
    heads: ClassVar[tuple[str, ...]] = ()
    hands_on_heads: ClassVar[bool] = True
    reads_images: ClassVar[bool] = False
    weightings: ClassVar[tuple[Weighting, ...]] = ("w",)
    uses_saliency: ClassVar[bool] = False
    maps_on_saliency: ClassVar[bool] = False
    after_each: ClassVar[str] = ""
    only_scored: ClassVar[bool] = False
    train: ClassVar[Callable[..., dict[str, Any]] | None] = None
    amounts: ClassVar[Callable[..., list[Amount]] | None] = None
    version: ClassVar[int] = 1
    Settings: ClassVar[type[Settings]] = Settings

    @property
    def epochs(self) -> int:
        """Passes over the training split; 0 for a training without steps."""
        return int(getattr(self.settings, "epochs", 0))

    @property
    def steps(self) -> int | None:
        """Steps to train, for a training that counts in them; None: it counts in epochs."""
        return getattr(self.settings, "steps", None)

    @property
    def warmup(self) -> int:
        """Steps over which the rates rise from 0."""
        return int(getattr(self.settings, "warmup", 0))

    @property
    def first_view(self) -> int:
        """How many draws of augmentation of each image the trainings before it have used up."""
        return self.base.first_view + self.base.epochs if self.base else 0

    @classmethod
    def read(cls, recipe: Recipe) -> Any:
        """Its settings in a recipe: its section, unless it takes those of others."""
        return recipe.section(cls.Settings)

    @classmethod
    def start(cls, recipe: Recipe) -> str:
        """Name of the training that it starts from; empty: none."""
        return cls.starts_from

    @classmethod
    def make(cls, recipe: Recipe, name: str) -> Training:
        """The training with the recipe's settings, and those that it starts from."""
        start = cls.start(recipe)
        return cls(name, cls.read(recipe), make_training(recipe, start) if start else None)

    @property
    def stage_title(self) -> str:
        """Its title among the stages of a run, where several of them may be made."""
        return self.title

    def preparations(self, recipe: Recipe, weights: str | None) -> tuple[Stage, ...]:
        """Stages behind the training that it starts from and before itself; their folders are among the inputs of
        `extras`.

        Args:
            weights: what the backbone's file of weights holds, as a hash; None for published ones.
        """
        return ()

    def extras(self, inputs: Mapping[str, StageFolder], n_classes: int) -> dict[str, Extra]:
        """What its batches hold of each sample beside image and labels, by name.

        Args:
            inputs: folders of the stages that it needs; none where a plan tries its steps, before anything is made:
                then something of the same shape.
            n_classes: K.
        """
        return {}

    @property
    def is_on_saliency(self) -> bool:
        """Whether it, or a training that it starts from, takes saliency maps."""
        return self.uses_saliency or (self.base is not None and self.base.is_on_saliency)

    def network(self, backbone: Backbone, n_classes: int) -> Classifier:
        """The network with its heads, fresh: seed torch before."""
        return Classifier(backbone, n_classes, self.all_heads)

    @property
    def head_options(self) -> dict[str, dict[str, Any]]:
        """Options of its heads, JSON-ready, of those that have any."""
        return {}

    @property
    def all_heads(self) -> dict[str, dict[str, Any]]:
        """Its heads and those that it takes over from the training it starts from, with their options."""
        return self._heads_before | {name: self.head_options.get(name, {}) for name in self.heads}

    @property
    def _heads_before(self) -> dict[str, dict[str, Any]]:
        if self.base is None:
            return {}
        return self.base.all_heads if self.base.hands_on_heads else self.base._heads_before

    def groups(self, network: Classifier) -> list[dict[str, Any]]:
        """Parameter groups with their learning rates: `lr` for the backbone, `head_lr` for the rest."""
        return split_parameters(network, network.backbone, self.settings.lr, self.settings.head_lr)

    def optimizer(self, network: Classifier, momentum: float, weight_decay: float) -> Optimizer:
        """What minimises its losses."""
        return make_sgd(self.groups(network), momentum=momentum, weight_decay=weight_decay)

    def begin(self, network: Classifier, start: StageFolder) -> None:
        """Fill the network with the weights of the training that it starts from."""
        fill_classifier(network, start.weights)

    def fill(self, network: Classifier, inputs: Mapping[str, StageFolder]) -> None:
        """Put into the network what its preparations have made for it, by name of their stages."""

    def losses(self, network: Classifier, batch: Batch) -> dict[str, Tensor]:
        """Batch (``images`` or ``features``, ``labels`` (B, K)) → losses by name; ``loss`` is what is minimised."""
        raise NotImplementedError

    def after_epoch(self, network: Classifier, epoch: int, max_side: int | None, work: Work) -> None:
        """Called after each epoch where `after_each` says that something is done then; by all processes, each of which
        takes its share of the images (`Work.own`). A training that is ended in it resumes before it, so images that are
        done must be known, as by a file of this epoch.

        Args:
            network: in evaluation mode, on the device; no gradients are kept.
            epoch: from 1; the last is `epochs`.
            max_side: images that are read whole are reduced to this longer side (pixels); None: none is.
            work: its folder is that of the training.
        """

    def epoch_amounts(self, max_side: int | None, data: RunData) -> list[Amount]:
        """How much work `after_epoch` is, in all epochs together."""
        return []

    def extra_losses(self, network: Classifier, features: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Losses, already weighted, that trainings which start from this one add to theirs; features are (B, D, h,
        w)."""
        return self.base.extra_losses(network, features, batch) if self.base else {}

    def recorded(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        """Numbers that go into the history after each epoch, by name: of the logits (N, K) of held-out images with
        their labels (N, K)."""
        return {}

    def maps(
        self, network: Classifier, images: Tensor, classes: Sequence[int], weightings: Sequence[Weighting]
    ) -> dict[Weighting, Tensor]:
        """Raw class maps (V, n, h, w) of normalised views (V, 3, H, W) of one image, for each weighting, from the same
        features."""
        return weighted_maps(network, images, classes, weightings)

    def maps_with(self, saliency: Grey | None) -> MapsOf:
        """`maps` of an image with this saliency map (H, W); None where there is none, as of a photo that is tried."""
        return self.maps

    def weight(self, network: Classifier, weighting: Weighting) -> Tensor:
        """Weights (K, D) that the maps are made with (eq. 9)."""
        return weight_of(network, weighting)

    def choose_weighting(self, wanted: Weighting) -> Weighting:
        """The recipe's weighting where this training has it."""
        return wanted if wanted in self.weightings else self.weightings[0]

    def problems(self, n_classes: int) -> list[str]:
        """What stands in its way with so many classes, each with a way out; reported before anything is made."""
        return []


class Objective(nn.Module):
    """A training's losses as a module, so that several processes share its gradients."""

    def __init__(self, network: Classifier, training: Training) -> None:
        super().__init__()
        self.network, self.training_method = network, training

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return self.training_method.losses(self.network, batch)


trainings: Registry[type[Training]] = Registry("training", "recam.trainings", ("recam.pipeline.trainings",))


def make_training(recipe: Recipe, name: str) -> Training:
    """A training with the recipe's settings, and those that it starts from. Raises `RecipeError` for an unknown
    name."""
    return trainings[name].make(recipe, name)
