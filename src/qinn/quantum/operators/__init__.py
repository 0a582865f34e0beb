"""Operators by name: spins and qubits, and the oscillator."""
