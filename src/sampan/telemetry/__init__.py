"""What the house says about itself: the platform's own log, one line per event. A call enters at `logs.Log`."""
