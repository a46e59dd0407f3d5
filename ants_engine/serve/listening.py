"""The socket that a server listens on, bound before anything slow is loaded."""

import socket

from ants_engine.errors import UsageError
from ants_engine.serve.access import Access
from ants_engine.serve.options import ServeOptions


def listen(options: ServeOptions) -> socket.socket:
    """Bind the address, once it is clear that it may be listened on.

    Raises:
        UsageError: it cannot be had, or others could connect without a token.
    """
    Access(options)
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    # the protocol by name: asyncio sends small packets at once (TCP_NODELAY) only where it is
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((options.host, options.port))
    except (OSError, OverflowError) as error:
        bound.close()
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot listen on {options.host}, port {options.port}: {reason}") from None
    return bound
