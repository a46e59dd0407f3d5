"""What a run leaves behind: its folder, who reads that, and telemetry."""
