"""Pickles of others read without running them."""
