"""A certificate for 127.0.0.1 and no other name, signed by an authority that nobody knows."""

import subprocess
from pathlib import Path

_EXTENSIONS = """\
subjectAltName=IP:127.0.0.1
basicConstraints=critical,CA:FALSE
authorityKeyIdentifier=keyid
"""
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Write ``ca.pem``, ``server.pem`` and their keys into a folder, with the ``openssl`` program.

    Returns:
        The server's certificate and its key.

    Raises:
        FileNotFoundError: there is no ``openssl`` program.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "extensions").write_text(_EXTENSIONS)

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    authority = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    openssl("req", "-x509", *_KEY, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=nobody", *authority)
    openssl("req", *_KEY, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=127.0.0.1")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30", "-extfile", "extensions")
    openssl("x509", "-req", "-in", "server.csr", "-out", "server.pem", *signed)
    return folder / "server.pem", folder / "server.key"
