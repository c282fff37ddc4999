"""Where samples come from: folders, prepared data sets, shapes that are drawn; opened by name."""
