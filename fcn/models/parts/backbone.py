"""What networks with an encoder in torchvision's form share."""

from typing import Any, ClassVar

import flax.linen as nn

from fcn.encoders.mobilenet_v3 import MobileNetV3
from fcn.encoders.resnet import ResNet
from fcn.models.parts.with_encoder import WithEncoder

_FORMS = {ResNet: {"dilate_first": False}, MobileNetV3: {"stage_starts": True}}
"""Options with which torchvision builds these encoders for segmentation."""


class WithBackbone(WithEncoder):
    """A network whose encoder torchvision calls "backbone".

    Attributes (more in `WithEncoder`):
        encoder_output_stride: stride of the encoder's last map: 8, 16 (dilated) or 32; a module must have it already.
        dtype: type of the computation; the logits are float32 in any case.
        param_dtype: type of the parameters.
        axis_name: the pmap axis over which BatchNorm takes its statistics.
    """

    encoder_name: ClassVar = "backbone"
    references: ClassVar = {"torchvision": ((r"^backbone\.features\.", "backbone."),)}

    @nn.nowrap
    def encoder_options(self) -> dict[str, Any]:
        """What an encoder that is no module yet is made with."""
        form = _FORMS.get(self.encoder_family(), {})
        return {"output_stride": self.encoder_output_stride, **form, **self.norm_types}
