"""The labelling page: who is asked about which pictures, and the small site that asks them."""
