"""From weights, or from saved features, to rankings and scores."""
