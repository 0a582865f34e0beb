"""Fitting a model on the training split, selected on the validation split."""
