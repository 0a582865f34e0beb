"""Pure linear algebra on tensors: series, Krylov spaces, contractions, factors of a joint space."""
