"""Neural networks: QiNN-QJ and its baselines, all from `Batch` to `Prediction`."""
