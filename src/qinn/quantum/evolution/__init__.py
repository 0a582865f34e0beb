"""Ways to run the same open-system dynamics, behind one interface."""
