"""From weights and lists to features, and to folders of them."""
