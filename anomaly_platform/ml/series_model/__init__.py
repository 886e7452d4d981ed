"""The model of one series: its inputs, season, noise, level and detector."""
