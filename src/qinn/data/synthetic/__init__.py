"""Generated sets with a known answer."""
