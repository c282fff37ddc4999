"""Named experiments. Each states what it costs and what it reaches."""

import dataclasses
from typing import NamedTuple

from experiments.configuration.config import DataConfig, LossConfig, ModelConfig, TrainConfig
from fcn.data import AugmentConfig
from fcn.data.loading.sampling import SamplingConfig
from fcn.training import OptimizerConfig


class Preset(NamedTuple):
    """An experiment, and what a user wants to know before starting it."""

    data: str
    needs: str
    """What the user must give or do first."""
    config: TrainConfig
    seconds: int | None = None
    """Training on two CPU cores; None: not measured."""
    miou: float | None = None
    """Validation mIoU that it reaches, from random weights; None: not measured."""


def _nuclei(task: str, *task_options: str, terms: str | None = None) -> Preset:
    """Nuclei one by one. The brightness of these images varies by a factor of ten: each is brought to its own percentiles.

    Images come by the number of their nuclei, which is what is counted in the end; half of the crops lie around one.
    """
    config = TrainConfig(
        preset=f"nuclei_{task}",
        task=task,
        task_options=task_options,
        steps=1400,
        batch_size=8,
        log_every=50,
        eval_every=700,
        checkpoint_every=350,
        data=DataConfig("folder", crop=(160, 160), channels=1, normalise="percentiles"),
        model=ModelConfig("unet", options=("base_features=16", "depth=3")),
        loss=LossConfig(terms=terms),
        optim=OptimizerConfig(learning_rate=4e-3, weight_decay=1e-2),
        augment=AugmentConfig(
            flip=True,
            vertical_flip=True,
            scale=(0.7, 1.4),
            crop=(128, 128),
            brightness=0.2,
            contrast=0.2,
            operations=("rotate90", "gamma(range=[0.7,1.5],probability=0.3)"),
        ),
        sampling=SamplingConfig(balance=True, foreground=0.5),
        ema=0.99,
    )
    return Preset("nuclei of DSB 2018, 128x128", "--data.root", config)


_SHAPES = TrainConfig(
    preset="shapes_unet",
    steps=750,
    batch_size=8,
    log_every=50,
    eval_every=375,
    checkpoint_every=375,
    model=ModelConfig("unet", options=("base_features=16", "depth=3", "stem_stride=2")),
    optim=OptimizerConfig(learning_rate=5e-3, weight_decay=1e-2),
    augment=AugmentConfig(flip=True, vertical_flip=True),
    ema=0.98,
)
_SCENES = "the built-in scenes, 128x128"
_OBJECTS = dataclasses.replace(_SHAPES, preset="shapes_instances", task="flows")

_PRESETS = (
    Preset(_SCENES, "nothing", _SHAPES, seconds=168, miou=0.917),
    Preset(_SCENES, "nothing", _OBJECTS),
    # A size that learns without ImageNet: VGG11 with BatchNorm and a quarter of its channels, same padding.
    Preset(
        data=_SCENES,
        needs="nothing",
        config=TrainConfig(
            preset="shapes_fcn8s",
            steps=750,
            batch_size=8,
            log_every=50,
            eval_every=375,
            checkpoint_every=375,
            model=ModelConfig(
                "fcn8s",
                encoder="vgg11_bn",
                options=("width_multiplier=0.25", "fc_features=256", "input_padding=null", "dropout_rate=0.1"),
            ),
            optim=OptimizerConfig(learning_rate=2e-3, weight_decay=1e-2),
            augment=AugmentConfig(flip=True),
        ),
    ),
    # SegNet's split, at half size.
    Preset(
        data="CamVid, 11 classes, 180x240",
        needs="--data.root",
        seconds=803,
        miou=0.600,
        config=TrainConfig(
            preset="camvid_unet",
            steps=3000,
            batch_size=8,
            log_every=50,
            eval_every=500,
            checkpoint_every=500,
            data=DataConfig("folder", size=(180, 240)),
            model=ModelConfig("unet", options=("base_features=16", "depth=4", "stem_stride=2")),
            loss=LossConfig(terms="ce+dice", class_weights="enet"),
            optim=OptimizerConfig(learning_rate=4e-3, weight_decay=2e-2),
            augment=AugmentConfig(flip=True, scale=(0.7, 1.4), crop=(128, 192), brightness=0.1, contrast=0.1, saturation=0.1),
            ema=0.995,
        ),
    ),
    Preset(
        data="CamVid, 11 classes, 180x240",
        needs="--data.root",
        config=TrainConfig(
            preset="camvid_fcn8s",
            steps=1500,
            batch_size=8,
            log_every=50,
            eval_every=300,
            checkpoint_every=300,
            data=DataConfig("folder", size=(180, 240)),
            model=ModelConfig(
                "fcn8s",
                encoder="vgg11_bn",
                options=("width_multiplier=0.25", "fc_features=256", "input_padding=null", "dropout_rate=0.1"),
            ),
            loss=LossConfig(class_weights="enet"),
            optim=OptimizerConfig(learning_rate=2e-3, weight_decay=2e-2),
            augment=AugmentConfig(flip=True, scale=(0.8, 1.6), brightness=0.2, contrast=0.2, saturation=0.2),
        ),
    ),
    # Pet, background, border.
    Preset(
        data="Oxford-IIIT Pet, 128x128",
        needs="TFDS download",
        config=TrainConfig(
            preset="pets_unet",
            steps=6000,
            batch_size=16,
            log_every=50,
            eval_every=500,
            checkpoint_every=500,
            data=DataConfig("tfds:oxford_iiit_pet", val="test", size=(128, 128)),
            model=ModelConfig("unet", options=("base_features=32", "depth=4")),
            optim=OptimizerConfig(learning_rate=2e-3, weight_decay=1e-2),
            augment=AugmentConfig(flip=True, scale=(0.8, 1.5), brightness=0.2, contrast=0.2, saturation=0.2),
            ema=0.995,
        ),
    ),
    # nnU-Net's patch and its poolings for this set, with a quarter of its channels, and its losses.
    Preset(
        data="hippocampus (MSD), volumes",
        needs="--data.root",
        config=TrainConfig(
            preset="hippocampus_unet",
            steps=1000,
            batch_size=2,
            log_every=20,
            eval_every=250,
            checkpoint_every=250,
            data=DataConfig("folder", crop=(40, 56, 40), normalise="z-score"),
            model=ModelConfig("plain_conv_unet", options=("features_per_stage=[8,16,32,64]",)),
            loss=LossConfig(terms="ce+dice"),
            optim=OptimizerConfig(learning_rate=4e-3, weight_decay=1e-2),
            augment=AugmentConfig(scale=(0.85, 1.2)),
            sampling=SamplingConfig(foreground=0.33),
            ema=0.99,
        ),
    ),
    # PhaseNet's network, labels and windows; other places in the window stand for its random ones.
    Preset(
        data="seismograms (PhaseNet)",
        needs="--data.root",
        config=TrainConfig(
            preset="phasenet_picks",
            task="picks",
            task_options=("rate=100",),
            steps=1000,
            batch_size=16,
            log_every=50,
            eval_every=250,
            checkpoint_every=250,
            data=DataConfig("folder", normalise="z-score"),
            model=ModelConfig("phasenet"),
            optim=OptimizerConfig(learning_rate=5e-3, weight_decay=1e-2),
            augment=AugmentConfig(operations=("translate(share=0.3)", "gaussian_noise(deviation=[0,0.02],probability=0.5)")),
            ema=0.99,
        ),
    ),
    _nuclei("boundary", "width=2", "min_size=24", terms="ce(class_weights=[1,2,4])+dice"),
    _nuclei("stardist"),
    _nuclei("flows", "flow_error=null", "min_size=24"),
    # The task and the optimizer of the U-Net paper: SGD, momentum 0.99, batch 1, valid convolutions on 572x572. The paper
    # mirrors the border of a 512x512 slice and deforms it elastically; here it is enlarged, and flipped both ways. Published:
    # a pixel error of 0.0611 on the hidden test slices (table 1), after 10 hours on a GPU.
    Preset(
        data="ISBI 2012 cells, 572x572",
        needs="--data.root",
        config=TrainConfig(
            preset="isbi_unet2015",
            steps=4000,
            batch_size=1,
            log_every=10,
            eval_every=500,
            checkpoint_every=250,
            data=DataConfig("folder", train="all[:20]", val="all[20:]", size=(572, 572)),
            model=ModelConfig("unet2015"),
            optim=OptimizerConfig("sgd", learning_rate=1e-3, momentum=0.99, schedule="constant", weight_decay=0.0),
            augment=AugmentConfig(flip=True, vertical_flip=True),
        ),
    ),
)
PRESETS = {preset.config.preset: preset for preset in _PRESETS}
DEFAULT = "shapes_unet"
