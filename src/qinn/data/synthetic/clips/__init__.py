"""Clips with a known answer: a drawn face says a sentence with a made voice, and how positive that is, is stated."""
