"""From networks to the files of a bundle."""
