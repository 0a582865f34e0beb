"""What Python users and the command line share: estimators, samples in memory, and the verbs."""
