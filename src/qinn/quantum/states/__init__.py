"""What is driven: kets, densities, ensembles, products, and what a measurement finds in them."""
