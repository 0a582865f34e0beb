"""The preregistered study: its design, its guard, its fits and what is made of them (see docs/preregistration.md)."""
