"""From lists and image files to batches: one decoder, the data sets, the samplers, the transforms and the loaders."""
