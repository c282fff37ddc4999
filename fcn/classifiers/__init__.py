"""Image classifiers: images to one vector of logits each, by the encoders with the heads of their papers."""
