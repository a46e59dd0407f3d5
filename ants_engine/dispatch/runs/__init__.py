"""Records of a run: the run folder (`run_folder`), its reader (`run_reader`), OpenTelemetry (`telemetry`)."""
