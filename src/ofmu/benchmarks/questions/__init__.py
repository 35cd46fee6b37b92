"""Open questions 2 and 4 of the paper: other similarities, other penalty schedules, a priority that moves."""
