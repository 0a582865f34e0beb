"""Exact, batched, differentiable open quantum systems on torch tensors (ħ = 1, entropies in bits)."""
