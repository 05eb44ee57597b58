"""piapi pair: a link, and its QR code, with which a new device fetches a token of its own."""

from __future__ import annotations

import ipaddress
import sys
from typing import Any

import click

import config
from piapi import invitation
from piapi.cli.data import in_words, opened_database
from piapi.cli.tokens import Duration
from piapi.clock import SystemClock, boot_id
from piapi.models import CONSOLE, ROLES
from piapi.services.access import Access
from piapi.services.events import Events
from piapi.services.pairings import OPEN_S, Pairings
from piapi.storage.pairings import PairingRows
from piapi.storage.tokens import TokenRows

LONGEST_NAME = 100
"""Characters, as the API has it."""


class Address(click.ParamType[tuple[str, int | None]]):
    """A name or an address, and perhaps a port: `pi.local`, `192.168.1.20:8080`, `[fd00::1]:8080`."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int | None]:
        """Host and port."""
        if _is_ipv6(value):
            return value, None
        host, colon, port = value.rpartition(":") if not value.endswith("]") else (value, "", "")
        host = host if colon else value
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        is_port = port.isascii() and port.isdigit() and 0 < int(port) < 65_536
        if not bare or (colon and not is_port) or any(letter in bare for letter in "/#?@ []"):
            self.fail(f"{value} is no address; write pi.local, 192.168.1.20:8080 or the like", param, ctx)
        return bare, int(port) if colon else None


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


@click.command()
@click.argument("name")
@click.option("--role", type=click.Choice(list(ROLES)), help="A bundle of scopes; operator, unless given.")
@click.option("--scope", "scopes", multiple=True, help="<kind>:<name>:<verb>, such as camera:front:view.")
@click.option(
    "--expires-in", type=Duration(), help="How long the device is let in, such as 30d. For ever, unless given."
)
@click.option("--address", type=Address(), help="Where the device finds this machine: HOST or HOST:PORT.")
@click.option("--no-qr", is_flag=True, help="Print the link alone.")
def pair(
    name: str,
    role: str | None,
    scopes: tuple[str, ...],
    expires_in: int | None,
    address: tuple[str, int | None] | None,
    no_qr: bool,
) -> None:
    """Let a new device in: print a link, and on a terminal its QR code, good once and for five minutes.

    The device gets a token called NAME. A viewer sees cameras, pins, doors and the journal; an operator also takes
    pictures, makes time-lapses, switches pins and moves doors; an admin does all, and lets others in.
    """
    if role is not None and scopes:
        raise click.UsageError("name either --role or --scope, not both")
    if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise click.UsageError(f"NAME must have 1 to {LONGEST_NAME} characters, all of them printable")
    with in_words():
        server = config.load().server
    host, port = address or (invitation.address_of(server.host), None)
    code = _open_pairing(name, role or (None if scopes else "operator"), scopes, expires_in)
    link = invitation.link_of(host, port or server.port, code)
    click.echo(link)
    if not no_qr and invitation.shows_qr(sys.stdout):
        click.echo(invitation.qr_of(link))
    click.echo(f"It is good once, and for {OPEN_S // 60} minutes.", err=True)
    if address is None and invitation.is_loopback(server.host):
        click.echo(
            f'Other devices do not get there: piapi listens on {server.host} alone. Set host = "0.0.0.0" in [server], '
            "or name with --address where a proxy answers.",
            err=True,
        )


def _open_pairing(name: str, role: str | None, scopes: tuple[str, ...], expires_in_s: int | None) -> str:
    clock = SystemClock()
    with opened_database() as database:
        events = Events(database, clock)
        access = Access(TokenRows(database), events, clock)
        pairings = Pairings(PairingRows(database), access, events, clock, boot_id())
        _, code = pairings.create(name, scopes=scopes, role=role, expires_in_s=expires_in_s, by=CONSOLE)
    return code
