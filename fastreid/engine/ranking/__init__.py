"""From saved features to rankings, scores and the post-processing that serves best."""
