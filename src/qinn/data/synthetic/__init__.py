"""Generated sets with a known answer: pooled (`known_answer_set`), and streams of events (the other modules)."""
