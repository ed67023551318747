"""A data set looked at before anything is trained on it: what it holds, what is wrong, and what is odd."""
