"""Where the server is, and who we are there, as a libpq connection string says it (PostgreSQL manual, 32.1.2).

A keyword whose meaning is not carried here is refused, unless nothing hangs on it: what somebody wrote down to be safe
must not be passed over.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import MappingProxyType

from psycopg import ProgrammingError as PsycopgProgrammingError
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from datagate.errors import OperationalError, ProgrammingError
from datagate.frontends.gateway.libpq_files import password_for, service_settings
from datagate.frontends.gateway.protocol import frontend

_DEFAULT_PORT = "5432"
_DEFAULT_HOST = "/var/run/postgresql"
ALPN = "postgresql"
METHODS = ("none", "password", "md5", "scram-sha-256")
"""Ways of proving who we are that are known here, as ``require_auth`` calls them."""
_WITHOUT_EFFECT = frozenset(
    """application_name fallback_application_name client_encoding keepalives keepalives_idle keepalives_interval
    keepalives_count tcp_user_timeout sslcompression sslsni krbsrvname gsslib gssdelegation min_protocol_version
    max_protocol_version sslkeylogfile load_balance_hosts connect_timeout service servicefile passfile""".split()
)
_CARRIED = frozenset(
    """user password dbname host hostaddr port options sslmode sslnegotiation sslcert sslkey sslpassword
    sslrootcert sslcrl ssl_min_protocol_version ssl_max_protocol_version channel_binding require_auth
    target_session_attrs""".split()
)
_SETTLED: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "gssencmode": frozenset({"disable", "prefer"}),
        "sslcertmode": frozenset({"allow"}),
        "replication": frozenset({"0", "off", "false", "no"}),
    }
)
"""Values that change nothing here, of keywords with others that would."""


class Wanted(Enum):
    """Which servers will do (``target_session_attrs``)."""

    ANY = "any"
    READ_WRITE = "read-write"
    READ_ONLY = "read-only"
    PRIMARY = "primary"
    STANDBY = "standby"

    def takes(self, parameters: Mapping[bytes, bytes]) -> bool:
        """Whether a server will do that told these settings at its start."""
        standby = parameters.get(b"in_hot_standby", b"off") == b"on"
        read_only = standby or parameters.get(b"default_transaction_read_only", b"off") == b"on"
        return {
            Wanted.ANY: True,
            Wanted.READ_WRITE: not read_only,
            Wanted.READ_ONLY: read_only,
            Wanted.PRIMARY: not standby,
            Wanted.STANDBY: standby,
        }[self]


@dataclass(frozen=True, slots=True)
class Host:
    """One server: its name and port, or the directory of a socket; ``address``: of a name that is not looked up."""

    name: str
    port: int
    address: str = ""
    password: str | None = field(default=None, repr=False)

    @property
    def socket_path(self) -> str | None:
        """The path of a Unix socket, where it is one."""
        where = self.address or self.name
        return f"{where}/.s.PGSQL.{self.port}" if where.startswith("/") else None


@dataclass(frozen=True, slots=True)
class Encryption:
    """How the connection is encrypted: the ``ssl…`` keywords, empty where none was given."""

    mode: str
    direct: bool
    root: str
    revoked: str
    certificate: str
    key: str
    key_password: str
    oldest: str
    newest: str

    @property
    def required(self) -> bool:
        """Whether nothing is said in the clear."""
        return self.mode in ("require", "verify-ca", "verify-full")

    def context(self) -> ssl.SSLContext | None:
        """How to encrypt; None where that is not wanted. The files are read anew each time.

        Raises:
            OperationalError: A file cannot be read.
        """
        if self.mode == "disable":
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.set_alpn_protocols([ALPN])
        context.check_hostname = self.mode == "verify-full"
        try:
            self._trust(context)
            if self.certificate:
                context.load_cert_chain(self.certificate, self.key or None, self.key_password or "")
            context.minimum_version = _tls_version(self.oldest) if self.oldest else ssl.TLSVersion.TLSv1_2
            if self.newest:
                context.maximum_version = _tls_version(self.newest)
        except (OSError, ssl.SSLError, ValueError) as error:
            raise OperationalError(f"the files for encrypting cannot be used: {error}", sqlstate="08001") from None
        return context

    def _trust(self, context: ssl.SSLContext) -> None:
        """Trust the root certificates that were given, and none beside them; as libpq, in mode require too."""
        if self.root == "system":
            context.load_default_certs()
        elif self.root and (self.mode.startswith("verify") or Path(self.root).exists()):
            context.load_verify_locations(self.root)
        elif self.mode.startswith("verify"):
            raise OperationalError(f"sslmode={self.mode} needs a root certificate: give sslrootcert", sqlstate="08001")
        else:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return
        if self.revoked:
            context.load_verify_locations(self.revoked)
            context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN


def _tls_version(text: str) -> ssl.TLSVersion:
    known = {"TLSv1": "TLSv1", "TLSv1.1": "TLSv1_1", "TLSv1.2": "TLSv1_2", "TLSv1.3": "TLSv1_3"}
    if text not in known:
        raise ValueError(f"{text!r} is no version of TLS")
    return ssl.TLSVersion[known[text]]


@dataclass(frozen=True, slots=True)
class Target:
    """A server, or several that hold the same: tried in the order given.

    ``methods``: the ways of proving who we are that will do; ``binds``: whether only SCRAM with channel binding does.
    """

    hosts: tuple[Host, ...]
    user: str
    database: str
    encryption: Encryption
    settings: tuple[tuple[str, str], ...]
    options: str
    wanted: Wanted
    methods: frozenset[str]
    binds: bool

    @classmethod
    def read(cls, dsn: str, settings: Sequence[tuple[str, str]]) -> Target:
        """Read a libpq connection string, completed from the environment and libpq's files as libpq does.

        Raises:
            ProgrammingError: It is none, or asks for what is not carried.
        """
        value = _Values(dsn)
        encryption = _encryption(value)
        methods = _methods(value["require_auth"])
        binds = value["channel_binding"] == "require"
        wanted = value["target_session_attrs"]
        if wanted not in {each.value for each in Wanted}:
            raise ProgrammingError(f"connection string: target_session_attrs={wanted!r:.20} is not carried")
        return cls(
            hosts=_hosts(value),
            user=value["user"],
            database=value["dbname"] or value["user"],
            encryption=encryption,
            settings=tuple(settings),
            options=value["options"],
            wanted=Wanted(wanted),
            methods=methods & {"scram-sha-256"} if binds else methods,
            binds=binds,
        )

    def startup(self) -> bytes:
        """The start-up packet: with the gate's settings, which prevail over what role, database and options say."""
        parameters = {"user": self.user, "database": self.database, "client_encoding": "UTF8"}
        if self.options:
            parameters["options"] = self.options
        return frontend.startup({**parameters, "application_name": "datagate", **dict(self.settings)})


class _Values:
    """A connection string's keywords: as given, else the service's, else the environment's, else libpq's defaults."""

    def __init__(self, dsn: str) -> None:
        try:
            self._given = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value not in (None, "")}
        except PsycopgProgrammingError as error:
            raise ProgrammingError(f"connection string: {str(error).strip()}") from None
        self._defaults = {
            each.keyword.decode(): each.val.decode() for each in pq.Conninfo.get_defaults() if each.val is not None
        }
        service = self._given.get("service") or os.environ.get("PGSERVICE")
        found = service_settings(service, self._given.get("servicefile", ""), os.environ) if service else {}
        self._given = {**found, **self._given}
        for name, value in {**self._defaults, **self._given}.items():
            known = name in _CARRIED or name in _WITHOUT_EFFECT or value in _SETTLED.get(name, frozenset())
            if value and not known:
                raise ProgrammingError(f"connection string: the gateway does not carry {name}={value!r:.40}")

    def __getitem__(self, name: str) -> str:
        return self._given.get(name) or self._defaults.get(name, "")


def _hosts(value: _Values) -> tuple[Host, ...]:
    names, addresses = value["host"], value["hostaddr"]
    count = len((addresses or names or _DEFAULT_HOST).split(","))

    def each(text: str, otherwise: str) -> list[str]:
        parts = text.split(",") if text else [otherwise]
        parts = parts * count if len(parts) == 1 else parts
        if len(parts) != count:
            raise ProgrammingError("connection string: hosts, hostaddrs and ports must be as many, or one")
        return [part or otherwise for part in parts]

    hosts = []
    otherwise = "" if addresses else _DEFAULT_HOST
    for name, address, port in zip(
        each(names, otherwise), each(addresses, ""), each(value["port"], _DEFAULT_PORT), strict=True
    ):
        if not port.isdigit() or not 0 < int(port) < 65536:
            raise ProgrammingError(f"connection string: {port!r:.20} is no port")
        known = value["password"] or password_for(
            value["passfile"], name or address, int(port), value["dbname"] or value["user"], value["user"]
        )
        hosts.append(Host(name, int(port), address, known))
    return tuple(hosts)


def _encryption(value: _Values) -> Encryption:
    home = Path("~/.postgresql").expanduser()

    def file(keyword: str, usual: str) -> str:
        """The file that is given, or libpq's usual one where there is such a file."""
        return value[keyword] or (str(home / usual) if (home / usual).exists() else "")

    mode = value["sslmode"]
    if mode not in ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"):
        raise ProgrammingError(f"connection string: sslmode={mode!r:.20} is not known")
    direct = value["sslnegotiation"] == "direct"
    certificate = file("sslcert", "postgresql.crt")
    found = Encryption(
        mode=mode,
        direct=direct,
        root=file("sslrootcert", "root.crt"),
        revoked=file("sslcrl", "root.crl"),
        certificate=certificate,
        key=file("sslkey", "postgresql.key") if certificate else "",
        key_password=value["sslpassword"],
        oldest=value["ssl_min_protocol_version"],
        newest=value["ssl_max_protocol_version"],
    )
    if direct and not found.required:
        raise ProgrammingError("connection string: sslnegotiation=direct goes with sslmode=require, or more")
    if found.root == "system" and mode != "verify-full":
        raise ProgrammingError("connection string: sslrootcert=system goes with sslmode=verify-full")
    return found


def _methods(text: str) -> frozenset[str]:
    """What ``require_auth`` leaves."""
    if not text:
        return frozenset(METHODS)
    words = [word.strip() for word in text.split(",")]
    unwanted = {word[1:] for word in words if word.startswith("!")}
    if unwanted and len(unwanted) != len(words):
        raise ProgrammingError("connection string: require_auth is a list of methods, or of methods with ! before them")
    return frozenset(METHODS) - unwanted if unwanted else frozenset(METHODS) & frozenset(words)
