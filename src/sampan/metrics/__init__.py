"""How the platform does in numbers: counters and histograms of now, a history by the minute."""
