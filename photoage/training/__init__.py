"""From labelled photos to a checkpoint, and how good it is."""
