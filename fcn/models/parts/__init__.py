"""What several models share: encoders as backbones, blocks of decoders, heads."""
