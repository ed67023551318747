"""From a page to the network's input, with random changes in training."""
