"""What more than one floor needs and what knows nothing of retrieval."""
