"""Fusion networks of the field since 2019, each on a page of its own, after its paper and on qinn's encoders."""
