"""Where drawings lie and which patent each shows."""
