"""How far states and channels are from the laws, and checks that raise."""
