"""Where bars come from: legacy files (`legacy`), and venues that are asked for them."""
