"""Why a reading is unusual, in numbers and in words, computed for the few that are flagged."""
