"""From people's labels to a regressor, and to an honest report of how well it knows them."""
