"""Named experiments. Each states what it costs and what it reaches."""

from experiments.config import DataConfig, LossConfig, ModelConfig, TrainConfig
from fcn.data import AugmentConfig
from fcn.training import OptimizerConfig

PRESETS = {
    # The built-in scenes: validation mIoU 0.917 in 3:02 from nothing, on two CPU cores.
    "shapes_unet": TrainConfig(
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
    ),
    # FCN-8s at a size that learns without ImageNet: VGG11 with BatchNorm and a quarter of its channels, same padding. Its score
    # is not measured yet.
    "shapes_fcn8s": TrainConfig(
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
    # CamVid, SegNet's split in 11 classes, at half size: validation mIoU 0.522 after 455 s of training on two CPU cores.
    "camvid_unet": TrainConfig(
        preset="camvid_unet",
        steps=1200,
        batch_size=8,
        log_every=50,
        eval_every=300,
        checkpoint_every=300,
        data=DataConfig("folder", size=(180, 240)),
        model=ModelConfig("unet", options=("base_features=16", "depth=4", "stem_stride=2")),
        loss=LossConfig(class_weights="enet"),
        optim=OptimizerConfig(learning_rate=4e-3, weight_decay=2e-2),
        augment=AugmentConfig(flip=True, scale=(0.7, 1.4), crop=(128, 192), brightness=0.1, contrast=0.1, saturation=0.1),
        ema=0.99,
    ),
    # The same data for the FCN-8s above; its score is not measured yet.
    "camvid_fcn8s": TrainConfig(
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
    # Not measured here: the images must be downloaded. Oxford-IIIT Pets: pet, background, border. Prepare it with TFDS first.
    "pets_unet": TrainConfig(
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
    # The task and the optimizer of the U-Net paper: SGD, momentum 0.99, batch 1, valid convolutions on 572x572. The paper
    # mirrors the border of a 512x512 slice and deforms it elastically; here it is enlarged, and flipped both ways. Published:
    # a pixel error of 0.0611 on the hidden test slices (table 1), after 10 hours on a GPU. Not measured here.
    "isbi_unet2015": TrainConfig(
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
}
DEFAULT = "shapes_unet"
