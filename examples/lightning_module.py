"""ReCAM as a LightningModule: BCE first, then ReCAM's loss on the same network, class maps as predictions.

Logging, checkpoints, several GPUs and mixed precision are Lightning's. Needs ``pip install lightning``; runs in seconds
on a CPU: ``python examples/lightning_module.py``
"""

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from recam.methods import cam, recam

CLASSES = ("red", "green", "blue")
SIZE = (64, 96)


class ReCam(L.LightningModule):
    """A network up to its feature map, and two bias-free classifiers on it.

    Args:
        network: images (B, 3, H, W) → features (B, D, h, w).
        width: D.
        n_classes: K.
        warm_up: epochs of BCE alone, before ReCAM's loss sets in.
        weighting: which weights class maps are made with, see `recam.methods.recam.combine_weights`.
    """

    def __init__(
        self, network: nn.Module, width: int, n_classes: int, warm_up: int = 2, weighting: str = "mul"
    ) -> None:
        super().__init__()
        self.network, self.warm_up, self.weighting = network, warm_up, weighting
        self.fc1, self.fc2 = (nn.Linear(width, n_classes, bias=False) for _ in range(2))

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        images, labels = batch  # (B, 3, H, W), (B, K)
        features = self.network(images)
        if self.current_epoch < self.warm_up:
            # FC2 waits: a product with 0 gives it a gradient, which several processes wait for.
            loss = cam.bce_loss(cam.classify(features, self.fc1.weight), labels) + 0 * self.fc2.weight.sum()
            self.log("bce", loss, prog_bar=True)
            return loss
        found = recam.reactivation_loss(features, self.fc1.weight, self.fc2.weight, labels, pooling="area")
        self.log_dict({"bce": found.bce, "sce": found.sce, "accuracy": found.accuracy}, prog_bar=True)
        return found.total

    def predict_step(self, batch: tuple[Tensor, Tensor], index: int) -> list[Tensor]:
        """Class maps (n, H/4, W/4) in [0, 1] of the classes that each image is labelled with."""
        weight = recam.combine_weights(self.fc1.weight, self.fc2.weight, self.weighting)
        made = []
        for image, labels in zip(*batch, strict=True):
            views = [self.network(torch.stack([image, image.flip(-1)]))]  # one scale: (2, D, h, w)
            made.append(cam.make_cams(views, weight, labels.nonzero()[:, 0].tolist(), image.shape[1:]))
        return made

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def draw_images(images: int = 64) -> TensorDataset:
    """Noise with a square of each present colour: pictures (N, 3, H, W) and labels (N, K). Stands for your data."""
    pictures, labels = 0.5 * torch.rand(images, 3, *SIZE), (torch.rand(images, len(CLASSES)) < 0.5).float()
    for image, colour in labels.nonzero().tolist():
        top, left = (int(torch.randint(side - 32, ())) for side in SIZE)
        pictures[image, colour, top : top + 32, left : left + 32] += 1
    return TensorDataset(pictures, labels)


def main(epochs: int = 4) -> list[Tensor]:
    """Train on random pictures; return the class maps of some of them."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 16, 3, 4, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 4, 1), nn.ReLU())
    model = ReCam(network, 32, len(CLASSES))
    trainer = L.Trainer(max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.fit(model, DataLoader(draw_images(), batch_size=8, shuffle=True))
    predicted = trainer.predict(model, DataLoader(draw_images(8), batch_size=4))
    return [maps for batch in predicted for maps in batch]


if __name__ == "__main__":
    for number, maps in enumerate(main()):
        print(f"picture {number}: maps {tuple(maps.shape)}")
