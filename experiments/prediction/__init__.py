"""From images to files: which outputs, how each is made, large maps, COCO's JSON."""
