"""What all networks with an encoder share, which is given by name, as a row of the table of encoders, or as a module."""

from functools import partial
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from fcn.encoders.entry import Encoder, name_of
from fcn.encoders.table import find_encoder
from fcn.encoders.vgg import VGG, VGGS
from fcn.errors import unknown
from fcn.layers import ImageNetwork

AnyEncoder = str | Encoder | nn.Module
_SIDE = 64


class WithEncoder(ImageNetwork):
    """A network with an encoder.

    The field `encoder` keeps what the network is made with. Where the network is bound to variables it is the encoder itself:
    `model.bind(variables).encoder(images)` gives its feature maps.

    Attributes:
        num_classes: channels of the logits.
        encoder: one of `fcn.list_encoders()`, a row (see `fcn.register_encoder`), or a module: images [B, H, W, C] -> tuple of
            feature maps, finest first, called with `train=`. A module keeps its own options and types.
    """

    num_classes: int
    encoder: AnyEncoder

    encoder_name: ClassVar = "encoder"
    """What the encoder is called among the variables."""
    preserve_adopted_names: ClassVar = True  # or else Flax calls it after the field
    given_encoder: ClassVar[Any] = None
    """What the network was made with, bound or not."""

    def __post_init__(self):
        given = self.encoder
        object.__setattr__(self, "given_encoder", given)
        if not _is_bound(given):
            object.__setattr__(self, "encoder", self.make_encoder())
        super().__post_init__()  # binds the encoder, if the network is bound
        if self.scope is None:
            object.__setattr__(self, "encoder", given)

    @nn.nowrap
    def clone(self, **options) -> "WithEncoder":
        """As `flax.linen.Module.clone`; the encoder is made anew, unless Flax has bound one (inside of `nn.remat`, for one)."""
        copy = super().clone(**{"encoder": self.given_encoder, **options})
        if _is_bound(options.get("encoder")):
            object.__setattr__(copy, "given_encoder", self.given_encoder)
        return copy

    @property
    def own_encoder(self) -> Any:
        """The encoder itself: the module that `encoder` is where the network is bound."""
        return self.encoder

    @nn.nowrap
    def make_encoder(self) -> nn.Module:
        """The encoder, not yet bound.

        Raises:
            ValueError: for an unknown name.
        """
        if isinstance(self.encoder, nn.Module):
            return self.encoder.clone(name=self.encoder_name)
        make = find_encoder(self.encoder).constructor
        return make(**self.encoder_options(), name=self.encoder_name, parent=None)

    @nn.nowrap
    def encoder_options(self) -> dict[str, Any]:
        """What an encoder that is no module yet is made with."""
        raise NotImplementedError

    @nn.nowrap
    def encoder_family(self) -> Any:
        """The class of the encoder, or what makes it."""
        given = self.given_encoder
        if isinstance(given, nn.Module):
            return type(given)
        make = find_encoder(given).constructor
        return make.func if isinstance(make, partial) else make

    @property
    def ends_in_pool(self) -> bool:
        """Whether the encoder's last map is the one before it after max pooling."""
        given = self.given_encoder
        return isinstance(given, VGG) if isinstance(given, nn.Module) else find_encoder(given).ends_in_pool

    @nn.nowrap
    def encoder_text(self) -> str:
        """The encoder as messages name it."""
        given = self.given_encoder
        return repr(given) if isinstance(given, str) else name_of(self.encoder_family())

    @nn.nowrap
    def encoder_strides(self, channels: int) -> tuple[int, ...]:
        """Strides that the encoder's maps have if it is not dilated, finest first, for images of so many channels.

        Raises:
            ValueError: those of a module are no powers of two, or come in another order.
        """
        if not isinstance(self.given_encoder, nn.Module):
            return find_encoder(self.given_encoder).strides
        strides = []
        for stride in measured_strides(self.given_encoder, channels):
            strides.append(max(stride, 2 * strides[-1]) if strides else stride)
        return tuple(strides)

    @nn.nowrap
    def check_stride(self, wanted: int, channels: int, position: int = -1) -> None:
        """Refuses a module whose map at a position has another stride than the network takes, for images of so many channels.

        Raises:
            ValueError: it has.
        """
        if not isinstance(self.given_encoder, nn.Module):
            return
        if (stride := measured_strides(self.given_encoder, channels)[position]) != wanted:
            raise ValueError(
                f"the last map of encoder {self.encoder_text()} has stride {stride}, {type(self).__name__} takes {wanted}; "
                "build the encoder so, or set encoder_output_stride where the network has it"
            )


def _is_bound(module: Any) -> bool:
    return isinstance(module, nn.Module) and module.scope is not None


class WithVGG(WithEncoder):
    """A network that mirrors or extends a VGG; `encoder` is the name of one."""

    @nn.nowrap
    def make_encoder(self) -> nn.Module:
        """The VGG, not yet bound.

        Raises:
            ValueError: for what is no name of a VGG.
        """
        if not isinstance(self.encoder, str) or self.encoder not in VGGS:
            given = self.encoder if isinstance(self.encoder, str) else self.encoder_text()
            raise unknown(f"encoder of {type(self).__name__}", given, VGGS)
        return super().make_encoder()


def measured_strides(encoder: nn.Module, channels: int) -> tuple[int, ...]:
    """Strides of the maps of a module, finest first, found by their sizes; nothing is computed.

    Raises:
        ValueError: it gives no tuple of maps, or their strides are no powers of two, or come in another order.
    """
    images = jax.ShapeDtypeStruct((1, _SIDE, _SIDE, channels), jnp.float32)
    encoder = encoder.clone(parent=None, name=None)
    maps = jax.eval_shape(lambda x: encoder.init_with_output(jax.random.key(0), x)[0], images)
    if not isinstance(maps, tuple | list) or not maps or any(len(x.shape) != 4 for x in maps):
        raise ValueError(f"encoder {type(encoder).__name__} gives no tuple of feature maps [B, H, W, C]")
    strides = tuple(round(_SIDE / x.shape[1]) for x in maps)
    if list(strides) != sorted(strides) or any(stride < 1 or stride & (stride - 1) for stride in strides):
        raise ValueError(
            f"encoder {type(encoder).__name__} gives maps of the strides {strides}; give powers of two, finest first"
        )
    return strides
