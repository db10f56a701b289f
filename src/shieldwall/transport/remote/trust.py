"""What a port shows in handshakes and whom it lets through, kept up to date while it listens.

gRPC asks at each handshake, from threads of its own. What it is given then takes the place of what it has, without a
lock: a handshake that begins in that moment in another thread uses what is being thrown away, and the process dies.
Some hundred connections at once are enough where each is given something new. So it is given something new only where a
ticket has come or ended, or a worker's own certificate was renewed, and alone: those that were let through before have
long gone on, and those that come meanwhile wait until the exchange is over.
"""

from __future__ import annotations

import math
import time
from threading import Lock
from typing import Any

import grpc

from shieldwall.transport.identity.clock import utc_now
from shieldwall.transport.remote.doors import Doorkeeper

_QUIET_S = 0.1
"""Before and after an exchange no handshake begins; to take hold of what it needs one takes microseconds."""


class Trust:
    """Of one port; may be used from any thread.

    Args:
        gate: knows what is shown, and whom to let through.
    """

    def __init__(self, gate: Doorkeeper) -> None:
        self._gate = gate
        self._lock = Lock()
        self._used = gate.server, gate.roots(utc_now())
        self._exchanged_s = -math.inf

    def credentials(self) -> grpc.ServerCredentials:
        """For the port."""
        return grpc.dynamic_ssl_server_credentials(self._configuration(), self.news, True)

    def news(self) -> Any:
        """What is to be used from now on; None where that is what is used already."""
        with self._lock:
            early_s = self._exchanged_s + _QUIET_S - time.monotonic()
            if early_s > 0:
                time.sleep(early_s)
            now = self._gate.server, self._gate.roots(utc_now())
            if now == self._used:
                return None
            time.sleep(_QUIET_S)
            self._used, self._exchanged_s = now, time.monotonic()
            return self._configuration()

    def _configuration(self) -> Any:
        shown, roots = self._used
        pair = shown.private_key_pem, shown.certificate_chain_pem
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=roots)
