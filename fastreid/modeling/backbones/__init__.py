"""Networks that turn images (B, 3, H, W) into a map (B, C, H', W'); C is their `feature_dim`."""
