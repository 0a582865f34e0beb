"""What runs, comparisons and sweeps found, as typed records, read and written here alone; and the tables of it."""
