"""How the weights move: the optimizer and the learning rate."""
