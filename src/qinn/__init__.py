"""QiNN-QJ: a quantum-inspired neural network with quantum jumps for multimodal sentiment analysis."""

__version__ = "0.1.0"
