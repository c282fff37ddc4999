"""What a training is told: the fields of its configuration, and the presets."""
