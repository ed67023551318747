"""From weights to rankings and scores."""
