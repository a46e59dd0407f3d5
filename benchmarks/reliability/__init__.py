"""What dispatch promises, put to the test at scale: faults, kills, processes, limits, fuzz, replay."""
