"""What experiments see: correlations in time, spectra, counts, and continuous measurement."""
