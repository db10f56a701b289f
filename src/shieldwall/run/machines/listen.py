"""Where a run is dialled."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Self

import psutil

from shieldwall.config import Config
from shieldwall.core.errors import ConfigError

_LARGEST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Listen:
    """An address of this machine and a port; port 0 is one that is free."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `HOST:PORT`; an IPv6 host stands in brackets.

        Raises:
            ConfigError: SW-C131; it is something else.
        """
        host, _, port = text.rpartition(":")
        bare = host.removeprefix("[").removesuffix("]")
        if not bare or not port.isdecimal() or int(port) > _LARGEST_PORT:
            raise ConfigError(
                "SW-C131",
                "that is no address to listen on",
                where="--listen",
                expected="HOST:PORT, such as 0.0.0.0:7700 for all of this machine's addresses",
                got=text,
            )
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def reached_at(self) -> list[str]:
        """Hosts that others can dial: itself, or all of this machine's where it listens on all."""
        bare = self.host.removeprefix("[").removesuffix("]")
        try:
            everywhere = ipaddress.ip_address(bare).is_unspecified
        except ValueError:
            everywhere = False
        return _addresses_here() if everywhere else [self.host]


def choose_transport(config: Config, listen: Listen | None, where: str) -> Config:
    """The configuration of a run that listens, or of one that does not.

    Raises:
        ConfigError: SW-C105; workers on other machines are wanted, and not said where they dial.
    """
    if listen is None and config.transport.kind == "grpc":
        raise ConfigError(
            "SW-C105",
            "workers on other machines have nowhere to dial",
            where=f"transport.kind in {where}",
            expected="--listen HOST:PORT beside it",
            got="no address",
            remedy="give --listen 0.0.0.0:7700, or --set transport.kind=memory for all hosts in this process",
        )
    kind = "grpc" if listen else "memory"
    return config.model_copy(update={"transport": config.transport.model_copy(update={"kind": kind})})


def _addresses_here() -> list[str]:
    """IPv4 addresses of this machine, loopback last."""
    found = [
        each.address
        for interface in psutil.net_if_addrs().values()
        for each in interface
        if each.family.name == "AF_INET"
    ]
    return sorted(found, key=lambda address: (address.startswith("127."), address))
