"""The parts of the tests' server, ``tests/integration/faulty_server.py``. Nothing here needs more than Python."""
